/* feed_random.h - random documents, writes and feed queries for feed_soak.c, as terms on the wire. The fields of a
 * document are few and their values too, so that rows enter and leave what the queries ask for all the time:
 *
 *      id    a number, some are strings       a, b  small numbers, a text, null, a boolean, an array; or missing
 *      num   numbers, halves among them       n     {b: as a}
 *      s     texts with common beginnings     tags  arrays of a few values, some twice
 *      op    which write made it: ascends in the order of commits
 */
#ifndef TESTS_FEED_RANDOM_H
#define TESTS_FEED_RANDOM_H

#include "base/bytes.h"
#include "soak.h"

static inline unsigned pick(Random *random, unsigned count)
{
        return (unsigned)(random_next(random) % count);
}

#define out(buf, ...) status_ignore(buf_printf(buf, __VA_ARGS__))

#define TABLE_T "[15,[[14,[\"test\"]],\"t\"]]"
#define TABLE_U "[15,[[14,[\"test\"]],\"u\"]]"
enum { KEYS = 40 };

static const char *const random_values[] = {
        "0", "1", "2", "3", "4", "1", "2", "2.5", "\"x\"", "null", "true", "[2,[1,2]]", "\"x\\u00e4\"", "{\"c\":1}"};

static inline const char *random_value(Random *random)
{
        return random_values[pick(random, pick(random, 3) ? 7 : ELEMENTS(random_values))];
}

static inline void random_key(Random *random, Buf *to)
{
        unsigned key = pick(random, KEYS);
        out(to, key % 7 == 6 ? "\"k%u\"" : "%u", key);
}

static inline void random_text(Random *random, Buf *to)
{
        unsigned letters = pick(random, 4);
        out(to, "\"");
        for (unsigned i = 0; i < letters; i++)
                out(to, "%c", 'x' + (int)pick(random, 3));
        out(to, "\"");
}

static inline void random_number(Random *random, Buf *to)
{
        static const char *const numbers[] = {"0.5", "-3", "1e3", "7.25", "-0.5", "0.1", "-0.3", "1e15"};
        if (pick(random, 5))
                out(to, "%u", pick(random, 12));
        else
                out(to, "%s", numbers[pick(random, ELEMENTS(numbers))]);
}

/* Fields, each with a comma before it; each may be missing. */
static inline void random_fields(Random *random, uint64_t op, Buf *to)
{
        if (pick(random, 6))
                out(to, ",\"a\":%s", random_value(random));
        if (pick(random, 4))
                out(to, ",\"b\":%s", random_value(random));
        if (pick(random, 6)) {
                out(to, ",\"num\":");
                random_number(random, to);
        }
        if (pick(random, 3) == 0)
                out(to, ",\"n\":{\"b\":%s}", random_value(random));
        if (pick(random, 3)) {
                out(to, ",\"s\":");
                random_text(random, to);
        }
        if (pick(random, 3)) {
                unsigned count = pick(random, 4);
                out(to, ",\"tags\":[2,[");
                for (unsigned i = 0; i < count; i++)
                        out(to, "%s%s", i ? "," : "", random_value(random));
                out(to, "]]");
        }
        out(to, ",\"op\":%" PRIu64, op);
}

static inline void random_document(Random *random, uint64_t op, Buf *to)
{
        out(to, "{\"id\":");
        random_key(random, to);
        random_fields(random, op, to);
        out(to, "}");
}

/* --- writes --- */

/* Rows to write to: one, several, a range. */
static inline void random_selection(Random *random, const char *table, Buf *to)
{
        switch (pick(random, 12)) {
        case 0: {
                unsigned low = pick(random, KEYS);
                out(to, "[182,[%s,%u,%u]]", table, low, low + pick(random, 10));
                return;
        }
        case 1: out(to, "[39,[%s,{\"a\":%u}]]", table, pick(random, 4)); return;
        case 2: out(to, "[78,[%s,%u],{\"index\":\"a\"}]", table, pick(random, 4)); return;
        case 3:
                out(to, "[78,[%s,", table);
                random_key(random, to);
                out(to, ",");
                random_key(random, to);
                out(to, "]]");
                return;
        case 4:
                if (pick(random, 8) == 0) {
                        out(to, "%s", table);
                        return;
                }
                /* fall through */
        default:
                out(to, "[16,[%s,", table);
                random_key(random, to);
                out(to, "]]");
        }
}

