/* sorting.c - see sorting.h. Rows are collected until the budget is used up; then what is there is sorted and either
 *
 *      cut      to the rows wanted, if those are few: they stay, and what does not come before the last of them is
 *               refused from then on ("the first ten of a table" needs no more than that), or
 *      written  as a run, the arena is rewound, and collecting begins anew.
 *
 *        arena `rows`:   | row key.. | row key.. | ...          chunks of SortRow point here, and lie here, too
 *        on disk:        a record is (row, key 0, key 1 ...) with as many keys as had been computed
 *
 * Merging computes the keys that are missing when it needs them, as sorting in memory would. */
#include "query/sorting.h"

#include <assert.h>

#include "query/spill_int.h"

#define CHUNK_ROWS   256
#define SMALL_KEY    256 /* a key of a function whose result takes no more is moved to where its garbage began */
#define MIN_CUT_ROWS 1024
#define CUT_SHARE    2 /* of the budget that wanted rows may take and stay in memory */

typedef struct SortRow {
        Value row;
        Value *keys;       /* V_NONE: the row has no such field */
        uint32_t computed; /* of keys */
} SortRow;

typedef struct SortChunk SortChunk;
struct SortChunk {
        SortChunk *next;
        SortRow rows[CHUNK_ROWS];
};

struct Sorting {
        Env *env;
        const Term *term;
        const SortSpec *specs;
        size_t spec_count;
        Arena *arena;
        ArenaMark mark;
        size_t arena_bytes, budget; /* what the arena had at the mark; what it may take from there */
        size_t full_at;             /* room is made when it has taken so much */
        uint64_t wanted;
        /* collected */
        SortChunk *first, *last;
        size_t count;
        SortRow **order; /* count of them, once they are sorted */
        size_t given;
        /* the row that a new one has to come before, once there are `wanted` */
        bool has_bar;
        SortRow bar;
        Scratch *bar_arena; /* of the bar, where it is no row that is kept */
        /* on disk */
        Spill *spill;
        uint64_t left;
        Deferred *deferred; /* NULL: nothing to give back */
        uint32_t tick;
        Status error; /* of a comparison; those after it are all equal. Taken by whoever called for it */
};

static void close_sorting(void *what)
{
        Sorting *sorting = what;
        scratch_put(take(sorting->bar_arena));
        sorting->error = status_free(sorting->error);
}

/* The spill has an entry of its own among what is deferred. */
void sorting_close(Sorting *sorting)
{
        if (sorting->spill)
                spill_free(take(sorting->spill));
        if (sorting->deferred)
                env_undefer(sorting->env, take(sorting->deferred));
}

/* --- keys --- */

/* What calling the function left in the arena is forgotten, where the key does not need it. */
static Value tidy_key(Arena *arena, ArenaMark mark, Value key)
{
        uint8_t small[SMALL_KEY];
        if (!value_is(key, V_STRING) && !value_is(key, V_BINARY) && !value_is(key, V_ARRAY) && !value_is(key, V_TIME) &&
            !value_is_object(key)) {
                arena_rewind(arena, mark);
                return key;
        }
        size_t size = value_encoded_size(key);
        if (size > sizeof small)
                return key;
        value_encode(key, small);
        arena_rewind(arena, mark);
        return value_decode(arena_dup(arena, small, size));
}

/* Key `i` of a row, in env->arena. */
static Status compute_key(Sorting *sorting, size_t i, Value row, Value *ret_key)
{
        Env *env = sorting->env;
        bool drops = env->drops_missing;
        ArenaMark mark = arena_mark(env->arena);
        Value key = value_none();
        env->drops_missing = true;
        Status st = func_call_datum(env, sorting->specs[i].func, &row, 1, &key);
        env->drops_missing = drops;
        if (status_missing(&st))
                key = value_none();
        TRY(st);
        bool moved = env->arena->next != mark.next || env->arena->chunk != mark.chunk;
        *ret_key = moved ? tidy_key(env->arena, mark, key) : key;
        return ST_OK;
}

static Status sort_key(Sorting *sorting, SortRow *row, size_t i)
{
        if (likely(row->computed > i))
                return ST_OK;
        if (!row->keys)
                row->keys = arena_array(sorting->env->arena, Value, sorting->spec_count);
        TRY(compute_key(sorting, i, row->row, &row->keys[i]));
        row->computed = (uint32_t)i + 1;
        return ST_OK;
}

