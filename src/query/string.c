/* string.c - match, split, case, JSON, UUIDs. */
#define _GNU_SOURCE /* memmem */
#include <inttypes.h>
#include <utf8proc.h>

#include "bridge/json_bridge.h"
#include "bridge/regex_bridge.h"
#include "query/query_int.h"
#include "value/json.h"

#define REGEX_CACHE_MAX  64 /* compiled expressions of a query; the oldest goes */
#define JSON_EXCERPT_MAX 40 /* r.json() shows so many bytes of a text that it refuses */

/* Frees `st` and gives its message. The arena may not return when it is exhausted, so it is asked politely while `st`
 * is held. */
const char *take_message(Env *env, Status st)
{
        size_t size = strlen(status_message(st)) + 1;
        char *copy = arena_try_alloc(env->arena, size);
        if (copy)
                memcpy(copy, status_message(st), size);
        status_ignore(st);
        return copy ? copy : arena_zalloc(env->arena, size);
}

/* --- match --- */

typedef struct RegexCache {
        Env *env;
        struct {
                Bytes pattern;
                Regex *regex;
        } slots[REGEX_CACHE_MAX];
        size_t next; /* to be replaced */
} RegexCache;

static void regexes_close(void *what)
{
        RegexCache *cache = what;
        for (size_t i = 0; i < REGEX_CACHE_MAX; i++)
                cache->slots[i].regex = regex_free(cache->slots[i].regex);
        cache->env->regexes = NULL;
}

/* RE2 says "missing closing ): a(b": the part after the colon is what it complains of. */
static Status regex_refused(Env *env, const Term *term, Bytes pattern, Status st)
{
        if (status_code(st) != ERR_LOGIC)
                return st;
        const char *message = take_message(env, st);
        const char *colon = strstr(message, ": ");
        return fail(env, term, ERR_LOGIC, "Error in regexp `%.*s` (portion `%s`): %s", (int)pattern.size,
                    (const char *)pattern.data, colon ? colon + 2 : "", message);
}

static Status regex_find(Env *env, const Term *term, Bytes pattern, const Regex **ret_regex)
{
        if (!env->regexes) {
                RegexCache *cache = arena_zalloc(env->query_arena, sizeof(RegexCache));
                cache->env = env;
                env_defer_to_end(env, regexes_close, cache);
                env->regexes = cache;
        }
        RegexCache *cache = env->regexes;
        for (size_t i = 0; i < REGEX_CACHE_MAX; i++)
                if (cache->slots[i].regex && bytes_equal(cache->slots[i].pattern, pattern)) {
                        *ret_regex = cache->slots[i].regex;
                        return ST_OK;
                }
        Regex *regex;
        Status st = regex_new(pattern, &regex);
        if (st)
                return regex_refused(env, term, pattern, st);
        /* From here on the cache owns it: copying the pattern may not return. */
        size_t slot = cache->next++ % REGEX_CACHE_MAX;
        (void)regex_free(cache->slots[slot].regex);
        cache->slots[slot].pattern = BYTES_NONE;
        cache->slots[slot].regex = regex;
        cache->slots[slot].pattern = BYTES(arena_dup(env->query_arena, pattern.data, pattern.size), pattern.size);
        *ret_regex = regex;
        return ST_OK;
}

static Value match_group(Env *env, Bytes text, Bytes group, bool whole, Value groups)
{
        if (!group.data)
                return value_null();
        double start = (double)(group.data - text.data);
        Field *fields = arena_array(env->arena, Field, 4);
        size_t count = 0;
        fields[count++] = (Field){BYTES_STR("end"), value_number(start + (double)group.size)};
        if (whole)
                fields[count++] = (Field){BYTES_STR("groups"), groups};
        fields[count++] = (Field){BYTES_STR("start"), value_number(start)};
        fields[count++] = (Field){BYTES_STR("str"), value_string(group)};
        return value_object_sorted(fields, count);
}

