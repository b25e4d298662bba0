/* write.c - terms that change rows: insert, update, replace, delete, sync, for_each.
 *
 * Each makes batches of keys for TableSource.write and a RowChange that says what becomes of a row, and merges the
 * outcomes into the statistics object that RethinkDB answers with. What outlives a batch (changes, generated keys, the
 * first error) is copied to the arena of the term's result; the rest goes with the batch. */
#include <math.h>
#include <stdio.h>

#include "query/env_int.h"
#include "value/json.h"

#define WRITE_ROWS 256 /* rows per call of TableSource.write */

typedef enum ReturnChanges { CHANGES_NO, CHANGES_YES, CHANGES_ALWAYS } ReturnChanges;
typedef enum Conflict { CONFLICT_ERROR, CONFLICT_REPLACE, CONFLICT_UPDATE, CONFLICT_FUNCTION } Conflict;

typedef struct Outcomes { /* of one batch: their errors are freed whatever happens */
        RowOutcome *items;
        size_t count;
} Outcomes;

typedef struct Write {
        Env *env;
        const Term *term;
        TableVal *table;
        Arena *keep; /* of the result */
        WriteOptions options;
        WriteGuard guard;
        Outcomes outcomes;
        RowChange change;
        ReturnChanges return_changes;
        /* what change_* needs */
        Func *func;             /* update, replace, conflict; NULL: `expression` or, if that is NULL too, `constant` */
        const Term *expression; /* update: evaluated for each row */
        Value constant;
        bool evaluated_first; /* a replacement that is not deterministic: see check_replacement() */
        Conflict conflict;
        const Value *docs;   /* insert: the batch's documents */
        const Value *keys;   /* their keys */
        bool one_row;        /* what has no possible key fails the query and not a row */
        bool duplicate_told; /* the text of one conflict is enough unless all are returned */
        /* statistics */
        bool ran;                           /* at least one batch */
        uint64_t counts[ROW_UNCHANGED + 1]; /* by RowEffect */
        bool has_error;
        Bytes first_error;
        ArrayBuilder changes;
        bool changes_cut;
        ArrayBuilder generated;
        uint64_t generated_cut;
} Write;

/* --- options --- */

static Status parse_durability(Env *env, const Term *term, Durability *ret)
{
        Val val;
        bool present;
        Bytes text;
        *ret = DURABILITY_DEFAULT;
        TRY(opt_val(env, term, "durability", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_string(env, &val, &text));
        if (bytes_equal(text, BYTES_STR("hard")))
                *ret = DURABILITY_HARD;
        else if (bytes_equal(text, BYTES_STR("soft")))
                *ret = DURABILITY_SOFT;
        else
                return fail(env, val.term, ERR_LOGIC,
                            "Durability option `%.*s` unrecognized (options are \"hard\" and \"soft\").",
                            (int)text.size, (const char *)text.data);
        return ST_OK;
}

static Status parse_return_changes(Env *env, const Term *term, ReturnChanges *ret)
{
        Val val;
        Value datum;
        bool present;
        *ret = CHANGES_NO;
        TRY(opt_val(env, term, "return_vals", &val, &present));
        if (present)
                return fail(env, term, ERR_LOGIC,
                            "Error: encountered obsolete optarg `return_vals`.  Use `return_changes` instead.");
        TRY(opt_val(env, term, "return_changes", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, &datum));
        if (!value_is(datum, V_STRING)) {
                *ret = value_truthy(datum) ? CHANGES_YES : CHANGES_NO;
                return ST_OK;
        }
        if (!value_bytes_are(datum, "always"))
                return fail(env, term, ERR_LOGIC,
                            "Invalid return_changes value `%.*s` (options are `true`, `false`, and `'always'`.)",
                            (int)datum.size, datum.text);
        *ret = CHANGES_ALWAYS;
        return ST_OK;
}

/* Who may not configure the table may not get past its write hook either. */
static Status parse_ignore_hook(Write *w)
{
        Val val;
        bool present;
        TRY(opt_val(w->env, w->term, "ignore_write_hook", &val, &present));
        if (present)
                TRY(val_as_bool(w->env, &val, &w->options.ignore_hook));
        return ST_OK;
}

static Status permit_ignoring_hook(const Write *w)
{
        if (likely(!w->options.ignore_hook))
                return ST_OK;
        return fail_at(w->env, w->term, env_permit_table(w->env, w->table->ref, PERMIT_CONFIG));
}

static Status parse_conflict(Write *w)
{
        static const char *const names[] = {"error", "replace", "update"};
        Val val;
        bool present;
        Bytes text;
        TRY(opt_val(w->env, w->term, "conflict", &val, &present));
        if (!present)
                return ST_OK;
        if (val.kind == VAL_FUNC) {
                w->conflict = CONFLICT_FUNCTION;
                w->func = val.func;
                return ST_OK;
        }
        TRY(val_as_string(w->env, &val, &text));
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                if (bytes_equal(text, BYTES_STR(names[i]))) {
                        w->conflict = (Conflict)i;
                        return ST_OK;
                }
        }
        return fail(w->env, val.term, ERR_LOGIC,
                    "Conflict option `%.*s` unrecognized (options are \"error\", \"replace\" and \"update\").",
                    (int)text.size, (const char *)text.data);
}

