/* plan_random.h - random tables, indexes and filters for the planner, made of bytes: the test beside it feeds random
 * ones, fuzz/plan_fuzz.c what libFuzzer thinks of. Values of every type and their neighbours in ReQL's order meet in a
 * few fields. */
#ifndef TABLE_PLAN_RANDOM_H
#define TABLE_PLAN_RANDOM_H

#include "base/bytes.h"
#include "base/status.h"

typedef struct PlanBytes {
        const uint8_t *data;
        size_t size, at;
} PlanBytes;

/* 0 .. count - 1; 0 when the bytes are used up. */
static inline unsigned plan_pick(PlanBytes *bytes, unsigned count)
{
        return bytes->at < bytes->size ? bytes->data[bytes->at++] % count : 0;
}

static inline void plan_out(Buf *out, const char *text)
{
        status_ignore(buf_append_str(out, text));
}

#define plan_printf(out, ...) status_ignore(buf_printf(out, __VA_ARGS__))

/* 210 letters: longer than what an index keeps of a value. */
#define PLAN_LONG                                                                                                      \
        "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"   \
        "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"

/* As constants in a query, so that arrays are MAKE_ARRAY. The last one equals another and looks different: rows do not
 * have it, or it would depend on their order which of the two stands for both (distinct, group). */
static const char *const plan_values[] = {
        "0",
        "1",
        "2",
        "3",
        "-1",
        "-0.0",
        "2.5",
        "\"a\"",
        "\"b\"",
        "\"ab\"",
        "\"\"",
        "\"a\\u0000\"",
        "\"" PLAN_LONG "a\"",
        "\"" PLAN_LONG "b\"",
        "true",
        "false",
        "null",
        "[2,[]]",
        "[2,[1]]",
        "[2,[1,2]]",
        "[2,[1,2,1]]",
        "[2,[\"a\",\"b\",null]]",
        "[2,[null]]",
        "[2,[{\"b\":1}]]",
        "[2,[[2,[1]],2]]",
        "[2,[\"" PLAN_LONG "a\",{\"b\":1}]]",
        "{}",
        "{\"b\":1}",
        "{\"b\":2,\"c\":null}",
        "{\"b\":{\"c\":1}}",
        "{\"b\":[2,[1,2]]}",
        "{\"$reql_type$\":\"TIME\",\"epoch_time\":100,\"timezone\":\"+00:00\"}",
        "{\"$reql_type$\":\"TIME\",\"epoch_time\":200.5,\"timezone\":\"+00:00\"}",
        "{\"$reql_type$\":\"BINARY\",\"data\":\"AAE=\"}",
        "{\"$reql_type$\":\"BINARY\",\"data\":\"YQ==\"}",
        "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[2,[1,2]]}",
        "{\"$reql_type$\":\"TIME\",\"epoch_time\":100,\"timezone\":\"+02:00\"}",
};

static inline const char *plan_value(PlanBytes *bytes)
{
        return plan_values[plan_pick(bytes, sizeof plan_values / sizeof *plan_values)];
}

static inline const char *plan_row_value(PlanBytes *bytes)
{
        return plan_values[plan_pick(bytes, sizeof plan_values / sizeof *plan_values - 1)];
}

static const char *const plan_fields[] = {"a", "b", "tags", "n"};

/* A document with primary key `id`; `tidy`: `tags` are arrays and `n` objects, so that few queries end with an error.
 */
static inline void plan_row(PlanBytes *bytes, unsigned id, bool tidy, Buf *out)
{
        plan_printf(out, "{\"id\":%s%u%s", id % 5 == 4 ? "\"k" : "", id, id % 5 == 4 ? "\"" : "");
        for (unsigned i = 0; i < 4; i++) {
                unsigned kind = plan_pick(bytes, 8);
                if (kind == 0)
                        continue;
                if (tidy && i >= 2)
                        kind = 4;
                plan_printf(out, ",\"%s\":", plan_fields[i]);
                if (kind <= 3) {
                        plan_printf(out, "%u", plan_pick(bytes, 5));
                } else if (kind == 4 && i == 2) {
                        plan_printf(out, "[2,[%s", plan_row_value(bytes));
                        plan_printf(out, ",%s", plan_row_value(bytes));
                        plan_printf(out, ",%u,%u]]", plan_pick(bytes, 3), plan_pick(bytes, 3));
                } else if (kind == 4 && i == 3) {
                        plan_printf(out, "{\"b\":%s}", plan_row_value(bytes));
                } else {
                        plan_out(out, plan_row_value(bytes));
                }
        }
        plan_out(out, "}");
}