static Status term_match(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes text, pattern;
        const Regex *regex;
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, 0, &text));
        TRY(args_string(&args, 1, &pattern));
        TRY(regex_find(env, term, pattern, &regex));
        if (!text.data)
                text = BYTES_STR("");
        int count = regex_group_count(regex) + 1;
        Bytes *found = arena_array(env->arena, Bytes, (size_t)count);
        TRY(check_array_size(env, term, (size_t)count - 1));
        bool matches;
        TRY(fail_at(env, term, regex_match(regex, text, 0, found, count, &matches)));
        if (!matches) {
                *ret = val_datum(term, value_null());
                return ST_OK;
        }
        for (int i = 0; i < count; i++)
                if (unlikely(!json_bridge_utf8_valid(found[i])))
                        return fail(env, term, ERR_LOGIC, "The match of `%.*s` is a part of a character only.",
                                    (int)pattern.size, (const char *)pattern.data);
        Value *groups = arena_array(env->arena, Value, (size_t)count);
        for (int i = 1; i < count; i++)
                groups[i - 1] = match_group(env, text, found[i], false, value_none());
        *ret = val_datum(term, match_group(env, text, found[0], true, value_array(groups, (size_t)count - 1)));
        return ST_OK;
}

/* --- split --- */

/* The code point at `at`, and the place after it; a byte that is not UTF-8 stands for itself. */
static int32_t next_codepoint(Bytes text, size_t at, size_t *ret_next)
{
        utf8proc_int32_t codepoint;
        utf8proc_ssize_t size = utf8proc_iterate(text.data + at, (utf8proc_ssize_t)(text.size - at), &codepoint);
        *ret_next = at + (size > 0 ? (size_t)size : 1);
        return size > 0 ? codepoint : -1;
}

/* Unicode's White_Space. */
static bool is_space(int32_t c)
{
        return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
               (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_combining(int32_t c)
{
        utf8proc_category_t category = utf8proc_category(c);
        return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

/* The first place at or after `at` that holds a space (or none); text.size if there is none. */
static size_t find_space(Bytes text, size_t at, bool space)
{
        while (at < text.size) {
                size_t next;
                if (is_space(next_codepoint(text, at, &next)) == space)
                        break;
                at = next;
        }
        return at;
}

static void add_part(ArrayBuilder *parts, Bytes text, size_t start, size_t end)
{
        array_add(parts, value_string(BYTES(text.data + start, end - start)));
}

/* All three give up after `stop` parts: the array is too long then anyway.
 * Between runs of white space; the rest, after `most` parts, without the space before it. */
static void split_space(Bytes text, uint64_t most, size_t stop, ArrayBuilder *parts)
{
        for (size_t at = find_space(text, 0, false); at < text.size && parts->count <= stop;
             at = find_space(text, at, false)) {
                size_t end = parts->count == most ? text.size : find_space(text, at, true);
                add_part(parts, text, at, end);
                at = end;
        }
}

/* Each character with the marks that combine with it. */
static void split_characters(Bytes text, uint64_t most, size_t stop, ArrayBuilder *parts)
{
        for (size_t at = 0; at < text.size && parts->count <= stop;) {
                size_t end, next;
                if (parts->count == most) {
                        end = text.size;
                } else {
                        (void)next_codepoint(text, at, &end);
                        while (end < text.size && is_combining(next_codepoint(text, end, &next)))
                                end = next;
                }
                add_part(parts, text, at, end);
                at = end;
        }
}

static void split_at(Bytes text, Bytes separator, uint64_t most, size_t stop, ArrayBuilder *parts)
{
        size_t at = 0;
        while (parts->count < most && parts->count <= stop) {
                const uint8_t *found =
                        at < text.size ? memmem(text.data + at, text.size - at, separator.data, separator.size) : NULL;
                if (!found)
                        break;
                add_part(parts, text, at, (size_t)(found - text.data));
                at = (size_t)(found - text.data) + separator.size;
        }
        add_part(parts, text, at, text.size);
}

static Status term_split(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes text;
        Value separator = value_null();
        int64_t most = -1;
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, 0, &text));
        if (args.count > 1) {
                TRY(args_datum(&args, 1, &separator));
                if (!value_is(separator, V_NULL))
                        TRY(expect_type(env, term, separator, V_STRING));
        }
        if (args.count > 2) {
                TRY(args_int(&args, 2, &most));
                if (most < -1 || most > (int64_t)env->array_limit - 1)
                        return fail(env, term, ERR_LOGIC, "Error: `split` size argument must be in range [-1, %zu].",
                                    env->array_limit - 1);
        }
        uint64_t limit = most < 0 ? UINT64_MAX : (uint64_t)most;
        ArrayBuilder parts;
        array_init(&parts, env->arena, 0);
        if (value_is(separator, V_NULL))
                split_space(text, limit, env->array_limit, &parts);
        else if (separator.size == 0)
                split_characters(text, limit, env->array_limit, &parts);
        else
                split_at(text, value_bytes(separator), limit, env->array_limit, &parts);
        TRY(check_array_size(env, term, parts.count));
        *ret = val_datum(term, array_take(&parts));
        return ST_OK;
}

/* --- case: ASCII only, as in RethinkDB --- */

static Status term_case(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes text;
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, 0, &text));
        uint8_t first = term->type == TERM_UPCASE ? 'a' : 'A';
        uint8_t *out = arena_alloc(env->arena, text.size);
        for (size_t i = 0; i < text.size; i++)
                out[i] = text.data[i] ^ ((uint8_t)(text.data[i] - first) < 26 ? 0x20 : 0);
        *ret = val_datum(term, value_string(BYTES(out, text.size)));
        return ST_OK;
}

