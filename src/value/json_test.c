/* json_test.c - JSON in and out: what is accepted, RapidJSON's words for the rest, RethinkDB's way to print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "bridge/double_bridge.h"
#include "value/json.h"
#include "value/json_int.h"
#include "value/value_gen.h"

static Arena arena;

static int setup(void **state)
{
        arena_init(&arena, 0);
        return 0;
}
static int teardown(void **state)
{
        arena_done(&arena);
        return 0;
}

/* Parses from memory that ends exactly behind the padding. */
static Status parse_exact(Bytes text, JsonPseudo pseudo, Value *ret_value, uint8_t **ret_memory)
{
        *ret_memory = mem_alloc(text.size + JSON_PADDING);
        assert_non_null(*ret_memory);
        memcpy(*ret_memory, text.data, text.size);
        memset(*ret_memory + text.size, '"', JSON_PADDING); /* the padding's content does not matter */
        return json_parse(BYTES(*ret_memory, text.size), pseudo, &arena, ret_value);
}

static Value parse(const char *text)
{
        Value v;
        Status st = json_parse_copy(BYTES_STR(text), JSON_PLAIN, &arena, &v);
        if (st)
                fail_msg("%s: %s", text, status_message(st));
        return v;
}

static void check_same_text(const char *in, const char *wanted)
{
        Value v = parse(in);
        assert_string_equal((const char *)json_text(v, &arena).data, wanted);
        assert_string_equal((const char *)json_text(value_copy(v, &arena), &arena).data, wanted);
}

static void check_refused_bytes(Bytes text, StatusCode code, const char *message)
{
        uint8_t *memory;
        Value v;
        Status st = parse_exact(text, JSON_PLAIN, &v, &memory);
        if (!st)
                fail_msg("accepted: %.*s", (int)text.size, (const char *)text.data);
        assert_string_equal(status_message(st), message);
        assert_int_equal(status_code(st), code);
        status_ignore(st);
        mem_free(memory);
}

static void check_refused(const char *text, const char *message)
{
        check_refused_bytes(BYTES_STR(text), ERR_INVALID, message);
        /* The same inside something, where simdjson reads it. */
        if (strcmp(message, "The document is empty.") &&
            strcmp(message, "The document root must not be followed by other values.")) {
                char *inside = arena_printf(&arena, "{\"before\":[1,2,{}],\"x\":%s", text);
                check_refused_bytes(BYTES_STR(inside), ERR_INVALID, message);
        }
}

static void test_accepted(void **state)
{
        check_same_text("[1,2,3]", "[1,2,3]");
        check_same_text(" \t\r\n[ ]\n", "[]");
        check_same_text("{}", "{}");
        check_same_text("{\"b\":1,\"a\":{\"d\":[],\"c\":null},\"B\":true,\"10\":0,\"9\":false}",
                        "{\"10\":0,\"9\":false,\"B\":true,\"a\":{\"c\":null,\"d\":[]},\"b\":1}");
        check_same_text("\"foo\"", "\"foo\"");
        check_same_text(" null ", "null");
        check_same_text("true", "true");
        check_same_text("[false]", "[false]");
        check_same_text("[\"\\u0000\\u001f\\u007f\\/\\b\\f\\n\\r\\t\\\"\\\\\"]",
                        "[\"\\u0000\\u001F\x7f/\\b\\f\\n\\r\\t\\\"\\\\\"]");
        check_same_text("[\"\\u00e9\\u2028\\ud83d\\uDE00\"]", "[\"\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\"]");
        check_same_text("{\"\\u0061\\\"\":\"x\\\\\"}", "{\"a\\\"\":\"x\\\\\"}");
}

/* An arena that holds nothing yet has no memory to point to. */
static void test_nothing_in_a_new_arena(void **state)
{
        static const char *const texts[] = {"[]", "{}", "[[],{}]", "\"\"", "0"};
        for (size_t i = 0; i < ELEMENTS(texts); i++) {
                Arena fresh;
                Value v;
                char text[JSON_PADDING * 2] = "";
                arena_init(&fresh, 0);
                strcpy(text, texts[i]);
                assert_null(json_parse(BYTES_STR(text), JSON_PSEUDO, &fresh, &v));
                assert_string_equal((const char *)json_text(value_copy(v, &fresh), &arena).data, texts[i]);
                assert_true(value_equal(v, value_copy(v, &fresh)));
                arena_done(&fresh);
        }
}

