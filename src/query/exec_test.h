/* exec_test.h - for the tests of exec_*.c: tables of odd rows, random functions, and queries run with and without
 * compiled functions and scans. What both answer has to be the same, errors and their places included. */
#ifndef QUERY_EXEC_TEST_H
#define QUERY_EXEC_TEST_H

#include "base/check.h"

#include <stdio.h>

#include "query/fake_source.h"

/* --- randomness --- */
static uint64_t seed_state = 1;
static inline unsigned chance(unsigned n)
{
        seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)((seed_state >> 33) % n);
}
#define PICK(...)                                                                                                      \
        ((const char *const[]){__VA_ARGS__})[chance(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))]

/* --- rows --- */
/* What a field holds in a row; "" : it is not there. How odd: 0 a column of one type each, 1 with gaps, 2 anything. */
static const char *random_field(char name, unsigned odd, char *buffer)
{
        if (odd == 1 && chance(4) == 0)
                return PICK("", "null");
        if (odd == 2 && chance(3) == 0)
                return PICK("", "null", "true", "false", "0", "-0.0", "1.5", "1e308", "\"x\"", "\"\"", "[]", "[1,2,3]",
                            "{}", "{\"x\":1}", "{\"x\":null}", "[{\"x\":1}]",
                            "{\"$reql_type$\":\"TIME\",\"epoch_time\":1000,\"timezone\":\"+00:00\"}",
                            "{\"$reql_type$\":\"BINARY\",\"data\":\"YWJj\"}", "9007199254740993", "-1");
        switch (name) {
        case 'a': snprintf(buffer, 64, "%u", chance(10)); return buffer;
        case 'b': snprintf(buffer, 64, "%u.%02u", chance(1000), chance(100)); return buffer;
        case 'c': snprintf(buffer, 64, "\"word%u\"", chance(6)); return buffer;
        case 'd': return PICK("true", "false");
        case 'e': snprintf(buffer, 128, "{\"x\":%u,\"y\":\"%c\"}", chance(5), 'a' + chance(3)); return buffer;
        case 'f': snprintf(buffer, 64, "[%u,\"t%u\"]", chance(3), chance(3)); return buffer;
        case 'g':
                snprintf(buffer, 128, "{\"$reql_type$\":\"TIME\",\"epoch_time\":%u,\"timezone\":\"+0%u:00\"}",
                         chance(100000), chance(3));
                return buffer;
        default: snprintf(buffer, 64, "%d", (int)chance(100) - 50); return buffer;
        }
}

static void add_random_table(const char *name, unsigned rows, unsigned odd)
{
        Buf text;
        buf_init(&text, 1 << 24);
        OK(buf_append_byte(&text, '['));
        for (unsigned i = 0; i < rows; i++) {
                OK(buf_printf(&text, "%s{\"id\":%u", i ? "," : "", i));
                for (char field = 'a'; field <= 'h'; field++) {
                        char buffer[128];
                        const char *value = random_field(field, odd, buffer);
                        if (*value)
                                OK(buf_printf(&text, ",\"%c\":%s", field, value));
                }
                OK(buf_append_byte(&text, '}'));
        }
        OK(buf_append(&text, "]", 2));
        fake_add(name, (const char *)text.data);
        assert_int_equal(value_count(fake.tables[fake.table_count - 1].rows), rows);
        buf_done(&text);
}

/* --- functions of variable 1 (and 2), in wire form --- */
static void random_expr(Buf *out, unsigned depth);

static void random_args(Buf *out, unsigned term, unsigned count, unsigned depth)
{
        OK(buf_printf(out, "[%u,[", term));
        for (unsigned i = 0; i < count; i++) {
                if (i)
                        OK(buf_append_byte(out, ','));
                random_expr(out, depth);
        }
        OK(buf_append_str(out, "]]"));
}

