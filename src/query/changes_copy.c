/* changes_copy.c - FeedSpecs that outlive their query, and what they mean as a number. */
#include "base/mem.h"
#include "query/changes_flow.h"
#include "query/feed_pack.h"

/* --- copying --- */

static const FeedCondition *pack_conditions(FeedPacker *packer, const FeedCondition *conditions, size_t count)
{
        FeedCondition *to = feed_pack_room(packer, count * sizeof *conditions);
        for (size_t i = 0; i < count; i++) {
                FeedCondition copy = conditions[i];
                copy.path = feed_pack_path(packer, copy.path);
                copy.values = feed_pack_values(packer, copy.values, copy.value_count);
                if (copy.kind == FEED_FIELD_BETWEEN)
                        copy.bounds = feed_pack_bounds(packer, &copy.bounds);
                if (to)
                        to[i] = copy;
        }
        return to;
}

static const KeyBounds *pack_bounds(FeedPacker *packer, const KeyBounds *bounds)
{
        if (!bounds)
                return NULL;
        KeyBounds *to = feed_pack_room(packer, sizeof *to), copy = feed_pack_bounds(packer, bounds);
        if (to)
                *to = copy;
        return to;
}

static FeedSpec *pack_specs(FeedPacker *packer, const FeedSpec *specs, size_t count)
{
        FeedSpec *to = feed_pack_room(packer, count * sizeof *specs);
        for (size_t i = 0; i < count; i++) {
                FeedSpec copy = specs[i];
                copy.index = feed_pack_bytes(packer, copy.index);
                copy.bounds = pack_bounds(packer, copy.bounds);
                copy.keys = feed_pack_values(packer, copy.keys, copy.key_count);
                copy.conditions = pack_conditions(packer, copy.conditions, copy.condition_count);
                copy.function = feed_pack_bytes(packer, copy.function);
                if (to)
                        to[i] = copy;
        }
        return to;
}

Status feed_specs_copy(const FeedSpec *specs, size_t count, FeedSpec **ret_copy)
{
        FeedPacker packer = {0};
        (void)pack_specs(&packer, specs, count);
        packer = (FeedPacker){.space = mem_alloc(packer.used)};
        if (!packer.space)
                return status_nomem();
        *ret_copy = pack_specs(&packer, specs, count);
        return ST_OK;
}

/* --- what they mean --- */

static uint64_t mix_condition(uint64_t hash, const FeedCondition *condition)
{
        hash = feed_mix_path(feed_mix(hash, condition->kind), condition->path);
        hash = feed_mix_values(hash, condition->values, condition->value_count);
        return condition->kind == FEED_FIELD_BETWEEN ? feed_mix_bounds(hash, &condition->bounds) : hash;
}

/* An index that was dropped and made again under its name may be another one. */
static uint64_t index_hash(const TableSource *source, const FeedSpec *spec)
{
        const IndexInfo *indexes;
        size_t count = spec->index.data && source->index_list ? source->index_list(spec->table, &indexes) : 0;
        for (size_t i = 0; i < count; i++)
                if (bytes_equal(indexes[i].name, spec->index))
                        return indexes[i].hash;
        return 0;
}

uint64_t feed_specs_hash(const TableSource *source, const FeedSpec *specs, size_t count, Bytes about)
{
        uint64_t hash = feed_mix_bytes(feed_mix(0, count), about);
        for (size_t i = 0; i < count; i++) {
                const FeedSpec *spec = &specs[i];
                hash = feed_mix_bytes(feed_mix_bytes(hash, source->table_info(spec->table)->id), spec->index);
                hash = feed_mix(hash, index_hash(source, spec));
                hash = feed_mix_bounds(hash, spec->bounds);
                hash = feed_mix(feed_mix_values(hash, spec->keys, spec->key_count), spec->condition_count);
                for (size_t j = 0; j < spec->condition_count; j++)
                        hash = mix_condition(hash, &spec->conditions[j]);
                hash = feed_mix_bytes(feed_mix(hash, spec->exact), spec->function);
        }
        return hash;
}