static void test_numbers(void **state)
{
        static const char *const rows[][2] = {
                {"0", "0"},
                {"-0", "0"},
                {"-0.0", "-0.0"},
                {"-0e0", "-0.0"},
                {"1.0", "1"},
                {"1.5", "1.5"},
                {"-0.5", "-0.5"},
                {"67498.89278", "67498.89278"},
                {"-73850380122423", "-73850380122423"},
                {"1234567890123456789012345678901234567890", "1.2345678901234569e39"},
                {"123.45678901234568", "123.45678901234568"},
                {"9007199254740992", "9007199254740992"},
                {"9007199254740993", "9007199254740992"},
                {"9007199254740994", "9007199254740994.0"},
                {"-9007199254740992", "-9007199254740992"},
                {"40007862.917250894", "40007862.917250897"}, /* the same double; Grisu2 prints the second */
                {"1403463464.8477", "1403463464.8477002"},
                {"1403463464.8476", "1403463464.8476"},
                {"123456789012345680000", "123456789012345680000.0"},
                {"1e20", "100000000000000000000.0"},
                {"1e21", "1e21"},
                {"1.5e300", "1.5e300"},
                {"1e-5", "0.00001"},
                {"0.000001", "0.000001"},
                {"1e-7", "1e-7"},
                {"1.25e-7", "1.25e-7"},
                {"5e-324", "5e-324"},
                {"1e-400", "0"},
                {"-1e-400", "-0.0"},
                {"1.7976931348623157e308", "1.7976931348623157e308"},
                {"1E+2", "100"},
                {"0.1", "0.1"},
                {"0.1000000000000000055511151231257827021181583404541015625", "0.1"},
        };
        for (size_t i = 0; i < ELEMENTS(rows); i++) {
                check_same_text(rows[i][0], rows[i][1]);
                check_same_text(arena_printf(&arena, "[%s]", rows[i][0]), arena_printf(&arena, "[%s]", rows[i][1]));
                check_same_text(arena_printf(&arena, "{\"a\":%s }", rows[i][0]),
                                arena_printf(&arena, "{\"a\":%s}", rows[i][1]));
        }
        /* As many digits as one likes, at the root and inside. */
        char *digits = arena_zalloc(&arena, 5003);
        memset(digits, '1', 5000);
        memcpy(digits + 1, ".", 1);
        check_same_text(digits, "1.1111111111111112");
        check_same_text(arena_printf(&arena, "[%s]", digits), "[1.1111111111111112]");
}

static void test_doubles_survive(void **state)
{
        Gen g = {.state = 99, .arena = &arena};
        for (int i = 0; i < 200000; i++) {
                double d;
                uint64_t bits = gen_next(&g);
                memcpy(&d, &bits, sizeof(d));
                if (i & 1)
                        d = gen_double(&g);
                if (!isfinite(d))
                        continue;
                char text[40] = "[";
                size_t size = json_number_text(d, text + 1);
                assert_true(size < 32);
                memcpy(text + 1 + size, "]", 2);
                double other = strtod(text + 1, NULL);
                Value v = value_at(parse(text), 0);
                assert_memory_equal(&v.number, &d, sizeof(d));
                assert_memory_equal(&other, &d, sizeof(d));
                arena_reset(&arena);
        }
}

/* The fast way for short fractions prints what Grisu2 prints, however close to the border of rounding they lie. */
static void test_short_fractions(void **state)
{
        Gen g = {.state = 7, .arena = &arena};
        for (int i = 0; i < 300000; i++) {
                static const double units[] = {10, 100, 1000, 10000};
                uint64_t limit = UINT64_C(1) << (10 + gen_next(&g) % 40);
                double d = (double)(1 + gen_next(&g) % limit) / units[gen_next(&g) % 4];
                char text[40], compact[40] = "", digits[DOUBLE_DIGITS_MAX];
                if (d == floor(d))
                        continue;
                size_t size = json_number_text(d, text), length = 0, leading = 0;
                int point, count = double_digits(d, digits, &point);
                for (size_t j = 0; j < size; j++)
                        if (text[j] != '.')
                                compact[length++] = text[j];
                while (compact[leading] == '0')
                        leading++;
                assert_int_equal(length - leading, count);
                assert_memory_equal(compact + leading, digits, (size_t)count);
        }
}

