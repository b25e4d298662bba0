/* plan_explain.c - see plan_explain.h. The tree of operators is that of the query's terms: each with what goes into it
 * below. */
#include "query/plan_explain.h"

#include <ctype.h>
#include <inttypes.h>

#include "query/profile.h"
#include "reql/print_text.h"

#define TEXT_MAX  80  /* bytes of an operator's arguments */
#define DEPTH_MAX 100 /* operators above another */

typedef struct Refusal {
        struct Refusal *next;
        Bytes index;
        const char *why;
} Refusal;

typedef struct Note { /* of a scan */
        struct Note *next;
        const Term *term;
        uint64_t rows;
        TableVal table;
        Bytes primary_key;
        Refusal *refusals, **refusals_end;
        bool chosen;
        PlanCandidate choice;
} Note;

typedef struct Compiled {
        struct Compiled *next;
        const Term *term;
} Compiled;

struct Explain {
        Note *notes;
        Compiled *compiled; /* each term once */
        bool measures;
        const Term *changes; /* what is asked about is a changefeed */
        Value feeds;
        bool feed_remembers;
};

void explain_start(Env *env)
{
        env->explain = arena_zalloc(env->query_arena, sizeof *env->explain);
}

/* --- notes --- */

static Note *find_note(const Env *env, const Term *term)
{
        Note *note = env->explain->notes;
        while (note && note->term != term)
                note = note->next;
        return note;
}

void explain_scan_slow(Env *env, const Term *term, const TableVal *table, uint64_t rows)
{
        Note *note = find_note(env, term);
        if (!note) {
                note = arena_new(env->query_arena, Note);
                note->term = term;
                note->next = env->explain->notes;
                env->explain->notes = note;
        }
        note->rows = rows;
        note->table = *table;
        note->primary_key = table->info->primary_key;
        note->refusals = NULL;
        note->refusals_end = &note->refusals;
        note->chosen = false;
}

static void refuse(Env *env, Note *note, Bytes index, const char *why)
{
        Refusal *refusal = arena_new(env->query_arena, Refusal);
        *refusal = (Refusal){.index = index, .why = why};
        *note->refusals_end = refusal;
        note->refusals_end = &refusal->next;
}

static Bytes candidate_name(const Note *note, const PlanCandidate *candidate)
{
        return candidate->index ? candidate->index->name : note->primary_key;
}

static const char *too_many(Env *env, const Note *note, const PlanCandidate *c)
{
        return arena_printf(env->query_arena, "%" PRIu64 " of %" PRIu64 " rows are too many to look up one by one",
                            c->rows, note->rows);
}

void explain_candidate_slow(Env *env, const Term *term, const PlanCandidate *c, bool better)
{
        Note *note = find_note(env, term);
        if (c->refused)
                refuse(env, note, candidate_name(note, c), c->refused);
        else if (!better && note->chosen)
                refuse(env, note, candidate_name(note, c),
                       arena_printf(env->query_arena, "another needs no more than its %" PRIu64 " rows", c->rows));
        else if (!better)
                refuse(env, note, candidate_name(note, c),
                       c->narrows ? "every row is within the range" : too_many(env, note, c));
        if (!better)
                return;
        if (note->chosen)
                refuse(env, note, candidate_name(note, &note->choice),
                       arena_printf(env->query_arena, "another needs no more than its %" PRIu64 " rows",
                                    note->choice.rows));
        note->chosen = true;
        note->choice = *c;
}

static Bytes choice_text(Env *env, const Note *note);

void explain_chosen_slow(Env *env, const Term *term, const PlanCandidate *candidate, uint64_t rows)
{
        Note *note = find_note(env, term);
        (void)rows;
        if (candidate)
                trace_note(env, term, choice_text(env, note));
}

bool explain_measures(const Env *env)
{
        return env->explain && env->explain->measures;
}

static bool was_compiled(const Env *env, const Term *term)
{
        const Compiled *compiled = env->explain->compiled;
        while (compiled && compiled->term != term)
                compiled = compiled->next;
        return compiled != NULL;
}

