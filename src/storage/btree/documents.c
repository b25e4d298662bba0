/* documents.c - what a table of `slab` has more than one of `btree`: its documents are packed, with a dictionary that
 * was trained on documents of the table.
 *
 *      writer      documents_encode: takes samples, packs
 *      checkpoint  documents_train (maintain): samples -> a dictionary that waits
 *      writer      documents_begin: the next write puts it into DOCUMENTS_TREE and packs with it from then on, so that
 * a root which has a document has its dictionary; documents_end: it stays, or (abort) waits again reader
 * documents_decode: at the first document that needs one, all of them are read
 *
 * Dictionaries are never removed: a document says which one it needs, and nobody knows whether one is left that does.
 * So they are few: a new one is tried when a table has taken 16 times as much as at the last training (1 MiB, 16 MiB,
 * 256 MiB ..), and kept only if it pays. What a log replays is packed anew, with whatever there is then. */
#include <assert.h>

#include "storage/btree/btree_int.h"

#define SAMPLE_BYTES     ((size_t)1 << 20)  /* of a table */
#define SAMPLE_MAX_BYTES ((size_t)32 << 10) /* of a document: a larger one teaches itself */
#define SAMPLE_ALL_BYTES ((size_t)16 << 20) /* of all tables of an engine */
#define TRAIN_GROWTH     16u

/*      DOCUMENTS_TREE   | 'c' |              -> | mode u8 | number u8 |     what new documents are packed with
 *                       | 'd' | number u8 |  -> the dictionary, raw */

struct Documents {
        atomic_uint refs; /* the table's, and that of a training */
        Engine *engine;
        PTree *tree;
        Codec *codec;
        atomic_bool loaded;
        atomic_bool pending;      /* what is trained waits for a write; set and cleared under mu */
        atomic_bool has_samples;  /* enough to train; the same */
        atomic_size_t held_bytes; /* samples and dictionary, for the statistics */
        Mutex mu;                 /* order 52 in docs/locks.md: held while a dictionary is read or put */
        /* --- GUARDED_BY(mu) --- */
        Buf dictionary; /* with pending; empty: only the choice is new */
        CodecChoice choice;
        Buf samples;
        size_t *sizes, sample_count, size_capacity;
        /* --- the writer's --- */
        bool introducing; /* the running write has put what was pending */
        CodecChoice before;
        uint64_t seen_bytes, train_at; /* of documents; sampling goes on from train_at on */
};

/* --- reading --- */

/* Whose dictionaries this thread is reading just now. */
static _Thread_local const Documents *loading;

static Status load_row(Documents *documents, Bytes key, Bytes value, CodecChoice *choice)
{
        if (key.size == 2 && key.data[0] == 'd') {
                Status st = codec_add(documents->codec, key.data[1], value);
                return status_code(st) == ERR_EXISTS ? status_free(st) : st; /* an earlier try */
        }
        if (key.size == 1 && key.data[0] == 'c' && value.size == 2 && value.data[0] <= CODEC_DICTIONARY) {
                *choice = (CodecChoice){(CodecMode)value.data[0], value.data[1]};
                return ST_OK;
        }
        return status_new(ERR_CORRUPT, "a row of the dictionaries of a table is no such row");
}

static Status load_locked(Documents *documents)
{
        PSnapshot *snapshot;
        PCursor *cursor = NULL;
        Arena hold;
        CodecChoice choice = codec_choice(documents->codec);
        bool found = true;
        TRY(ptree_pin(documents->tree, &snapshot));
        arena_init(&hold, 0);
        loading = documents;
        Status st = ptree_cursor_open(snapshot, DOCUMENTS_TREE, (PRange){0}, false, &cursor);
        while (!st && found) {
                Bytes key, value;
                arena_reset(&hold);
                st = ptree_cursor_next(cursor, &hold, &key, &value, &found);
                if (!st && found)
                        st = load_row(documents, key, value, &choice);
        }
        loading = NULL;
        if (!st)
                st = codec_choose(documents->codec, choice);
        ptree_cursor_close(cursor);
        ptree_unpin(snapshot);
        arena_done(&hold);
        if (status_code(st) == ERR_INVALID) {
                status_ignore(st);
                st = status_new(ERR_CORRUPT, "a table's dictionary %u is missing", choice.number);
        }
        if (st)
                return st;
        if (choice.mode == CODEC_DICTIONARY)
                documents->train_at = (uint64_t)SAMPLE_BYTES * TRAIN_GROWTH * TRAIN_GROWTH;
        atomic_store(&documents->loaded, true);
        return ST_OK;
}

static Status documents_load(Documents *documents)
{
        if (likely(atomic_load_explicit(&documents->loaded, memory_order_acquire)))
                return ST_OK;
        mutex_lock(&documents->mu);
        Status st = atomic_load(&documents->loaded) ? ST_OK : load_locked(documents);
        mutex_unlock(&documents->mu);
        return st;
}