static void test_rapidjson_words(void **state)
{
        check_refused("", "The document is empty.");
        check_refused(" \n", "The document is empty.");
        check_refused("1 2", "The document root must not be followed by other values.");
        check_refused("[1][2]", "The document root must not be followed by other values.");
        check_refused("{}]", "The document root must not be followed by other values.");
        check_refused("nul", "Invalid value.");
        check_refused("tru1", "Invalid value.");
        check_refused("falsy", "Invalid value.");
        check_refused("NaN", "Invalid value.");
        check_refused("Infinity", "Invalid value.");
        check_refused("-Infinity", "Invalid value.");
        check_refused("-", "Invalid value.");
        check_refused("+1", "Invalid value.");
        check_refused(".5", "Invalid value.");
        check_refused("'a'", "Invalid value.");
        check_refused("[1,]", "Invalid value.");
        check_refused("[,1]", "Invalid value.");
        check_refused("[", "Invalid value.");
        check_refused("]", "Invalid value.");
        check_refused("{\"a\":}", "Invalid value.");
        check_refused("{\"a\":1,}", "Missing a name for object member.");
        check_refused("{1:2}", "Missing a name for object member.");
        check_refused("{", "Missing a name for object member.");
        check_refused("{,}", "Missing a name for object member.");
        check_refused("{\"a\"1}", "Missing a colon after a name of object member.");
        check_refused("{\"a\"}", "Missing a colon after a name of object member.");
        check_refused("{\"a\":1", "Missing a comma or '}' after an object member.");
        check_refused("{\"a\":1]", "Missing a comma or '}' after an object member.");
        check_refused("{\"a\":1 \"b\":2}", "Missing a comma or '}' after an object member.");
        check_refused("[1,2", "Missing a comma or ']' after an array element.");
        check_refused("[1 2]", "Missing a comma or ']' after an array element.");
        check_refused("[1}", "Missing a comma or ']' after an array element.");
        check_refused("[01]", "Missing a comma or ']' after an array element.");
        check_refused("[1x]", "Missing a comma or ']' after an array element.");
        check_refused("[truex]", "Missing a comma or ']' after an array element.");
        check_refused("[nullnull]", "Missing a comma or ']' after an array element.");
        check_refused("[\"\\u12g4\"]", "Incorrect hex digit after \\u escape in string.");
        check_refused("[\"\\ud800\"]", "The surrogate pair in string is invalid.");
        check_refused("[\"\\ud800\\u0041\"]", "The surrogate pair in string is invalid.");
        check_refused("[\"\\udc00\"]", "The surrogate pair in string is invalid.");
        check_refused("\"\\ud800\"", "The surrogate pair in string is invalid.");
        check_refused("[\"\\x\"]", "Invalid escape character in string.");
        check_refused("[\"a\nb\"]", "Invalid escape character in string.");
        check_refused("\"a\tb\"", "Invalid escape character in string.");
        check_refused("[\"abc]", "Missing a closing quotation mark in string.");
        check_refused("\"", "Missing a closing quotation mark in string.");
        check_refused("\"\\\"", "Missing a closing quotation mark in string.");
        check_refused("[1e400]", "Number too big to be stored in double.");
        check_refused("-1e309", "Number too big to be stored in double.");
        check_refused("[1.]", "Miss fraction part in number.");
        check_refused("1.e5", "Miss fraction part in number.");
        check_refused("[1e]", "Miss exponent in number.");
        check_refused("1e+", "Miss exponent in number.");
        check_refused_bytes(BYTES("[1\0]", 4), ERR_INVALID, "Missing a comma or ']' after an array element.");
        check_refused_bytes(BYTES("[\"a\0b\"]", 7), ERR_INVALID, "Missing a closing quotation mark in string.");
}

