/* match_class.c - from a FeedSpec to a FeedClass: one piece of memory, in a form that equal specs have in common.
 *
 *      [FeedClass | bounds | keys | conditions | their values, bounds, paths | bytes of texts and containers]
 */
#include "feed/match_int.h"

#include <assert.h>
#include <stdlib.h>

#include "query/feed_pack.h"

/* --- packing --- */

/* No row's value is MINVAL or MAXVAL, nor lies before or behind them: these are no bounds. */
static KeyBounds plain_bounds(const KeyBounds *from)
{
        KeyBounds bounds = *from;
        if (bounds.low_type == BOUND_NONE || value_is(bounds.low, V_MINVAL)) {
                bounds.low_type = BOUND_NONE;
                bounds.low = value_none();
        }
        if (bounds.high_type == BOUND_NONE || value_is(bounds.high, V_MAXVAL)) {
                bounds.high_type = BOUND_NONE;
                bounds.high = value_none();
        }
        return bounds;
}

/* NULL: there are none. */
static const KeyBounds *pack_bounds(FeedPacker *packer, const KeyBounds *from)
{
        if (!from)
                return NULL;
        KeyBounds bounds = plain_bounds(from);
        if (bounds.low_type == BOUND_NONE && bounds.high_type == BOUND_NONE)
                return NULL;
        KeyBounds *copy = feed_pack_room(packer, sizeof *copy);
        bounds = feed_pack_bounds(packer, &bounds);
        if (copy)
                *copy = bounds;
        return copy;
}

static MatchCondition pack_condition(FeedPacker *packer, const FeedCondition *from)
{
        MatchCondition condition = {.kind = from->kind, .path = feed_pack_path(packer, from->path)};
        if (from->kind == FEED_FIELD_BETWEEN) {
                condition.bounds = pack_bounds(packer, &from->bounds);
        } else {
                condition.value_count = (uint32_t)from->value_count;
                condition.values = feed_pack_values(packer, from->values, from->value_count);
        }
        return condition;
}

static void pack_spec(FeedPacker *packer, const FeedSpec *spec, FeedClass *ret)
{
        MatchCondition *conditions = NULL;
        if (spec->condition_count)
                conditions = feed_pack_room(packer, spec->condition_count * sizeof *conditions);
        for (size_t i = 0; i < spec->condition_count; i++) {
                MatchCondition condition = pack_condition(packer, &spec->conditions[i]);
                if (conditions)
                        conditions[i] = condition;
        }
        ret->conditions = conditions;
        ret->condition_count = (uint32_t)spec->condition_count;
        ret->keys = feed_pack_values(packer, spec->keys, spec->key_count);
        ret->key_count = (uint32_t)spec->key_count;
        ret->bounds = spec->key_count ? NULL : pack_bounds(packer, spec->bounds);
        ret->function = feed_pack_bytes(packer, spec->function);
}

/* --- order: what is equal becomes the same --- */