/* The dictionaries themselves are stored without one. */
static Status documents_decode(void *ctx, Bytes stored, Arena *hold, Bytes *ret_value)
{
        Documents *documents = ctx;
        bool loaded = atomic_load_explicit(&documents->loaded, memory_order_acquire);
        Status st = codec_decode(documents->codec, stored, hold, ret_value);
        if (status_code(st) != ERR_CORRUPT || loaded || loading == documents)
                return st;
        status_ignore(st);
        TRY(documents_load(documents));
        return codec_decode(documents->codec, stored, hold, ret_value);
}

/* --- samples --- */

static void samples_drop(Documents *documents) REQUIRES(documents->mu)
{
        atomic_fetch_sub(&documents->engine->sample_bytes, documents->samples.size);
        buf_done(&documents->samples);
        buf_init(&documents->samples, SAMPLE_BYTES);
        mem_free(documents->sizes);
        documents->sizes = NULL;
        documents->sample_count = documents->size_capacity = 0;
}

/* Without memory there are fewer. */
static bool sample_add(Documents *documents, Bytes value) REQUIRES(documents->mu)
{
        if (documents->sample_count == documents->size_capacity) {
                size_t capacity = MAX(2 * documents->size_capacity, (size_t)64);
                size_t *sizes = mem_realloc(documents->sizes, capacity * sizeof(*sizes));
                if (!sizes)
                        return false;
                documents->sizes = sizes;
                documents->size_capacity = capacity;
        }
        Status st = buf_append(&documents->samples, value.data, value.size);
        if (st) {
                status_ignore(st);
                return false;
        }
        documents->sizes[documents->sample_count++] = value.size;
        atomic_store(&documents->held_bytes, documents->samples.capacity + documents->size_capacity * sizeof(size_t));
        atomic_fetch_add(&documents->engine->sample_bytes, value.size);
        return true;
}

static void documents_sample(Documents *documents, Bytes value)
{
        documents->seen_bytes += value.size;
        if (documents->seen_bytes < documents->train_at || value.size > SAMPLE_MAX_BYTES)
                return;
        if (atomic_load_explicit(&documents->engine->sample_bytes, memory_order_relaxed) > SAMPLE_ALL_BYTES)
                return;
        mutex_lock(&documents->mu);
        if (documents->samples.size + value.size > SAMPLE_BYTES || !sample_add(documents, value)) {
                atomic_store(&documents->has_samples, documents->sample_count > 0);
                documents->train_at = documents->seen_bytes * TRAIN_GROWTH;
                atomic_store_explicit(&documents->engine->training, true, memory_order_release);
        }
        mutex_unlock(&documents->mu);
}

static Status documents_encode(void *ctx, Bytes value, Buf *out)
{
        Documents *documents = ctx;
        documents_sample(documents, value);
        return codec_encode(documents->codec, value, out);
}

/* --- training --- */

static Status train_samples(Documents *documents, Buf *samples, const size_t *sizes, size_t count)
{
        CodecTrial trial;
        Buf dictionary;
        _cleanup_(mem_freep) Bytes *spans = mem_alloc(MAX(count, (size_t)1) * sizeof(*spans));
        if (!spans)
                return status_nomem();
        const uint8_t *at = samples->data;
        for (size_t i = 0; i < count; at += sizes[i++])
                spans[i] = BYTES(at, sizes[i]);
        buf_init(&dictionary, CODEC_DICTIONARY_MAX_BYTES);
        Status st = codec_train(documents->codec, spans, count, &dictionary, &trial);
        CodecChoice now = codec_choice(documents->codec);
        if (!st && (trial.is_new || trial.choice.mode != now.mode || trial.choice.number != now.number)) {
                mutex_lock(&documents->mu);
                buf_done(&documents->dictionary);
                documents->dictionary = dictionary;
                documents->choice = trial.choice;
                if (!trial.is_new)
                        buf_clear(&documents->dictionary);
                atomic_store(&documents->pending, true);
                mutex_unlock(&documents->mu);
                return ST_OK;
        }
        buf_done(&dictionary);
        return st;
}

/* By the checkpoint thread. */
static Status documents_train(Documents *documents)
{
        mutex_lock(&documents->mu);
        /* What waits for a write has to be in it first: its number is taken then. */
        if (!atomic_load(&documents->has_samples) || atomic_load(&documents->pending)) {
                mutex_unlock(&documents->mu);
                return ST_OK;
        }
        Buf samples = documents->samples;
        size_t *sizes = take(documents->sizes), count = documents->sample_count;
        size_t bytes = samples.size;
        buf_init(&documents->samples, SAMPLE_BYTES);
        documents->sample_count = documents->size_capacity = 0;
        atomic_store(&documents->has_samples, false);
        atomic_store(&documents->held_bytes, documents->dictionary.capacity);
        mutex_unlock(&documents->mu);
        Status st = train_samples(documents, &samples, sizes, count);
        atomic_fetch_sub(&documents->engine->sample_bytes, bytes);
        buf_done(&samples);
        mem_free(sizes);
        return st;
}