static inline void random_write(Random *random, uint64_t op, Buf *to)
{
        static const char *const conflicts[] = {"replace", "update", "error"};
        const char *table = pick(random, 4) ? TABLE_T : TABLE_U;
        const char *durability = pick(random, 8) ? "soft" : "hard";
        unsigned kind = pick(random, 20);
        if (kind < 7) {
                unsigned count = pick(random, 4) ? 1 : 2 + pick(random, 12);
                out(to, "[56,[%s,[2,[", table);
                for (unsigned i = 0; i < count; i++) {
                        out(to, i ? "," : "");
                        random_document(random, op, to);
                }
                out(to, "]]],{\"conflict\":\"%s\",\"durability\":\"%s\"}]", conflicts[pick(random, 3)], durability);
        } else if (kind < 15) {
                out(to, "[53,[");
                random_selection(random, table, to);
                switch (pick(random, 6)) {
                case 0: out(to, ",[69,[[2,[9]],{\"num\":[24,[[92,[[170,[[10,[9]],\"num\"]],0]],1]]"); break;
                case 1: out(to, ",[69,[[2,[9]],{\"a\":[92,[[170,[[10,[9]],\"b\"]],null]]"); break;
                case 2:
                        out(to, ",[69,[[2,[9]],{\"tags\":[29,[[92,[[170,[[10,[9]],\"tags\"]],[2,[]]]],%u]]",
                            pick(random, 3));
                        break;
                case 3: { /* changes nothing, mostly */
                        unsigned a = pick(random, 2);
                        out(to, ",[69,[[2,[9]],[65,[[17,[[92,[[170,[[10,[9]],\"a\"]],null]],%u]],{},{\"a\":%u", a, a);
                        out(to, ",\"op\":%" PRIu64 "}]]]]],{\"durability\":\"%s\"}]", op, durability);
                        return;
                }
                case 4: out(to, ",[69,[[2,[9]],{\"a\":%s,\"b\":%s", random_value(random), random_value(random)); break;
                default:
                        out(to, ",[69,[[2,[9]],{\"z\":0");
                        random_fields(random, op, to);
                        out(to, "}]]],{\"durability\":\"%s\"}]", durability);
                        return;
                }
                out(to, ",\"op\":%" PRIu64 "}]]],{\"durability\":\"%s\"}]", op, durability);
        } else if (kind < 17) {
                out(to, "[55,[[16,[%s,", table);
                unsigned key = pick(random, KEYS);
                char id[16];
                snprintf(id, sizeof id, key % 7 == 6 ? "\"k%u\"" : "%u", key);
                out(to, "%s]],", id);
                if (pick(random, 4) == 0) {
                        out(to, "null");
                } else {
                        out(to, "{\"id\":%s", id);
                        random_fields(random, op, to);
                        out(to, "}");
                }
                out(to, "],{\"durability\":\"%s\"}]", durability);
        } else {
                out(to, "[54,[");
                random_selection(random, table, to);
                out(to, "],{\"durability\":\"%s\"}]", durability);
        }
}

/* Several writes in one query: *ret_transaction, as one commit. */
static inline void random_writes(Random *random, uint64_t op, Buf *to, bool *ret_transaction)
{
        unsigned count = pick(random, 10) ? 1 : 2 + pick(random, 5);
        *ret_transaction = pick(random, 12) == 0;
        if (count == 1) {
                random_write(random, op, to);
                return;
        }
        *ret_transaction = *ret_transaction || pick(random, 2);
        out(to, "[2,[");
        for (unsigned i = 0; i < count; i++) {
                out(to, i ? "," : "");
                random_write(random, op, to);
        }
        out(to, "]]");
}

/* --- feed queries --- */

typedef enum OfKind {
        OF_TABLE,
        OF_GET_ALL,
        OF_BETWEEN,
        OF_FILTER,
        OF_PROJECTION,
        OF_UNION,
        OF_GET,
        OF_LIMIT,
        OF_LIMIT_SORTED, /* order_by without an index */
        OF_MIN_MAX,
        OF_COUNT,
        OF_SUM_AVG,
        OF_GROUP,
        OF_DISTINCT,
        OF_JOIN,
        OF_FAILING, /* of rows for which its function fails now and then */
        OF_KINDS
} OfKind;