void explain_compiled(Env *env, const Term *term)
{
        if (!explain_measures(env) || was_compiled(env, term))
                return;
        Compiled *compiled = arena_new(env->query_arena, Compiled);
        *compiled = (Compiled){.next = env->explain->compiled, .term = term};
        env->explain->compiled = compiled;
}

/* --- texts, in the query's arena --- */

static Bytes text_of(const char *text)
{
        return BYTES_STR(text);
}

const char *explain_value_text(Env *env, Value v)
{
        Bytes json;
        if (value_is(v, V_MINVAL) || value_is(v, V_MAXVAL))
                return value_is(v, V_MINVAL) ? "minval" : "maxval";
        if (value_is(v, V_ARRAY)) {
                const char *text = "";
                size_t shown = MIN(value_count(v), (size_t)8);
                for (size_t i = 0; i < shown; i++)
                        text = arena_printf(env->query_arena, "%s%s%s", text, i ? ", " : "",
                                            explain_value_text(env, value_at(v, i)));
                return arena_printf(env->query_arena, "[%s%s]", text, shown < value_count(v) ? ", ..." : "");
        }
        Status st = json_of(env, NULL, v, &json);
        if (st) {
                status_ignore(st);
                return "?";
        }
        bool cut = json.size > TEXT_MAX;
        return arena_printf(env->query_arena, "%.*s%s", (int)(cut ? TEXT_MAX : json.size), (const char *)json.data,
                            cut ? "..." : "");
}

const char *explain_bounds_text(Env *env, const KeyBounds *b)
{
        bool low = b->low_type != BOUND_NONE, high = b->high_type != BOUND_NONE;
        const char *from = low ? explain_value_text(env, b->low) : "",
                   *to = high ? explain_value_text(env, b->high) : "";
        if (low && high && b->low_type == BOUND_CLOSED && b->high_type == BOUND_CLOSED && value_equal(b->low, b->high))
                return arena_printf(env->query_arena, "= %s", from);
        if (low && high)
                return arena_printf(env->query_arena, "%s %s and %s %s", b->low_type == BOUND_OPEN ? ">" : ">=", from,
                                    b->high_type == BOUND_OPEN ? "<" : "<=", to);
        if (low)
                return arena_printf(env->query_arena, "%s %s", b->low_type == BOUND_OPEN ? ">" : ">=", from);
        return arena_printf(env->query_arena, "%s %s", b->high_type == BOUND_OPEN ? "<" : "<=", to);
}

static const char *range_text(Env *env, const PlanCandidate *c)
{
        bool more = c->next.low_type != BOUND_NONE || c->next.high_type != BOUND_NONE;
        if (!value_is(c->prefix, V_ARRAY))
                return explain_bounds_text(env, &c->bounds);
        if (value_count(c->prefix) == c->index->path_count)
                return arena_printf(env->query_arena, "= %s", explain_value_text(env, c->prefix));
        return arena_printf(env->query_arena, "beginning with %s%s%s", explain_value_text(env, c->prefix),
                            more ? ", then " : "", more ? explain_bounds_text(env, &c->next) : "");
}

static Bytes choice_text(Env *env, const Note *note)
{
        const PlanCandidate *c = &note->choice;
        Bytes name = candidate_name(note, c);
        return text_of(arena_printf(env->query_arena, "by index `%.*s` %s: %" PRIu64 " of %" PRIu64 " rows",
                                    (int)name.size, (const char *)name.data, range_text(env, c), c->rows, note->rows));
}

static Bytes name_of(Env *env, const Term *term)
{
        const char *name = term_info(term->type)->name;
        size_t size = strlen(name);
        uint8_t *text = arena_dup(env->query_arena, name, size);
        for (size_t i = 0; i < size; i++)
                text[i] = (uint8_t)tolower(text[i]);
        return BYTES(text, size);
}

/* A term as text, cut. What is on the heap meanwhile is no concern of an arena that jumps: room is asked for first. */
static Bytes term_text(Env *env, const Term *term)
{
        char *text = arena_alloc(env->query_arena, TEXT_MAX + 4);
        Buf buf;
        buf_init(&buf, UINT32_MAX);
        status_ignore(print_text(term, 0, &buf));
        size_t size = MIN(buf.size, (size_t)TEXT_MAX);
        while (size < buf.size && size > 0 && (buf.data[size] & 0xC0) == 0x80)
                size--;
        if (size)
                memcpy(text, buf.data, size);
        if (size < buf.size) {
                memcpy(text + size, "...", 3);
                size += 3;
        }
        buf_done(&buf);
        return BYTES(text, size);
}