/* --- JSON --- */

static Status json_refused(Env *env, const Term *term, Bytes text, Status st)
{
        StatusCode code = status_code(st);
        if (code != ERR_INVALID && code != ERR_EXISTS)
                return fail_at(env, term, st);
        const char *message = take_message(env, st);
        if (code == ERR_INVALID) {
                bool cut = text.size > JSON_EXCERPT_MAX;
                return fail(env, term, ERR_LOGIC, "Failed to parse \"%.*s%s\" as JSON: %s",
                            cut ? JSON_EXCERPT_MAX - 3 : (int)text.size, (const char *)text.data, cut ? "..." : "",
                            message);
        }
        return fail(env, term, ERR_LOGIC, "Duplicate key %s in JSON.",
                    (const char *)message_datum_whole(env, value_str(message)).data);
}

/* A text shorter than the limit cannot hold too many elements. */
static Status json_check_sizes(Env *env, const Term *term, Value v)
{
        if (value_is(v, V_ARRAY)) {
                TRY(check_array_size(env, term, value_count(v)));
                for (size_t i = 0; i < value_count(v); i++)
                        TRY(json_check_sizes(env, term, value_at(v, i)));
        } else if (value_is(v, V_OBJECT)) {
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        TRY(json_check_sizes(env, term, value_field_at(v, i, &key)));
                }
        }
        return ST_OK;
}

static Status term_json(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes text;
        Value v;
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, 0, &text));
        if (text.size && memchr(text.data, 0, text.size))
                return fail(env, term, ERR_LOGIC, "Encountered unescaped null byte in JSON string.");
        Status st = json_parse_copy(text, JSON_PSEUDO, env->arena, &v);
        if (st)
                return json_refused(env, term, text, st);
        if (text.size > env->array_limit)
                TRY(json_check_sizes(env, term, v));
        *ret = val_datum(term, v);
        return ST_OK;
}

Status json_of(Env *env, const Term *at, Value v, Bytes *ret)
{
        Buf buf;
        buf_init(&buf, UINT32_MAX);
        Status st = json_write(v, &buf);
        if (!st) {
                /* The buffer is on the heap: an allocation that does not return would lose it. */
                uint8_t *text = arena_try_alloc(env->arena, buf.size);
                if (text) {
                        memcpy(text, buf.data, buf.size);
                        *ret = BYTES(text, buf.size);
                } else {
                        st = status_nomem();
                }
        }
        buf_done(&buf);
        return fail_at(env, at, st);
}

static Status term_to_json_string(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value v;
        Bytes text;
        TRY(args_begin(env, term, &args));
        TRY(args_datum(&args, 0, &v));
        TRY(json_of(env, term, v, &text));
        *ret = val_datum(term, value_string(text));
        return ST_OK;
}