static const char *const of_names[OF_KINDS] = {"table", "get_all",  "between", "filter",  "projection", "union",
                                               "get",   "limit",    "sorted",  "min_max", "count",      "sum_avg",
                                               "group", "distinct", "eq_join", "failing"};

typedef struct FeedQuery {
        OfKind kind;
        Buf term, result; /* what `changes` is called on; what gives the same without it. Texts */
        bool rows;        /* it shows whole rows of one table, in the order of commits */
        bool one;         /* one value instead of a sequence */
        bool ordered;     /* the result's order is of a meaning: with include_offsets it can be kept */
        bool remembers;   /* it is made of a FeedState */
        bool anew;        /* that perhaps cannot say what it was at a token: a function fails, or says r.now() */
} FeedQuery;

/* r.now().year(), which does not change here */
#define RANDOM_NOW "[128,[[103,[]]]]"

static inline void random_condition(Random *random, unsigned var, unsigned depth, Buf *to)
{
        switch (pick(random, depth > 1 ? 14 : 19)) {
        default: out(to, "[17,[[170,[[10,[%u]],\"a\"]],%s]]", var, random_value(random)); return;
        case 4: out(to, "[17,[[170,[[170,[[10,[%u]],\"n\"]],\"b\"]],%s]]", var, random_value(random)); return;
        case 5: {
                unsigned low = pick(random, 10);
                out(to, "[67,[[22,[[170,[[10,[%u]],\"num\"]],%u]],[19,[[170,[[10,[%u]],\"num\"]],%u]]]]", var, low, var,
                    low + pick(random, 5));
                return;
        }
        case 6: out(to, "[%u,[[170,[[10,[%u]],\"a\"]],%s]]", 19 + pick(random, 4), var, random_value(random)); return;
        case 7:
                out(to, "[67,[[22,[[170,[[10,[%u]],\"s\"]],\"x\"]],[19,[[170,[[10,[%u]],\"s\"]],\"xz\"]]]]", var, var);
                return;
        case 8: out(to, "[97,[[170,[[10,[%u]],\"s\"]],\"^x[yz]\"]]", var); return;
        case 9: out(to, "[93,[[170,[[10,[%u]],\"tags\"]],%s]]", var, random_value(random)); return;
        case 10:
                out(to, "[93,[[2,[%s,%s,7]],[170,[[10,[%u]],\"a\"]]]]", random_value(random), random_value(random),
                    var);
                return;
        case 11: out(to, "[66,[[17,[[170,[[10,[%u]],\"a\"]],1]],[17,[[170,[[10,[%u]],\"b\"]],2]]]]", var, var); return;
        case 12: out(to, "[17,[[28,[[183,[[92,[[170,[[10,[%u]],\"num\"]],0]]]],3]],1]]", var); return;
        case 13: out(to, "[32,[[10,[%u]],\"num\"]]", var); return;
        case 14:
                out(to, "[23,[");
                random_condition(random, var, depth + 1, to);
                out(to, "]]");
                return;
        case 15: out(to, "[17,[[170,[[10,[%u]],\"id\"]],%u]]", var, pick(random, 6)); return;
        case 18: out(to, "[19,[[170,[[10,[%u]],\"num\"]],[25,[" RANDOM_NOW ",2020]]]]", var); return;
        case 16:
        case 17:
                out(to, "[%u,[", pick(random, 3) ? 67 : 66);
                random_condition(random, var, depth + 1, to);
                out(to, ",");
                random_condition(random, var, depth + 1, to);
                out(to, "]]");
        }
}

static inline void random_filter(Random *random, const char *source, Buf *to)
{
        out(to, "[39,[%s,", source);
        switch (pick(random, 6)) {
        case 0: out(to, "{\"a\":%s}]]", random_value(random)); return;
        case 1: out(to, "{\"a\":%u,\"b\":%u}]]", pick(random, 3), pick(random, 3)); return;
        case 2: out(to, "{\"n\":{\"b\":%s}}]]", random_value(random)); return;
        default:
                out(to, "[69,[[2,[1]],");
                random_condition(random, 1, 0, to);
                out(to, "]]");
        }
        out(to, pick(random, 5) ? "]]" : "],{\"default\":true}]");
}

