/* codec.c - zstd with dictionaries: contexts lent from a pool, dictionaries digested when first used, and the trial
 * that says whether one pays.
 *
 * A table's dictionaries are in an array that only grows: a slot is filled before it is published, and stays until the
 * codec is freed, so that readers take no lock. */
#include "storage/slab/codec.h"

#include <assert.h>
#include <stdatomic.h>

#define ZSTD_STATIC_LINKING_ONLY /* allocators of our own; frames without magic number */
#include <zdict.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mem.h"

#define POOL_SLOTS           16
#define DEFAULT_LEVEL        3
#define MAX_LEVEL            9 /* more takes much memory and time for a document */
#define HELD_OUT_EACH        4 /* every 4th sample is not learned from */
#define PAYS_PERCENT         90
/* A block of a frame takes 4 bytes at least, and makes 128 KiB at most. */
#define BLOCK_STORED_BYTES   4u
#define BLOCK_MAX_BYTES      (128u << 10)
/* Documents are written for good and read again: less than this saved is not worth a decompression. */
#define LEAST_SAVING_SHARE   32
#define PLAIN_MIN_BYTES      256 /* within less there is hardly anything that repeats */
#define DICTIONARY_MIN_BYTES 16
/* Tables of 8192 entries for 32 KiB of dictionary: 140 KB for a table's dictionary in use rather than 460, for 1 % more
 * stored. */
#define TABLE_LOG_MAX        13u

/*   stored  | kind |                        kind 0: as it is; 1: zstd; 2 + n: zstd with dictionary n
 *   0       | 0 | value ...
 *   1, 2+n  | kind | size of the value: varint | frame ...        without magic number, content size, checksum */
#define KIND_RAW        0u
#define KIND_PLAIN      1u
#define KIND_DICTIONARY 2u
_Static_assert(KIND_DICTIONARY + CODEC_MAX_DICTIONARIES == 256, "a kind is a byte");

/* --- contexts --- */

struct CodecPool {
        ZSTD_CCtx *_Atomic writers[POOL_SLOTS];
        ZSTD_DCtx *_Atomic readers[POOL_SLOTS];
};

static void *zstd_alloc(void *ctx, size_t bytes)
{
        return mem_alloc(bytes);
}

static void zstd_free(void *ctx, void *p)
{
        mem_free(p);
}

static const ZSTD_customMem zstd_memory = {zstd_alloc, zstd_free, NULL};
static _Thread_local unsigned pool_hint;
static atomic_uint next_hint;

static unsigned hint(void)
{
        if (unlikely(pool_hint == 0))
                pool_hint = atomic_fetch_add_explicit(&next_hint, 1, memory_order_relaxed) % POOL_SLOTS + 1;
        return pool_hint - 1;
}

Status codec_pool_new(CodecPool **ret_pool)
{
        CodecPool *pool = mem_zalloc(sizeof(*pool));
        if (!pool)
                return status_nomem();
        *ret_pool = pool;
        return ST_OK;
}

CodecPool *codec_pool_free(CodecPool *pool)
{
        if (!pool)
                return NULL;
        for (unsigned i = 0; i < POOL_SLOTS; i++) {
                ZSTD_freeCCtx(atomic_load(&pool->writers[i]));
                ZSTD_freeDCtx(atomic_load(&pool->readers[i]));
        }
        mem_free(pool);
        return NULL;
}

size_t codec_pool_bytes(CodecPool *pool)
{
        size_t bytes = sizeof(*pool);
        for (unsigned i = 0; i < POOL_SLOTS; i++) {
                /* Lent to us while we look. */
                ZSTD_CCtx *writer = atomic_exchange(&pool->writers[i], NULL);
                ZSTD_DCtx *reader = atomic_exchange(&pool->readers[i], NULL);
                bytes += ZSTD_sizeof_CCtx(writer) + ZSTD_sizeof_DCtx(reader);
                ZSTD_CCtx *no_writer = NULL;
                ZSTD_DCtx *no_reader = NULL;
                if (!atomic_compare_exchange_strong(&pool->writers[i], &no_writer, writer))
                        ZSTD_freeCCtx(writer);
                if (!atomic_compare_exchange_strong(&pool->readers[i], &no_reader, reader))
                        ZSTD_freeDCtx(reader);
        }
        return bytes;
}