static void test_bad_utf8(void **state)
{
        check_refused_bytes(BYTES_STR("[\"ok\",\"ab\xff\"]"), ERR_COMPILE,
                            "String `ab` (truncated) is not a UTF-8 string; Invalid initial byte seen at position 2.");
        check_refused_bytes(BYTES_STR("\"abcdefghijklmnopqrstuvwxyz\xc3\""), ERR_COMPILE,
                            "String `abcdefghijklmnopqrst` (truncated) is not a UTF-8 string; Expected continuation "
                            "byte, saw end of "
                            "string at position 27.");
        check_refused_bytes(BYTES_STR("{\"\xc0\x80\":1}"), ERR_COMPILE,
                            "String `\xc0` (truncated) is not a UTF-8 string; Overlong encoding seen at position 1.");
        check_refused_bytes(BYTES_STR("[\"\xed\xa0\x80\"]"), ERR_COMPILE,
                            "String `\xed\xa0` (truncated) is not a UTF-8 string; Surrogate encoded at position 2.");
        check_refused_bytes(BYTES_STR("[\"\xf4\x90\x80\x80\"]"), ERR_COMPILE,
                            "String `\xf4\x90\x80` (truncated) is not a UTF-8 string; Non-Unicode character encoded "
                            "(beyond U+10FFFF) "
                            "at position 3.");
        check_refused_bytes(BYTES_STR("[\xff]"), ERR_INVALID, "Invalid value.");
}