static Status check_conflict_function(const Write *w)
{
        if (w->conflict != CONFLICT_FUNCTION)
                return ST_OK;
        if (!func_is_deterministic(w->func))
                return fail(w->env, w->term, ERR_LOGIC,
                            "The conflict function passed to `insert` must be deterministic.");
        int arity = func_arity(w->func);
        if (arity == 0 || arity == 3)
                return ST_OK;
        return fail(w->env, w->term, ERR_LOGIC, "The conflict function passed to `insert` should expect 3 arguments.");
}

static void write_start(Write *w, Env *env, const Term *term)
{
        *w = (Write){.env = env,
                     .term = term,
                     .keep = env->arena,
                     .options = {.user = env->user,
                                 .now_us = env->now_us,
                                 .transaction = env->transaction,
                                 .connection = env->connection}};
        array_init(&w->changes, w->keep, 0);
        array_init(&w->generated, w->keep, 0);
}

/* --- what becomes of a row (RowChange) --- */

/* update's argument when it is no function literal: any expression, perhaps one that gives a function. */
static Status eval_expression(Write *w, const Value *args, size_t count, Value *ret)
{
        Val val;
        Func *func;
        TRY(eval_literal(w->env, w->expression, &val));
        if (val_is_datum(&val)) {
                *ret = val.datum;
                return ST_OK;
        }
        TRY(val_to_func(w->env, &val, SHORTCUT_CONSTANT, &func));
        w->env->literal_next = true;
        return func_call_datum(w->env, func, args, count, ret);
}

/* Runs a function for one row: in the write's arena, and what it opened is closed again. */
static Status call_for_row(Write *w, const Value *args, size_t count, bool literal, Arena *arena, Value *ret)
{
        Env *env = w->env;
        Arena *outer = env->arena;
        EnvMark mark = env_mark(env);
        env->arena = arena;
        env->literal_next = literal && w->func;
        Status st = w->func ? func_call_datum(env, w->func, args, count, ret) : eval_expression(w, args, count, ret);
        env->literal_next = false;
        env->arena = outer;
        env_unwind(env, mark);
        return st;
}

static Status merge_rows(Write *w, Value old_row, Value with, Arena *arena, Value *ret)
{
        Env *env = w->env;
        Arena *outer = env->arena;
        env->arena = arena;
        Status st = object_merge(env, w->term, old_row, with, ret);
        env->arena = outer;
        return st;
}

static Status change_delete(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        *ret = value_null();
        return ST_OK;
}

/* RethinkDB evaluates a function that is not deterministic before it writes, and inserts what came out: so a result
 * that could not be inserted is refused in an insert's words, and null deletes nothing. */
static Status check_replacement(Write *w, size_t index, Value old_row, Value row, Arena *arena)
{
        if (likely(!w->evaluated_first))
                return ST_OK;
        if (!value_is_object(row))
                return status_new(value_is(row, V_NULL) ? ERR_NON_EXISTENCE : ERR_LOGIC,
                                  "Expected type OBJECT but found %s.", value_type_name(row));
        Bytes pk = w->table->info->primary_key;
        Value key = value_get(row, pk);
        if (!value_is(old_row, V_NULL) || value_is(key, V_NONE) || value_equal(key, w->keys[index]))
                return ST_OK;
        Bytes text = json_pretty_text(row, arena);
        return status_new(ERR_LOGIC, "Primary key `%.*s` cannot be changed (`null` -> `%.*s`).", (int)pk.size,
                          (const char *)pk.data, (int)text.size, (const char *)text.data);
}

static Status change_replace(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Write *w = ctx;
        *ret = w->constant;
        if (w->func)
                TRY(call_for_row(w, &old_row, 1, false, arena, ret));
        return check_replacement(w, index, old_row, *ret, arena);
}