static Bytes add_text(Env *env, Bytes text, Bytes name, const Term *more)
{
        Bytes what = more->type == TERM_DATUM ? text_of(explain_value_text(env, more->datum)) : term_text(env, more);
        return text_of(arena_printf(env->query_arena, "%.*s%s%.*s%s%.*s", (int)text.size, (const char *)text.data,
                                    text.size ? ", " : "", (int)name.size, (const char *)name.data,
                                    name.size ? ": " : "", (int)what.size, (const char *)what.data));
}

/* What is neither an input, which is told below, nor the first argument, on which the term stands. */
static Bytes arguments_text(Env *env, const Term *term)
{
        Bytes text = BYTES_STR("");
        bool named = term->type == TERM_TABLE || term->type == TERM_DB;
        for (size_t i = named ? term->arg_count - 1 : 1; i < term->arg_count; i++)
                text = add_text(env, text, BYTES_STR(""), term->args[i]);
        for (size_t i = 0; i < term->opt_count && term->type != TERM_MAKE_OBJ; i++)
                text = add_text(env, text, term->opts[i].name, term->opts[i].term);
        return text;
}

/* --- rows that are to be expected --- */

#define UNKNOWN (-1.0)

static Status count_of(Env *env, const Term *term, double *ret)
{
        Val val;
        uint64_t count;
        bool known = false;
        TRY(eval(env, term, &val));
        if (val.kind == VAL_TABLE || val.kind == VAL_TABLE_SLICE) {
                TRY(table_count_rows(env, term, val.table, &count));
                *ret = (double)count;
        } else if (val.kind == VAL_STREAM && val.stream->ops->count) {
                TRY(val.stream->ops->count(val.stream, env, &count, &known));
                if (known)
                        *ret = (double)count;
        } else if (val_is_datum(&val) && value_is(val.datum, V_ARRAY)) {
                *ret = (double)value_count(val.datum);
        }
        return ST_OK;
}

/* What the tree of rows counts by itself. */
static double exact_rows(Env *env, const Term *term)
{
        double rows = UNKNOWN;
        if (term->tree_flags & (TF_WRITES | TF_BLOCKING))
                return rows;
        struct Trace *trace = take(env->trace);
        Explain *explain = take(env->explain);
        EnvMark mark = env_mark(env);
        Status st = count_of(env, term, &rows);
        env_unwind(env, mark);
        env->trace = trace;
        env->explain = explain;
        if (!st)
                return rows;
        status_ignore(st);
        return UNKNOWN;
}

typedef struct Estimate {
        double rows; /* UNKNOWN */
        bool exact;  /* else: at most */
} Estimate;

static const Estimate unknown = {UNKNOWN, false};

static Estimate limited(const Term *term, Estimate input)
{
        const Term *n = term->arg_count == 2 ? term->args[1] : NULL;
        if (!n || n->type != TERM_DATUM || !value_is(n->datum, V_NUMBER) || !(n->datum.number >= 0))
                return (Estimate){input.rows, false};
        if (term->type == TERM_SKIP)
                return input.rows == UNKNOWN ? unknown
                                             : (Estimate){MAX(input.rows - n->datum.number, 0.0), input.exact};
        if (input.rows == UNKNOWN || n->datum.number < input.rows)
                return (Estimate){n->datum.number, input.exact};
        return input;
}

/* What follows `group` is done to each group, of which nobody knows how many there will be. */
static bool is_grouped(const Term *term)
{
        while (term->arg_count && term->type != TERM_UNGROUP) {
                term = term->args[0];
                if (term->type == TERM_GROUP)
                        return true;
        }
        return false;
}