/* --- comparing --- */

/* A row without the field comes first in ascending order (V_NONE is the least of all types). */
static int compare_keys(const SortSpec *spec, Value a, Value b)
{
        bool has_a = !value_is(a, V_NONE), has_b = !value_is(b, V_NONE);
        int order = has_a && has_b ? value_compare(a, b) : has_a - has_b;
        return spec->descending ? -order : order;
}

static Status compare_now_and_then(Sorting *sorting)
{
        /* keys may be large: sixty-four of them are time enough */
        return unlikely((++sorting->tick & 63) == 0) ? env_poll(sorting->env) : ST_OK;
}

static Status compare_checked(Sorting *sorting, SortRow *a, SortRow *b, int *ret_order)
{
        TRY(compare_now_and_then(sorting));
        *ret_order = 0;
        for (size_t i = 0; i < sorting->spec_count && *ret_order == 0; i++) {
                TRY(sort_key(sorting, a, i));
                TRY(sort_key(sorting, b, i));
                *ret_order = compare_keys(&sorting->specs[i], a->keys[i], b->keys[i]);
        }
        return ST_OK;
}

static int compare_rows(Sorting *sorting, SortRow *a, SortRow *b)
{
        int order = 0;
        if (unlikely(sorting->error != ST_OK))
                return 0;
        sorting->error = compare_checked(sorting, a, b, &order);
        return sorting->error ? 0 : order;
}

/* SpillCompare: values are the row, then its keys. */
static Status compare_records(void *ctx, Env *env, SpillRecord *a, SpillRecord *b, int *ret_order)
{
        Sorting *sorting = ctx;
        SpillRecord *const both[2] = {a, b};
        TRY(compare_now_and_then(sorting));
        *ret_order = 0;
        for (size_t i = 0; i < sorting->spec_count && *ret_order == 0; i++) {
                for (size_t k = 0; k < 2; k++) {
                        if (likely(both[k]->count > i + 1))
                                continue;
                        Value key;
                        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
                        Arena *outer = env->arena;
                        env->arena = &scratch->arena;
                        Status st = compute_key(sorting, i, both[k]->values[0], &key);
                        env->arena = outer;
                        TRY(st);
                        spill_keep(sorting->spill, both[k], key);
                }
                *ret_order = compare_keys(&sorting->specs[i], a->values[i + 1], b->values[i + 1]);
        }
        return ST_OK;
}

/* --- sorting what was collected --- */

/* Merge sort: stable, and it survives a comparison that fails half-way. */
static void merge_sort(Sorting *sorting, SortRow **rows, SortRow **spare, size_t count)
{
        if (count < 2 || sorting->error)
                return;
        size_t half = count / 2;
        merge_sort(sorting, rows, spare, half);
        merge_sort(sorting, rows + half, spare, count - half);
        if (sorting->error || compare_rows(sorting, rows[half - 1], rows[half]) <= 0)
                return; /* in order already */
        memcpy(spare, rows, half * sizeof *spare);
        size_t left = 0, right = half, at = 0;
        while (left < half && right < count)
                rows[at++] = compare_rows(sorting, rows[right], spare[left]) < 0 ? rows[right++] : spare[left++];
        memcpy(rows + at, spare + left, (half - left) * sizeof *rows);
}

/* Fills `order`; with the budget used up it still takes 12 bytes for each row, and the keys. */
static Status sort_collected(Sorting *sorting)
{
        Env *env = sorting->env;
        Arena *outer = env->arena;
        size_t at = 0;
        env->arena = sorting->arena;
        sorting->order = arena_array(sorting->arena, SortRow *, sorting->count);
        for (SortChunk *chunk = sorting->first; chunk; chunk = chunk->next)
                for (size_t i = 0; i < CHUNK_ROWS && at < sorting->count; i++)
                        sorting->order[at++] = &chunk->rows[i];
        SortRow **spare = arena_array(sorting->arena, SortRow *, sorting->count / 2 + 1);
        merge_sort(sorting, sorting->order, spare, sorting->count);
        env->arena = outer;
        TRY(take(sorting->error));
        sorting->count = (size_t)MIN((uint64_t)sorting->count, sorting->wanted);
        return ST_OK;
}

