/* json_bridge_test.c - outcomes, marker, depth and strings of the bridge alone; value/json_test.c has the rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>

#include "bridge/json_bridge.h"

static JsonOutcome parse(const char *text, unsigned max_depth, Arena *arena, JsonNode *ret_node, JsonInfo *ret_info)
{
        size_t size = strlen(text);
        char *copy = arena_zalloc(arena, size + JSON_BRIDGE_PADDING);
        memcpy(copy, text, size);
        return json_bridge_parse(BYTES(copy, size), BYTES_STR("mark"), max_depth, arena, ret_node, ret_info);
}

static void test_nodes(void **state)
{
        Arena arena;
        JsonNode node;
        JsonInfo info;
        arena_init(&arena, 0);
        assert_int_equal(parse("{\"b\":[1,true,null],\"a\":\"x\\ty\"}", 9, &arena, &node, &info), JSON_PARSED);
        assert_int_equal(node.type, JSON_NODE_OBJECT);
        assert_int_equal(node.size, 2);
        assert_int_equal(node.depth, 2);
        assert_false(info.has_marker);
        assert_true(bytes_equal(node.members[0].key, BYTES_STR("a")));
        assert_true(bytes_equal(BYTES(node.members[0].node.text, node.members[0].node.size), BYTES_STR("x\ty")));
        assert_int_equal(node.members[1].node.items[0].type, JSON_NODE_NUMBER);
        assert_true(node.members[1].node.items[0].number == 1);
        assert_true(node.members[1].node.items[1].boolean);
        assert_int_equal(node.members[1].node.items[2].type, JSON_NODE_NULL);
        arena_done(&arena);
}

static void test_outcomes(void **state)
{
        Arena arena;
        JsonNode node;
        JsonInfo info;
        arena_init(&arena, 0);
        assert_int_equal(parse("[{\"mark\":1}]", 2, &arena, &node, &info), JSON_PARSED);
        assert_true(info.has_marker);
        assert_int_equal(parse("[[[]]]", 2, &arena, &node, &info), JSON_TOO_DEEP);
        assert_int_equal(parse("[[]]", 2, &arena, &node, &info), JSON_PARSED);
        assert_int_equal(parse("[1", 2, &arena, &node, &info), JSON_REFUSED);
        assert_int_equal(parse("1", 2, &arena, &node, &info), JSON_REFUSED); /* the caller reads scalars */
        assert_int_equal(parse("{\"a\":1,\"a\":1}", 2, &arena, &node, &info), JSON_DUPLICATE);
        assert_true(bytes_equal(info.duplicate, BYTES_STR("a")));
        assert_int_equal(parse("[12 3]", 2, &arena, &node, &info), JSON_REFUSED);
        assert_int_equal(parse("[12\x0b]", 2, &arena, &node, &info), JSON_REFUSED);
        arena_done(&arena);
}

static void test_strings(void **state)
{
        Arena arena;
        Bytes string;
        const uint8_t *end;
        bool nomem;
        arena_init(&arena, 0);
        Bytes plain = BYTES_STR("abc\"rest"), escaped = BYTES_STR("a\\u20acb\"rest"), open = BYTES_STR("abc\\\"");
        assert_true(json_bridge_string(plain.data, plain.data + plain.size, &arena, &string, &end, &nomem));
        assert_true(string.data == plain.data && string.size == 3 && end == plain.data + 4);
        assert_true(json_bridge_string(escaped.data, escaped.data + escaped.size, &arena, &string, &end, &nomem));
        assert_true(bytes_equal(string, BYTES_STR("a\xe2\x82\xac"
                                                  "b")));
        assert_true(end == escaped.data + 9);
        assert_false(json_bridge_string(open.data, open.data + open.size, &arena, &string, &end, &nomem));
        assert_false(nomem);
        assert_true(json_bridge_utf8_valid(BYTES_STR("\xe2\x82\xac")));
        assert_false(json_bridge_utf8_valid(BYTES_STR("\xe2\x82")));
        arena_done(&arena);
}

static void *parse_on_thread(void *arg)
{
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < 200; i++) {
                JsonNode node;
                JsonInfo info;
                if (parse("{\"a\":[1,2,{\"b\":\"c\\n\"}]}", 9, &arena, &node, &info) != JSON_PARSED || node.size != 1)
                        *(bool *)arg = true;
                arena_reset(&arena);
        }
        arena_done(&arena);
        return NULL;
}

/* Each thread has its own parser, and gives it back when it ends (ASan would tell). */
static void test_threads(void **state)
{
        pthread_t threads[8];
        bool failed[8] = {false};
        for (int i = 0; i < 8; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, parse_on_thread, &failed[i]), 0);
        for (int i = 0; i < 8; i++) {
                pthread_join(threads[i], NULL);
                assert_false(failed[i]);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nodes),
                cmocka_unit_test(test_outcomes),
                cmocka_unit_test(test_strings),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