/* Indexes by name: INDEX_CREATE's arguments behind the table. */
static const char *const plan_indexes[] = {
        "\"a\"",
        "\"b\"",
        "\"ab\",[69,[[2,[1]],[2,[[170,[[10,[1]],\"a\"]],[170,[[10,[1]],\"b\"]]]]]]",
        "\"multi\",[69,[[2,[1]],[170,[[10,[1]],\"tags\"]]]]],{\"multi\":true}",
        "\"tags\"",
        "\"nb\",[69,[[2,[1]],[170,[[170,[[10,[1]],\"n\"]],\"b\"]]]]",
        "\"nbmulti\",[69,[[2,[1]],[170,[[170,[[10,[1]],\"n\"]],\"b\"]]]]],{\"multi\":true}",
        "\"anb\",[69,[[2,[1]],[2,[[170,[[10,[1]],\"a\"]],[170,[[170,[[10,[1]],\"n\"]],\"b\"]]]]]]",
        "\"sum\",[69,[[2,[1]],[24,[[170,[[10,[1]],\"a\"]],1]]]]",
        "\"abtags\",[69,[[2,[1]],[2,[[170,[[10,[1]],\"b\"]],[170,[[10,[1]],\"a\"]],[170,[[10,[1]],\"tags\"]]]]]]",
};

/* Whether plan_indexes[i] has its closing bracket of arguments already, because options follow. */
static inline const char *plan_index_end(unsigned i)
{
        return i == 3 || i == 6 ? "" : "]";
}

#define PLAN_TABLE "[15,[[14,[\"test\"]],\"t\"]]"
#define PLAN_OTHER "[15,[[14,[\"test\"]],\"u\"]]"

static inline void plan_index(unsigned i, Buf *out)
{
        plan_printf(out, "[75,[" PLAN_TABLE ",%s%s]", plan_indexes[i], plan_index_end(i));
}

static inline void plan_path(PlanBytes *bytes, Buf *out)
{
        const char *row = plan_pick(bytes, 4) ? "[10,[1]]" : "[13]";
        unsigned term = plan_pick(bytes, 4) ? 170 : 31;
        switch (plan_pick(bytes, 8)) {
        case 0:
        case 1: plan_printf(out, "[%u,[%s,\"a\"]]", term, row); break;
        case 2:
        case 3: plan_printf(out, "[%u,[%s,\"b\"]]", term, row); break;
        case 4: plan_printf(out, "[%u,[%s,\"tags\"]]", term, row); break;
        case 5: plan_printf(out, "[%u,[%s,\"id\"]]", term, row); break;
        case 6: plan_printf(out, "[%u,[%s,\"n\"]]", term, row); break;
        default: plan_printf(out, "[170,[[%u,[%s,\"n\"]],\"b\"]]", term, row); break;
        }
}

static inline void plan_constant(PlanBytes *bytes, Buf *out)
{
        switch (plan_pick(bytes, 16)) {
        case 0: plan_printf(out, "[24,[1,%u]]", plan_pick(bytes, 3)); break;
        case 1: plan_out(out, "[180]"); break;
        case 2: plan_out(out, "[181]"); break;
        case 3: plan_out(out, "[12,[\"boom\"]]"); break;
        case 4: plan_out(out, "[43,[" PLAN_OTHER "]]"); break;
        case 5:
        case 6:
        case 7:
        case 8: plan_printf(out, "%u", plan_pick(bytes, 5)); break;
        case 9: plan_printf(out, "%s%u%s", "\"k", plan_pick(bytes, 20), "\""); break;
        default: plan_out(out, plan_value(bytes)); break;
        }
}

static inline void plan_condition(PlanBytes *bytes, unsigned depth, Buf *out)
{
        unsigned kind = plan_pick(bytes, depth > 2 ? 12 : 20);
        if (kind < 10) { /* a comparison */
                unsigned op = kind < 5 ? 17 : 17 + plan_pick(bytes, 6);
                bool turned = plan_pick(bytes, 4) == 0;
                plan_printf(out, "[%u,[", op);
                turned ? plan_constant(bytes, out) : plan_path(bytes, out);
                plan_out(out, ",");
                turned ? plan_path(bytes, out) : plan_constant(bytes, out);
                if (plan_pick(bytes, 8) == 7) {
                        plan_out(out, ",");
                        plan_constant(bytes, out);
                }
                plan_out(out, "]]");
                return;
        }
        switch (kind) {
        case 10:
        case 11:
        case 12:
                plan_out(out, "[93,[");
                plan_path(bytes, out);
                plan_out(out, ",");
                plan_constant(bytes, out);
                plan_out(out, "]]");
                return;
        case 13: plan_printf(out, "[32,[[10,[1]],\"%s\"]]", plan_fields[plan_pick(bytes, 4)]); return;
        case 14:
                plan_out(out, "[22,[[24,[");
                plan_path(bytes, out);
                plan_out(out, ",1]],3]]");
                return;
        case 15:
                plan_out(out, "[20,[[92,[");
                plan_path(bytes, out);
                plan_out(out, ",0]],2]]");
                return;
        case 16: plan_path(bytes, out); return;
        case 17:
                plan_out(out, "[23,[");
                plan_condition(bytes, depth + 1, out);
                plan_out(out, "]]");
                return;
        default:
                plan_printf(out, "[%u,[", kind == 19 ? 66 : 67);
                plan_condition(bytes, depth + 1, out);
                plan_out(out, ",");
                plan_condition(bytes, depth + 1, out);
                plan_out(out, "]]");
        }
}