/* --- collecting --- */

static size_t collected_bytes(const Sorting *sorting)
{
        return sorting->arena->total_bytes - MIN(sorting->arena->total_bytes, sorting->arena_bytes);
}

static void forget_collected(Sorting *sorting)
{
        arena_rewind(sorting->arena, sorting->mark);
        sorting->first = sorting->last = NULL;
        sorting->order = NULL;
        sorting->count = 0;
}

static SortRow *add_slot(Sorting *sorting)
{
        size_t at = sorting->count % CHUNK_ROWS;
        if (at == 0) {
                SortChunk *chunk = arena_alloc(sorting->arena, sizeof *chunk);
                chunk->next = NULL;
                if (sorting->last)
                        sorting->last->next = chunk;
                else
                        sorting->first = chunk;
                sorting->last = chunk;
        }
        sorting->count++;
        return &sorting->last->rows[at];
}

static void copy_keys(const Sorting *sorting, SortRow *to, const SortRow *from, Arena *arena)
{
        if (from->computed == 0)
                return;
        to->keys = arena_array(arena, Value, sorting->spec_count);
        for (size_t i = 0; i < from->computed; i++)
                to->keys[i] = value_is(from->keys[i], V_NONE) ? from->keys[i] : value_copy(from->keys[i], arena);
        to->computed = from->computed;
}

static void put_row(Sorting *sorting, const SortRow *from, bool stays)
{
        Value row = stays ? from->row : value_copy(from->row, sorting->arena);
        SortRow to = {.row = row};
        copy_keys(sorting, &to, from, sorting->arena);
        *add_slot(sorting) = to;
}

/* For what is to be given back when the sorting is given up by an error. */
static Scratch *bar_arena(Sorting *sorting)
{
        if (!sorting->deferred)
                sorting->deferred = env_defer(sorting->env, close_sorting, sorting);
        if (!sorting->bar_arena)
                sorting->bar_arena = scratch_get(sorting->env);
        return sorting->bar_arena;
}

/* The last of the rows wanted, of those sorted last; with all its keys, which rows to come will be compared with. */
static Status raise_bar(Sorting *sorting)
{
        if (sorting->count < sorting->wanted)
                return ST_OK;
        Env *env = sorting->env;
        Arena *outer = env->arena, *arena = &bar_arena(sorting)->arena;
        const SortRow *last = sorting->order[sorting->count - 1];
        Status st = ST_OK;
        arena_reset(arena);
        sorting->bar = (SortRow){.row = value_copy(last->row, arena)};
        copy_keys(sorting, &sorting->bar, last, arena);
        env->arena = arena;
        for (size_t i = 0; !st && i < sorting->spec_count; i++)
                st = sort_key(sorting, &sorting->bar, i);
        env->arena = outer;
        sorting->has_bar = true;
        return st;
}

/* The sorted rows move to the beginning of the arena. */
static void keep_sorted(Sorting *sorting)
{
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(sorting->env);
        size_t count = sorting->count;
        SortRow *rows = arena_array(&scratch->arena, SortRow, count);
        for (size_t i = 0; i < count; i++) {
                rows[i] = (SortRow){.row = value_copy(sorting->order[i]->row, &scratch->arena)};
                copy_keys(sorting, &rows[i], sorting->order[i], &scratch->arena);
        }
        forget_collected(sorting);
        for (size_t i = 0; i < count; i++)
                put_row(sorting, &rows[i], false);
}

static Status write_sorted(Sorting *sorting)
{
        if (!sorting->spill)
                TRY(spill_new(sorting->env, sorting->term, 1 + sorting->spec_count, &sorting->spill));
        Spill *spill = sorting->spill;
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(sorting->env);
        Value *values = arena_array(&scratch->arena, Value, 1 + sorting->spec_count);
        TRY(spill_begin_run(spill));
        for (size_t i = 0; i < sorting->count; i++) {
                const SortRow *row = sorting->order[i];
                values[0] = row->row;
                if (row->computed)
                        memcpy(values + 1, row->keys, row->computed * sizeof *values);
                TRY(spill_add(spill, values, 1 + row->computed));
        }
        TRY(spill_end_run(spill));
        forget_collected(sorting);
        return ST_OK;
}

