/* codec_test.c - packed documents: there and back, what pays, damaged bytes, failing memory, threads. */
#include "base/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/thread.h"
#include "storage/slab/codec.h"

static uint64_t seed = 1;
static uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* --- documents: names of fields that repeat, values that repeat now and then --- */

#define DOC_MAX_BYTES 200000
static uint8_t doc_bytes[DOC_MAX_BYTES + 512], noise_bytes[DOC_MAX_BYTES];

static void field(Buf *doc, const char *name, const void *value, size_t size)
{
        OK(buf_append_byte(doc, (uint8_t)strlen(name)));
        OK(buf_append_str(doc, name));
        OK(buf_append_byte(doc, (uint8_t)size));
        OK(buf_append(doc, value, size));
}

static Bytes make_doc(size_t size)
{
        static const char *const cities[] = {"Hamburg", "Lyon", "Porto", "Gdansk", "Bergen", "Trieste", "Cork", "Graz"};
        static const char *const states[] = {"active", "suspended", "pending"};
        Buf doc = {.data = doc_bytes, .capacity = sizeof(doc_bytes), .max_bytes = sizeof(doc_bytes)};
        char text[64];
        while (doc.size + 100 < size || doc.size == 0) {
                uint64_t number = rnd(1 << 30);
                const char *city = cities[rnd(8)], *state = states[rnd(3)];
                field(&doc, "id", &number, 6);
                snprintf(text, sizeof(text), "user%llu@example.org", (unsigned long long)rnd(100000));
                field(&doc, "email", text, strlen(text));
                field(&doc, "city", city, strlen(city));
                field(&doc, "account_state", state, strlen(state));
                number = 1700000000 + rnd(10000000);
                field(&doc, "created_at", &number, 8);
                field(&doc, "visits", &number, 1);
        }
        return BYTES(doc.data, doc.size);
}

static Bytes make_noise(size_t size)
{
        for (size_t i = 0; i < size; i++)
                noise_bytes[i] = (uint8_t)rnd(256);
        return BYTES(noise_bytes, size);
}

typedef struct World {
        CodecPool *pool;
        Codec *codec;
        Buf out;
        Arena hold;
} World;

static void world_init(World *world)
{
        *world = (World){0};
        OK(codec_pool_new(&world->pool));
        OK(codec_new(&(CodecOptions){.pool = world->pool}, &world->codec));
        buf_init(&world->out, 64 << 20);
        arena_init(&world->hold, 0);
}

static void world_done(World *world)
{
        buf_done(&world->out);
        arena_done(&world->hold);
        codec_free(world->codec);
        codec_pool_free(world->pool);
}

static Bytes *make_samples(Arena *arena, size_t count, size_t size, bool noise)
{
        Bytes *samples = arena_array(arena, Bytes, count);
        for (size_t i = 0; i < count; i++) {
                Bytes doc = noise ? make_noise(size / 2 + rnd(size)) : make_doc(size / 2 + rnd(size));
                samples[i] = BYTES(arena_dup(arena, doc.data, doc.size), doc.size);
        }
        return samples;
}

/* Trains, adds and chooses as an engine does. */
static CodecTrial train(World *world, size_t size, bool noise)
{
        Arena arena;
        Buf bytes;
        CodecTrial trial;
        arena_init(&arena, 0);
        buf_init(&bytes, CODEC_DICTIONARY_MAX_BYTES);
        OK(codec_train(world->codec, make_samples(&arena, 400, size, noise), 400, &bytes, &trial));
        assert_int_equal(trial.is_new, bytes.size > 0);
        if (trial.is_new) {
                assert_int_equal(trial.choice.mode, CODEC_DICTIONARY);
                OK(codec_add(world->codec, trial.choice.number, BYTES(bytes.data, bytes.size)));
        }
        OK(codec_choose(world->codec, trial.choice));
        buf_done(&bytes);
        arena_done(&arena);
        return trial;
}

static size_t check_round(World *world, Bytes value)
{
        Bytes back;
        uint8_t lead[3] = {1, 2, 3};
        arena_reset(&world->hold);
        buf_clear(&world->out);
        OK(buf_append(&world->out, lead, 3)); /* encode appends */
        OK(codec_encode(world->codec, value, &world->out));
        assert_memory_equal(world->out.data, lead, 3);
        assert_true(world->out.size <= value.size + 4);
        OK(codec_decode(world->codec, BYTES(world->out.data + 3, world->out.size - 3), &world->hold, &back));
        assert_true(bytes_equal(back, value));
        return world->out.size - 3;
}