static Status change_update(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Write *w = ctx;
        Value with = w->constant;
        *ret = old_row;
        if (value_is(old_row, V_NULL))
                return check_replacement(w, index, old_row, old_row, arena);
        if (w->func || w->expression)
                TRY(call_for_row(w, &old_row, 1, true, arena, &with));
        if (unlikely(value_is_object(with) && value_type(with) != V_OBJECT))
                return status_new(ERR_LOGIC, "Cannot merge objects of type `%s`.", value_type_name(with));
        if (!value_is(with, V_NULL))
                TRY(merge_rows(w, old_row, with, arena, ret));
        return check_replacement(w, index, old_row, *ret, arena);
}

static Status duplicate(Write *w, Value old_row, Value new_row, Arena *arena)
{
        if (w->duplicate_told && w->return_changes != CHANGES_ALWAYS)
                return status_new(ERR_LOGIC, "Duplicate primary key");
        w->duplicate_told = true;
        Env *env = w->env;
        Arena *outer = env->arena;
        env->arena = arena;
        Val old_val = val_datum(w->term, old_row), new_val = val_datum(w->term, new_row);
        Bytes pk = w->table->info->primary_key;
        Bytes old_text = val_print(env, &old_val, false), new_text = val_print(env, &new_val, false);
        env->arena = outer;
        return status_new(ERR_LOGIC, "Duplicate primary key `%.*s`:\n%.*s\n%.*s", (int)pk.size, (const char *)pk.data,
                          (int)old_text.size, (const char *)old_text.data, (int)new_text.size,
                          (const char *)new_text.data);
}

static Status change_insert(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Write *w = ctx;
        Value doc = w->docs[index];
        *ret = doc;
        if (likely(value_is(old_row, V_NULL)) || w->conflict == CONFLICT_REPLACE)
                return ST_OK;
        if (w->conflict == CONFLICT_ERROR)
                return duplicate(w, old_row, doc, arena);
        if (w->conflict == CONFLICT_UPDATE)
                return merge_rows(w, old_row, doc, arena, ret);
        return call_for_row(w, (Value[]){w->keys[index], old_row, doc}, 3, false, arena, ret);
}

/* --- outcomes --- */

static Bytes keep_text(Write *w, const char *text)
{
        size_t size = strlen(text);
        return BYTES(arena_dup(w->keep, text, size), size);
}

static void note_change(Write *w, const RowOutcome *outcome, const char *error)
{
        bool changed =
                outcome->effect == ROW_INSERTED || outcome->effect == ROW_DELETED || outcome->effect == ROW_REPLACED;
        if (w->return_changes != CHANGES_ALWAYS && !changed)
                return;
        if (w->changes.count >= w->env->array_limit) {
                w->changes_cut = true;
                return;
        }
        Field *fields = arena_array(w->keep, Field, 3);
        size_t count = 0;
        if (error)
                fields[count++] = (Field){BYTES_STR("error"), value_string(keep_text(w, error))};
        fields[count++] = (Field){BYTES_STR("new_val"), value_copy(outcome->new_row, w->keep)};
        fields[count++] = (Field){BYTES_STR("old_val"), value_copy(outcome->old_row, w->keep)};
        array_add(&w->changes, value_object_sorted(fields, count));
}

/* The first error told is, in each batch, that of the first document that could not be one at all: RethinkDB checks
 * those before it touches the table. */
static void note_first_error(Write *w, const RowOutcome *outcomes, size_t count)
{
        const RowOutcome *first = NULL;
        for (size_t i = 0; i < count && !w->has_error; i++) {
                if (outcomes[i].effect != ROW_FAILED)
                        continue;
                if (!first || (outcomes[i].bad_key && !first->bad_key))
                        first = &outcomes[i];
                if (first->bad_key)
                        break;
        }
        if (!first)
                return;
        w->has_error = true;
        w->first_error = keep_text(w, status_message(first->error));
}

static void note_outcomes(Write *w, RowOutcome *outcomes, size_t count)
{
        w->ran = true;
        for (size_t i = 0; i < count; i++)
                w->counts[outcomes[i].effect]++;
        if (unlikely(w->counts[ROW_FAILED] > 0))
                note_first_error(w, outcomes, count);
        if (w->return_changes != CHANGES_NO)
                for (size_t i = 0; i < count; i++)
                        note_change(w, &outcomes[i], outcomes[i].error ? status_message(outcomes[i].error) : NULL);
}

static void close_guard(void *what)
{
        WriteGuard *guard = what;
        if (guard->undo)
                guard->undo(guard);
}

/* insert_batch() gave what is no object, or none that a key can be added to, a key that cannot be one: the error is
 * another. */