static Estimate estimate(Env *env, const Term *term, Estimate input, const Note *below, bool inside)
{
        if (is_grouped(term))
                return unknown;
        switch (term->type) {
        case TERM_TABLE:
        case TERM_BETWEEN:
        case TERM_GET_ALL: {
                double rows = inside ? UNKNOWN : exact_rows(env, term);
                return (Estimate){rows, rows != UNKNOWN};
        }
        case TERM_FILTER:
        case TERM_HAS_FIELDS:
        case TERM_DISTINCT:
        case TERM_WITH_FIELDS:
                if (below && below->chosen && (input.rows == UNKNOWN || (double)below->choice.rows < input.rows))
                        input.rows = (double)below->choice.rows;
                return (Estimate){input.rows, false};
        case TERM_LIMIT:
        case TERM_SKIP:
        case TERM_SAMPLE: return limited(term, input);
        case TERM_MAP:
        case TERM_PLUCK:
        case TERM_WITHOUT:
        case TERM_MERGE:
        case TERM_ORDER_BY: return input;
        case TERM_COUNT:
        case TERM_SUM:
        case TERM_AVG:
        case TERM_MIN:
        case TERM_MAX:
        case TERM_REDUCE:
        case TERM_FOLD:
        case TERM_NTH:
        case TERM_GET:
        case TERM_IS_EMPTY: return (Estimate){1, true};
        default: return unknown;
        }
}

/* --- the tree --- */

typedef struct Lines {
        const char *text;
        size_t size, capacity;
} Lines;

static void add_line(Env *env, Lines *lines, unsigned depth, const char *text)
{
        size_t size = strlen(text), more = 3 * depth + size + 1;
        if (lines->size + more > lines->capacity) {
                lines->capacity = 2 * (lines->size + more);
                char *bigger = arena_alloc(env->query_arena, lines->capacity);
                if (lines->size)
                        memcpy(bigger, lines->text, lines->size);
                lines->text = bigger;
        }
        char *at = (char *)(uintptr_t)lines->text + lines->size;
        memset(at, ' ', 3 * depth);
        memcpy(at + 3 * depth, text, size);
        at[more - 1] = '\n';
        lines->size += more;
}

typedef struct Tree {
        Env *env;
        bool ran;
        Lines lines;
} Tree;

typedef struct Measured {
        bool any, streamed;
        uint64_t rows;
        int64_t ns;
} Measured;

static const char *rows_text(Tree *tree, Estimate expected, const Measured *measured)
{
        Arena *arena = tree->env->query_arena;
        const char *text = "";
        if (expected.rows != UNKNOWN)
                text = arena_printf(arena, "   %s%.0f row%s", expected.exact ? "" : "at most ", expected.rows,
                                    expected.rows == 1 ? "" : "s");
        if (measured->streamed)
                return arena_printf(arena, "%s   (really %" PRIu64 ", %.3f ms)", text, measured->rows,
                                    (double)measured->ns / 1e6);
        if (measured->any)
                return arena_printf(arena, "%s   (%.3f ms)", text, (double)measured->ns / 1e6);
        return text;
}

static Value refusals_value(Tree *tree, const Note *note, unsigned depth)
{
        Env *env = tree->env;
        ArrayBuilder array;
        array_init(&array, env->query_arena, 4);
        for (const Refusal *refusal = note->refusals; refusal; refusal = refusal->next) {
                ObjectBuilder object;
                object_init(&object, env->query_arena, 2);
                object_add_str(&object, "index", value_string(refusal->index));
                object_add_str(&object, "why", value_str(refusal->why));
                array_add(&array, object_take(&object));
                add_line(env, &tree->lines, depth,
                         arena_printf(env->query_arena, "not by index `%.*s`: %s", (int)refusal->index.size,
                                      (const char *)refusal->index.data, refusal->why));
        }
        return array_take(&array);
}

static bool is_input(const Term *term, size_t i)
{
        const Term *arg = term->args[i];
        if (term->type == TERM_TABLE || arg->type == TERM_DATUM || arg->type == TERM_DB)
                return false;
        return (i == 0 && arg->type != TERM_FUNC) || (arg->tree_flags & TF_READS_TABLE);
}

/* The note of the scan that a filter reads through other filters. */
static const Note *note_below(const Env *env, const Term *term)
{
        while (term->type == TERM_FILTER && term->arg_count)
                term = term->args[0];
        return find_note(env, term);
}

