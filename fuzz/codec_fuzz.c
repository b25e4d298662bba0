/* codec_fuzz.c - any bytes as a packed document: refused, or a document that packs and unpacks again. By the first byte
 * the rest is a packed document (for a codec with a trained dictionary, or a header for it is put in front), a
 * document, or a dictionary, which is refused or can be used. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/slab/codec.h"

#define REQUIRE(condition)                                                                                             \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)
#define REQUIRE_OK(expr)                                                                                               \
        do {                                                                                                           \
                Status ok_ = (expr);                                                                                   \
                char text_[512];                                                                                       \
                if (ok_) {                                                                                             \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, status_text(ok_, text_, sizeof(text_)));    \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

#define VALUE_MAX_BYTES (1 << 20)
#define SAMPLES         300

static CodecPool *pool;
static Codec *codec;

/* A codec with a dictionary, the same in every run. */
static void codec_make(void)
{
        static const char *const words[] = {"name", "city", "Hamburg", "Lyon", "account", "active", "true", "visits"};
        static char text[SAMPLES][400];
        Bytes samples[SAMPLES];
        Buf dictionary;
        CodecTrial trial;
        uint32_t x = 1;
        buf_init(&dictionary, CODEC_DICTIONARY_MAX_BYTES);
        REQUIRE_OK(codec_pool_new(&pool));
        REQUIRE_OK(codec_new(&(CodecOptions){.pool = pool, .value_max_bytes = VALUE_MAX_BYTES}, &codec));
        for (size_t i = 0; i < SAMPLES; i++) {
                size_t size = 0;
                for (int k = 0; k < 20; k++) {
                        x = x * 1664525 + 1013904223;
                        size += (size_t)snprintf(text[i] + size, sizeof(text[i]) - size, "\"%s\":%u,", words[x >> 29],
                                                 x >> 20 & 255);
                }
                samples[i] = BYTES(text[i], size);
        }
        REQUIRE_OK(codec_train(codec, samples, SAMPLES, &dictionary, &trial));
        REQUIRE(trial.is_new && trial.choice.number == 0);
        REQUIRE_OK(codec_add(codec, 0, BYTES(dictionary.data, dictionary.size)));
        buf_done(&dictionary);
}

static void check_round(Codec *with, CodecChoice choice, Bytes value)
{
        Buf out;
        Arena hold;
        Bytes back;
        buf_init(&out, VALUE_MAX_BYTES + 100);
        arena_init(&hold, 0);
        REQUIRE_OK(codec_choose(with, choice));
        REQUIRE_OK(codec_encode(with, value, &out));
        REQUIRE(out.size <= value.size + 1);
        REQUIRE_OK(codec_decode(with, BYTES(out.data, out.size), &hold, &back));
        REQUIRE(bytes_equal(back, value));
        arena_done(&hold);
        buf_done(&out);
}

static void check_decode(Bytes stored)
{
        Arena hold;
        Bytes value;
        arena_init(&hold, 2 * VALUE_MAX_BYTES);
        Status st = codec_decode(codec, stored, &hold, &value);
        if (st) {
                REQUIRE(status_code(st) == ERR_CORRUPT);
                status_free(st);
        } else {
                REQUIRE(value.size <= VALUE_MAX_BYTES);
                check_round(codec, (CodecChoice){CODEC_DICTIONARY, 0}, value);
                check_round(codec, (CodecChoice){CODEC_PLAIN, 0}, value);
        }
        arena_done(&hold);
}

/* With a dictionary's magic number in front, if `magic`. */
static void check_dictionary(Bytes bytes, bool magic)
{
        static uint8_t copy[CODEC_DICTIONARY_MAX_BYTES];
        Codec *other;
        size_t size = MIN(bytes.size, sizeof(copy));
        memcpy(copy, bytes.data, size);
        if (magic && size >= 8) {
                store_u32(copy, 0xec30a437u);
                store_u32(copy + 4, 1);
        }
        REQUIRE_OK(codec_new(&(CodecOptions){.pool = pool, .value_max_bytes = VALUE_MAX_BYTES}, &other));
        Status st = codec_add(other, 3, BYTES(copy, size));
        if (st) {
                REQUIRE(status_code(st) == ERR_CORRUPT);
                status_free(st);
        } else {
                /* What it can read it may still not be able to write with; then that says so. */
                Buf out;
                buf_init(&out, VALUE_MAX_BYTES);
                REQUIRE_OK(codec_choose(other, (CodecChoice){CODEC_DICTIONARY, 3}));
                st = codec_encode(other, bytes, &out);
                if (st) {
                        REQUIRE(status_code(st) == ERR_CORRUPT);
                        status_free(st);
                } else {
                        check_round(other, (CodecChoice){CODEC_DICTIONARY, 3}, bytes);
                }
                buf_done(&out);
        }
        codec_free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (!codec)
                codec_make();
        if (size < 1 || size > 65536)
                return 0;
        Bytes rest = BYTES(data + 1, size - 1);
        switch (data[0] & 3) {
        case 0: check_decode(rest); break;
        case 1:
                check_round(codec, (CodecChoice){CODEC_DICTIONARY, 0}, rest);
                check_round(codec, (CodecChoice){CODEC_PLAIN, 0}, rest);
                break;
        default: check_dictionary(rest, data[0] & 1); break;
        }
        return 0;
}