/* A context from the pool, from this thread's slot on; a new one if there is none. */
static ZSTD_CCtx *writer_take(CodecPool *pool)
{
        for (unsigned i = 0, at = hint(); i < POOL_SLOTS; i++, at = (at + 1) % POOL_SLOTS) {
                ZSTD_CCtx *writer = atomic_load_explicit(&pool->writers[at], memory_order_relaxed);
                if (writer && (writer = atomic_exchange_explicit(&pool->writers[at], NULL, memory_order_acquire)))
                        return writer;
        }
        ZSTD_CCtx *writer = ZSTD_createCCtx_advanced(zstd_memory);
        if (!writer)
                return NULL;
        size_t failed = ZSTD_CCtx_setParameter(writer, ZSTD_c_format, ZSTD_f_zstd1_magicless);
        failed |= ZSTD_CCtx_setParameter(writer, ZSTD_c_contentSizeFlag, 0);
        failed |= ZSTD_CCtx_setParameter(writer, ZSTD_c_dictIDFlag, 0);
        assert(!ZSTD_isError(failed));
        return writer;
}

static void writer_give(CodecPool *pool, ZSTD_CCtx *writer)
{
        for (unsigned i = 0, at = hint(); i < POOL_SLOTS; i++, at = (at + 1) % POOL_SLOTS) {
                ZSTD_CCtx *none = NULL;
                if (atomic_compare_exchange_strong_explicit(&pool->writers[at], &none, writer, memory_order_release,
                                                            memory_order_relaxed))
                        return;
        }
        ZSTD_freeCCtx(writer);
}

static ZSTD_DCtx *reader_take(CodecPool *pool)
{
        for (unsigned i = 0, at = hint(); i < POOL_SLOTS; i++, at = (at + 1) % POOL_SLOTS) {
                ZSTD_DCtx *reader = atomic_load_explicit(&pool->readers[at], memory_order_relaxed);
                if (reader && (reader = atomic_exchange_explicit(&pool->readers[at], NULL, memory_order_acquire)))
                        return reader;
        }
        ZSTD_DCtx *reader = ZSTD_createDCtx_advanced(zstd_memory);
        if (!reader)
                return NULL;
        size_t failed = ZSTD_DCtx_setParameter(reader, ZSTD_d_format, ZSTD_f_zstd1_magicless);
        assert(!ZSTD_isError(failed));
        (void)failed;
        return reader;
}

static void reader_give(CodecPool *pool, ZSTD_DCtx *reader)
{
        for (unsigned i = 0, at = hint(); i < POOL_SLOTS; i++, at = (at + 1) % POOL_SLOTS) {
                ZSTD_DCtx *none = NULL;
                if (atomic_compare_exchange_strong_explicit(&pool->readers[at], &none, reader, memory_order_release,
                                                            memory_order_relaxed))
                        return;
        }
        ZSTD_freeDCtx(reader);
}

/* --- dictionaries --- */

typedef struct Dictionary {
        const ZSTD_CDict *_Atomic writing; /* NULL until first needed; they refer to `bytes` */
        const ZSTD_DDict *_Atomic reading;
        size_t size;
        uint8_t bytes[];
} Dictionary;

struct Codec {
        CodecPool *pool;
        int level;
        size_t value_max_bytes;
        atomic_uint choice; /* the kind of new documents */
        atomic_uint next;   /* number after the highest */
        Dictionary *_Atomic dictionaries[CODEC_MAX_DICTIONARIES];
};

static Status dictionary_new(Bytes bytes, Dictionary **ret_dictionary)
{
        Dictionary *dictionary = mem_zalloc(sizeof(*dictionary) + bytes.size);
        if (!dictionary)
                return status_nomem();
        memcpy(dictionary->bytes, bytes.data, bytes.size);
        dictionary->size = bytes.size;
        *ret_dictionary = dictionary;
        return ST_OK;
}

static void dictionary_free(Dictionary *dictionary)
{
        if (!dictionary)
                return;
        mem_free((void *)(uintptr_t)atomic_load(&dictionary->writing));
        mem_free((void *)(uintptr_t)atomic_load(&dictionary->reading));
        mem_free(dictionary);
}

/* Two threads may digest it at once; one wins. Both forms are put into memory of ours: zstd's own way of making the
 * first does not survive (1.5.4) that there is none. */
