/* wire_test.c - the wire form to a tree, and what is wrong with texts that are none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reql/wire.h"
#include "value/json.h"

static Arena arena;

static Status parse(const char *text, WireQuery *query, const Term **error_at)
{
        size_t size = strlen(text);
        uint8_t *padded = arena_zalloc(&arena, size + JSON_PADDING);
        memcpy(padded, text, size);
        return wire_parse(BYTES(padded, size), &arena, query, error_at);
}

typedef struct Case {
        const char *text;
        StatusCode code;
        const char *message, *place;
} Case;

static void test_errors(void **state)
{
        static const Case cases[] = {
                /* texts that are no query */
                {"", ERR_CLIENT, "Client is buggy (failed to deserialize query).", "[]"},
                {"{", ERR_CLIENT, "Client is buggy (failed to deserialize query).", "[]"},
                {"[1,\"\\ud800\"]", ERR_CLIENT, "Client is buggy (failed to deserialize query).", "[]"},
                {"{}", ERR_CLIENT, "Server could not parse query: Expected a query to be an array, but found OBJECT.",
                 "[]"},
                {"[]", ERR_CLIENT,
                 "Server could not parse query: Expected 1 to 3 elements in the top-level query, but found 0.", "[]"},
                {"[\"1\"]", ERR_CLIENT,
                 "Server could not parse query: Expected a query type as a number, but found STRING.", "[]"},
                {"[9]", ERR_CLIENT, "Server could not parse query: Unrecognized QueryType: 9.", "[]"},
                {"[1,1,{},4]", ERR_CLIENT,
                 "Server could not parse query: Expected 1 to 3 elements in the top-level query, but found 4.", "[]"},
                {"[1,1,[]]", ERR_CLIENT,
                 "Server could not parse query: Expected global optargs as an object, but found ARRAY.", "[]"},
                {"[1]", ERR_COMPILE, "Expected a term in a START query but found none.", "[]"},
                {"[1,{\"a\":1,\"a\":2}]", ERR_COMPILE, "Duplicate object key: a.", "[]"},
                /* terms of the wrong shape */
                {"[1,[]]", ERR_COMPILE, "Expected between 1 and 3 elements in a raw term, but found 0.", "[]"},
                {"[1,[24,[1,[1,2,3,4]]]]", ERR_COMPILE, "Expected between 1 and 3 elements in a raw term, but found 4.",
                 "[1]"},
                {"[1,[\"x\"]]", ERR_COMPILE, "Expected a TermType as a NUMBER but found STRING.", "[]"},
                {"[1,[9999,[]]]", ERR_COMPILE, "Unrecognized TermType: 9999.", "[]"},
                {"[1,[-1,[]]]", ERR_COMPILE, "Unrecognized TermType: -1.", "[]"},
                {"[1,[4,[]]]", ERR_COMPILE, "Unrecognized TermType: 4.", "[]"},
                {"[1,[24,1]]", ERR_COMPILE,
                 "Second element in a non-DATUM Term is neither arguments nor optional arguments.", "[]"},
                {"[1,[24,[1],1]]", ERR_COMPILE, "Third element in a non-DATUM Term is not optional arguments.", "[]"},
                /* arity and options */
                {"[1,[16,[1]]]", ERR_COMPILE, "Expected 2 arguments but found 1.", "[]"},
                {"[1,[2,[1,[16,[1,2,3]]]]]", ERR_COMPILE, "Expected 2 arguments but found 3.", "[1]"},
                {"[1,[59,[1]]]", ERR_COMPILE, "Expected 0 arguments but found 1.", "[]"},
                {"[1,[42,[]]]", ERR_COMPILE, "Expected 1 argument but found 0.", "[]"},
                {"[1,[173,[1,2,3]]]", ERR_COMPILE, "Expected between 0 and 2 arguments but found 3.", "[]"},
                {"[1,[65,[1,2]]]", ERR_COMPILE, "Expected 3 or more arguments but found 2.", "[]"},
                {"[1,{\"a\":[42,[]]}]", ERR_COMPILE, "Expected 1 argument but found 0.", "[\"a\"]"},
                {"[1,[42,[1],{\"x\":1}]]", ERR_COMPILE, "Unrecognized optional argument `x`.", "[\"x\"]"},
                {"[1,[42,[1],{\"index\":[16,[]]}]]", ERR_COMPILE, "Expected 2 arguments but found 0.", "[\"index\"]"},
                {"[1,1,{\"obviously_bogus\":16}]", ERR_COMPILE,
                 "Unrecognized global optional argument `obviously_bogus`.", "[]"},
                /* variables and functions */
                {"[1,[10,[1]]]", ERR_COMPILE, "Variable name not found.", "[]"},
                {"[1,[10,[]]]", ERR_COMPILE, "A variable term has the wrong number of arguments.", "[]"},
                {"[1,[10,[\"a\"]]]", ERR_COMPILE, "A variable term has a non-numeric name datum.", "[]"},
                {"[1,[10,[[24,[1]]]]]", ERR_COMPILE, "A variable term has a non-datum argument.", "[]"},
                {"[1,[13,[]]]", ERR_COMPILE, "r.row is not defined in this context.", "[]"},
                {"[1,[69,[[2,[1]],[69,[[2,[2]],[13,[]]]]]]]", ERR_COMPILE,
                 "Cannot use r.row in nested queries.  Use functions instead.", "[1,1]"},
                {"[1,[69,[[2,[1,2]],[13,[]]]]]", ERR_COMPILE, "r.row is not defined in this context.", "[1]"},
                {"[1,[69,[1]]]", ERR_COMPILE, "Func takes exactly two arguments (got 1)", "[]"},
                {"[1,[69,[1,2]]]", ERR_COMPILE, "CLIENT ERROR: FUNC variables must be a literal *array* of numbers.",
                 "[]"},
                {"[1,[69,[[24,[1,2]],2]]]", ERR_COMPILE,
                 "CLIENT ERROR: FUNC variables must be a *literal array of numbers*.", "[]"},
                {"[1,[69,[[2,[[24,[1,2]]]],2]]]", ERR_COMPILE,
                 "CLIENT ERROR: FUNC variables must be a *literal* array of numbers.", "[]"},
                {"[1,[69,[[2,[\"a\"]],2]]]", ERR_COMPILE,
                 "CLIENT ERROR: FUNC variables must be a literal array of *numbers*.", "[]"},
                {"[1,[69,[[2,[1]],2],{\"a\":1}]]", ERR_COMPILE, "FUNC takes no optional arguments.", "[]"},
                {"[1,[69,[[2,[1]],[69,[[2,[2]],[10,[3]]]]]]]", ERR_COMPILE, "Variable name not found.", "[1,1]"},
                /* where things may stand */
                {"[1,[73,[\"a\"]]]", ERR_COMPILE, "ASC may only be used as an argument to ORDER_BY or UNION.", "[]"},
                {"[1,[38,[[2,[1]],[69,[[2,[1]],[57,[\"x\"]]]]]]]", ERR_COMPILE,
                 "Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead.", "[1,1]"},
                {"[1,[39,[[2,[1]],1],{\"default\":[57,[\"x\"]]}]]", ERR_COMPILE,
                 "Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead.", "[\"default\"]"},
                /* of two mistakes, one of shape or place is told, wherever it is; else that of the innermost, first */
                {"[1,[24,[[43,[]],[73,[\"a\"]]]]]", ERR_COMPILE,
                 "ASC may only be used as an argument to ORDER_BY or UNION.", "[1]"},
                {"[1,[24,[[10,[7]],[43,[1],5]]]]", ERR_COMPILE,
                 "Third element in a non-DATUM Term is not optional arguments.", "[1]"},
                {"[1,[42,[1],{\"x\":[9999,[]]}]]", ERR_COMPILE, "Unrecognized TermType: 9999.", "[\"x\"]"},
                {"[1,[24,[[10,[7]],[43,[]]]]]", ERR_COMPILE, "Variable name not found.", "[0]"},
                {"[1,[43,[[10,[7]],1,2]]]", ERR_COMPILE, "Variable name not found.", "[0]"},
                {"[1,[43,[1,2,3],{\"x\":1}]]", ERR_COMPILE, "Expected between 1 and 2 arguments but found 3.", "[]"},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                WireQuery query;
                const Term *at;
                Buf place;
                buf_init(&place, 1 << 16);
                Status st = parse(cases[i].text, &query, &at);
                if (status_code(st) != cases[i].code || strcmp(status_message(st), cases[i].message) != 0)
                        fail_msg("%s gives %d %s", cases[i].text, (int)status_code(st), status_message(st));
                assert_null(term_backtrace(at, &place));
                assert_null(buf_append_byte(&place, 0));
                assert_string_equal((char *)place.data, cases[i].place);
                buf_done(&place);
                status_ignore(st);
                arena_reset(&arena);
        }
}

