/* query_grammar.h - random queries out of a fuzzer's bytes: mostly well-typed, so that they get far, and now and then
 * wrong.
 *
 * Each term of terms.def has a line here: what it gives and what its arguments are, as letters for kinds of value.
 * Arities and options come from the term table itself. The bytes decide; when they end, everything becomes a leaf, so
 * every text ends. The same bytes give the same text. */
#ifndef FUZZ_QUERY_GRAMMAR_H
#define FUZZ_QUERY_GRAMMAR_H

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "reql/term.h"

#define GEN_TEXT_MAX 16384

/* What a place may hold:
 *      d any datum  n number  i small integer  s string  b bool  o object  a array  m time  g geometry  y binary  z
 * zone q sequence   t table   S selection      r one row G grouped  D database  W what a write gives 1 function of one
 * 2 of two  p predicate  j predicate of two  c function to a sequence  w function that writes F field or function  P
 * path  u update  L sort key  N new name  X index  k key  l literal  x anything behind it: ? may be left out, * none to
 * three of it */
typedef struct Shape {
        uint8_t type;
        const char *gives; /* kinds */
        const char *args;
} Shape;

static const Shape shapes[] = {
        {TERM_DATUM, "d", "d"},
        {TERM_MAKE_ARRAY, "ad", "d*"},
        {TERM_MAKE_OBJ, "o", ""},
        {TERM_JAVASCRIPT, "x", "s"},
        {TERM_ERROR, "x", "s?"},
        {TERM_IMPLICIT_VAR, "d", ""},
        {TERM_HTTP, "x", "s"},
        {TERM_ARGS, "", "a"}, /* only as an argument */
        {TERM_BINARY, "yd", "s"},
        {TERM_UUID, "s", "s?"},
        {TERM_MINVAL, "k", ""},
        {TERM_MAXVAL, "k", ""},
        {TERM_DB, "D", "N"},
        {TERM_TABLE, "tSq", "DN"},
        {TERM_GET, "ro", "tk"},
        {TERM_GET_ALL, "Sq", "tk*"},
        {TERM_BETWEEN_DEPRECATED, "Sq", "tkk"},
        {TERM_BETWEEN, "Sqt", "tkk"},
        {TERM_CHANGES, "q", "S"},
        {TERM_GET_INTERSECTING, "Sq", "tg"},
        {TERM_GET_NEAREST, "aq", "tg"},
        {TERM_EQ, "b", "dd*"},
        {TERM_NE, "b", "dd*"},
        {TERM_LT, "b", "dd*"},
        {TERM_LE, "b", "dd*"},
        {TERM_GT, "b", "dd*"},
        {TERM_GE, "b", "dd*"},
        {TERM_NOT, "b", "b"},
        {TERM_ADD, "nsamd", "nn*"},
        {TERM_SUB, "nm", "nn*"},
        {TERM_MUL, "na", "nn*"},
        {TERM_DIV, "n", "nn*"},
        {TERM_MOD, "n", "ii"},
        {TERM_OR, "bd", "bb*"},
        {TERM_AND, "bd", "bb*"},
        {TERM_RANDOM, "n", "i?i?"},
        {TERM_FLOOR, "ni", "n"},
        {TERM_CEIL, "ni", "n"},
        {TERM_ROUND, "ni", "n"},
        {TERM_BIT_AND, "ni", "ii*"},
        {TERM_BIT_OR, "ni", "ii*"},
        {TERM_BIT_XOR, "ni", "ii*"},
        {TERM_BIT_NOT, "ni", "i"},
        {TERM_BIT_SAL, "n", "ii"},
        {TERM_BIT_SAR, "n", "ii"},
        {TERM_APPEND, "a", "ad"},
        {TERM_PREPEND, "a", "ad"},
        {TERM_DIFFERENCE, "a", "aa"},
        {TERM_SET_INSERT, "a", "ad"},
        {TERM_SET_INTERSECTION, "a", "aa"},
        {TERM_SET_UNION, "a", "aa"},
        {TERM_SET_DIFFERENCE, "a", "aa"},
        {TERM_INSERT_AT, "a", "aid"},
        {TERM_DELETE_AT, "a", "aii?"},
        {TERM_CHANGE_AT, "a", "aid"},
        {TERM_SPLICE_AT, "a", "aia"},
        {TERM_GET_FIELD, "dq", "os"},
        {TERM_BRACKET, "dq", "qs"},
        {TERM_HAS_FIELDS, "bq", "oP*"},
        {TERM_PLUCK, "oq", "oP*"},
        {TERM_WITHOUT, "oq", "oP*"},
        {TERM_MERGE, "oq", "ou*"},
        {TERM_WITH_FIELDS, "q", "qP*"},
        {TERM_KEYS, "a", "o"},
        {TERM_VALUES, "a", "o"},
        {TERM_OBJECT, "o", "sdsd"},
        {TERM_LITERAL, "l", "d?"},
        {TERM_SLICE, "qaSsy", "qii?"},
        {TERM_REDUCE, "d", "q2"},
        {TERM_MAP, "qa", "q1"},
        {TERM_FILTER, "qSa", "qp"},
        {TERM_CONCAT_MAP, "q", "qc"},
        {TERM_ORDER_BY, "qaS", "qL*"},
        {TERM_DISTINCT, "qa", "q"},
        {TERM_COUNT, "ni", "qp?"},
        {TERM_UNION, "q", "qq*"},
        {TERM_NTH, "dor", "qi"},
        {TERM_INNER_JOIN, "q", "qqj"},
        {TERM_OUTER_JOIN, "q", "qqj"},
        {TERM_EQ_JOIN, "q", "qFt"},
        {TERM_SKIP, "qS", "qi"},
        {TERM_LIMIT, "qS", "qi"},
        {TERM_ZIP, "q", "q"},
        {TERM_ASC, "L", "F"},
        {TERM_DESC, "L", "F"},
        {TERM_SAMPLE, "qa", "qi"},
        {TERM_IS_EMPTY, "b", "q"},
        {TERM_OFFSETS_OF, "qa", "qd"},
        {TERM_CONTAINS, "b", "qd*"},
        {TERM_GROUP, "G", "qF*"},
        {TERM_SUM, "n", "qF?"},
        {TERM_AVG, "n", "qF?"},
        {TERM_MIN, "dn", "qF?"},
        {TERM_MAX, "dn", "qF?"},
        {TERM_UNGROUP, "aq", "G"},
        {TERM_RANGE, "q", "i?i?"},
        {TERM_FOLD, "dq", "qd2"},
        {TERM_COERCE_TO, "dnsaoby", "ds"},
        {TERM_TYPE_OF, "s", "x"},
        {TERM_FUNCALL, "x", "1d"},
        {TERM_BRANCH, "x", "bxx"},
        {TERM_FOR_EACH, "W", "qw"},
        {TERM_INFO, "o", "x"},
        {TERM_DEFAULT, "xdn", "dd"},
        {TERM_MATCH, "od", "ss"},
        {TERM_JSON, "d", "s"},
        {TERM_UPCASE, "s", "s"},
        {TERM_DOWNCASE, "s", "s"},
        {TERM_SPLIT, "a", "ss?i?"},
        {TERM_TO_JSON_STRING, "s", "d"},
        {TERM_ISO8601, "m", "s"},
        {TERM_TO_ISO8601, "s", "m"},
        {TERM_EPOCH_TIME, "m", "n"},
        {TERM_TO_EPOCH_TIME, "n", "m"},
        {TERM_NOW, "m", ""},
        {TERM_IN_TIMEZONE, "m", "mz"},
        {TERM_DURING, "b", "mmm"},
        {TERM_DATE, "m", "m"},
        {TERM_MONDAY, "i", ""},
        {TERM_TUESDAY, "i", ""},
        {TERM_WEDNESDAY, "i", ""},
        {TERM_THURSDAY, "i", ""},
        {TERM_FRIDAY, "i", ""},
        {TERM_SATURDAY, "i", ""},
        {TERM_SUNDAY, "i", ""},
        {TERM_JANUARY, "i", ""},
        {TERM_FEBRUARY, "i", ""},
        {TERM_MARCH, "i", ""},
        {TERM_APRIL, "i", ""},
        {TERM_MAY, "i", ""},
        {TERM_JUNE, "i", ""},
        {TERM_JULY, "i", ""},
        {TERM_AUGUST, "i", ""},
        {TERM_SEPTEMBER, "i", ""},
        {TERM_OCTOBER, "i", ""},
        {TERM_NOVEMBER, "i", ""},
        {TERM_DECEMBER, "i", ""},
        {TERM_TIME_OF_DAY, "n", "m"},
        {TERM_TIMEZONE, "s", "m"},
        {TERM_YEAR, "i", "m"},
        {TERM_MONTH, "i", "m"},
        {TERM_DAY, "i", "m"},
        {TERM_DAY_OF_WEEK, "i", "m"},
        {TERM_DAY_OF_YEAR, "i", "m"},
        {TERM_HOURS, "i", "m"},
        {TERM_MINUTES, "i", "m"},
        {TERM_SECONDS, "n", "m"},
        {TERM_TIME, "m", "iiiz"},
        {TERM_UPDATE, "W", "Su"},
        {TERM_DELETE, "W", "S"},
        {TERM_REPLACE, "W", "Su"},
        {TERM_INSERT, "W", "tq"},
        {TERM_SYNC, "W", "t"},
        {TERM_DB_CREATE, "W", "N"},
        {TERM_DB_DROP, "W", "N"},
        {TERM_DB_LIST, "a", ""},
        {TERM_TABLE_CREATE, "W", "DN"},
        {TERM_TABLE_DROP, "W", "DN"},
        {TERM_TABLE_LIST, "a", "D?"},
        {TERM_INDEX_CREATE, "W", "tX1?"},
        {TERM_INDEX_DROP, "W", "tX"},
        {TERM_INDEX_LIST, "a", "t"},
        {TERM_INDEX_STATUS, "a", "tX*"},
        {TERM_INDEX_WAIT, "a", "tX*"},
        {TERM_INDEX_RENAME, "W", "tXX"},
        {TERM_CONFIG, "r", "t"},
        {TERM_STATUS, "r", "t"},
        {TERM_RECONFIGURE, "W", "t"},
        {TERM_WAIT, "W", "t"},
        {TERM_REBALANCE, "W", "t"},
        {TERM_GRANT, "W", "tso"},
        {TERM_SET_WRITE_HOOK, "W", "t1"},
        {TERM_GET_WRITE_HOOK, "o", "t"},
        {TERM_GEOJSON, "g", "o"},
        {TERM_TO_GEOJSON, "o", "g"},
        {TERM_POINT, "g", "nn"},
        {TERM_LINE, "g", "ggg*"},
        {TERM_POLYGON, "g", "gggg*"},
        {TERM_DISTANCE, "n", "gg"},
        {TERM_INTERSECTS, "b", "gg"},
        {TERM_INCLUDES, "b", "gg"},
        {TERM_CIRCLE, "g", "gn"},
        {TERM_FILL, "g", "g"},
        {TERM_POLYGON_SUB, "g", "gg"},
};