static Status dictionary_writing(Dictionary *dictionary, int level, const ZSTD_CDict **ret_digested)
{
        const ZSTD_CDict *digested = atomic_load_explicit(&dictionary->writing, memory_order_acquire), *other = NULL;
        if (unlikely(!digested)) {
                /* The size of the source decides about the tables: documents are small. */
                ZSTD_compressionParameters parameters = ZSTD_getCParams(level, 4096, dictionary->size);
                parameters.hashLog = MIN(parameters.hashLog, TABLE_LOG_MAX);
                parameters.chainLog = MIN(parameters.chainLog, TABLE_LOG_MAX);
                size_t bytes = ZSTD_estimateCDictSize_advanced(dictionary->size, parameters, ZSTD_dlm_byRef);
                void *memory = mem_alloc(bytes);
                if (!memory)
                        return status_nomem();
                digested = ZSTD_initStaticCDict(memory, bytes, dictionary->bytes, dictionary->size, ZSTD_dlm_byRef,
                                                ZSTD_dct_fullDict, parameters);
                if (!digested) {
                        mem_free(memory);
                        return status_new(ERR_CORRUPT, "a dictionary is damaged");
                }
                assert((const void *)digested == memory); /* so that it can be freed */
                if (!atomic_compare_exchange_strong(&dictionary->writing, &other, digested)) {
                        mem_free(memory);
                        digested = other;
                }
        }
        *ret_digested = digested;
        return ST_OK;
}

static Status dictionary_reading(Dictionary *dictionary, const ZSTD_DDict **ret_digested)
{
        const ZSTD_DDict *digested = atomic_load_explicit(&dictionary->reading, memory_order_acquire), *other = NULL;
        if (unlikely(!digested)) {
                size_t bytes = ZSTD_estimateDDictSize(dictionary->size, ZSTD_dlm_byRef);
                void *memory = mem_alloc(bytes);
                if (!memory)
                        return status_nomem();
                digested = ZSTD_initStaticDDict(memory, bytes, dictionary->bytes, dictionary->size, ZSTD_dlm_byRef,
                                                ZSTD_dct_fullDict);
                if (!digested) {
                        mem_free(memory);
                        return status_new(ERR_CORRUPT, "a dictionary is damaged");
                }
                assert((const void *)digested == memory);
                if (!atomic_compare_exchange_strong(&dictionary->reading, &other, digested)) {
                        mem_free(memory);
                        digested = other;
                }
        }
        *ret_digested = digested;
        return ST_OK;
}

/* --- the codec --- */

Status codec_new(const CodecOptions *options, Codec **ret_codec)
{
        Codec *codec = mem_zalloc(sizeof(*codec));
        if (!codec)
                return status_nomem();
        codec->pool = options->pool;
        codec->level = options->level ? MIN(options->level, MAX_LEVEL) : DEFAULT_LEVEL;
        codec->value_max_bytes = options->value_max_bytes ? options->value_max_bytes : UINT32_MAX;
        atomic_store(&codec->choice, KIND_PLAIN);
        *ret_codec = codec;
        return ST_OK;
}

Codec *codec_free(Codec *codec)
{
        if (!codec)
                return NULL;
        for (unsigned i = 0; i < CODEC_MAX_DICTIONARIES; i++)
                dictionary_free(atomic_load(&codec->dictionaries[i]));
        mem_free(codec);
        return NULL;
}

size_t codec_bytes(Codec *codec)
{
        size_t bytes = sizeof(*codec);
        for (unsigned i = 0; i < CODEC_MAX_DICTIONARIES; i++) {
                Dictionary *dictionary = atomic_load(&codec->dictionaries[i]);
                if (dictionary)
                        bytes += sizeof(*dictionary) + dictionary->size +
                                 ZSTD_sizeof_CDict(atomic_load(&dictionary->writing)) +
                                 ZSTD_sizeof_DDict(atomic_load(&dictionary->reading));
        }
        return bytes;
}

Status codec_add(Codec *codec, unsigned number, Bytes bytes)
{
        Dictionary *dictionary;
        if (number >= CODEC_MAX_DICTIONARIES)
                return status_new(ERR_INVALID, "dictionary %u; there are at most %d", number, CODEC_MAX_DICTIONARIES);
        if (atomic_load(&codec->dictionaries[number]))
                return status_new(ERR_EXISTS, "dictionary %u is there already", number);
        if (bytes.size > CODEC_DICTIONARY_MAX_BYTES || ZDICT_getDictID(bytes.data, bytes.size) == 0)
                return status_new(ERR_CORRUPT, "dictionary %u (%zu bytes) is none", number, bytes.size);
        TRY(dictionary_new(bytes, &dictionary));
        /* Its tables may be damaged: only digesting tells. What writing needs is larger, and waits until it is written
         * with. */
        const ZSTD_DDict *digested;
        Status st = dictionary_reading(dictionary, &digested);
        if (st) {
                dictionary_free(dictionary);
                return status_context(st, "dictionary %u (%zu bytes)", number, bytes.size);
        }
        atomic_store_explicit(&codec->dictionaries[number], dictionary, memory_order_release);
        if (number >= atomic_load(&codec->next))
                atomic_store(&codec->next, number + 1);
        return ST_OK;
}