static const Term *root_of(const char *text)
{
        WireQuery query;
        const Term *at;
        assert_null(parse(text, &query, &at));
        assert_int_equal(query.type, QUERY_START);
        return query.root;
}

static void assert_constant(const Term *term, const char *json)
{
        assert_int_equal(term->type, TERM_DATUM);
        Bytes text = json_text(term->datum, &arena);
        assert_int_equal(text.size, strlen(json));
        assert_memory_equal(text.data, json, text.size);
}

static void test_constants(void **state)
{
        assert_constant(root_of("[1,5]"), "5");
        assert_constant(root_of("[1,[2,[1,\"a\",[2,[]],{\"b\":[2,[2]]}]]]"), "[1,\"a\",[],{\"b\":[2]}]");
        assert_constant(root_of("[1,{\"b\":{\"c\":1},\"a\":null}]"), "{\"a\":null,\"b\":{\"c\":1}}");
        assert_constant(root_of("[1,[1,[1,[2,3],{\"a\":[]}]]]"), "[1,[2,3],{\"a\":[]}]");
        assert_constant(root_of("[1,[3,{\"a\":1}]]"), "{\"a\":1}");
        assert_constant(root_of("[1,[2]]"), "[]");
        const Term *binary = root_of("[1,{\"$reql_type$\":\"BINARY\",\"data\":\"YQ==\"}]");
        assert_int_equal(binary->datum.type, V_BINARY);
        assert_int_equal(root_of("[1,[2,[1,[2,[1,2,3]]]]]")->longest_array, 3);

        /* One that is no constant makes a term of what is around it, and only of that. */
        const Term *object = root_of("[1,{\"a\":[2,[1]],\"b\":[24,[1,2]]}]");
        assert_int_equal(object->type, TERM_MAKE_OBJ);
        assert_int_equal(object->opt_count, 2);
        assert_constant(object->opts[0].term, "[1]");
        assert_int_equal(object->opts[1].term->type, TERM_ADD);
        const Term *array = root_of("[1,[2,[1,[2,[5]],[24,[1]],3]]]");
        assert_int_equal(array->type, TERM_MAKE_ARRAY);
        assert_int_equal(array->arg_count, 4);
        assert_constant(array->args[0], "1");
        assert_constant(array->args[1], "[5]");
        assert_constant(array->args[3], "3");
        /* An object that lies about its type is left to the evaluator. */
        assert_int_equal(root_of("[1,{\"$reql_type$\":\"BINARY\"}]")->type, TERM_MAKE_OBJ);
        assert_int_equal(root_of("[1,{\"$reql_type$\":7}]")->type, TERM_MAKE_OBJ);
}