static void random_leaf(Buf *out)
{
        switch (chance(10)) {
        case 0: OK(buf_append_str(out, PICK("0", "1", "5", "-3", "2.5", "1e308", "100"))); return;
        case 1:
                OK(buf_append_str(out, PICK("\"word1\"", "\"word3\"", "\"\"", "null", "true", "false", "[2,[1,2]]",
                                            "{\"x\":1}", "{}", "[99,[\"1970-01-01T01:00:00Z\"]]")));
                return;
        case 2:
                OK(buf_append_str(out, PICK("[10,[1]]", "[170,[[10,[1]],\"id\"]]", "[170,[[10,[1]],\"none\"]]")));
                return;
        case 3: OK(buf_printf(out, "[170,[[170,[[10,[1]],\"e\"]],\"%c\"]]", 'x' + chance(3))); return;
        default: OK(buf_printf(out, "[%u,[[10,[1]],\"%c\"]]", chance(2) ? 170 : 31, 'a' + chance(8))); return;
        }
}

static void random_expr(Buf *out, unsigned depth)
{
        if (depth == 0 || chance(5) == 0) {
                random_leaf(out);
                return;
        }
        depth--;
        switch (chance(20)) {
        case 0:
        case 1:
        case 2: random_args(out, 17 + chance(6), 1 + chance(3), depth); return; /* eq .. ge */
        case 3: random_args(out, 23, 1, depth); return;                         /* not */
        case 4:
        case 5: random_args(out, 66 + chance(2), chance(4), depth); return; /* or, and */
        case 6:
        case 7: random_args(out, 24 + chance(4), 1 + chance(3), depth); return; /* add .. div */
        case 8: random_args(out, 28, 2, depth); return;                         /* mod */
        case 9: random_args(out, 183 + chance(3), 1, depth); return;            /* floor ceil round */
        case 10: random_args(out, 65, 3 + 2 * chance(2), depth); return;        /* branch */
        case 11:
        case 12: random_args(out, 92, 2, depth); return; /* default */
        case 13:
                OK(buf_printf(out, "[%u,[", (const unsigned[]){32, 33, 34}[chance(3)])); /* has_fields pluck without */
                random_expr(out, chance(2) ? 0 : depth);
                OK(buf_printf(out, ",%s]]", PICK("\"a\"", "\"e\"", "\"a\",\"h\"", "{\"e\":{\"x\":true}}", "\"none\"")));
                return;
        case 14:
                OK(buf_append_str(out, "[35,[")); /* merge */
                random_expr(out, 0);
                OK(buf_append_str(out, ",{\"m\":"));
                random_expr(out, depth);
                OK(buf_append_str(out, PICK("}]]", ",\"e\":{\"z\":1}}]]", ",\"a\":null}]]")));
                return;
        case 15:
                OK(buf_append_str(out, "{\"p\":"));
                random_expr(out, depth);
                OK(buf_append_str(out, ",\"o\":"));
                random_expr(out, depth);
                OK(buf_append_byte(out, '}'));
                return;
        case 16: random_args(out, (const unsigned[]){52, 43, 2}[chance(3)], 1, depth); return; /* type_of count array */
        case 17: random_args(out, 93, 2, depth); return;                                       /* contains */
        case 18:
                if (chance(2)) {
                        OK(buf_append_str(out, "[97,[")); /* match */
                        random_expr(out, depth);
                        OK(buf_printf(out, ",%s]]", PICK("\"word[12]\"", "\"^$\"", "\"x\"")));
                        return;
                }
                OK(buf_append_str(out, "[170,[")); /* nth, or a field of what was computed */
                random_expr(out, depth);
                OK(buf_printf(out, ",%s]]", PICK("0", "-1", "7", "\"x\"", "\"p\"")));
                return;
        default:
                if (chance(3))
                        random_args(out, (const unsigned[]){128, 129, 131, 133, 135, 102}[chance(6)], 1, depth);
                else
                        random_args(out, 105, 3, depth); /* during */
                return;
        }
}

/* Functions that make sense, for most rows. */
static void random_truth(Buf *out, unsigned depth);