/* A predicate: an object, or a function of the parts of an AND. */
static inline void plan_predicate(PlanBytes *bytes, Buf *out)
{
        if (plan_pick(bytes, 4) == 0) {
                unsigned count = 1 + plan_pick(bytes, 2);
                plan_out(out, "{");
                for (unsigned i = 0; i < count; i++) {
                        const char *field = plan_fields[(i * 2 + plan_pick(bytes, 2)) % 4];
                        plan_printf(out, "%s\"%s\":", i ? "," : "", field);
                        plan_pick(bytes, 3) ? plan_printf(out, "%u", plan_pick(bytes, 4))
                                            : plan_out(out, plan_value(bytes));
                }
                plan_out(out, "}");
                return;
        }
        unsigned count = 1 + plan_pick(bytes, 3);
        plan_out(out, "[69,[[2,[1]],");
        if (count > 1)
                plan_out(out, "[67,[");
        for (unsigned i = 0; i < count; i++) {
                plan_out(out, i ? "," : "");
                plan_condition(bytes, 0, out);
        }
        plan_out(out, count > 1 ? "]]]]" : "]]");
}

static inline void plan_source(PlanBytes *bytes, Buf *out)
{
        static const char *const sources[] = {
                "[182,[" PLAN_TABLE ",2,14]]",
                "[182,[" PLAN_TABLE ",1,\"k\"],{\"right_bound\":\"closed\"}]",
                "[41,[" PLAN_TABLE "],{\"index\":\"id\"}]",
                "[41,[" PLAN_TABLE "],{\"index\":[74,[\"id\"]]}]",
                "[41,[" PLAN_TABLE "],{\"index\":\"a\"}]",
                "[182,[" PLAN_TABLE ",1,3],{\"index\":\"a\"}]",
                "[41,[" PLAN_TABLE "],{\"index\":\"multi\"}]",
                "[78,[" PLAN_TABLE ",1,2],{\"index\":\"b\"}]",
                "[41,[" PLAN_TABLE "],{\"index\":\"ab\"}]",
        };
        unsigned kind = plan_pick(bytes, 24);
        plan_out(out, kind < sizeof sources / sizeof *sources ? sources[kind] : PLAN_TABLE);
}

/* What becomes of the rows. None of them stops before the last row, or takes the first of equal ones: which error comes
 * first, and which row, is not promised. *ret_ordered: the answer's order is. */
static inline void plan_query(PlanBytes *bytes, Buf *out, bool *ret_ordered)
{
        static const char *const tails[][2] = {
                {"", ""},
                {"[43,[", "]]"},
                {"[38,[", ",[69,[[2,[2]],[92,[[170,[[10,[2]],\"a\"]],\"none\"]]]]]]"},
                {"[38,[", ",[69,[[2,[2]],[170,[[10,[2]],\"b\"]]]]]]"},
                {"[145,[", ",\"a\"]]"},
                {"[146,[", ",\"b\"]]"},
                {"[43,[[144,[", ",\"b\"]]]]"},
                {"[145,[[144,[", ",\"a\"]],\"b\"]]"},
                {"[41,[", ",\"id\"]]"},
                {"[71,[[41,[", ",\"id\"]],3]]"},
                {"[42,[[33,[", ",\"a\"]]]]"},
                {"[148,[[38,[", ",[69,[[2,[2]],[170,[[10,[2]],\"id\"]]]]]]]]"},
                {"[37,[[38,[", ",[69,[[2,[2]],1]]]],[69,[[2,[3,4]],[24,[[10,[3]],[10,[4]]]]]]]]"},
                {"[50,[", ",\"b\"," PLAN_OTHER "]]"},
                {"[43,[", ",[69,[[2,[2]],[21,[[170,[[10,[2]],\"a\"]],1]]]]]]"},
                {"[150,[[43,[[144,[", ",\"tags\"],{\"multi\":true}]]]]]]"},
        };
        unsigned tail = plan_pick(bytes, 32), filters = 1 + (plan_pick(bytes, 3) == 0) + (plan_pick(bytes, 6) == 0);
        Buf source;
        buf_init(&source, 1 << 16);
        plan_source(bytes, &source);
        if (tail >= sizeof tails / sizeof *tails)
                tail = 0;
        plan_out(out, tails[tail][0]);
        for (unsigned i = 0; i < filters; i++)
                plan_out(out, "[39,[");
        status_ignore(buf_append(out, source.data, source.size));
        for (unsigned i = 0; i < filters; i++) {
                static const char *const defaults[] = {"", ",{\"default\":true}", ",{\"default\":[12]}",
                                                       ",{\"default\":false}", ",{\"default\":null}"};
                unsigned on_missing = plan_pick(bytes, 12);
                plan_out(out, ",");
                plan_predicate(bytes, out);
                plan_printf(out, "]%s]", on_missing < 5 ? defaults[on_missing] : "");
        }
        plan_out(out, tails[tail][1]);
        *ret_ordered = tail == 8 || tail == 9;
        buf_done(&source);
}

#endif