/* The first table that has enough samples; NULL: none. */
static Documents *documents_next(Engine *engine)
{
        Documents *found = NULL;
        mutex_lock(&engine->mu);
        for (EngineTable *table = engine->tables; table && !found; table = table->next) {
                Documents *documents = table->documents;
                if (!documents || atomic_load(&table->drop_position))
                        continue;
                if (atomic_load(&documents->has_samples) && !atomic_load(&documents->pending)) {
                        atomic_fetch_add(&documents->refs, 1);
                        found = documents;
                }
        }
        mutex_unlock(&engine->mu);
        return found;
}

Status btree_maintain(Engine *engine)
{
        if (!atomic_exchange(&engine->training, false))
                return ST_OK;
        for (Documents *documents; (documents = documents_next(engine));) {
                Status st = documents_train(documents);
                documents_free(documents);
                if (st) {
                        atomic_store(&engine->training, true);
                        return st;
                }
        }
        return ST_OK;
}

/* --- writing --- */

static Status introduce(Documents *documents, PWrite *write) REQUIRES(documents->mu)
{
        CodecChoice choice = documents->choice;
        uint8_t name[2] = {'d', (uint8_t)choice.number}, value[2] = {(uint8_t)choice.mode, (uint8_t)choice.number};
        Bytes dictionary = BYTES(documents->dictionary.data, documents->dictionary.size);
        if (dictionary.size) {
                /* An aborted write may have told the codec already. */
                Status st = codec_add(documents->codec, choice.number, dictionary);
                if (status_code(st) == ERR_EXISTS)
                        st = status_free(st);
                TRY(st);
                TRY(codec_choose(documents->codec, (CodecChoice){.mode = CODEC_RAW}));
                TRY(ptree_write_put(write, DOCUMENTS_TREE, BYTES(name, 2), dictionary));
        }
        TRY(ptree_write_put(write, DOCUMENTS_TREE, BYTES_STR("c"), BYTES(value, 2)));
        return codec_choose(documents->codec, choice);
}

Status documents_begin(Documents *documents, PWrite **write)
{
        TRY(documents_load(documents));
        TRY(ptree_write_begin(documents->tree, write));
        if (likely(!atomic_load_explicit(&documents->pending, memory_order_acquire)))
                return ST_OK;
        /* Encoding of what is put here takes samples, which takes the lock. */
        uint64_t train_at = documents->train_at;
        documents->train_at = UINT64_MAX;
        mutex_lock(&documents->mu);
        documents->before = codec_choice(documents->codec);
        Status st = introduce(documents, *write);
        if (st)
                status_ignore(codec_choose(documents->codec, documents->before));
        documents->introducing = !st;
        mutex_unlock(&documents->mu);
        documents->train_at = train_at;
        if (!st)
                return ST_OK;
        /* Another time. */
        status_ignore(st);
        ptree_write_abort(*write);
        return ptree_write_begin(documents->tree, write);
}

void documents_end(Documents *documents, bool committed)
{
        if (likely(!documents->introducing))
                return;
        documents->introducing = false;
        mutex_lock(&documents->mu);
        if (committed) {
                buf_done(&documents->dictionary);
                buf_init(&documents->dictionary, CODEC_DICTIONARY_MAX_BYTES);
                atomic_store(&documents->pending, false);
                if (atomic_load(&documents->has_samples))
                        atomic_store(&documents->engine->training, true);
        } else {
                status_ignore(codec_choose(documents->codec, documents->before)); /* it was there */
        }
        mutex_unlock(&documents->mu);
}

/* --- the object --- */

static const PValueCodec documents_codec = {.encode = documents_encode, .decode = documents_decode};

Status documents_new(Engine *engine, PTreeOptions *options, Documents **ret_documents)
{
        Documents *documents = mem_zalloc(sizeof(*documents));
        CodecOptions codec_options = {.pool = engine->codecs};
        if (!documents)
                return status_nomem();
        Status st = codec_new(&codec_options, &documents->codec);
        if (st) {
                mem_free(documents);
                return st;
        }
        atomic_store(&documents->refs, 1);
        documents->engine = engine;
        mutex_init(&documents->mu);
        buf_init(&documents->dictionary, CODEC_DICTIONARY_MAX_BYTES);
        buf_init(&documents->samples, SAMPLE_BYTES);
        options->codec = &documents_codec;
        options->codec_ctx = documents;
        *ret_documents = documents;
        return ST_OK;
}

void documents_attach(Documents *documents, PTree *tree)
{
        if (documents)
                documents->tree = tree;
}

Documents *documents_free(Documents *documents) NO_TSA
{
        if (!documents || atomic_fetch_sub(&documents->refs, 1) > 1)
                return NULL;
        samples_drop(documents);
        buf_done(&documents->dictionary);
        codec_free(documents->codec);
        mutex_done(&documents->mu);
        mem_free(documents);
        return NULL;
}

size_t documents_bytes(Documents *documents)
{
        if (!documents)
                return 0;
        return sizeof(*documents) + codec_bytes(documents->codec) + atomic_load(&documents->held_bytes);
}