static inline void random_get_all(Random *random, const char *table, Buf *to)
{
        switch (pick(random, 6)) {
        case 0:
        case 1: {
                unsigned count = 1 + pick(random, 6);
                out(to, "[78,[%s", table);
                for (unsigned i = 0; i < count; i++) {
                        out(to, ",");
                        random_key(random, to);
                }
                out(to, "]]");
                return;
        }
        case 2: out(to, "[78,[%s,%s],{\"index\":\"a\"}]", table, pick(random, 2) ? "1" : "\"x\""); return;
        case 3: out(to, "[78,[%s,%u,%u],{\"index\":\"a\"}]", table, pick(random, 4), pick(random, 4)); return;
        case 4: out(to, "[78,[%s,%u,%u],{\"index\":\"tags\"}]", table, pick(random, 4), pick(random, 4)); return;
        default: out(to, "[78,[%s,[2,[%u,%u]]],{\"index\":\"ab\"}]", table, pick(random, 3), pick(random, 3));
        }
}

static inline void random_between(Random *random, const char *table, Buf *to)
{
        static const char *const ends[] = {"", ",\"right_bound\":\"closed\"", ",\"left_bound\":\"open\""};
        const char *end = ends[pick(random, ELEMENTS(ends))];
        unsigned low = pick(random, 4), high = low + pick(random, 4);
        switch (pick(random, 7)) {
        case 0:
        case 1: {
                unsigned first = pick(random, KEYS);
                out(to, "[182,[%s,%u,%u],{\"index\":\"id\"%s}]", table, first, first + pick(random, 15), end);
                return;
        }
        case 2: out(to, "[182,[%s,[180],%u]]", table, pick(random, KEYS)); return;
        case 3: out(to, "[182,[%s,%u,%u],{\"index\":\"a\"%s}]", table, low, high, end); return;
        case 4: out(to, "[182,[%s,%u,[181]],{\"index\":\"num\"%s}]", table, low, end); return;
        case 5: out(to, "[182,[%s,%u,%u],{\"index\":\"tags\"%s}]", table, low, high, end); return;
        default: out(to, "[182,[%s,[2,[%u,[180]]],[2,[%u,[181]]]],{\"index\":\"ab\"%s}]", table, low, low, end);
        }
}

/* A sequence of rows of table t (or u) as they are. */
static inline void random_rows(Random *random, Buf *to)
{
        const char *table = pick(random, 4) ? TABLE_T : TABLE_U;
        Buf source;
        buf_init(&source, 1 << 16);
        switch (pick(random, 6)) {
        case 0: random_get_all(random, table, &source); break;
        case 1: random_between(random, table, &source); break;
        default: out(&source, "%s", table);
        }
        status_ignore(buf_append_byte(&source, 0));
        if (pick(random, 2))
                random_filter(random, (const char *)source.data, to);
        else
                out(to, "%s", (const char *)source.data);
        buf_done(&source);
}

static inline void random_projection(Random *random, Buf *to)
{
        static const char *const shapes[][2] = {
                {"[33,[", ",\"a\",\"id\"]]"},
                {"[33,[", ",\"a\"]]"},
                {"[34,[", ",\"op\"]]"},
                {"[34,[", ",\"op\",\"num\",\"id\",{\"n\":{\"b\":true}}]]"},
                {"[35,[", ",{\"c\":1,\"a\":9}]]"},
                {"[35,[", ",[69,[[2,[5]],{\"twice\":[26,[[92,[[170,[[10,[5]],\"num\"]],0]],2]]}]]]]"},
                {"[38,[",
                 ",[69,[[2,[6]],{\"key\":[170,[[10,[6]],\"id\"]],\"a\":[92,[[170,[[10,[6]],\"a\"]],\"none\"]]}]]]]"},
                {"[38,[", ",[69,[[2,[7]],[92,[[170,[[10,[7]],\"num\"]],-1]]]]]]"},
                {"[96,[", ",\"a\",\"num\"]]"},
                {"[32,[", ",\"num\",\"s\"]]"},
                {"[170,[", ",\"num\"]]"},
                {"[34,[[33,[", ",\"id\",\"a\",\"b\"]],\"b\"]]"},
        };
        unsigned shape = pick(random, ELEMENTS(shapes));
        out(to, "%s", shapes[shape][0]);
        random_rows(random, to);
        out(to, "%s", shapes[shape][1]);
}