static void name_odd_documents(Write *w, RowOutcome *outcomes, size_t count, Arena *arena)
{
        for (size_t i = 0; i < count; i++) {
                if (likely(!outcomes[i].bad_key))
                        continue;
                Value doc = w->docs[i];
                Bytes pk = w->table->info->primary_key;
                if (value_is_object(doc) && !value_is(value_get(doc, pk), V_NONE))
                        continue;
                outcomes[i].error = status_free(outcomes[i].error);
                if (!value_is_object(doc)) {
                        outcomes[i].error =
                                status_new(ERR_LOGIC, "Expected type OBJECT but found %s.", value_type_name(doc));
                        continue;
                }
                Bytes text = json_pretty_text(doc, arena);
                outcomes[i].error =
                        status_new(ERR_LOGIC, "Inserted object must have primary key `%.*s`:\n%.*s", (int)pk.size,
                                   (const char *)pk.data, (int)text.size, (const char *)text.data);
        }
}

static void free_outcomes(void *what)
{
        Outcomes *outcomes = what;
        for (size_t i = 0; i < outcomes->count; i++)
                outcomes->items[i].error = status_free(outcomes->items[i].error);
}

/* A query that is a transaction is all or nothing: what elsewhere is an error of one row ends it. */
static Status first_failure(RowOutcome *outcomes, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (outcomes[i].error)
                        return take(outcomes[i].error);
        return ST_OK;
}

/* Writes one batch; `arena` is the batch's. */
static Status write_batch(Write *w, const Value *keys, size_t count, Arena *arena)
{
        Env *env = w->env;
        TRY(fail_at(env, w->term, env_permit_table(env, w->table->ref, PERMIT_WRITE)));
        RowOutcome *outcomes = arena_array(arena, RowOutcome, count);
        uint64_t position = env->durable_position;
        w->keys = keys;
        w->options.want_rows = w->return_changes != CHANGES_NO;
        w->options.guard = &w->guard;
        w->guard = (WriteGuard){0};
        for (size_t i = 0; i < count; i++)
                outcomes[i] = (RowOutcome){0};
        w->outcomes = (Outcomes){outcomes, count};
        Deferred *told = env_defer(env, free_outcomes, &w->outcomes);
        Deferred *deferred = env_defer(env, close_guard, &w->guard);
        Status st =
                env->source->write(w->table->ref, keys, count, w->change, w, &w->options, arena, outcomes, &position);
        env_undefer(env, deferred);
        env->durable_position = MAX(env->durable_position, position);
        env_wrote(env, w->table->ref);
        if (unlikely(!st && w->one_row && outcomes[0].bad_key))
                st = take(outcomes[0].error);
        if (likely(!st) && w->docs)
                name_odd_documents(w, outcomes, count, arena);
        if (unlikely(env->transaction_use == TRANSACTION_OWN && !st))
                st = first_failure(outcomes, count);
        if (likely(!st)) {
                note_outcomes(w, outcomes, count);
        }
        env_undefer(env, told);
        return fail_at(env, w->term, st);
}

static Value warnings(Write *w)
{
        Value *items = arena_array(w->keep, Value, 2);
        size_t count = 0;
        if (w->changes_cut)
                items[count++] = value_str(
                        arena_printf(w->keep, "Too many changes, array truncated to %zu.", w->env->array_limit));
        if (w->generated_cut)
                items[count++] =
                        value_str(arena_printf(w->keep, "Too many generated keys (%zu), array truncated to %zu.",
                                               (size_t)w->generated_cut + w->generated.count, w->generated.count));
        return value_array(items, count);
}

static Value statistics(Write *w)
{
        Field *f = arena_array(w->keep, Field, 10);
        size_t n = 0;
        bool has_warnings = w->changes_cut || w->generated_cut;
        Value warning_list = has_warnings ? warnings(w) : value_none(); /* before the builders are emptied */
        if (w->return_changes != CHANGES_NO && w->ran)
                f[n++] = (Field){BYTES_STR("changes"), array_take(&w->changes)};
        f[n++] = (Field){BYTES_STR("deleted"), value_number((double)w->counts[ROW_DELETED])};
        f[n++] = (Field){BYTES_STR("errors"), value_number((double)w->counts[ROW_FAILED])};
        if (w->has_error)
                f[n++] = (Field){BYTES_STR("first_error"), value_string(w->first_error)};
        if (w->generated.count)
                f[n++] = (Field){BYTES_STR("generated_keys"), array_take(&w->generated)};
        f[n++] = (Field){BYTES_STR("inserted"), value_number((double)w->counts[ROW_INSERTED])};
        f[n++] = (Field){BYTES_STR("replaced"), value_number((double)w->counts[ROW_REPLACED])};
        f[n++] = (Field){BYTES_STR("skipped"), value_number((double)w->counts[ROW_SKIPPED])};
        f[n++] = (Field){BYTES_STR("unchanged"), value_number((double)w->counts[ROW_UNCHANGED])};
        if (has_warnings)
                f[n++] = (Field){BYTES_STR("warnings"), warning_list};
        return value_object_sorted(f, n);
}