static Value describe(Tree *tree, const Term *term, unsigned depth, bool inside, Estimate *ret_rows);

static Value inputs_of(Tree *tree, const Term *term, unsigned depth, bool inside, Estimate *ret_first)
{
        ArrayBuilder array;
        array_init(&array, tree->env->query_arena, 2);
        *ret_first = unknown;
        if (depth < DEPTH_MAX) {
                for (size_t i = 0; i < term->arg_count; i++) {
                        Estimate rows;
                        if (!is_input(term, i))
                                continue;
                        array_add(&array, describe(tree, term->args[i], depth + 1, inside, &rows));
                        if (i == 0)
                                *ret_first = rows;
                }
                if (term->type == TERM_FUNC && (term->body->tree_flags & TF_READS_TABLE)) {
                        Estimate rows;
                        array_add(&array, describe(tree, term->body, depth + 1, true, &rows));
                }
        }
        return array_take(&array);
}

/* What a changefeed would follow. */
static void tell_feeds(Tree *tree, unsigned depth, ObjectBuilder *object)
{
        Env *env = tree->env;
        const Explain *explain = env->explain;
        for (size_t i = 0; i < value_count(explain->feeds); i++) {
                Bytes text = value_bytes(value_get_str(value_at(explain->feeds, i), "text"));
                add_line(env, &tree->lines, depth,
                         arena_printf(env->query_arena, "%.*s", (int)text.size, (const char *)text.data));
        }
        if (explain->feed_remembers)
                add_line(env, &tree->lines, depth, "it remembers what it needs to go on from one change to the next");
        object_add_str(object, "feeds", explain->feeds);
        object_add_str(object, "remembers", value_bool(explain->feed_remembers));
}

/* The operator's own line stands above its inputs', but tells what they say of rows: they are described first, into
 * lines of their own. */
static Value describe(Tree *tree, const Term *term, unsigned depth, bool inside, Estimate *ret_rows)
{
        Env *env = tree->env;
        ObjectBuilder object;
        Estimate input;
        Measured measured = {0};
        Lines before = tree->lines;
        tree->lines = (Lines){0};
        Value inputs = inputs_of(tree, term, depth, inside, &input);
        Lines below = tree->lines;
        tree->lines = before;

        const Note *note = find_note(env, term);
        *ret_rows = estimate(env, term, input, term->type == TERM_FILTER ? note_below(env, term) : NULL, inside);
        if (tree->ran)
                measured.any = trace_of_term(env->trace, term, &measured.streamed, &measured.rows, &measured.ns);
        if (term->type == TERM_GET)
                measured.streamed = false; /* its read is no stream, and counts no rows */
        Bytes name = name_of(env, term), arguments = arguments_text(env, term);
        object_init(&object, env->query_arena, 10);
        object_add_str(&object, "operator", value_string(name));
        object_add_str(&object, "arguments", value_string(arguments));
        if (ret_rows->rows != UNKNOWN) {
                object_add_str(&object, "estimated_rows", value_number(ret_rows->rows));
                object_add_str(&object, "estimate_is_exact", value_bool(ret_rows->exact));
        }
        if (measured.streamed)
                object_add_str(&object, "rows", value_number((double)measured.rows));
        if (measured.any)
                object_add_str(&object, "time_ms", value_number((double)measured.ns / 1e6));
        add_line(env, &tree->lines, depth,
                 arena_printf(env->query_arena, "%.*s(%.*s)%s", (int)name.size, (const char *)name.data,
                              (int)arguments.size, (const char *)arguments.data,
                              rows_text(tree, *ret_rows, &measured)));
        if (was_compiled(env, term)) {
                object_add_str(&object, "compiled", value_bool(true));
                add_line(env, &tree->lines, depth + 1, "with all below in one compiled pass over columns");
        }
        if (term == env->explain->changes)
                tell_feeds(tree, depth + 1, &object);
        if (note) {
                if (note->chosen) {
                        Bytes text = choice_text(env, note);
                        object_add_str(&object, "index", value_string(candidate_name(note, &note->choice)));
                        object_add_str(&object, "index_rows", value_number((double)note->choice.rows));
                        object_add_str(&object, "index_range", value_str(range_text(env, &note->choice)));
                        add_line(env, &tree->lines, depth + 1,
                                 arena_printf(env->query_arena, "read %.*s", (int)text.size, (const char *)text.data));
                }
                object_add_str(&object, "refused", refusals_value(tree, note, depth + 1));
        }
        object_add_str(&object, "inputs", inputs);
        if (below.size) {
                Lines *lines = &tree->lines;
                char *joined = arena_alloc(env->query_arena, lines->size + below.size);
                memcpy(joined, lines->text, lines->size);
                memcpy(joined + lines->size, below.text, below.size);
                *lines = (Lines){joined, lines->size + below.size, lines->size + below.size};
        }
        return object_take(&object);
}