typedef struct Gen {
        const uint8_t *data;
        size_t size;
        Buf out;
        unsigned depth;
        unsigned vars[16]; /* of the functions around this place */
        size_t var_count;
        unsigned next_var;
        bool repeatable; /* nothing in it gives something else the second time */
} Gen;

static unsigned gen_byte(Gen *g)
{
        if (!g->size)
                return 0;
        g->size--;
        return *g->data++;
}
static unsigned gen_below(Gen *g, unsigned bound)
{
        return gen_byte(g) % bound;
}
/* One time in `n`, never when the bytes are used up. */
static bool gen_chance(Gen *g, unsigned n)
{
        return g->size && gen_byte(g) % n == 1;
}
static void gen_text(Gen *g, const char *text)
{
        if (buf_append_str(&g->out, text))
                abort();
}
#define gen_pick(g, list) gen_text(g, (list)[gen_below(g, ELEMENTS(list))])

static void gen(Gen *g, char kind);

static const Shape *gen_shape(unsigned type)
{
        for (size_t i = 0; i < ELEMENTS(shapes); i++)
                if (shapes[i].type == type)
                        return &shapes[i];
        return NULL;
}

/* --- leaves --- */
#define LEAF_TABLE(name) "[15,[[14,[\"test\"]],\"" name "\"]]"
static const char *const numbers[] = {
        "0", "1", "-1", "2", "1.5", "3", "100", "-0.0", "1e308", "9007199254740993", "-7.25", "1e-300", "5", "12"};