/* Errors quote what a client sent, and the answer must be JSON all the same. */
static void test_messages(void **state)
{
        static const char *const cases[][2] = {
                {"fine \u00e9", "\"fine \u00e9\""},
                {"\xff", "\"\xef\xbf\xbd\""},
                {"a\xc3z\u00e9", "\"a\xef\xbf\xbdz\u00e9\""},
                {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
                {"\"\n", "\"\\\"\\n\""},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Buf out;
                buf_init(&out, 100);
                assert_null(json_write_message(BYTES_STR(cases[i][0]), &out));
                assert_int_equal(out.size, strlen(cases[i][1]));
                assert_memory_equal(out.data, cases[i][1], out.size);
                buf_done(&out);
        }
}

static void test_duplicates(void **state)
{
        check_refused_bytes(BYTES_STR("{\"a\":1,\"a\":2}"), ERR_EXISTS, "a");
        check_refused_bytes(BYTES_STR("[{\"x\":{\"b\":1,\"a\":2,\"b\":2}}]"), ERR_EXISTS, "b");
        check_refused_bytes(BYTES_STR("{\"a\":1,\"\\u0061\":2}"), ERR_EXISTS, "a");
        /* What is no JSON at all is that first. */
        check_refused_bytes(BYTES_STR("{\"a\":1,\"a\":2"), ERR_INVALID,
                            "Missing a comma or '}' after an object member.");
        char *text = arena_zalloc(&arena, 4000), *p = text;
        p += sprintf(p, "{");
        for (int i = 0; i < 100; i++)
                p += sprintf(p, "\"k%d\":%d,", i * 37 % 100, i);
        sprintf(p, "\"k55\":0}");
        check_refused_bytes(BYTES_STR(text), ERR_EXISTS, "k55");
}

static void test_depth(void **state)
{
        for (int depth = VALUE_MAX_DEPTH - 1; depth <= 20000;
             depth = depth < VALUE_MAX_DEPTH + 2 ? depth + 1 : depth * 2) {
                for (int object = 0; object < 2; object++) {
                        char *text = arena_zalloc(&arena, (size_t)depth * 8 + 8), *p = text;
                        for (int i = 0; i < depth; i++)
                                p += sprintf(p, "%s", object ? "{\"a\":" : "[");
                        p += sprintf(p, "1");
                        if (depth > VALUE_MAX_DEPTH) {
                                for (int i = 0; i < depth; i++)
                                        p += sprintf(p, "%s", object ? "}" : "]");
                                check_refused_bytes(BYTES_STR(text), ERR_LIMIT, "Nesting is deeper than 500 levels.");
                                continue;
                        }
                        for (int i = 0; i < depth; i++)
                                p += sprintf(p, "%s", object ? "}" : "]");
                        Value v = parse(text);
                        assert_int_equal(v.depth, depth);
                        assert_string_equal((const char *)json_text(value_copy(v, &arena), &arena).data, text);
                }
        }
}

static void test_random_documents(void **state)
{
        for (uint64_t seed = 0; seed < 2000; seed++) {
                Gen g = {.state = seed * 77, .arena = &arena, .json_only = true};
                Value v = gen_value(&g, 4), back;
                if (v.type == V_GEOMETRY)
                        v.type = V_OBJECT;
                Bytes text = json_text(v, &arena);
                uint8_t *memory;
                Status st = parse_exact(text, JSON_PLAIN, &back, &memory);
                if (st)
                        fail_msg("%s: %.*s", status_message(st), (int)text.size, (const char *)text.data);
                Bytes again = json_text(value_copy(back, &arena), &arena);
                assert_true(bytes_equal(text, again));
                Bytes stored = json_text(value_copy(v, &arena), &arena);
                assert_true(bytes_equal(text, stored));
                /* The pretty form is the same document. */
                Bytes pretty = json_pretty_text(v, &arena);
                assert_null(json_parse_copy(pretty, JSON_PLAIN, &arena, &back));
                assert_true(bytes_equal(text, json_text(back, &arena)));
                const char *message;
                assert_int_equal(json_explain(text, &message), JSON_FINE);
                mem_free(memory);
                arena_reset(&arena);
        }
}

/* Damaged documents: simdjson and the explainer have to agree on what is JSON. */
static void test_damaged_documents(void **state)
{
        for (uint64_t seed = 0; seed < 20000; seed++) {
                Gen g = {.state = seed * 13, .arena = &arena, .json_only = true};
                Bytes text = json_text(gen_value(&g, 2), &arena);
                uint8_t *memory, *damaged = arena_dup(&arena, text.data, text.size);
                if (text.size == 0 || text.size > 2000) {
                        arena_reset(&arena);
                        continue;
                }
                size_t size = gen_below(&g, 4) ? text.size : gen_below(&g, text.size);
                for (uint64_t i = gen_below(&g, 3); i > 0 && size; i--)
                        damaged[gen_below(&g, size)] = (uint8_t) "{}[]\",:\\0e.-u1tn\x01 \n\xff"[gen_below(&g, 21)];
                Value v;
                const char *message = "";
                Status st = parse_exact(BYTES(damaged, size), JSON_PLAIN, &v, &memory);
                JsonVerdict verdict = json_explain(BYTES(damaged, size), &message);
                if (st)
                        assert_string_not_equal(status_message(st), "Unspecific syntax error.");
                if (!st || status_code(st) == ERR_EXISTS || status_code(st) == ERR_COMPILE) {
                        if (verdict != JSON_FINE)
                                fail_msg("%s: %.*s", message, (int)size, (const char *)damaged);
                } else {
                        assert_int_equal(verdict, JSON_BROKEN);
                }
                status_ignore(st);
                mem_free(memory);
                arena_reset(&arena);
        }
}

static void test_pretty(void **state)
{
        static const char text[] =
                "{\"b\":[1,-0.0,{}],\"a\":{\"x\":[]},\"c\":{\"$reql_type$\":\"TIME\",\"epoch_time\":1375445163.087,"
                "\"timezone\":\"-07:00\"},\"d\":{\"$reql_type$\":\"BINARY\",\"data\":\"AA==\"}}";
        Value v;
        assert_null(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &arena, &v));
        static const char wanted[] =
                "{\n\t\"a\":\t{\n\t\t\"x\":\t[]\n\t},\n\t\"b\":\t[\n\t\t1,\n\t\t-0.0,\n\t\t{}\n\t],\n\t\"c\":\t{\n\t\t"
                "\"$reql_type$\":\t\"TIME\",\n\t\t\"epoch_time\":\t1375445163.087,\n\t\t\"timezone\":\t\"-07:00\"\n\t},"
                "\n\t"
                "\"d\":\t{\n\t\t\"$reql_type$\":\t\"BINARY\",\n\t\t\"data\":\t\"AA==\"\n\t}\n}";
        assert_string_equal((const char *)json_pretty_text(v, &arena).data, wanted);
        assert_string_equal((const char *)json_pretty_text(value_copy(v, &arena), &arena).data, wanted);
        assert_string_equal((const char *)json_pretty_text(value_str("a\n"), &arena).data, "\"a\\n\"");
        char *longer = arena_zalloc(&arena, 400);
        memset(longer, 'x', 399);
        Bytes cut = json_truncated_text(value_str(longer), &arena);
        assert_int_equal(cut.size, 300);
        assert_int_equal(strlen((const char *)cut.data), 300);
        assert_string_equal((const char *)cut.data + 296, "x...");
}