static void test_there_and_back(void **state)
{
        static const size_t sizes[] = {0, 1, 2, 15, 16, 17, 100, 127, 128, 129, 1000, 5000, 70000, DOC_MAX_BYTES};
        World world;
        world_init(&world);
        for (int mode = 0; mode < 4; mode++) {
                if (mode == 1)
                        OK(codec_choose(world.codec, (CodecChoice){CODEC_RAW, 0}));
                else if (mode >= 2)
                        train(&world, mode == 2 ? 200 : 2000, false);
                for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                        check_round(&world, make_noise(sizes[i]));
                        if (sizes[i] > 0)
                                check_round(&world, make_doc(sizes[i]));
                        memset(noise_bytes, 7, sizes[i]);
                        size_t stored = check_round(&world, BYTES(noise_bytes, sizes[i]));
                        if (mode != 1 && sizes[i] >= 1000)
                                assert_true(stored < 100);
                }
        }
        world_done(&world);
}

static void test_what_pays(void **state)
{
        World world;
        world_init(&world);
        assert_int_equal(codec_choice(world.codec).mode, CODEC_PLAIN);
        size_t idle = codec_bytes(world.codec);
        assert_true(idle < 4096);

        /* Small documents: a dictionary. */
        CodecTrial trial = train(&world, 200, false);
        assert_true(trial.is_new && trial.choice.number == 0);
        assert_int_equal(trial.held_out, 100);
        assert_true(trial.new_bytes * 100 < trial.plain_bytes * 90 && trial.new_bytes * 2 < trial.raw_bytes);
        assert_int_equal(codec_next(world.codec), 1);

        /* The same again: no other dictionary is worth it. */
        trial = train(&world, 200, false);
        assert_true(!trial.is_new && trial.choice.mode == CODEC_DICTIONARY && trial.choice.number == 0);
        assert_true(trial.current_bytes > 0);

        /* Noise: as it is. */
        trial = train(&world, 500, true);
        assert_true(!trial.is_new && trial.choice.mode == CODEC_RAW);

        /* And what was written before can be read. */
        OK(codec_choose(world.codec, (CodecChoice){CODEC_DICTIONARY, 0}));
        assert_int_equal(codec_choice(world.codec).mode, CODEC_DICTIONARY);
        Bytes back;
        buf_clear(&world.out);
        Bytes doc = make_doc(300);
        OK(codec_encode(world.codec, doc, &world.out));
        OK(codec_choose(world.codec, (CodecChoice){CODEC_RAW, 0}));
        OK(codec_decode(world.codec, BYTES(world.out.data, world.out.size), &world.hold, &back));
        assert_true(bytes_equal(back, doc));

        /* Too few samples change nothing. */
        Bytes few[3] = {doc, doc, doc};
        size_t size = world.out.size;
        OK(codec_train(world.codec, few, 3, &world.out, &trial));
        assert_true(!trial.is_new && trial.choice.mode == CODEC_RAW && world.out.size == size);
        assert_true(codec_bytes(world.codec) > idle && codec_pool_bytes(world.pool) > 100000);
        world_done(&world);
}