static const char *const integers[] = {"0",  "1",  "2",  "3",      "-1",         "5",   "-2",
                                       "10", "31", "64", "100001", "4294967296", "1.5", "2020"};
static const char *const strings[] = {
        "\"\"",
        "\"a\"",
        "\"id\"",
        "\"tags\"",
        "\"b\"",
        "\"x y  z\"",
        "\"n\u00e9\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "\"(a|b)*c\"",
        "\"string\"",
        "\"array\"",
        "\"object\"",
        "\"number\"",
        "\"binary\"",
        "\"2020-02-29T12:30:15.25+02:00\"",
        "\"{\\\"a\\\":[1,null]}\"",
        "\"[\"",
        "\"(\"",
        "\"http://127.0.0.1:1/\"",
        "\"1 + 1\"",
        "\"1.5\"",
        "\"read\"",
        "\"$reql_type$\"",
        "\"bool\"",
        "\"group\"",
        "\"reduction\"",
};
static const char *const fields[] = {"\"id\"", "\"a\"",   "\"b\"",       "\"tags\"",    "\"o\"",    "\"s\"",
                                     "\"at\"", "\"loc\"", "\"new_val\"", "\"missing\"", "\"left\"", "\"bin\""};
static const char *const objects[] = {
        "{}",
        "{\"a\":1}",
        "{\"id\":3,\"a\":null}",
        "{\"o\":{\"x\":{\"y\":2}}}",
        "{\"tags\":[2,[\"p\",\"q\"]]}",
        "{\"id\":4,\"s\":\"four\"}",
        "{\"type\":\"Point\",\"coordinates\":[2,[1,2]]}",
        "{\"read\":true,\"write\":false}",
        "{\"$reql_type$\":\"TIME\"}",
        "{\"a\":{\"$reql_type$\":\"LITERAL\",\"value\":1}}",
        "{\"id\":[2,[1,\"a\"]]}",
        "{\"user\":\"u\"}",
};
static const char *const arrays[] = {"[2,[]]",
                                     "[2,[1,2,3]]",
                                     "[2,[\"a\",\"b\",\"a\"]]",
                                     "[2,[{\"a\":1},{\"a\":2},{\"id\":1}]]",
                                     "[2,[[2,[\"k\",1]],[2,[\"l\",null]]]]",
                                     "[2,[null,true,1.5,\"s\"]]"};
