/* map_test.c - both maps against an array as model, with failing allocations. */
#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { KEYS = 300 };
static char marks[KEYS * 2];

static Bytes key_of(int i, char *out, size_t size)
{
        return BYTES(out, (size_t)snprintf(out, size, i % 3 ? "key-%d" : "%d", i));
}

static void check_all(const Map *map, void *const *model)
{
        char name[32];
        size_t count = 0;
        for (int i = 0; i < KEYS; i++) {
                assert_ptr_equal(map_get(map, key_of(i, name, sizeof name)), model[i]);
                count += model[i] != NULL;
        }
        assert_int_equal(map_count(map), count);
        size_t cursor = 0;
        Bytes key;
        void *value;
        while (map_next(map, &cursor, &key, &value)) {
                assert_ptr_equal(map_get(map, key), value);
                count--;
        }
        assert_int_equal(count, 0);
}

static void test_map_walk(void **state)
{
        void *model[KEYS] = {0};
        Map *map;
        char name[32];
        srand(2);
        assert_null(map_new(&map));
        for (int step = 0; step < 40000; step++) {
                /* grows, then shrinks to nothing, again and again */
                bool shrinking = step / 2000 % 2;
                int i = rand() % KEYS;
                Bytes key = key_of(i, name, sizeof name);
                mem_fail_nth(rand() % 16 == 0 ? 1 + rand() % 2 : 0);
                if (rand() % 4 == 0 ? !shrinking : shrinking) {
                        assert_ptr_equal(map_remove(map, key), model[i]);
                        model[i] = NULL;
                } else {
                        void *old = &old, *value = &marks[rand() % (KEYS * 2)];
                        Status st = map_put(map, key, value, rand() % 2 ? &old : NULL);
                        if (st) {
                                assert_int_equal(status_code(st), ERR_NOMEM);
                                assert_null(model[i]);
                        } else {
                                assert_true(old == &old || old == model[i]);
                                model[i] = value;
                        }
                        status_ignore(st);
                }
                mem_fail_nth(0);
                if (step % 100 == 0)
                        check_all(map, model);
        }
        check_all(map, model);
        assert_null(map_free(map));
        assert_null(map_free(NULL));
}

static void test_nummap_walk(void **state)
{
        void *model[KEYS] = {0};
        NumMap *map;
        srand(3);
        assert_null(nummap_new(&map));
        for (int step = 0; step < 40000; step++) {
                bool shrinking = step / 2000 % 2;
                int i = rand() % KEYS;
                uint64_t key = i % 2 ? (uint64_t)i << 40 : (uint64_t)i * 4096; /* nothing in the low bits */
                mem_fail_nth(rand() % 16 == 0);
                if (rand() % 4 == 0 ? !shrinking : shrinking) {
                        assert_ptr_equal(nummap_remove(map, key), model[i]);
                        model[i] = NULL;
                } else {
                        void *old = &old, *value = &marks[rand() % (KEYS * 2)];
                        Status st = nummap_put(map, key, value, &old);
                        if (!st) {
                                assert_ptr_equal(old, model[i]);
                                model[i] = value;
                        }
                        status_ignore(st);
                }
                mem_fail_nth(0);
                if (step % 100 == 0) {
                        size_t count = 0, cursor = 0, seen = 0;
                        void *value;
                        for (int k = 0; k < KEYS; k++) {
                                assert_ptr_equal(nummap_get(map, k % 2 ? (uint64_t)k << 40 : (uint64_t)k * 4096),
                                                 model[k]);
                                count += model[k] != NULL;
                        }
                        while (nummap_next(map, &cursor, &key, &value)) {
                                assert_ptr_equal(nummap_get(map, key), value);
                                seen++;
                        }
                        assert_int_equal(nummap_count(map), count);
                        assert_int_equal(seen, count);
                }
        }
        assert_null(nummap_free(map));
        assert_null(nummap_free(NULL));
}

/* Every n: the map is either as before or as after. */
static void test_sweep(void **state)
{
        for (int n = 1, fired = 1; fired; n++) {
                Map *map = NULL;
                NumMap *nummap = NULL;
                mem_fail_nth(n);
                Status st = map_new(&map);
                size_t count = 0;
                for (int i = 0; map && i < 40; i++) {
                        char name[32];
                        Status put = map_put(map, key_of(i, name, sizeof name), &marks[i], NULL);
                        count += put == NULL;
                        status_ignore(put);
                        assert_int_equal(map_count(map), count);
                }
                status_ignore(st);
                status_ignore(nummap_new(&nummap));
                for (int i = 0; nummap && i < 40; i++) {
                        status_ignore(nummap_put(nummap, (uint64_t)i, &marks[i], NULL));
                        assert_true(nummap_get(nummap, (uint64_t)i) == &marks[i] || mem_fail_fired());
                }
                fired = mem_fail_fired();
                mem_fail_nth(0);
                map_free(map);
                nummap_free(nummap);
        }
}

static void test_odd_keys(void **state)
{
        Map *map;
        assert_null(map_new(&map));
        assert_null(map_put(map, BYTES_NONE, &marks[0], NULL));
        assert_null(map_put(map, BYTES("\0", 1), &marks[1], NULL));
        assert_null(map_put(map, BYTES("\0\0", 2), &marks[2], NULL));
        assert_ptr_equal(map_get(map, BYTES("", 0)), &marks[0]);
        assert_ptr_equal(map_get(map, BYTES("\0", 1)), &marks[1]);
        assert_ptr_equal(map_get(map, BYTES("\0\0", 2)), &marks[2]);
        assert_null(map_get(map, BYTES("\0\0\0", 3)));
        map_free(map);
        map_set_seed(12345);
        assert_null(map_new(&map));
        map_set_seed(1); /* an existing map keeps its own */
        assert_null(map_put(map, BYTES_STR("a"), &marks[0], NULL));
        assert_ptr_equal(map_get(map, BYTES_STR("a")), &marks[0]);
        map_free(map);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_map_walk), cmocka_unit_test(test_nummap_walk),
                                           cmocka_unit_test(test_sweep), cmocka_unit_test(test_odd_keys)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