/* --- insert --- */

static Status uuid_value(Env *env, Arena *arena, Value *ret)
{
        static const char hex[] = "0123456789abcdef";
        uint64_t r[2];
        uint8_t bytes[16];
        TRY(env_random(env, &r[0]));
        TRY(env_random(env, &r[1]));
        memcpy(bytes, r, sizeof bytes);
        bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40); /* version 4 */
        bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
        char *text = arena_alloc(arena, 36), *at = text;
        for (size_t i = 0; i < sizeof bytes; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *at++ = '-';
                *at++ = hex[bytes[i] >> 4];
                *at++ = hex[bytes[i] & 15];
        }
        *ret = value_string(BYTES(text, 36));
        return ST_OK;
}

/* `object` with one more field, which it does not have yet. */
static Value object_with(Value object, Bytes key, Value value, Arena *arena)
{
        size_t count = value_count(object), n = 0;
        Field *fields = arena_array(arena, Field, count + 1);
        bool placed = false;
        for (size_t i = 0; i < count; i++) {
                Field field;
                field.value = value_field_at(object, i, &field.key);
                if (!placed && bytes_compare(key, field.key) < 0) {
                        fields[n++] = (Field){key, value};
                        placed = true;
                }
                fields[n++] = field;
        }
        if (!placed)
                fields[n++] = (Field){key, value};
        return value_object_sorted(fields, n);
}

/* A document's key; a missing one is generated. */
static Status document_key(Write *w, Value *doc, Arena *arena, Value *ret_key, bool *ret_generated)
{
        Bytes pk = w->table->info->primary_key;
        *ret_generated = false;
        *ret_key = value_get(*doc, pk);
        if (likely(!value_is(*ret_key, V_NONE)))
                return ST_OK;
        if (unlikely(value_type(*doc) != V_OBJECT)) { /* a time with one more field is none: see name_odd_documents */
                *ret_key = value_null();
                return ST_OK;
        }
        TRY(uuid_value(w->env, w->keep, ret_key));
        *doc = object_with(*doc, pk, *ret_key, arena);
        *ret_generated = true;
        if (w->generated.count < w->env->array_limit)
                array_add(&w->generated, *ret_key);
        else
                w->generated_cut++;
        return ST_OK;
}

/* What is no object gets a key that cannot be one, so that its outcome comes in its place. */
static Status insert_batch(Write *w, const Value *source, size_t count, Arena *arena)
{
        Value *docs = arena_array(arena, Value, count), *keys = arena_array(arena, Value, count);
        bool *generated = arena_zalloc(arena, count);
        for (size_t i = 0; i < count; i++) {
                docs[i] = source[i];
                if (likely(value_is_object(docs[i])))
                        TRY(document_key(w, &docs[i], arena, &keys[i], &generated[i]));
                else
                        keys[i] = value_null();
        }
        w->docs = docs;
        w->options.generated = generated;
        return write_batch(w, keys, count, arena);
}

static Status insert_array(Write *w, Value array)
{
        size_t count = value_count(array);
        Scratch *scratch _cleanup_(scratch_putp) = count > WRITE_ROWS ? scratch_get(w->env) : NULL;
        Arena *arena = scratch ? &scratch->arena : w->env->arena;
        for (size_t first = 0; first < count; first += WRITE_ROWS) {
                size_t n = MIN((size_t)WRITE_ROWS, count - first);
                Value *batch = arena_array(arena, Value, n);
                for (size_t i = 0; i < n; i++)
                        batch[i] = value_at(array, first + i);
                TRY(env_poll(w->env));
                TRY(insert_batch(w, batch, n, arena));
                if (scratch)
                        arena_reset(arena);
        }
        return ST_OK;
}

static Status insert_stream(Write *w, Stream *stream)
{
        TRY(stream_check_finite(stream, w->env));
        Scratch *scratch _cleanup_(scratch_putp) = scratch_get(w->env);
        for (bool end = false; !end;) {
                ValueVec batch = {0};
                TRY(env_poll(w->env));
                TRY(stream_next(stream, w->env, &scratch->arena, WRITE_ROWS, &batch, &end));
                if (batch.count)
                        TRY(insert_batch(w, batch.items, batch.count, &scratch->arena));
                arena_reset(&scratch->arena);
        }
        return ST_OK;
}