static void test_binary_lines(void **state)
{
        for (size_t size = 0; size < 180; size++) {
                uint8_t *data = arena_zalloc(&arena, size + 1);
                for (size_t i = 0; i < size; i++)
                        data[i] = (uint8_t)(i * 37);
                Value v = value_binary(BYTES(data, size)), back;
                Bytes text = json_text(v, &arena);
                assert_null(json_parse_copy(text, JSON_PSEUDO, &arena, &back));
                assert_true(value_equal(v, back));
                assert_true(bytes_equal(text, json_text(value_copy(v, &arena), &arena)));
                /* A line break after each 76 digits, unless they are the last. */
                size_t digits = (size + 2) / 3 * 4, breaks = digits ? (digits - 1) / 76 : 0;
                assert_int_equal(text.size, strlen("{\"$reql_type$\":\"BINARY\",\"data\":\"\"}") + digits + breaks * 4);
        }
}

static void test_no_json(void **state)
{
        Buf out;
        buf_init(&out, 1000);
        Value inside[1] = {value_minval()};
        Status st = json_write(value_array(inside, 1), &out);
        assert_string_equal(status_message(st), "Cannot convert `r.minval` to JSON.");
        assert_int_equal(status_code(st), ERR_LOGIC);
        status_ignore(st);
        st = json_write(value_copy(value_array((Value[]){value_maxval()}, 1), &arena), &out);
        assert_string_equal(status_message(st), "Cannot convert `r.maxval` to JSON.");
        status_ignore(st);
        buf_done(&out);
        assert_string_equal((const char *)json_text(inside[0], &arena).data, "Cannot convert `r.minval` to JSON.");
}

/* What a stored value's text takes at most, which is relied on when it is written without asking for room. */
static void test_longest_texts(void **state)
{
        enum { MANY = 100 };
        char controls[40];
        memset(controls, 1, sizeof controls);
        for (int kind = 0; kind < 12; kind++) {
                Value one, many[MANY];
                Field fields[MANY];
                char names[MANY][4];
                switch (kind) {
                case 0: one = value_null(); break;
                case 1: one = value_bool(false); break;
                case 2: one = value_number(-128); break;
                case 3: one = value_number(-32768); break;
                case 4: one = value_number(-2147483648.0); break;
                case 5: one = value_number(-1.2345678901234567e-300); break;
                case 6: one = value_number(-0.00012345678901234567); break;
                case 7: one = value_string(BYTES_STR("")); break;
                case 8: one = value_string(BYTES(controls, sizeof controls)); break;
                case 9: one = value_array(NULL, 0); break;
                case 10: one = value_object_sorted(NULL, 0); break;
                default:
                        one = parse("{\"$reql_type$\":\"TIME\",\"epoch_time\":-12345678901.123,"
                                    "\"timezone\":\"-12:34\"}");
                }
                for (int i = 0; i < MANY; i++) {
                        many[i] = one;
                        names[i][0] = (char)(1 + i / 10);
                        names[i][1] = (char)(1 + i % 10);
                        fields[i] = (Field){BYTES(names[i], 2), one};
                }
                Value both[2] = {value_array(many, MANY), value_object_sorted(fields, MANY)};
                for (int i = 0; i < 2; i++) {
                        Value stored = value_copy(both[i], &arena);
                        Bytes text = json_text(stored, &arena);
                        assert_true(text.size <= 6 * value_encoded_size(stored));
                        assert_true(bytes_equal(text, json_text(both[i], &arena)));
                }
        }
}

/* Strings that begin and end anywhere beside the end of what may be read, with and without escapes. */
static void test_string_ends(void **state)
{
        for (size_t size = 0; size < 50; size++)
                for (size_t at = 0; at <= size; at++) {
                        char text[64];
                        memset(text, 'x', sizeof text);
                        if (at < size)
                                text[at] = at % 2 ? '"' : '\n';
                        Value items[2] = {value_string(BYTES(text, size)), value_number(7)};
                        for (size_t count = 1; count <= 2; count++) {
                                Value v = value_array(items, count);
                                Value stored = value_copy(v, &arena);
                                size_t bytes = value_encoded_size(stored);
                                uint8_t *exact = mem_alloc(bytes);
                                memcpy(exact, stored.encoded, bytes);
                                assert_true(bytes_equal(json_text(v, &arena), json_text(value_decode(exact), &arena)));
                                mem_free(exact);
                        }
                        arena_reset(&arena);
                }
}