static void random_number(Buf *out, unsigned depth)
{
        unsigned kind = depth ? chance(9) : chance(4);
        if (kind < 3) {
                OK(buf_printf(out, "[170,[[10,[1]],\"%c\"]]", "abh"[kind]));
        } else if (kind == 3) {
                OK(buf_append_str(out, PICK("0", "1", "5", "-3", "2.5", "100")));
        } else if (kind == 4) {
                OK(buf_append_str(out, "[92,["));
                random_number(out, depth - 1);
                OK(buf_append_str(out, ",1]]"));
        } else if (kind == 5) {
                OK(buf_append_str(out, "[65,["));
                random_truth(out, depth - 1);
                OK(buf_append_byte(out, ','));
                random_number(out, depth - 1);
                OK(buf_append_byte(out, ','));
                random_number(out, depth - 1);
                OK(buf_append_str(out, "]]"));
        } else {
                OK(buf_printf(out, "[%u,[", kind == 6 ? 183 + chance(3) : 24 + chance(3)));
                random_number(out, depth - 1);
                if (kind > 6) {
                        OK(buf_append_byte(out, ','));
                        random_number(out, depth - 1);
                }
                OK(buf_append_str(out, "]]"));
        }
}

static void random_truth(Buf *out, unsigned depth)
{
        switch (depth ? chance(6) : 3 + chance(3)) {
        case 0:
        case 1:
                OK(buf_printf(out, "[%u,[", 66 + chance(2)));
                random_truth(out, depth - 1);
                OK(buf_append_byte(out, ','));
                random_truth(out, depth - 1);
                break;
        case 2:
                OK(buf_append_str(out, "[23,["));
                random_truth(out, depth - 1);
                break;
        case 3: OK(buf_printf(out, "[%u,[[170,[[10,[1]],\"c\"]],\"word%u\"", 17 + chance(6), chance(6))); break;
        case 4: OK(buf_append_str(out, PICK("[170,[[10,[1]],\"d\"", "[32,[[10,[1]],\"a\",\"b\""))); break;
        default:
                OK(buf_printf(out, "[%u,[", 17 + chance(6)));
                random_number(out, depth ? depth - 1 : 0);
                OK(buf_append_byte(out, ','));
                random_number(out, 0);
                break;
        }
        OK(buf_append_str(out, "]]"));
}

static inline void random_term_func(Buf *out)
{
        unsigned depth = 1 + chance(3), kind = chance(4);
        OK(buf_append_str(out, "[69,[[2,[1]],"));
        if (kind == 0)
                random_expr(out, depth);
        else if (kind == 1)
                random_truth(out, depth);
        else
                random_number(out, depth);
        OK(buf_append_str(out, "]]"));
}

static inline void random_func(Buf *out)
{
        if (chance(4) == 0)
                OK(buf_printf(out, "\"%c\"", 'a' + chance(8)));
        else
                random_term_func(out);
}

/* --- running --- */

/* The answer, all batches; or the error, its kind and its place. */
static void run_query(const QueryWorld *world, const char *term, bool plan, Buf *out)
{
        Query *query;
        uint8_t *buffer;
        Buf text;
        buf_init(out, 64 << 20);
        buf_init(&text, 1 << 20);
        OK(buf_printf(&text, "[1,%s,{\"plan\":%s}]", term, plan ? "true" : "false"));
        OK(query_new(world, "admin", &query));
        OK(query_text_buffer(query, text.size, &buffer));
        memcpy(buffer, text.data, text.size);
        QueryAnswer answer = ANSWER_PARTIAL;
        Status st = query_prepare(query, BYTES(buffer, text.size));
        while (!st && answer == ANSWER_PARTIAL) {
                size_t before = out->size;
                st = query_next(query, out, &answer);
                if (!st && answer != ANSWER_ATOM && out->size > before)
                        st = buf_append_byte(out, ',');
        }
        if (!st)
                st = buf_append_str(out, answer == ANSWER_ATOM ? " ATOM" : " SEQUENCE");
        if (st) {
                buf_clear(out);
                OK(buf_printf(out, "FAIL %d %s @", status_code(st), status_message(st)));
                OK(query_backtrace(query, out));
                status_ignore(st);
        }
        OK(buf_append_byte(out, 0));
        query_free(query);
        buf_done(&text);
        assert_true(fake_all_closed());
}

/* False, and says so, if the answers differ. */
static inline bool same_answer(const QueryWorld *world, const char *term)
{
        Buf on, off;
        run_query(world, term, true, &on);
        run_query(world, term, false, &off);
        bool same = strcmp((char *)on.data, (char *)off.data) == 0;
        if (!same)
                print_error("%s\n  with    %.600s\n  without %.600s\n", term, (char *)on.data, (char *)off.data);
        buf_done(&on);
        buf_done(&off);
        return same;
}

#endif