static void test_variables(void **state)
{
        const Term *outer = root_of("[1,[69,[[2,[1,2]],[69,[[2,[3]],[2,[[10,[3]],[10,[1]],[10,[2]],[13,[]]]]]]]]]");
        const Term *inner = outer->body, *list = inner->body;
        assert_false(outer->uses_outer);
        assert_true(inner->uses_outer);
        static const uint32_t depths[] = {0, 1, 1, 0}, indexes[] = {0, 0, 1, 0};
        for (size_t i = 0; i < 4; i++) {
                assert_int_equal(list->args[i]->var_depth, depths[i]);
                assert_int_equal(list->args[i]->var_index, indexes[i]);
        }
        /* The innermost of equal names. */
        assert_int_equal(root_of("[1,[69,[[2,[1]],[69,[[2,[1]],[10,[1]]]]]]]")->body->body->var_depth, 0);
}

static void test_flags(void **state)
{
        assert_true(root_of("[1,[38,[[2,[1]],[69,[[2,[1]],[151,[]]]]]]]")->tree_flags & TF_NONDETERMINISTIC);
        assert_true(root_of("[1,[169,[]]]")->tree_flags & TF_NONDETERMINISTIC);
        assert_false(root_of("[1,[169,[\"a\"]]]")->tree_flags & TF_NONDETERMINISTIC);
        assert_true(root_of("[1,[43,[[144,[[2,[1]],\"a\"]]]]]")->tree_flags & TF_GROUPS);
        assert_true(root_of("[1,[24,[[154,[[2,[1]]]],2]]]")->has_args_splice);
        assert_true(root_of("[1,[92,[1,[57,[\"x\"]]]]]")->tree_flags & TF_WRITES);
}