/* Whatever room the buffer has, the text is complete or the error is ERR_LIMIT. */
static void test_buffer_limits(void **state)
{
        Value v = parse("{\"a\":[1,2.5,"
                        "\"\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001\\u0001abcdefghijklmnopqrstuvwxyz\"]"
                        ",\"b\":null}");
        Bytes wanted = json_text(v, &arena);
        for (size_t max = 0; max < wanted.size + 60; max++) {
                Buf out;
                buf_init(&out, max);
                Status st = json_write(v, &out);
                if (st)
                        assert_int_equal(status_code(st), ERR_LIMIT);
                else
                        assert_true(bytes_equal(BYTES(out.data, out.size), wanted));
                assert_true(!st || max < wanted.size + 40);
                status_ignore(st);
                buf_done(&out);
        }
}

/* The nth allocation fails, for every n: ERR_NOMEM and nothing lost, or the document. */
static void test_parse_without_memory(void **state)
{
        char *text = arena_zalloc(&arena, 100000), *p = text;
        p += sprintf(p, "[");
        for (int i = 0; i < 1500; i++)
                p += sprintf(p, "{\"k\\n%d\":[\"a\\tb\",%d,{\"x\":[]}]},", i, i);
        sprintf(p, "0]");
        int failures = 0;
        for (long n = 1;; n++) {
                Arena small;
                Value v;
                arena_init(&small, 0);
                mem_fail_nth(n);
                Status st = json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &small, &v);
                int fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_int_equal(status_code(st), fired ? ERR_NOMEM : ERR_NONE);
                if (!fired)
                        assert_int_equal(value_count(v), 1501);
                failures += fired;
                status_ignore(st);
                arena_done(&small);
                if (!fired)
                        break;
        }
        assert_true(failures > 3);
        /* An arena with a budget: the same. */
        for (size_t budget = 1000; budget < 3000000; budget = budget * 5 / 4) {
                Arena small;
                Value v;
                arena_init(&small, budget);
                Status st = json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &small, &v);
                assert_true(!st || status_code(st) == ERR_NOMEM);
                status_ignore(st);
                arena_done(&small);
        }
}

static void test_large_document(void **state)
{
        size_t count = 300000;
        char *text = mem_alloc(count * 8 + 100), *p = text;
        p += sprintf(p, "{\"a\":[");
        for (size_t i = 0; i < count; i++)
                p += sprintf(p, "%zu,", i);
        sprintf(p, "null]}");
        Value v = parse(text);
        assert_int_equal(value_count(value_get_str(v, "a")), count + 1);
        assert_true(value_at(value_get_str(v, "a"), count - 1).number == (double)(count - 1));
        mem_free(text);
        v = parse("[1]"); /* the thread's parser was given back; the next document starts anew */
        assert_int_equal(value_count(v), 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_accepted),
                cmocka_unit_test(test_nothing_in_a_new_arena),
                cmocka_unit_test(test_numbers),
                cmocka_unit_test(test_doubles_survive),
                cmocka_unit_test(test_short_fractions),
                cmocka_unit_test(test_rapidjson_words),
                cmocka_unit_test(test_bad_utf8),
                cmocka_unit_test(test_messages),
                cmocka_unit_test(test_duplicates),
                cmocka_unit_test(test_depth),
                cmocka_unit_test(test_random_documents),
                cmocka_unit_test(test_damaged_documents),
                cmocka_unit_test(test_pretty),
                cmocka_unit_test(test_binary_lines),
                cmocka_unit_test(test_no_json),
                cmocka_unit_test(test_longest_texts),
                cmocka_unit_test(test_string_ends),
                cmocka_unit_test(test_buffer_limits),
                cmocka_unit_test(test_parse_without_memory),
                cmocka_unit_test(test_large_document),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