static const char *const times[] = {"[101,[0]]", "[101,[1582979415.25]]", "[99,[\"2016-11-20T15:54:07-08:00\"]]",
                                    "{\"$reql_type$\":\"TIME\",\"epoch_time\":-1,\"timezone\":\"-11:30\"}",
                                    "[101,[253402300799]]"};
static const char *const places[] = {
        "[159,[0,0]]",
        "[159,[-122.42,37.78]]",
        "[159,[179.9,89]]",
        "[160,[[159,[0,0]],[159,[1,1]]]]",
        "[161,[[159,[0,0]],[159,[2,0]],[159,[2,2]]]]",
        "[165,[[159,[1,1]],50000]]",
        "[161,[[159,[-10,-10]],[159,[10,-10]],[159,[10,10]],[159,[-10,10]]]]",
        "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[2,[5,5]]}",
        "[167,[[160,[[159,[0,0]],[159,[3,0]],[159,[3,3]]]]]]",
};
static const char *const binaries[] = {"{\"$reql_type$\":\"BINARY\",\"data\":\"AAH/\"}",
                                       "{\"$reql_type$\":\"BINARY\",\"data\":\"\"}", "[155,[\"abc\"]]",
                                       "{\"$reql_type$\":\"BINARY\",\"data\":\"?\"}"};