static void test_refusals(void **state)
{
        World world;
        Buf bytes;
        CodecTrial trial;
        Arena arena;
        uint8_t nonsense[100] = {1, 2, 3};
        world_init(&world);
        arena_init(&arena, 0);
        buf_init(&bytes, CODEC_DICTIONARY_MAX_BYTES);
        FAILS(ERR_INVALID, codec_choose(world.codec, (CodecChoice){CODEC_DICTIONARY, 0}));
        FAILS(ERR_INVALID, codec_choose(world.codec, (CodecChoice){CODEC_DICTIONARY, 1000}));
        FAILS(ERR_CORRUPT, codec_add(world.codec, 0, BYTES(nonsense, sizeof(nonsense))));
        FAILS(ERR_CORRUPT, codec_add(world.codec, 0, BYTES_NONE));
        FAILS(ERR_INVALID, codec_add(world.codec, CODEC_MAX_DICTIONARIES, BYTES(nonsense, sizeof(nonsense))));
        OK(codec_train(world.codec, make_samples(&arena, 200, 300, false), 200, &bytes, &trial));
        assert_true(trial.is_new);
        /* A dictionary whose tables are cut off or overwritten. */
        FAILS(ERR_CORRUPT, codec_add(world.codec, 0, BYTES(bytes.data, 20)));
        uint8_t *broken = arena_dup(&arena, bytes.data, bytes.size);
        memset(broken + 8, 0xff, 60);
        FAILS(ERR_CORRUPT, codec_add(world.codec, 0, BYTES(broken, bytes.size)));
        OK(codec_add(world.codec, CODEC_MAX_DICTIONARIES - 1, BYTES(bytes.data, bytes.size)));
        FAILS(ERR_EXISTS, codec_add(world.codec, CODEC_MAX_DICTIONARIES - 1, BYTES(bytes.data, bytes.size)));
        /* No number is left: a new one is not tried. */
        assert_int_equal(codec_next(world.codec), CODEC_MAX_DICTIONARIES);
        bytes.size = 0;
        OK(codec_train(world.codec, make_samples(&arena, 200, 300, false), 200, &bytes, &trial));
        assert_false(trial.is_new);
        OK(codec_choose(world.codec, (CodecChoice){CODEC_DICTIONARY, CODEC_MAX_DICTIONARIES - 1}));
        check_round(&world, make_doc(500));

        Codec *small;
        Bytes value;
        OK(codec_new(&(CodecOptions){.pool = world.pool, .value_max_bytes = 1000}, &small));
        buf_clear(&world.out);
        FAILS(ERR_LIMIT, codec_encode(small, make_noise(1001), &world.out));
        OK(codec_encode(small, BYTES(memset(noise_bytes, 1, 1000), 1000), &world.out));
        OK(codec_decode(small, BYTES(world.out.data, world.out.size), &arena, &value));
        OK(codec_encode(world.codec, BYTES(memset(noise_bytes, 1, 1001), 1001), &bytes));
        buf_clear(&world.out);
        OK(codec_choose(world.codec, (CodecChoice){CODEC_PLAIN, 0}));
        OK(codec_encode(world.codec, BYTES(noise_bytes, 1001), &world.out));
        FAILS(ERR_CORRUPT, codec_decode(small, BYTES(world.out.data, world.out.size), &arena, &value));
        Buf tight;
        buf_init(&tight, 50);
        FAILS(ERR_LIMIT, codec_encode(world.codec, make_doc(400), &tight));
        assert_int_equal(tight.size, 0);
        buf_done(&tight);
        codec_free(small);
        buf_done(&bytes);
        arena_done(&arena);
        world_done(&world);
}