static inline void random_ordered(Random *random, bool sorted, Buf *to)
{
        static const char *const indexes[] = {"id", "a", "num", "ab", "tags"};
        const char *index = indexes[pick(random, ELEMENTS(indexes))];
        bool descending = pick(random, 2);
        out(to, "[71,[");
        if (sorted) { /* rows of equal keys come as the source has them, which says nothing of a key given twice */
                static const char *const by[] = {"\"num\"", "\"a\"", "\"s\",\"a\"", "[74,[\"num\"]]",
                                                 "[69,[[2,[8]],[170,[[10,[8]],\"num\"]]]]"};
                bool ties = pick(random, 2);
                out(to, "[41,[");
                switch (ties ? pick(random, 3) : 3) {
                case 0: out(to, TABLE_T); break;
                case 1: random_between(random, TABLE_T, to); break;
                case 2: random_filter(random, TABLE_T, to); break;
                default: random_rows(random, to);
                }
                out(to, ",%s%s]]", by[pick(random, ELEMENTS(by))], ties ? "" : ",\"id\"");
        } else {
                bool bounds = strcmp(index, "ab") != 0 && pick(random, 3) == 0;
                unsigned low = pick(random, 4);
                out(to, "[41,[");
                if (bounds)
                        out(to, "[182,[" TABLE_T ",%u,%u],{\"index\":\"%s\"}]", low, low + 1 + pick(random, 20), index);
                else
                        out(to, TABLE_T);
                out(to, descending ? "],{\"index\":[74,[\"%s\"]]}]" : "],{\"index\":\"%s\"}]", index);
        }
        out(to, ",%u]]", 1 + pick(random, 8));
}