static Status term_insert(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val target, rows;
        Write *w = arena_alloc(env->arena, sizeof *w);
        write_start(w, env, term);
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &target));
        TRY(val_as_table(env, &target, &w->table));
        TRY(parse_return_changes(env, term, &w->return_changes));
        TRY(parse_conflict(w));
        TRY(parse_durability(env, term, &w->options.durability));
        TRY(parse_ignore_hook(w));
        TRY(permit_ignoring_hook(w));
        TRY(check_conflict_function(w));
        w->change = change_insert;
        w->options.quick = w->conflict != CONFLICT_FUNCTION;
        TRY(args_val(&args, 1, &rows));
        if (val_is_datum(&rows) && value_is_object(rows.datum)) {
                TRY(insert_batch(w, &rows.datum, 1, env->arena));
        } else if (val_is_datum(&rows) && value_is(rows.datum, V_ARRAY)) {
                TRY(insert_array(w, rows.datum));
        } else {
                Stream *stream;
                TRY(val_as_stream(env, &rows, &stream));
                TRY(insert_stream(w, stream));
        }
        *ret = val_datum(term, statistics(w));
        return ST_OK;
}

/* --- update, replace, delete --- */

static Status write_row(Write *w, const Val *row)
{
        w->table = row->table;
        TRY(permit_ignoring_hook(w));
        Value *key = arena_alloc(w->env->arena, sizeof *key);
        *key = row->key;
        w->one_row = true;
        return write_batch(w, key, 1, w->env->arena);
}

static Status write_selection(Write *w, const Val *selection)
{
        Env *env = w->env;
        Stream *stream;
        TRY(val_as_selection(env, selection, &w->table, &stream));
        TRY(permit_ignoring_hook(w));
        Bytes pk = w->table->info->primary_key;
        Scratch *scratch _cleanup_(scratch_putp) = scratch_get(env);
        for (bool end = false; !end;) {
                ValueVec batch = {0};
                TRY(env_poll(env));
                TRY(stream_next(stream, env, &scratch->arena, WRITE_ROWS, &batch, &end));
                for (size_t i = 0; i < batch.count; i++)
                        batch.items[i] = value_get(batch.items[i], pk);
                if (batch.count)
                        TRY(write_batch(w, batch.items, batch.count, &scratch->arena));
                arena_reset(&scratch->arena);
        }
        return ST_OK;
}

/* The target is evaluated before all options. What get() finds is not read: the write does that. */
static Status target_first(Args *args)
{
        if (args->has_arg0 || args->terms[0]->type != TERM_GET)
                return args_first(args);
        TRY(get_unread(args->env, args->terms[0], &args->arg0));
        args->has_arg0 = true;
        return ST_OK;
}

static Status write_target(Write *w, Args *args, Val *ret)
{
        Val target;
        TRY(args_val(args, 0, &target));
        TRY(target.kind == VAL_ROW ? write_row(w, &target) : write_selection(w, &target));
        *ret = val_datum(w->term, statistics(w));
        return ST_OK;
}

/* replace's argument is evaluated once, and its error is the query's. */
static Status parse_replacement(Write *w, Args *args)
{
        Val val;
        TRY(args_val(args, 1, &val));
        if (!val_is_datum(&val))
                return val_to_func(w->env, &val, SHORTCUT_CONSTANT, &w->func);
        w->constant = val.datum;
        w->options.quick = true;
        return ST_OK;
}

/* update's argument stands inside the function of each row, so its error is each row's. What is deterministic and can
 * be evaluated is the same for all rows and evaluated once. */
static Status parse_update(Write *w, Args *args)
{
        const Term *term = args->terms[1];
        Val val;
        if (!(term->tree_flags & TF_UNPROVABLE)) {
                Status st = args_val_literal(args, 1, &val);
                if (!st && val_is_datum(&val)) {
                        w->constant = val.datum;
                        w->options.quick = true;
                        return ST_OK;
                }
                if (!st && val.kind == VAL_FUNC) {
                        w->func = val.func;
                        return ST_OK;
                }
                if (status_code(st) == ERR_CANCELLED || status_code(st) == ERR_NOMEM)
                        return st;
                status_ignore(st);
        }
        w->expression = term;
        return ST_OK;
}

/* Options that update and replace share. */
static Status parse_change(Write *w, Args *args)
{
        Env *env = w->env;
        Val val;
        bool non_atomic = false, present;
        TRY(opt_val(env, w->term, "non_atomic", &val, &present));
        if (present)
                TRY(val_as_bool(env, &val, &non_atomic));
        TRY(parse_return_changes(env, w->term, &w->return_changes));
        TRY(parse_durability(env, w->term, &w->options.durability));
        TRY(parse_ignore_hook(w));
        w->evaluated_first = (args->terms[1]->tree_flags & TF_UNPROVABLE) != 0;
        if (!non_atomic && w->evaluated_first)
                return fail(env, w->term, ERR_LOGIC,
                            "Could not prove argument deterministic.  Maybe you want to use the non_atomic flag?");
        return ST_OK;
}