static const char *const zones[] = {"\"Z\"", "\"+02:00\"", "\"-11:45\"", "\"+25:00\"", "\"\""};
static const char *const tables[] = {LEAF_TABLE("t"), LEAF_TABLE("t"), LEAF_TABLE("u"),   LEAF_TABLE("g"),
                                     LEAF_TABLE("t"), "[15,[\"t\"]]",  LEAF_TABLE("none")};
static const char *const stable_system[] = {"db_config", "table_config", "users", "permissions", "cluster_config"};
static const char *const system_tables[] = {"table_status", "server_config", "server_status",  "stats",
                                            "jobs",         "logs",          "current_issues", "_debug_scratch"};
static const char *const names[] = {"\"test\"", "\"t\"",         "\"u\"",   "\"g\"",
                                    "\"new\"",  "\"rethinkdb\"", "\"a b\"", "\"other\""};
static const char *const indexes[] = {"\"a\"",    "\"tags\"", "\"ab\"",    "\"f\"",   "\"loc\"",
                                      "\"locs\"", "\"id\"",   "\"fresh\"", "\"none\""};
static const char *const keys[] = {"1",        "3",    "\"a\"", "[2,[1,\"x\"]]",    "[180,[]]",
                                   "[181,[]]", "true", "null",  "[2,[[180,[]],2]]", "{\"a\":1}",
                                   "1.5",      "7"};
static const char *const paths[] = {"\"a\"",
                                    "\"o\"",
                                    "{\"o\":\"x\"}",
                                    "{\"o\":{\"x\":true}}",
                                    "[2,[\"a\",\"b\"]]",
                                    "{\"o\":[2,[\"x\",\"y\"]]}",
                                    "\"id\"",
                                    "{\"a\":false}",
                                    "1"};

static void gen_table(Gen *g)
{
        if (!gen_chance(g, 12)) {
                gen_pick(g, tables);
                return;
        }
        bool stable = gen_chance(g, 2);
        g->repeatable &= stable;
        gen_text(g, "[15,[[14,[\"rethinkdb\"]],\"");
        if (stable)
                gen_pick(g, stable_system);
        else
                gen_pick(g, system_tables);
        gen_text(g, "\"]]");
}

static void gen_var(Gen *g)
{
        if (buf_printf(&g->out, "[10,[%u]]", g->vars[gen_below(g, (unsigned)g->var_count)]))
                abort();
}

static void gen_leaf(Gen *g, char kind)
{
        /* a variable, or a field of one, fits everywhere as well as anything */
        if (g->var_count && strchr("dnisboamgkqx", kind) && gen_byte(g) % 2) {
                bool field = kind != 'o' && gen_byte(g) % 4;
                if (field)
                        gen_text(g, "[170,[");
                gen_var(g);
                if (field) {
                        gen_text(g, ",");
                        gen_pick(g, fields);
                        gen_text(g, "]]");
                }
                return;
        }
        switch (kind) {
        case 'n': gen_pick(g, numbers); break;
        case 'i': gen_pick(g, integers); break;
        case 's': gen_pick(g, strings); break;
        case 'b': gen_text(g, gen_byte(g) % 2 ? "true" : "false"); break;
        case 'o': gen_pick(g, objects); break;
        case 'a': gen_pick(g, arrays); break;
        case 'm': gen_pick(g, times); break;
        case 'g': gen_pick(g, places); break;
        case 'y': gen_pick(g, binaries); break;
        case 'z': gen_pick(g, zones); break;
        case 'q':
                if (gen_byte(g) % 2)
                        gen_pick(g, arrays);
                else
                        gen_table(g);
                break;
        case 'S':
        case 't': gen_table(g); break;
        case 'r':
                gen_text(g, "[16,[");
                gen_pick(g, tables);
                gen_text(g, ",1]]");
                break;
        case 'G':
                gen_text(g, "[144,[");
                gen_table(g);
                gen_text(g, ",");
                gen_pick(g, fields);
                gen_text(g, "]]");
                break;
        case 'D':
                gen_text(g, "[14,[");
                gen_pick(g, names);
                gen_text(g, "]]");
                break;
        case 'W':
                gen_text(g, "[56,[");
                gen_table(g);
                gen_text(g, ",");
                gen_pick(g, objects);
                gen_text(g, "]]");
                g->repeatable = false;
                break;
        case 'F': gen_pick(g, fields); break;
        case 'L': gen_pick(g, fields); break;
        case 'P': gen_pick(g, paths); break;
        case 'u': gen_pick(g, objects); break;
        case 'N': gen_pick(g, names); break;
        case 'X': gen_pick(g, indexes); break;
        case 'k': gen_pick(g, keys); break;
        case 'l': gen_text(g, "[137,[1]]"); break;
        default: {
                static const char any[] = "nsboamgy";
                if (gen_byte(g) % 8 == 7)
                        gen_text(g, "null");
                else
                        gen_leaf(g, any[gen_below(g, sizeof any - 1)]);
        }
        }
}