static inline void random_feed_query(Random *random, OfKind kind, FeedQuery *query)
{
        Buf *to = &query->term;
        bool same = true;
        *query = (FeedQuery){.kind = kind};
        buf_init(to, 1 << 16);
        buf_init(&query->result, 1 << 16);
        query->rows = kind <= OF_FILTER;
        query->remembers = kind >= OF_LIMIT;
        switch (kind) {
        case OF_TABLE: out(to, "%s", pick(random, 4) ? TABLE_T : TABLE_U); break;
        case OF_GET_ALL: random_get_all(random, TABLE_T, to); break;
        case OF_BETWEEN: random_between(random, TABLE_T, to); break;
        case OF_FILTER:
                if (pick(random, 3)) {
                        random_filter(random, TABLE_T, to);
                } else {
                        Buf source;
                        buf_init(&source, 1 << 16);
                        random_rows(random, &source);
                        status_ignore(buf_append_byte(&source, 0));
                        random_filter(random, (const char *)source.data, to);
                        buf_done(&source);
                }
                break;
        case OF_PROJECTION: random_projection(random, to); break;
        case OF_UNION:
                out(to, "[44,[");
                random_rows(random, to);
                out(to, ",");
                pick(random, 2) ? random_rows(random, to) : random_projection(random, to);
                if (pick(random, 3) == 0) {
                        out(to, ",");
                        random_rows(random, to);
                }
                out(to, "]]");
                break;
        case OF_GET:
                query->one = true;
                out(to, "[16,[" TABLE_T ",");
                random_key(random, to);
                out(to, "]]");
                break;
        case OF_LIMIT:
        case OF_LIMIT_SORTED:
                query->ordered = true;
                random_ordered(random, kind == OF_LIMIT_SORTED, to);
                break;
        case OF_MIN_MAX:
                query->one = true;
                out(to, "[%u,[", 147 + pick(random, 2));
                if (pick(random, 2)) {
                        static const char *const indexes[] = {"id", "a", "num", "ab"};
                        out(to, TABLE_T "],{\"index\":\"%s\"}]", indexes[pick(random, ELEMENTS(indexes))]);
                } else {
                        random_rows(random, to);
                        out(to, ",\"%s\"]]", pick(random, 2) ? "num" : "a");
                }
                break;
        case OF_COUNT:
                query->one = true;
                out(to, "[43,[");
                random_rows(random, to);
                if (pick(random, 3) == 0) {
                        out(to, ",[69,[[2,[4]],");
                        random_condition(random, 4, 0, to);
                        out(to, "]]");
                }
                out(to, "]]");
                break;
        case OF_SUM_AVG:
                query->one = true;
                out(to, "[%u,[", 145 + pick(random, 2));
                random_rows(random, to);
                out(to, pick(random, 3) ? ",\"num\"]]" : ",[69,[[2,[4]],[26,[[170,[[10,[4]],\"num\"]],2]]]]]]");
                break;
        case OF_GROUP: {
                static const char *const aggregates[][2] = {{"[43,[", "]]"},
                                                            {"[145,[", ",\"num\"]]"},
                                                            {"[146,[", ",\"num\"]]"},
                                                            {"[147,[", ",\"num\"]]"},
                                                            {"[148,[", ",\"op\"]]"}};
                unsigned aggregate = pick(random, ELEMENTS(aggregates));
                out(to, "%s[144,[", aggregates[aggregate][0]);
                random_rows(random, to);
                out(to, ",%s]]%s", pick(random, 2) ? "\"a\"" : "[69,[[2,[4]],[92,[[170,[[10,[4]],\"b\"]],\"none\"]]]]",
                    aggregates[aggregate][1]);
                out(&query->result, "[150,[%.*s]]", (int)to->size, (const char *)to->data);
                same = false;
                break;
        }
        case OF_DISTINCT:
                if (pick(random, 3) == 0) {
                        out(to, "[42,[" TABLE_T "],{\"index\":\"%s\"}]", pick(random, 2) ? "a" : "num");
                } else {
                        out(to, "[42,[");
                        switch (pick(random, 3)) {
                        case 0: random_rows(random, to); break;
                        case 1:
                                out(to, "[33,[");
                                random_rows(random, to);
                                out(to, ",\"a\"]]");
                                break;
                        default:
                                out(to, "[170,[");
                                random_rows(random, to);
                                out(to, ",\"num\"]]");
                        }
                        out(to, "]]");
                }
                break;
        case OF_FAILING: {
                static const char *const whole[][2] = {
                        {"", ""}, {"[43,[", "]]"}, {"[145,[", ",\"num\"]]"}, {"[42,[[170,[", ",\"num\"]]]]"}};
                unsigned of = pick(random, ELEMENTS(whole));
                query->remembers = of > 0;
                query->one = of == 1 || of == 2;
                out(to, "%s[39,[", whole[of][0]);
                random_get_all(random, TABLE_T, to);
                out(to, ",[69,[[2,[1]],[21,[[24,[[170,[[10,[1]],\"b\"]],1]],2]]]]]]%s", whole[of][1]);
                break;
        }
        default: { /* OF_JOIN */
                /* With what can be a key only: an object is an error of the query. */
                static const char *const rights[] = {",\"num\"," TABLE_U "]]",
                                                     ",\"num\"," TABLE_U "],{\"index\":\"a\"}]",
                                                     ",[69,[[2,[4]],[170,[[10,[4]],\"num\"]]]]," TABLE_T "]]",
                                                     ",\"num\"," TABLE_T "],{\"index\":\"tags\"}]"};
                out(to, "[50,[");
                random_rows(random, to);
                out(to, "%s", rights[pick(random, ELEMENTS(rights))]);
        }
        }
        if (same)
                out(&query->result, "%.*s", (int)to->size, (const char *)to->data);
        status_ignore(buf_append_byte(to, 0));
        status_ignore(buf_append_byte(&query->result, 0));
        query->anew = query->remembers && (kind == OF_FAILING || strstr((const char *)to->data, RANDOM_NOW));
}

static inline void feed_query_done(FeedQuery *query)
{
        buf_done(&query->term);
        buf_done(&query->result);
}

#endif