/* update and replace differ in what their second argument is and in what becomes of a row. */
static Status write_changed(Env *env, const Term *term, Status (*parse)(Write *w, Args *args), RowChange change,
                            Val *ret)
{
        Args args;
        Write *w = arena_alloc(env->arena, sizeof *w);
        write_start(w, env, term);
        TRY(args_begin(env, term, &args));
        TRY(target_first(&args));
        TRY(parse_change(w, &args));
        TRY(parse(w, &args));
        w->change = change;
        return write_target(w, &args, ret);
}

static Status term_update(Env *env, const Term *term, Val *ret)
{
        return write_changed(env, term, parse_update, change_update, ret);
}

static Status term_replace(Env *env, const Term *term, Val *ret)
{
        return write_changed(env, term, parse_replacement, change_replace, ret);
}

static Status term_delete(Env *env, const Term *term, Val *ret)
{
        Args args;
        Write *w = arena_alloc(env->arena, sizeof *w);
        write_start(w, env, term);
        TRY(args_begin(env, term, &args));
        TRY(target_first(&args));
        TRY(parse_return_changes(env, term, &w->return_changes));
        TRY(parse_durability(env, term, &w->options.durability));
        TRY(parse_ignore_hook(w));
        w->change = change_delete;
        w->options.quick = true;
        w->options.deletes = true;
        return write_target(w, &args, ret);
}

static Status term_sync(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val target;
        TableVal *table;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &target));
        TRY(val_as_table(env, &target, &table));
        uint64_t position = env->durable_position;
        TRY(fail_at(env, term, env_permit_table(env, table->ref, PERMIT_WRITE)));
        TRY(fail_at(env, term, env->source->sync(table->ref, &position)));
        env->durable_position = MAX(env->durable_position, position);
        Field *field = arena_array(env->arena, Field, 1);
        *field = (Field){BYTES_STR("synced"), value_number(1)};
        *ret = val_datum(term, value_object_sorted(field, 1));
        return ST_OK;
}

/* --- for_each: the sum of its writes' statistics --- */

#define NOT_WRITES "FOR_EACH expects one or more basic write queries."

typedef struct Statistic { /* one field of the sum */
        Bytes key;
        Value value; /* a number or a string */
        ArrayBuilder array;
        bool is_array;
} Statistic;

typedef struct ForEach {
        const Term *term;
        Func *func;
        Arena *keep;
        Statistic *fields;
        size_t count, capacity;
        bool changes_cut;
} ForEach;

static Statistic *find_statistic(ForEach *f, Bytes key)
{
        for (size_t i = 0; i < f->count; i++)
                if (bytes_equal(f->fields[i].key, key))
                        return &f->fields[i];
        return NULL;
}

static void append_all(ForEach *f, Env *env, Statistic *to, Value array)
{
        for (size_t i = 0; i < value_count(array); i++) {
                if (to->array.count >= env->array_limit) {
                        f->changes_cut = true;
                        return;
                }
                array_add(&to->array, value_copy(value_at(array, i), f->keep));
        }
}

static void new_statistic(ForEach *f, Env *env, Bytes key, Value value)
{
        if (f->count == f->capacity) {
                size_t capacity = f->capacity ? 2 * f->capacity : 16;
                Statistic *fields = arena_array(f->keep, Statistic, capacity);
                if (f->count)
                        memcpy(fields, f->fields, f->count * sizeof *fields);
                f->fields = fields;
                f->capacity = capacity;
        }
        Statistic *s = &f->fields[f->count++];
        *s = (Statistic){.key = BYTES(arena_dup(f->keep, key.data, key.size), key.size),
                         .is_array = value_is(value, V_ARRAY)};
        array_init(&s->array, f->keep, 0);
        if (s->is_array)
                append_all(f, env, s, value);
        else
                s->value = value_copy(value, f->keep);
}