/* --- functions --- */
static void gen_func(Gen *g, unsigned params, char body)
{
        size_t outer = g->var_count;
        gen_text(g, "[69,[[2,[");
        for (unsigned i = 0; i < params; i++) {
                unsigned id = ++g->next_var;
                if (buf_printf(&g->out, "%s%u", i ? "," : "", id))
                        abort();
                if (g->var_count < ELEMENTS(g->vars))
                        g->vars[g->var_count++] = id;
        }
        gen_text(g, "]],");
        gen(g, body);
        gen_text(g, "]]");
        g->var_count = outer;
}

/* --- terms --- */
static void gen_option(Gen *g, const char *name)
{
        static const struct {
                const char *name, *values[6];
        } known[] = {
                {"index", {"\"a\"", "\"tags\"", "\"ab\"", "\"f\"", "\"loc\"", "\"id\""}},
                {"conflict",
                 {"\"error\"", "\"replace\"", "\"update\"", "[69,[[2,[901,902,903]],[35,[[10,[902]],[10,[903]]]]]]",
                  "\"update\"", "1"}},
                {"durability", {"\"hard\"", "\"soft\"", "\"soft\"", "\"soft\"", "\"x\"", "\"hard\""}},
                {"return_changes", {"true", "false", "\"always\"", "true", "true", "1"}},
                {"default", {"true", "false", "[12,[]]", "null", "\"x\"", "[12,[\"e\"]]"}},
                {"unit", {"\"m\"", "\"km\"", "\"mi\"", "\"nm\"", "\"ft\"", "\"x\""}},
                {"geo_system", {"\"WGS84\"", "\"unit_sphere\"", "\"x\"", "\"unit_sphere\"", "\"WGS84\"", "1"}},
                {"timeout", {"0.01", "0", "-1", "0.001", "\"x\"", "0.02"}},
                {"read_mode",
                 {"\"single\"", "\"outdated\"", "\"majority\"", "\"_debug_direct\"", "\"x\"", "\"single\""}},
                {"identifier_format", {"\"name\"", "\"uuid\"", "\"x\"", "\"uuid\"", "\"name\"", "1"}},
                {"max_dist", {"100000", "1", "10000000", "-1", "0", "1e308"}},
                {"max_results", {"1", "10", "100", "0", "-1", "1.5"}},
                {"num_vertices", {"3", "8", "32", "0", "1000000", "1.5"}},
                {"emit",
                 {"[69,[[2,[911,912,913]],[2,[[10,[911]],[10,[913]]]]]]", "[69,[[2,[911,912,913]],[2,[[10,[912]]]]]]",
                  "[69,[[2,[911]],[2,[1]]]]", "1", "[69,[[2,[911,912,913]],1]]", "[69,[[2,[]],[2,[]]]]"}},
                {"final_emit",
                 {"[69,[[2,[914]],[2,[[10,[914]]]]]]", "[69,[[2,[914]],1]]", "1", "[69,[[2,[]],[2,[]]]]", "null",
                  "[69,[[2,[914]],[2,[]]]]"}},
                {"left_bound", {"\"open\"", "\"closed\"", "\"open\"", "\"closed\"", "1", "\"ajar\""}},
                {"right_bound", {"\"open\"", "\"closed\"", "\"open\"", "\"closed\"", "1", "\"ajar\""}},
                {"shards", {"1", "2", "33", "0", "-1", "1.5"}},
                {"replicas", {"1", "2", "0", "{\"default\":1}", "{\"x\":1}", "\"x\""}},
                {"primary_key", {"\"id\"", "\"a\"", "\"\"", "1", "\"o\"", "null"}},
                {"interleave",
                 {"true", "false", "\"a\"", "[2,[\"id\",[74,[\"a\"]]]]", "[69,[[2,[921]],[170,[[10,[921]],\"id\"]]]]",
                  "1"}},
        };
        for (size_t i = 0; i < ELEMENTS(known); i++)
                if (strcmp(known[i].name, name) == 0) {
                        gen_text(g, known[i].values[gen_below(g, 6)]);
                        return;
                }
        if (strcmp(name, "multi") == 0 || strcmp(name, "geo") == 0 || gen_byte(g) % 2)
                gen_text(g, gen_byte(g) % 4 ? "true" : "false");
        else
                gen(g, 'd');
}