Status codec_choose(Codec *codec, CodecChoice choice)
{
        unsigned kind = choice.mode == CODEC_RAW ? KIND_RAW : KIND_PLAIN;
        if (choice.mode == CODEC_DICTIONARY) {
                if (choice.number >= CODEC_MAX_DICTIONARIES || !atomic_load(&codec->dictionaries[choice.number]))
                        return status_new(ERR_INVALID, "there is no dictionary %u", choice.number);
                kind = KIND_DICTIONARY + choice.number;
        }
        atomic_store_explicit(&codec->choice, kind, memory_order_release);
        return ST_OK;
}

CodecChoice codec_choice(Codec *codec)
{
        unsigned kind = atomic_load_explicit(&codec->choice, memory_order_acquire);
        if (kind < KIND_DICTIONARY)
                return (CodecChoice){kind == KIND_RAW ? CODEC_RAW : CODEC_PLAIN, 0};
        return (CodecChoice){CODEC_DICTIONARY, kind - KIND_DICTIONARY};
}

unsigned codec_next(Codec *codec)
{
        return atomic_load(&codec->next);
}

/* --- encoding and decoding --- */

/* Compresses into out[]; 0 if it does not fit. ERR_NOMEM. */
static Status compress(CodecPool *pool, int level, Dictionary *dictionary, Bytes value, uint8_t *out, size_t room,
                       size_t *ret_bytes)
{
        const ZSTD_CDict *digested = NULL;
        if (dictionary)
                TRY(dictionary_writing(dictionary, level, &digested));
        ZSTD_CCtx *writer = writer_take(pool);
        if (!writer)
                return status_nomem();
        size_t failed = ZSTD_CCtx_refCDict(writer, digested);
        if (!ZSTD_isError(failed) && !digested)
                failed = ZSTD_CCtx_setParameter(writer, ZSTD_c_compressionLevel, level);
        size_t bytes = ZSTD_isError(failed) ? failed : ZSTD_compress2(writer, out, room, value.data, value.size);
        /* The dictionary may be gone when the context is used next. */
        (void)ZSTD_CCtx_refCDict(writer, NULL);
        if (!ZSTD_isError(bytes)) {
                writer_give(pool, writer);
                *ret_bytes = bytes;
                return ST_OK;
        }
        ZSTD_ErrorCode code = ZSTD_getErrorCode(bytes);
        if (code == ZSTD_error_dstSize_tooSmall) {
                (void)ZSTD_CCtx_reset(writer, ZSTD_reset_session_only);
                writer_give(pool, writer);
                *ret_bytes = 0;
                return ST_OK;
        }
        ZSTD_freeCCtx(writer);
        if (code == ZSTD_error_memory_allocation)
                return status_nomem();
        return status_new(ERR_INTERNAL, "zstd does not compress %zu bytes: %s", value.size, ZSTD_getErrorName(bytes));
}

static size_t size_put(uint8_t out[10], size_t size)
{
        size_t n = 0;
        for (; size >= 0x80; size >>= 7)
                out[n++] = (uint8_t)(size | 0x80);
        out[n++] = (uint8_t)size;
        return n;
}

/* Bytes that the size takes; 0: it is none. */
static size_t size_get(Bytes stored, size_t *ret_size)
{
        uint64_t size = 0;
        for (size_t i = 0; i < MIN(stored.size, (size_t)5); i++) {
                size |= (uint64_t)(stored.data[i] & 0x7f) << 7 * i;
                if (stored.data[i] < 0x80) {
                        *ret_size = (size_t)size;
                        return stored.data[i] || i == 0 ? i + 1 : 0;
                }
        }
        return 0;
}