/* --- statistics --- */

static Value index_stats_value(Tree *tree, TableView *view, const IndexInfo *index)
{
        Env *env = tree->env;
        Arena *arena = env->query_arena;
        PlanIndexStats stats;
        ObjectBuilder object;
        object_init(&object, arena, 8);
        object_add_str(&object, "index", value_string(index->name));
        Status st = plan_index_stats(env, view, index, arena, &stats);
        if (st) { /* somebody has dropped it meanwhile */
                status_ignore(st);
                return object_take(&object);
        }
        const char *range = "";
        object_add_str(&object, "entries", value_number((double)stats.entries));
        object_add_str(&object, "distinct_estimate", value_number(stats.distinct));
        object_add_str(&object, "other_rows", value_number((double)stats.rest));
        if (!value_is(stats.min, V_NONE)) {
                object_add_str(&object, "min", stats.min);
                object_add_str(&object, "max", stats.max);
                range = arena_printf(arena, ", about %.0f different from %s to %s", stats.distinct,
                                     explain_value_text(env, stats.min), explain_value_text(env, stats.max));
        }
        const char *rest = stats.rest ? arena_printf(arena, "; %" PRIu64 " rows with what is no key", stats.rest) : "";
        add_line(env, &tree->lines, 1,
                 arena_printf(arena, "index `%.*s`: %" PRIu64 " values%s%s", (int)index->name.size,
                              (const char *)index->name.data, stats.entries, range, rest));
        return object_take(&object);
}

static Value table_stats_value(Tree *tree, const Note *note)
{
        Env *env = tree->env;
        const IndexInfo *indexes = NULL;
        ArrayBuilder array;
        ObjectBuilder object;
        TableView *view;
        uint64_t rows = 0;
        const TableInfo *info = note->table.info;
        const char *name = arena_printf(env->query_arena, "%.*s.%.*s", (int)info->db.size, (const char *)info->db.data,
                                        (int)info->name.size, (const char *)info->name.data);
        size_t count = env->source->index_list ? env->source->index_list(note->table.ref, &indexes) : 0;
        object_init(&object, env->query_arena, 3);
        array_init(&array, env->query_arena, count);
        object_add_str(&object, "table", value_str(name));
        Status st = env_view(env, note->table.ref, &view);
        if (!st)
                st = env->source->view_count(view, NULL, &rows);
        if (!st) {
                object_add_str(&object, "rows", value_number((double)rows));
                add_line(env, &tree->lines, 0, arena_printf(env->query_arena, "%s: %" PRIu64 " rows", name, rows));
                for (size_t i = 0; i < count; i++)
                        if (indexes[i].ready && !indexes[i].geo && !indexes[i].error.data)
                                array_add(&array, index_stats_value(tree, view, &indexes[i]));
        }
        status_ignore(st);
        object_add_str(&object, "indexes", array_take(&array));
        return object_take(&object);
}

/* Of each table that the planner had a choice for, once. */
static Value tables_value(Tree *tree)
{
        ArrayBuilder array;
        const Note *notes = tree->env->explain->notes;
        array_init(&array, tree->env->query_arena, 2);
        for (const Note *note = notes; note; note = note->next) {
                const Note *first = notes;
                while (first->table.ref != note->table.ref)
                        first = first->next;
                if (first == note)
                        array_add(&array, table_stats_value(tree, note));
        }
        return array_take(&array);
}

/* --- running --- */