static Status add_statistic(ForEach *f, Env *env, const Term *at, Bytes key, Value value)
{
        Statistic *s = find_statistic(f, key);
        if (!s) {
                new_statistic(f, env, key, value);
                return ST_OK;
        }
        if (s->is_array && value_is(value, V_ARRAY)) {
                append_all(f, env, s, value);
                return ST_OK;
        }
        if (!s->is_array && value_is(s->value, V_NUMBER) && value_is(value, V_NUMBER)) {
                double sum = s->value.number + value.number;
                if (!isfinite(sum))
                        return fail(env, at, ERR_LOGIC, NOT_WRITES "  Non-finite number: %.20g", sum);
                s->value = value_number(sum);
                return ST_OK;
        }
        if (!s->is_array && value_is(s->value, V_STRING) && value_is(value, V_STRING))
                return ST_OK; /* the first one stays: first_error */
        Value old_value = s->is_array ? array_take(&s->array) : s->value;
        Bytes l = message_datum(env, old_value), r = message_datum(env, value);
        return fail(env, at, ERR_LOGIC, NOT_WRITES "  Cannot merge statistics `%.*s` (type %s) and `%.*s` (type %s).",
                    (int)l.size, (const char *)l.data, value_type_name(old_value), (int)r.size, (const char *)r.data,
                    value_type_name(value));
}

/* As everywhere, a wrong type is a missing value if it is null. */
static StatusCode not_writes_code(Value v)
{
        return value_is(v, V_NULL) ? ERR_NON_EXISTENCE : ERR_LOGIC;
}

static Status add_statistics(ForEach *f, Env *env, const Term *at, Value object)
{
        if (!value_is_object(object))
                return fail(env, at, not_writes_code(object), NOT_WRITES "  Expected type OBJECT but found %s.",
                            value_type_name(object));
        for (size_t i = 0; i < value_count(object); i++) {
                Bytes key;
                Value value = value_field_at(object, i, &key);
                TRY(add_statistic(f, env, at, key, value));
        }
        return ST_OK;
}

static Status add_row(ForEach *f, Env *env, Value row)
{
        Val val;
        Value datum;
        TRY(func_call(env, f->func, &row, 1, &val));
        if (!val_is_datum(&val)) {
                Status st = val_as_datum(env, &val, &datum); /* for its place */
                status_ignore(st);
                return fail(env, val.term, ERR_LOGIC, NOT_WRITES);
        }
        datum = val.datum;
        if (value_is_object(datum))
                return add_statistics(f, env, val.term, datum);
        if (!value_is(datum, V_ARRAY))
                return fail(env, val.term, not_writes_code(datum), NOT_WRITES "  Expected type ARRAY but found %s.",
                            value_type_name(datum));
        for (size_t i = 0; i < value_count(datum); i++)
                TRY(add_statistics(f, env, val.term, value_at(datum, i)));
        return ST_OK;
}

static Status for_each_row(void *ctx, Env *env, Value row, bool *ret_stop)
{
        uint64_t views = env->view_serial;
        EnvMark mark = env_mark(env);
        ArenaMark memory = arena_mark(env->arena);
        TRY(add_row(ctx, env, row));
        env_unwind(env, mark); /* scans, before their views; the statistics are copied, so nothing of the row is left */
        env_close_views(env, views);
        arena_rewind(env->arena, memory);
        return ST_OK;
}

/* Among the writes' own warnings, if it is not one of them. */
static void warn_of_cut(ForEach *f, Env *env)
{
        Bytes name = BYTES_STR("warnings");
        Value warning = value_str(arena_printf(f->keep, "Too many changes, array truncated to %zu.", env->array_limit));
        Statistic *there = find_statistic(f, name);
        if (!there) {
                new_statistic(f, env, name, value_array(NULL, 0));
                there = &f->fields[f->count - 1];
        }
        for (size_t i = 0; i < there->array.count; i++)
                if (value_equal(there->array.items[i], warning))
                        return;
        array_add(&there->array, warning);
}

static Value sum_of(ForEach *f, Env *env)
{
        ObjectBuilder object;
        if (f->changes_cut)
                warn_of_cut(f, env);
        object_init(&object, f->keep, f->count);
        for (size_t i = 0; i < f->count; i++) {
                Statistic *s = &f->fields[i];
                object_add(&object, s->key, s->is_array ? array_take(&s->array) : s->value);
        }
        return object_take(&object);
}

static Status term_for_each(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *stream;
        ForEach *f = arena_new(env->arena, ForEach);
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &stream));
        TRY(args_func(&args, 1, SHORTCUT_CONSTANT, &f->func));
        f->term = term;
        f->keep = env->arena;
        TRY(stream_check_finite(stream, env));
        TRY(stream_each(stream, env, for_each_row, f));
        *ret = val_datum(term, sum_of(f, env));
        return ST_OK;
}

static const TermEval evals[] = {
        {TERM_INSERT, term_insert, false}, {TERM_UPDATE, term_update, false}, {TERM_REPLACE, term_replace, false},
        {TERM_DELETE, term_delete, false}, {TERM_SYNC, term_sync, false},     {TERM_FOR_EACH, term_for_each, false},
};
const TermList terms_write = {evals, ELEMENTS(evals)};