/* The stored form in a given kind; as it is, if that is not larger by much. */
static Status encode_as(Codec *codec, unsigned kind, Dictionary *dictionary, Bytes value, Buf *out)
{
        size_t start = out->size, bytes = 0;
        TRY(buf_reserve(out, 1 + value.size));
        uint8_t *at = out->data + start;
        size_t room = value.size - value.size / LEAST_SAVING_SHARE;
        if (kind != KIND_RAW && value.size >= (kind == KIND_PLAIN ? PLAIN_MIN_BYTES : DICTIONARY_MIN_BYTES)) {
                size_t head = 1 + size_put(at + 1, value.size);
                *at = (uint8_t)kind;
                TRY(compress(codec->pool, codec->level, dictionary, value, at + head, room - head, &bytes));
                if (bytes)
                        bytes += head;
        }
        if (!bytes) {
                *at = KIND_RAW;
                if (value.size)
                        memcpy(at + 1, value.data, value.size);
                bytes = 1 + value.size;
        }
        out->size = start + bytes;
        return ST_OK;
}

static Dictionary *dictionary_of(Codec *codec, unsigned kind)
{
        return kind < KIND_DICTIONARY
                       ? NULL
                       : atomic_load_explicit(&codec->dictionaries[kind - KIND_DICTIONARY], memory_order_acquire);
}

Status codec_encode(void *ctx, Bytes value, Buf *out)
{
        Codec *codec = ctx;
        if (value.size > codec->value_max_bytes)
                return status_new(ERR_LIMIT, "a document has %zu bytes, more than %zu", value.size,
                                  codec->value_max_bytes);
        unsigned kind = atomic_load_explicit(&codec->choice, memory_order_acquire);
        return encode_as(codec, kind, dictionary_of(codec, kind), value, out);
}

static Status damaged(const char *what)
{
        return status_new(ERR_CORRUPT, "a packed document is damaged: %s", what);
}

static Status decompress(Codec *codec, Dictionary *dictionary, Bytes frame, uint8_t *out, size_t size)
{
        const ZSTD_DDict *digested = NULL;
        if (dictionary)
                TRY(dictionary_reading(dictionary, &digested));
        ZSTD_DCtx *reader = reader_take(codec->pool);
        if (!reader)
                return status_nomem();
        size_t bytes = digested ? ZSTD_decompress_usingDDict(reader, out, size, frame.data, frame.size, digested)
                                : ZSTD_decompressDCtx(reader, out, size, frame.data, frame.size);
        reader_give(codec->pool, reader);
        if (ZSTD_isError(bytes))
                return ZSTD_getErrorCode(bytes) == ZSTD_error_memory_allocation ? status_nomem()
                                                                                : damaged(ZSTD_getErrorName(bytes));
        return bytes == size ? ST_OK : damaged("it is shorter than it says");
}

Status codec_decode(void *ctx, Bytes stored, Arena *hold, Bytes *ret_value)
{
        Codec *codec = ctx;
        if (stored.size == 0)
                return damaged("it is empty");
        unsigned kind = stored.data[0];
        Bytes frame = BYTES(stored.data + 1, stored.size - 1);
        size_t size = frame.size;
        if (kind != KIND_RAW) {
                size_t head = size_get(frame, &size);
                frame = BYTES(frame.data + head, frame.size - head);
                /* So that a few wrong bytes cannot make us take gigabytes. */
                if (head == 0 || size / BLOCK_MAX_BYTES > frame.size / BLOCK_STORED_BYTES)
                        return damaged("its size cannot be");
        }
        if (size > codec->value_max_bytes)
                return damaged("it is too large");
        Dictionary *dictionary = dictionary_of(codec, kind);
        if (kind >= KIND_DICTIONARY && !dictionary)
                return status_new(ERR_CORRUPT, "a packed document needs dictionary %u, which is missing",
                                  kind - KIND_DICTIONARY);
        uint8_t *value = arena_try_alloc(hold, MAX(size, (size_t)1));
        if (!value)
                return status_nomem();
        if (kind == KIND_RAW) {
                if (size)
                        memcpy(value, frame.data, size);
        } else {
                TRY(decompress(codec, dictionary, frame, value, size));
        }
        *ret_value = BYTES(value, size);
        return ST_OK;
}

/* --- training --- */

/* Stored bytes of the samples held out, in a given kind. */
static Status trial_bytes(Codec *codec, unsigned kind, Dictionary *dictionary, const Bytes *samples, size_t count,
                          uint64_t *ret_bytes)
{
        Buf out;
        Status st = ST_OK;
        uint64_t bytes = 0;
        buf_init(&out, SIZE_MAX);
        for (size_t i = 0; i < count && !st; i += HELD_OUT_EACH) {
                buf_clear(&out);
                st = encode_as(codec, kind, dictionary, samples[i], &out);
                bytes += out.size;
        }
        buf_done(&out);
        *ret_bytes = bytes;
        return st;
}