/* What gives a stream that has read nothing yet. */
static bool is_lazy(const Term *term)
{
        switch (term->type) {
        case TERM_TABLE:
        case TERM_BETWEEN:
        case TERM_GET_ALL:
        case TERM_FILTER:
        case TERM_MAP:
        case TERM_CONCAT_MAP:
        case TERM_LIMIT:
        case TERM_SKIP:
        case TERM_SLICE:
        case TERM_EQ_JOIN:
        case TERM_INNER_JOIN:
        case TERM_OUTER_JOIN:
        case TERM_ZIP:
        case TERM_PLUCK:
        case TERM_WITHOUT:
        case TERM_MERGE:
        case TERM_WITH_FIELDS:
        case TERM_HAS_FIELDS:
        case TERM_UNION: break;
        case TERM_ORDER_BY: return term->arg_count == 1 && is_lazy(term->args[0]);
        default: return false;
        }
        return term->type == TERM_TABLE || (term->arg_count && is_lazy(term->args[0]));
}

/* The term `changes`, with what stands behind it above; NULL: the query is no changefeed. */
static const Term *find_changes(const Term *root)
{
        while (root->type != TERM_CHANGES && root->arg_count && root->args[0]->type != TERM_FUNC)
                root = root->args[0];
        return root->type == TERM_CHANGES && root->arg_count && !root->has_args_splice ? root : NULL;
}

/* Makes the streams, and so the choices, that are made before anything is read. The planner's choices below `changes`
 * are not those of a feed. */
static Status prepare(Env *env, const Term *root)
{
        const Term *term = root;
        Explain *explain = env->explain;
        Val val;
        if (explain->changes)
                return changes_explain(env, explain->changes->args[0], &explain->feeds, &explain->feed_remembers);
        while (!is_lazy(term) && term->arg_count && term->args[0]->type != TERM_FUNC)
                term = term->args[0];
        if (!is_lazy(term) || (term->tree_flags & (TF_WRITES | TF_BLOCKING)))
                return ST_OK;
        return eval(env, term, &val);
}

static Status pass(void *ctx, Env *env, Value row, bool *ret_stop)
{
        (void)ctx;
        (void)env;
        (void)row;
        (void)ret_stop;
        return ST_OK;
}

/* Like the answer to a client, but nobody gets it. */
static Status run_all(Env *env, const Term *root)
{
        Val val;
        Stream *stream;
        TRY(eval(env, root, &val));
        if (val.kind == VAL_GROUPED)
                return groups_make(env, val.groups);
        if (!val_is_sequence(&val) || val_is_datum(&val) || val.kind == VAL_ARRAY_SELECTION)
                return ST_OK;
        TRY(val_as_stream(env, &val, &stream));
        return stream_each(stream, env, pass, NULL);
}

Status explain_query(Env *env, const Term *root, bool run, Value *ret)
{
        Tree tree = {.env = env, .ran = run};
        Estimate rows;
        ObjectBuilder object;
        ArrayBuilder plan;
        const HostOps *host = env->world->host;
        int64_t start_ns = host->mono_ns(host->ctx);
        env->explain->measures = run;
        env->explain->changes = find_changes(root);
        if (run && env->explain->changes)
                return fail(env, env->explain->changes, ERR_LOGIC,
                            "A changefeed has no end to be measured; `explain: true` tells how it is matched.");
        TRY(run ? run_all(env, root) : prepare(env, root));
        double ms = (double)(host->mono_ns(host->ctx) - start_ns) / 1e6;
        array_init(&plan, env->query_arena, 1);
        array_add(&plan, describe(&tree, root, 0, false, &rows));
        if (run)
                add_line(env, &tree.lines, 0, arena_printf(env->query_arena, "in %.3f ms", ms));
        object_init(&object, env->query_arena, 3);
        object_add_str(&object, "plan", array_take(&plan));
        object_add_str(&object, "tables", tables_value(&tree));
        object_add_str(&object, "text", value_string(BYTES(tree.lines.text, tree.lines.size - 1)));
        if (run)
                object_add_str(&object, "time_ms", value_number(ms));
        *ret = object_take(&object);
        return ST_OK;
}