static void test_query_types(void **state)
{
        WireQuery query;
        const Term *at;
        QueryType type;
        assert_null(parse("[1,1,{\"noreply\":true,\"max_batch_rows\":3}]", &query, &at));
        assert_true(query.noreply);
        assert_int_equal(query.opt_count, 2);
        for (int i = 2; i <= 5; i++) {
                char text[] = "[0]";
                text[1] = (char)('0' + i);
                assert_null(parse(text, &query, &at));
                assert_int_equal(query.type, i);
                assert_true(wire_peek_type(BYTES_STR(text), &type));
                assert_int_equal(type, i);
        }
        assert_true(wire_peek_type(BYTES_STR(" [ 1 , 5]"), &type));
        static const char *const none[] = {"", "[", "[1", "[6]", "[12]", "{", "[\"1\"]", "1]"};
        for (size_t i = 0; i < ELEMENTS(none); i++)
                assert_false(wire_peek_type(BYTES_STR(none[i]), &type));
}

/* Numbers that drivers count on, and that every term knows its options. */
static void test_term_table(void **state)
{
        assert_int_equal(TERM_GET, 16);
        assert_int_equal(TERM_INSERT, 56);
        assert_int_equal(TERM_BETWEEN, 182);
        assert_int_equal(TERM_FOLD, 187);
        assert_int_equal(TERM_GET_WRITE_HOOK, 190);
        assert_int_equal(TERM_BIT_SAR, 196);
        size_t count = 0;
        for (unsigned type = 0; type < TERM_TYPE_END + 2; type++) {
                const TermInfo *info = term_info(type);
                if (!info)
                        continue;
                count++;
                assert_true(info->min_args >= 0 && (info->max_args == -1 || info->max_args >= info->min_args));
                for (const char *const *option = info->optargs; *option; option++)
                        assert_true(strlen(*option) > 0);
        }
        assert_int_equal(count, 186);
}

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

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_errors), cmocka_unit_test(test_constants),   cmocka_unit_test(test_variables),
                cmocka_unit_test(test_flags),  cmocka_unit_test(test_query_types), cmocka_unit_test(test_term_table),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