/* --- UUIDs --- */

/* SHA-1 of `prefix` followed by `text`: only for the names of UUIDs, where its weakness does not matter. */
typedef struct Sha1 {
        uint32_t state[5];
        uint8_t block[64];
        size_t used;
} Sha1;

static uint32_t rotate32(uint32_t x, int bits)
{
        return x << bits | x >> (32 - bits);
}

static void sha1_block(Sha1 *sha)
{
        uint32_t w[80], a = sha->state[0], b = sha->state[1], c = sha->state[2], d = sha->state[3], e = sha->state[4];
        for (int i = 0; i < 80; i++) {
                const uint8_t *p = sha->block + 4 * (i & 15);
                w[i] = i < 16 ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
                              : rotate32(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
                uint32_t f = i < 20 ? (b & c) | (~b & d) : i >= 40 && i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
                uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
                uint32_t next = rotate32(a, 5) + f + e + k + w[i];
                e = d;
                d = c;
                c = rotate32(b, 30);
                b = a;
                a = next;
        }
        sha->state[0] += a;
        sha->state[1] += b;
        sha->state[2] += c;
        sha->state[3] += d;
        sha->state[4] += e;
        sha->used = 0;
}

static void sha1_add(Sha1 *sha, const uint8_t *data, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                sha->block[sha->used++] = data[i];
                if (sha->used == sizeof(sha->block))
                        sha1_block(sha);
        }
}

static void sha1(Bytes prefix, Bytes text, uint8_t out[20])
{
        Sha1 sha = {.state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
        uint64_t bits = 8 * (uint64_t)(prefix.size + text.size);
        sha1_add(&sha, prefix.data, prefix.size);
        sha1_add(&sha, text.data, text.size);
        sha1_add(&sha, (const uint8_t *)"\x80", 1);
        while (sha.used != 56)
                sha1_add(&sha, (const uint8_t *)"", 1);
        for (int i = 7; i >= 0; i--) {
                uint8_t byte = (uint8_t)(bits >> (8 * i));
                sha1_add(&sha, &byte, 1);
        }
        for (int i = 0; i < 20; i++)
                out[i] = (uint8_t)(sha.state[i / 4] >> (24 - 8 * (i % 4)));
}

static Value uuid_value(Env *env, uint8_t id[16], int version)
{
        static const char digits[] = "0123456789abcdef";
        id[6] = (uint8_t)((id[6] & 0x0f) | version << 4);
        id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
        char *text = arena_alloc(env->arena, 36), *p = text;
        for (int i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = digits[id[i] >> 4];
                *p++ = digits[id[i] & 15];
        }
        return value_string(BYTES(text, 36));
}

/* uuid(): random. uuid(name): a hash of the name in RethinkDB's own name space, always the same. */
static Status term_uuid(Env *env, const Term *term, Val *ret)
{
        static const uint8_t name_space[16] = {0x91, 0x46, 0x1c, 0x99, 0xf8, 0x9d, 0x49, 0xd2,
                                               0xaf, 0x96, 0xd8, 0xe2, 0xe1, 0x4e, 0x9b, 0x58};
        Args args;
        uint8_t id[20];
        TRY(args_begin(env, term, &args));
        if (args.count) {
                Bytes name;
                TRY(args_string(&args, 0, &name));
                sha1(BYTES(name_space, sizeof(name_space)), name, id);
        } else {
                const HostOps *host = env->world->host;
                TRY(fail_at(env, term, host->random(host->ctx, id, 16)));
        }
        *ret = val_datum(term, uuid_value(env, id, args.count ? 5 : 4));
        return ST_OK;
}

static const TermEval terms[] = {
        {TERM_MATCH, term_match, true}, {TERM_SPLIT, term_split, true},
        {TERM_UPCASE, term_case, true}, {TERM_DOWNCASE, term_case, true},
        {TERM_JSON, term_json, true},   {TERM_TO_JSON_STRING, term_to_json_string, true},
        {TERM_UUID, term_uuid, true},
};
const TermList terms_string = {terms, ELEMENTS(terms)};