static void gen_term(Gen *g, const Shape *shape)
{
        const TermInfo *info = term_info(shape->type);
        bool first = true;
        size_t mark = g->out.size;
        if (info->flags & TF_WRITES || shape->type == TERM_RANDOM || shape->type == TERM_SAMPLE ||
            shape->type == TERM_UUID || shape->type == TERM_STATUS || shape->type == TERM_INDEX_STATUS ||
            shape->type == TERM_CHANGES)
                g->repeatable = false;
        if (buf_printf(&g->out, "[%u,[", shape->type))
                abort();
        for (const char *arg = shape->args; *arg; arg++) {
                char kind = *arg;
                unsigned count = 1;
                if (arg[1] == '?') {
                        count = gen_byte(g) % 2;
                        arg++;
                } else if (arg[1] == '*') {
                        count = gen_byte(g) % 4;
                        arg++;
                }
                if (gen_chance(g, 80)) /* an arity that may be wrong */
                        count = gen_below(g, 4);
                for (; count; count--, first = false) {
                        if (!first)
                                gen_text(g, ",");
                        if (gen_chance(g, 60)) {
                                gen_text(g, "[154,[");
                                gen(g, 'a');
                                gen_text(g, "]]");
                        } else {
                                gen(g, gen_chance(g, 24) ? 'x' : kind);
                        }
                }
        }
        gen_text(g, "]");
        first = true;
        if (gen_byte(g) % 3 == 1)
                for (size_t i = 0; info->optargs && info->optargs[i]; i++) {
                        if (info->optargs[i][0] == '_' ? !gen_chance(g, 20) : gen_byte(g) % 3)
                                continue;
                        if (buf_printf(&g->out, "%s\"%s\":", first ? ",{" : ",", info->optargs[i]))
                                abort();
                        gen_option(g, info->optargs[i]);
                        first = false;
                }
        if (gen_chance(g, 120)) { /* an option that it does not have */
                gen_text(g, first ? ",{\"index\":" : ",\"nope\":");
                gen_pick(g, indexes);
                first = false;
        }
        gen_text(g, first ? "]" : "}]");
        if (g->out.size > GEN_TEXT_MAX) { /* too long: what a text is cut to must still be a query */
                g->out.size = mark;
                gen_text(g, "null");
        }
}