static int compare_values(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

static void sort_values(const Value *values, size_t count)
{
        if (count > 1)
                qsort((Value *)values, count, sizeof *values, compare_values); /* they are ours */
}

static int compare_lists(const Value *a, size_t a_count, const Value *b, size_t b_count)
{
        for (size_t i = 0; i < MIN(a_count, b_count); i++) {
                int order = value_compare(a[i], b[i]);
                if (order)
                        return order;
        }
        return (a_count > b_count) - (a_count < b_count);
}

static int compare_paths(IndexPath a, IndexPath b)
{
        for (size_t i = 0; i < MIN(a.count, b.count); i++) {
                int order = bytes_compare(a.fields[i], b.fields[i]);
                if (order)
                        return order;
        }
        return (a.count > b.count) - (a.count < b.count);
}

static int compare_bounds(const KeyBounds *a, const KeyBounds *b)
{
        if (!a || !b)
                return (a != NULL) - (b != NULL);
        int order = (a->low_type > b->low_type) - (a->low_type < b->low_type);
        if (!order)
                order = (a->high_type > b->high_type) - (a->high_type < b->high_type);
        if (!order)
                order = value_compare(a->low, b->low);
        return order ? order : value_compare(a->high, b->high);
}

static int compare_conditions(const void *left, const void *right)
{
        const MatchCondition *a = left, *b = right;
        int order = (a->kind > b->kind) - (a->kind < b->kind);
        if (!order)
                order = compare_paths(a->path, b->path);
        if (!order)
                order = compare_bounds(a->bounds, b->bounds);
        return order ? order : compare_lists(a->values, a->value_count, b->values, b->value_count);
}

/* The room of what came twice is lost; it hardly ever does. */
static void make_canonical(FeedClass *class)
{
        sort_values(class->keys, class->key_count);
        for (size_t i = 0; i < class->condition_count; i++) {
                MatchCondition *condition = &class->conditions[i];
                Value *values = (Value *)condition->values;
                uint32_t kept = 0;
                sort_values(values, condition->value_count);
                for (uint32_t k = 0; k < condition->value_count; k++)
                        if (k == 0 || !value_equal(values[k], values[kept - 1]))
                                values[kept++] = values[k];
                condition->value_count = kept;
        }
        if (class->condition_count > 1)
                qsort(class->conditions, class->condition_count, sizeof *class->conditions, compare_conditions);
        uint32_t kept = 0;
        for (uint32_t i = 0; i < class->condition_count; i++)
                if (i == 0 || compare_conditions(&class->conditions[i], &class->conditions[kept - 1]) != 0)
                        class->conditions[kept++] = class->conditions[i];
        class->condition_count = kept;
}

bool feed_class_equal(const FeedClass *a, const FeedClass *b)
{
        if (a->hash != b->hash || a->exact != b->exact || a->has_index != b->has_index ||
            a->tell_moves != b->tell_moves || a->tell_mended != b->tell_mended || a->now_us != b->now_us ||
            a->index != b->index || a->condition_count != b->condition_count ||
            !bytes_equal(a->function, b->function) || compare_bounds(a->bounds, b->bounds) != 0 ||
            compare_lists(a->keys, a->key_count, b->keys, b->key_count) != 0)
                return false;
        for (size_t i = 0; i < a->condition_count; i++)
                if (compare_conditions(&a->conditions[i], &b->conditions[i]) != 0)
                        return false;
        return true;
}

/* --- hash --- */

/* To find an equal one in its table. (What tokens say is feed_specs_hash in query/: of specs as they were asked for.)
 */
static uint64_t hash_of(const FeedClass *class)
{
        uint64_t hash = feed_mix(class->exact + 2 * (unsigned)class->tell_moves + 4 * (unsigned)class->tell_mended +
                                         8 * (unsigned)class->has_index,
                                 (uint64_t) class->now_us);
        hash = feed_mix(hash, (uintptr_t) class->index);
        hash = feed_mix_bounds(hash, class->bounds);
        hash = feed_mix_values(hash, class->keys, class->key_count);
        hash = feed_mix(hash, class->condition_count);
        for (size_t i = 0; i < class->condition_count; i++) {
                const MatchCondition *condition = &class->conditions[i];
                hash = feed_mix(hash, condition->kind);
                hash = feed_mix_path(hash, condition->path);
                hash = feed_mix_bounds(hash, condition->bounds);
                hash = feed_mix_values(hash, condition->values, condition->value_count);
        }
        return feed_mix_bytes(hash, class->function);
}

/* --- lifetime --- */

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

Status feed_class_new(const FeedSpec *spec, const TableSource *source, FeedClass **ret_class)
{
        const TableInfo *info = source->table_info(spec->table);
        TableIndex *index = NULL;
        FeedPacker packer = {0};
        FeedClass packed = {.exact = spec->exact,
                            .has_index = spec->index.data != NULL,
                            .tell_moves = spec->tell_moves,
                            .tell_mended = spec->tell_mended,
                            .now_us = spec->now_us};
        if (packed.has_index && !bytes_equal(spec->index, info->primary_key)) {
                if (!table_store(spec->table))
                        return status_new(ERR_OP_FAILED, "Index `%.*s` was not found on table `%.*s.%.*s`.",
                                          S(spec->index), S(info->db), S(info->name));
                TRY(table_index_find(spec->table, spec->index, &index));
        }
        FeedClass counted = packed;
        pack_spec(&packer, spec, &counted);
        size_t size = packer.used;
        FeedClass *class = size < UINT32_MAX / 2 ? mem_alloc(sizeof *class + size) : NULL;
        if (!class) {
                table_index_unref(index);
                return status_nomem();
        }
        packer = (FeedPacker){.space = (uint8_t *)(class + 1)};
        pack_spec(&packer, spec, &packed);
        assert(packer.used == size);
        *class = packed;
        atomic_init(&class->refs, 1);
        atomic_init(&class->cost_ns, 0);
        class->index = index;
        make_canonical(class);
        class->hash = hash_of(class);
        class->bytes = (uint32_t)(sizeof *class + size);
        *ret_class = class;
        return ST_OK;
}

FeedClass *feed_class_ref(FeedClass *class)
{
        atomic_fetch_add_explicit(&class->refs, 1, memory_order_relaxed);
        return class;
}

FeedClass *feed_class_unref(FeedClass *class)
{
        if (!class || atomic_fetch_sub_explicit(&class->refs, 1, memory_order_acq_rel) != 1)
                return NULL;
        assert(!class->filing); /* a table's reference is given back when it is removed */
        table_index_unref(class->index);
        mem_free(class);
        return NULL;
}

size_t feed_class_bytes(const FeedClass *class)
{
        return class->bytes + match_filing_bytes(class);
}

bool feed_class_is_plain(const FeedClass *class)
{
        return (class->exact || !class->function.data) && !class->index;
}

/* --- what it takes --- */

#define SLOW_NS 100000 /* a tenth of what a commit may take to its feeds, with a hundred such feeds on one table */

/* A running mean, into which each time goes with a quarter. Threads that say it at once may lose one of them. */
void feed_class_took(FeedClass *class, int64_t ns)
{
        int64_t before = atomic_load_explicit(&class->cost_ns, memory_order_relaxed);
        int64_t after = before + (MIN(MAX(ns, 0), INT32_MAX) - before) / 4;
        atomic_store_explicit(&class->cost_ns, (unsigned)after, memory_order_relaxed);
}

bool feed_class_is_slow(const FeedClass *class)
{
        return atomic_load_explicit(&class->cost_ns, memory_order_relaxed) > SLOW_NS;
}