/* A dictionary from the samples that are not held out; NULL if nothing can be learned. */
static Status learn(const Bytes *samples, size_t count, size_t total, Dictionary **ret_dictionary)
{
        /* More than a tenth of what it is made from, and it has learned by heart. */
        size_t room = MIN((size_t)CODEC_DICTIONARY_MAX_BYTES, total / 10), n = 0, used = 0;
        _cleanup_(mem_freep) uint8_t *joined = mem_alloc(MAX(total, (size_t)1));
        _cleanup_(mem_freep) size_t *sizes = mem_alloc(count * sizeof(*sizes));
        _cleanup_(mem_freep) uint8_t *bytes = mem_alloc(CODEC_DICTIONARY_MAX_BYTES);
        *ret_dictionary = NULL;
        if (!joined || !sizes || !bytes)
                return status_nomem();
        for (size_t i = 0; i < count; i++) {
                if (i % HELD_OUT_EACH == 0)
                        continue;
                if (samples[i].size)
                        memcpy(joined + used, samples[i].data, samples[i].size);
                used += samples[i].size;
                sizes[n++] = samples[i].size;
        }
        size_t size = ZDICT_trainFromBuffer(bytes, room, joined, sizes, (unsigned)n);
        if (ZDICT_isError(size))
                return ST_OK; /* too little, or all alike: there is nothing to learn */
        return dictionary_new(BYTES(bytes, size), ret_dictionary);
}

static bool pays(uint64_t bytes, uint64_t against)
{
        return bytes * 100 <= against * PAYS_PERCENT;
}

static Status trial_run(Codec *codec, Dictionary *fresh, const Bytes *samples, size_t count, CodecTrial *trial)
{
        CodecChoice now = codec_choice(codec);
        TRY(trial_bytes(codec, KIND_RAW, NULL, samples, count, &trial->raw_bytes));
        TRY(trial_bytes(codec, KIND_PLAIN, NULL, samples, count, &trial->plain_bytes));
        if (now.mode == CODEC_DICTIONARY)
                TRY(trial_bytes(codec, KIND_DICTIONARY + now.number, dictionary_of(codec, KIND_DICTIONARY + now.number),
                                samples, count, &trial->current_bytes));
        if (fresh)
                TRY(trial_bytes(codec, KIND_DICTIONARY + codec_next(codec), fresh, samples, count, &trial->new_bytes));
        trial->choice = (CodecChoice){CODEC_RAW, 0};
        uint64_t best = trial->raw_bytes;
        if (pays(trial->plain_bytes, best)) {
                trial->choice = (CodecChoice){CODEC_PLAIN, 0};
                best = trial->plain_bytes;
        }
        if (trial->current_bytes && pays(trial->current_bytes, best)) {
                trial->choice = now;
                best = trial->current_bytes;
        }
        if (fresh && pays(trial->new_bytes, best)) {
                trial->choice = (CodecChoice){CODEC_DICTIONARY, codec_next(codec)};
                trial->is_new = true;
        }
        return ST_OK;
}

Status codec_train(Codec *codec, const Bytes *samples, size_t count, Buf *out, CodecTrial *ret_trial)
{
        CodecTrial trial = {.choice = codec_choice(codec), .held_out = (count + HELD_OUT_EACH - 1) / HELD_OUT_EACH};
        Dictionary *fresh = NULL;
        size_t learned = 0, total = 0;
        for (size_t i = 0; i < count; i++) {
                learned += i % HELD_OUT_EACH ? samples[i].size : 0;
                total += samples[i].size;
        }
        Status st = ST_OK;
        if (count >= CODEC_MIN_SAMPLES && total >= CODEC_MIN_SAMPLE_BYTES) {
                if (codec_next(codec) < CODEC_MAX_DICTIONARIES)
                        st = learn(samples, count, learned, &fresh);
                if (!st)
                        st = trial_run(codec, fresh, samples, count, &trial);
                if (!st && trial.is_new)
                        st = buf_append(out, fresh->bytes, fresh->size);
        }
        dictionary_free(fresh);
        if (!st)
                *ret_trial = trial;
        return st;
}