static void gen(Gen *g, char kind)
{
        static const char *const widen[][2] = {
                {"d", "nsboamgydk"}, {"q", "qqSat"}, {"S", "SSt"}, {"o", "oor"}, {"x", "dqtSrGDWnsboamgyk1L"}};
        if (gen_chance(g, 48))
                kind = 'x';
        for (size_t i = 0; i < ELEMENTS(widen); i++)
                if (widen[i][0][0] == kind) {
                        kind = widen[i][1][gen_below(g, (unsigned)strlen(widen[i][1]))];
                        break;
                }
        if (g->depth >= 7 || !g->size || g->out.size > GEN_TEXT_MAX / 2) {
                if (strchr("12pjcw", kind))
                        gen_func(g, kind == '2' || kind == 'j' ? 2 : 1,
                                 kind == 'p' || kind == 'j' ? 'b'
                                 : kind == 'c'              ? 'a'
                                 : kind == 'w'              ? 'W'
                                                            : 'd');
                else
                        gen_leaf(g, kind);
                return;
        }
        g->depth++;
        switch (kind) {
        case '1': gen_func(g, gen_chance(g, 20) ? gen_below(g, 4) : 1, 'd'); break;
        case '2': gen_func(g, gen_chance(g, 20) ? gen_below(g, 4) : 2, gen_byte(g) % 2 ? 'n' : 'd'); break;
        case 'p':
                if (gen_byte(g) % 4 == 3)
                        gen_pick(g, objects);
                else
                        gen_func(g, 1, 'b');
                break;
        case 'j': gen_func(g, 2, 'b'); break;
        case 'c': gen_func(g, 1, 'q'); break;
        case 'w': gen_func(g, 1, 'W'); break;
        case 'F':
        case 'P':
                if (gen_byte(g) % 3 == 2 && kind == 'F')
                        gen_func(g, 1, 'd');
                else
                        gen_leaf(g, kind);
                break;
        case 'u':
                if (gen_byte(g) % 3 == 2)
                        gen_func(g, 1, 'o');
                else if (gen_byte(g) % 2) { /* an object with something to be worked out */
                        gen_text(g, "{");
                        gen_pick(g, fields);
                        gen_text(g, ":");
                        gen(g, gen_byte(g) % 8 ? 'd' : 'l');
                        gen_text(g, "}");
                } else
                        gen_leaf(g, kind);
                break;
        case 'L':
                if (gen_byte(g) % 2)
                        gen_leaf(g, kind);
                else
                        gen_term(g, gen_shape(gen_byte(g) % 2 ? TERM_ASC : TERM_DESC));
                break;
        default: {
                /* one of the terms that give this kind; or a leaf */
                unsigned fitting = 0, chosen;
                if (gen_byte(g) % 3 != 0) {
                        for (size_t i = 0; i < ELEMENTS(shapes); i++)
                                fitting += strchr(shapes[i].gives, kind) || strchr(shapes[i].gives, 'x');
                }
                if (!fitting) {
                        gen_leaf(g, kind);
                        break;
                }
                chosen = gen_below(g, fitting);
                for (size_t i = 0; i < ELEMENTS(shapes); i++)
                        if ((strchr(shapes[i].gives, kind) || strchr(shapes[i].gives, 'x')) && chosen-- == 0) {
                                gen_term(g, &shapes[i]);
                                break;
                        }
        }
        }
        g->depth--;
}

/* One query: "[1,term,{options}]" in g->out. */
static void gen_query(Gen *g)
{
        static const char *const options[] = {
                "",
                "",
                "",
                "",
                "",
                "",
                "\"max_batch_rows\":1",
                "\"array_limit\":3",
                "\"profile\":true",
                "\"db\":[14,[\"test\"]]",
                "\"read_mode\":\"outdated\"",
                "\"max_batch_bytes\":10",
                "\"durability\":\"soft\"",
                "\"noreply\":true",
                "\"array_limit\":0",
                "\"max_batch_seconds\":0.001",
        };
        static const char tops[] = "qqqdxWGSSq";
        buf_clear(&g->out);
        g->depth = 0;
        g->var_count = 0;
        g->next_var = 0;
        g->repeatable = true;
        gen_text(g, "[1,");
        gen(g, tops[gen_below(g, sizeof tops - 1)]);
        gen_text(g, ",{");
        gen_pick(g, options);
        gen_text(g, "}]");
}

/* Every term that is in the table can be made, but those that only stand inside others. */
static void gen_check(void)
{
        for (unsigned type = 0; type < TERM_TYPE_END; type++)
                if (term_info(type) && !gen_shape(type) && type != TERM_VAR && type != TERM_FUNC)
                        abort();
}

#endif