/* What no encode made is refused or decoded to something; never more memory than the bytes can be the source of. */
static void test_damage(void **state)
{
        World world;
        world_init(&world);
        train(&world, 200, false);
        for (int plain = 0; plain < 2; plain++) {
                Bytes doc = make_doc(400), value;
                buf_clear(&world.out);
                if (plain)
                        OK(codec_choose(world.codec, (CodecChoice){CODEC_PLAIN, 0}));
                OK(codec_encode(world.codec, doc, &world.out));
                size_t refused = 0;
                for (size_t size = 0; size < world.out.size; size++) {
                        arena_reset(&world.hold);
                        FAILS(ERR_CORRUPT, codec_decode(world.codec, BYTES(world.out.data, size), &world.hold, &value));
                }
                for (size_t bit = 0; bit < world.out.size * 8; bit++) {
                        arena_reset(&world.hold);
                        world.out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
                        Status st =
                                codec_decode(world.codec, BYTES(world.out.data, world.out.size), &world.hold, &value);
                        if (st) {
                                assert_int_equal(status_code(st), ERR_CORRUPT);
                                refused++;
                        }
                        status_ignore(st);
                        world.out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
                }
                assert_true(refused > 20);
        }
        /* 4 GiB of which nothing is there. */
        static const uint8_t bomb[] = {1, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0};
        static const uint8_t missing[] = {2 + 77, 5, 0, 0, 0, 0, 0};
        static const uint8_t endless[] = {1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        Bytes value;
        char text[200];
        Arena tight;
        arena_init(&tight, 1 << 20);
        FAILS(ERR_CORRUPT, codec_decode(world.codec, BYTES(bomb, sizeof(bomb)), &tight, &value));
        FAILS(ERR_CORRUPT, codec_decode(world.codec, BYTES(endless, sizeof(endless)), &tight, &value));
        Status st = codec_decode(world.codec, BYTES(missing, sizeof(missing)), &tight, &value);
        assert_non_null(strstr(status_text(st, text, sizeof(text)), "dictionary 77"));
        status_free(st);
        arena_done(&tight);
        world_done(&world);
}

static void test_failing_memory(void **state)
{
        Arena arena;
        Buf bytes;
        arena_init(&arena, 0);
        Bytes *samples = make_samples(&arena, 100, 300, false);
        for (long n = 1, fired = 1; fired; n++) {
                CodecPool *pool = NULL;
                Codec *codec = NULL;
                CodecTrial trial = {0};
                Arena hold;
                Buf out;
                Bytes value = BYTES_NONE;
                buf_init(&bytes, CODEC_DICTIONARY_MAX_BYTES);
                buf_init(&out, 1 << 20);
                arena_init(&hold, 0);
                mem_fail_nth(n);
                Status st = codec_pool_new(&pool);
                if (!st)
                        st = codec_new(&(CodecOptions){.pool = pool}, &codec);
                if (!st)
                        st = codec_train(codec, samples, 100, &bytes, &trial);
                if (!st)
                        st = codec_add(codec, trial.choice.number, BYTES(bytes.data, bytes.size));
                if (!st)
                        st = codec_choose(codec, trial.choice);
                if (!st)
                        st = codec_encode(codec, samples[5], &out);
                if (!st)
                        st = codec_decode(codec, BYTES(out.data, out.size), &hold, &value);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (st)
                        assert_int_equal(status_code(st), ERR_NOMEM);
                else
                        assert_true(bytes_equal(value, samples[5]));
                assert_true(fired || !st);
                status_free(st);
                /* It goes on working. */
                if (codec) {
                        buf_clear(&out);
                        OK(codec_encode(codec, samples[7], &out));
                        OK(codec_decode(codec, BYTES(out.data, out.size), &hold, &value));
                        assert_true(bytes_equal(value, samples[7]));
                }
                buf_done(&out);
                buf_done(&bytes);
                arena_done(&hold);
                codec_free(codec);
                codec_pool_free(pool);
        }
        arena_done(&arena);
}

/* --- threads: readers and writers, while dictionaries arrive --- */

typedef struct Worker {
        Thread thread;
        Codec *codec;
        const Bytes *samples;
        size_t count;
} Worker;

static void worker_main(void *arg)
{
        Worker *worker = arg;
        Arena hold;
        Buf out;
        arena_init(&hold, 0);
        buf_init(&out, 1 << 20);
        for (int i = 0; i < 2000; i++) {
                Bytes sample = worker->samples[(size_t)i % worker->count], value;
                arena_reset(&hold);
                buf_clear(&out);
                Status st = codec_encode(worker->codec, sample, &out);
                assert(!st);
                st = codec_decode(worker->codec, BYTES(out.data, out.size), &hold, &value);
                assert(!st && bytes_equal(value, sample));
        }
        buf_done(&out);
        arena_done(&hold);
}

static void test_threads(void **state)
{
        enum { WORKERS = 4 };
        static Worker workers[WORKERS];
        World world;
        Arena arena;
        world_init(&world);
        arena_init(&arena, 0);
        Bytes *samples = make_samples(&arena, 300, 300, false);
        for (int i = 0; i < WORKERS; i++) {
                workers[i] = (Worker){.codec = world.codec, .samples = samples, .count = 300};
                OK(thread_start(&workers[i].thread, "codec", worker_main, &workers[i]));
        }
        for (int i = 0; i < 3; i++) {
                train(&world, i == 1 ? 2000 : 200, i == 2);
                codec_pool_bytes(world.pool);
                codec_bytes(world.codec);
        }
        for (int i = 0; i < WORKERS; i++)
                thread_join(&workers[i].thread);
        arena_done(&arena);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_what_pays),
                cmocka_unit_test(test_refusals),       cmocka_unit_test(test_damage),
                cmocka_unit_test(test_failing_memory), cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