static size_t sorted_bytes(const Sorting *sorting)
{
        size_t bytes = 0;
        for (size_t i = 0; i < sorting->count; i++)
                bytes += sizeof(SortRow) + value_encoded_size(sorting->order[i]->row);
        return bytes;
}

/* Makes room, when the budget or twice the rows wanted are there. */
static Status make_room(Sorting *sorting)
{
        TRY(sort_collected(sorting));
        TRY(raise_bar(sorting));
        if (sorted_bytes(sorting) > sorting->budget / CUT_SHARE) {
                TRY(write_sorted(sorting));
        } else {
                keep_sorted(sorting);
        }
        /* Rewinding an arena leaves it some room. */
        sorting->full_at = MAX(sorting->budget, collected_bytes(sorting) + sorting->budget / 2);
        return ST_OK;
}

Sorting *sorting_new(Env *env, const Term *term, const SortSpec *specs, size_t spec_count, Arena *rows, uint64_t wanted,
                     bool may_spill)
{
        Sorting *sorting = arena_new(env->arena, Sorting);
        sorting->env = env;
        sorting->term = term;
        sorting->specs = specs;
        sorting->spec_count = spec_count;
        sorting->arena = rows;
        sorting->mark = arena_mark(rows);
        sorting->arena_bytes = rows->total_bytes;
        sorting->budget = may_spill ? spill_budget(env) : SIZE_MAX;
        sorting->full_at = sorting->budget;
        sorting->wanted = MAX(wanted, (uint64_t)1); /* of none no key would be computed, and no error seen */
        return sorting;
}

Status sorting_add(Sorting *sorting, Value row, bool stays)
{
        SortRow new_row = {.row = row};
        if (sorting->has_bar) {
                int order;
                TRY(compare_checked(sorting, &new_row, &sorting->bar, &order));
                if (order >= 0)
                        return ST_OK;
        }
        put_row(sorting, &new_row, stays);
        bool many = sorting->wanted <= SIZE_MAX / 2 && sorting->count >= MIN_CUT_ROWS &&
                    sorting->count >= 2 * sorting->wanted;
        if (unlikely(many || (sorting->count % 16 == 0 && collected_bytes(sorting) > sorting->full_at)))
                return make_room(sorting);
        return ST_OK;
}

/* --- giving --- */

Status sorting_finish(Sorting *sorting)
{
        TRY(sort_collected(sorting));
        if (!sorting->spill) {
                sorting->left = sorting->count;
                return ST_OK;
        }
        if (sorting->count)
                TRY(write_sorted(sorting));
        TRY(spill_merge(sorting->spill, compare_records, sorting, sorting->wanted));
        sorting->left = MIN(spill_records(sorting->spill), sorting->wanted);
        return ST_OK;
}

uint64_t sorting_count(const Sorting *sorting)
{
        return sorting->left;
}

Value *sorting_rows(Sorting *sorting)
{
        if (sorting->spill)
                return NULL;
        Value *rows = arena_array(sorting->arena, Value, sorting->count);
        for (size_t i = 0; i < sorting->count; i++)
                rows[i] = sorting->order[i]->row;
        return rows;
}

bool sorting_fits_memory(const Sorting *sorting)
{
        return spill_fits_memory(sorting->env, spill_bytes(sorting->spill));
}

Status sorting_next(Sorting *sorting, Arena *out, Value *ret_row)
{
        *ret_row = value_none();
        if (sorting->left == 0)
                return ST_OK;
        if (sorting->spill) {
                SpillRecord *record;
                TRY(spill_next(sorting->spill, &record));
                assert(record);
                *ret_row = value_copy(record->values[0], out);
        } else {
                *ret_row = value_copy(sorting->order[sorting->given++]->row, out);
        }
        sorting->left--;
        return ST_OK;
}

Status sorting_skip(Sorting *sorting, uint64_t n, uint64_t *ret_skipped)
{
        *ret_skipped = MIN(n, sorting->left);
        if (!sorting->spill)
                sorting->given += (size_t)*ret_skipped;
        for (uint64_t i = 0; sorting->spill && i < *ret_skipped; i++) {
                SpillRecord *record;
                TRY(spill_next(sorting->spill, &record));
                assert(record);
        }
        sorting->left -= *ret_skipped;
        return ST_OK;
}
