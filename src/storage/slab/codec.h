/* codec.h - how the documents of a table are packed: zstd with dictionaries trained on documents of that table.
 *
 * A small document has hardly anything that repeats within it; what repeats is between documents: names of fields,
 * common values. A dictionary carries that. A table's dictionaries are numbered and only ever added to, since stored
 * documents name the one they need; the newest is used for new documents, if it pays.
 *
 *      codec_new(pool)   codec_add(each stored dictionary)   codec_choose(what was stored as the choice)
 *      codec_encode, codec_decode                                         any thread, at once
 *      codec_train(samples) -> trial: what pays, and a dictionary's bytes if that is a new one
 *              store these under codec_next(), durably before a document can name it; codec_add; codec_choose
 *
 * codec_encode and codec_decode are the two functions of a PValueCodec (tree.h). Formats: README.md in this folder. */
#ifndef STORAGE_SLAB_CODEC_H
#define STORAGE_SLAB_CODEC_H

#include "base/arena.h"
#include "base/bytes.h"

#define CODEC_DICTIONARY_MAX_BYTES 32768
#define CODEC_MAX_DICTIONARIES     254 /* of a table; numbers 0 .. 253 */
#define CODEC_MIN_SAMPLES          64  /* fewer, or less than this many bytes, teach nothing */
#define CODEC_MIN_SAMPLE_BYTES     (16 << 10)

/* zstd's working memory (some 100 KB and more each), shared by all codecs of an engine, so that no context is made for
 * a document and none is kept for an idle table. Any thread. */
typedef struct CodecPool CodecPool;
MUST_USE Status codec_pool_new(CodecPool **ret_pool);
CodecPool *codec_pool_free(CodecPool *pool); /* its codecs freed before; NULL is fine; returns NULL */
size_t codec_pool_bytes(CodecPool *pool);    /* of idle contexts */

typedef struct Codec Codec;
typedef struct CodecOptions {
        CodecPool *pool;        /* borrowed; outlives the codec */
        int level;              /* of zstd; 0: 3 */
        size_t value_max_bytes; /* decode makes nothing larger; 0: 4 GiB */
} CodecOptions;
/* No dictionaries; CODEC_PLAIN is chosen. A codec is small until it has encoded or decoded with a dictionary. */
MUST_USE Status codec_new(const CodecOptions *options, Codec **ret_codec);
Codec *codec_free(Codec *codec);  /* NULL is fine; returns NULL */
size_t codec_bytes(Codec *codec); /* memory taken */

/* What new documents are stored as. Whatever it says, what does not get smaller is stored as it is. */
typedef enum CodecMode { CODEC_RAW, CODEC_PLAIN, CODEC_DICTIONARY } CodecMode;
typedef struct CodecChoice {
        CodecMode mode;
        unsigned number; /* of the dictionary */
} CodecChoice;
/* The dictionary's bytes are copied. ERR_INVALID (number), ERR_EXISTS, ERR_CORRUPT (no dictionary), ERR_NOMEM. Beside
 * encoding and decoding; codec_add and codec_choose one at a time. */
MUST_USE Status codec_add(Codec *codec, unsigned number, Bytes dictionary);
/* ERR_INVALID: there is no dictionary of that number. */
MUST_USE Status codec_choose(Codec *codec, CodecChoice choice);
CodecChoice codec_choice(Codec *codec);
unsigned codec_next(Codec *codec); /* the number after the highest; CODEC_MAX_DICTIONARIES: there is no room */

/* Stored bytes of the samples held out from training, each way; 0: not tried. */
typedef struct CodecTrial {
        CodecChoice choice; /* what pays: saves 10 % at least. `number` codec_next(): a new one, with these bytes */
        bool is_new;
        uint64_t raw_bytes, plain_bytes, current_bytes, new_bytes;
        size_t held_out; /* samples */
} CodecTrial;
/* Tries what would pay, with three quarters of the samples to learn from and the others to judge. A new dictionary is
 * appended to `out` if it is the choice; with too few samples the choice stays. Takes long (a second for some MB), does
 * not disturb others. ERR_NOMEM, ERR_LIMIT (`out`). */
MUST_USE Status codec_train(Codec *codec, const Bytes *samples, size_t count, Buf *out, CodecTrial *ret_trial);

/* Appends the stored form; at most value.size + 1 bytes. ERR_NOMEM, ERR_LIMIT (`out`; value_max_bytes). */
MUST_USE Status codec_encode(void *codec, Bytes value, Buf *out);
/* Back, into `hold`. ERR_CORRUPT: no encode made this, or its dictionary is missing. Never
 * takes more memory than `stored` can be the source of. */
MUST_USE Status codec_decode(void *codec, Bytes stored, Arena *hold, Bytes *ret_value);

#endif
