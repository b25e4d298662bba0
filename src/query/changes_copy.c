/* changes_copy.c - FeedSpecs that outlive their query, and what they mean as a number. */
#include "base/mem.h"
#include "query/changes_flow.h"

/* --- copying: once to count, once to copy --- */

typedef struct Copier {
        uint8_t *space; /* NULL: counting */
        size_t used;
} Copier;

static void *put(Copier *copier, const void *data, size_t size)
{
        uint8_t *to = copier->space ? copier->space + copier->used : NULL;
        if (to && size)
                memcpy(to, data, size);
        copier->used += (size + 7) & ~(size_t)7;
        return to;
}

static Bytes put_bytes(Copier *copier, Bytes bytes)
{
        return bytes.data ? BYTES(put(copier, bytes.data, bytes.size), bytes.size) : bytes;
}

static Value put_value(Copier *copier, Value v)
{
        if (value_is(v, V_STRING) || value_is(v, V_BINARY)) {
                v.text = put(copier, v.text, v.size);
        } else if (value_is(v, V_ARRAY) || value_is_object(v)) {
                size_t size = value_encoded_size(v);
                uint8_t *to = put(copier, NULL, 0);
                copier->used += (size + 7) & ~(size_t)7;
                if (!to)
                        return v;
                value_encode(v, to);
                return value_decode(to);
        }
        return v;
}

static const Value *put_values(Copier *copier, const Value *values, size_t count)
{
        Value *to = put(copier, values, count * sizeof *values);
        for (size_t i = 0; i < count; i++) {
                Value v = put_value(copier, values[i]);
                if (to)
                        to[i] = v;
        }
        return to;
}

static KeyBounds put_bounds(Copier *copier, const KeyBounds *bounds)
{
        KeyBounds copy = *bounds;
        if (bounds->low_type != BOUND_NONE)
                copy.low = put_value(copier, bounds->low);
        if (bounds->high_type != BOUND_NONE)
                copy.high = put_value(copier, bounds->high);
        return copy;
}

static const FeedCondition *put_conditions(Copier *copier, const FeedCondition *conditions, size_t count)
{
        FeedCondition *to = put(copier, conditions, count * sizeof *conditions);
        for (size_t i = 0; i < count; i++) {
                FeedCondition copy = conditions[i];
                Bytes *fields = put(copier, copy.path.fields, copy.path.count * sizeof *fields);
                for (size_t j = 0; j < copy.path.count; j++) {
                        Bytes field = put_bytes(copier, copy.path.fields[j]);
                        if (fields)
                                fields[j] = field;
                }
                copy.path.fields = fields;
                copy.values = put_values(copier, copy.values, copy.value_count);
                if (copy.kind == FEED_FIELD_BETWEEN)
                        copy.bounds = put_bounds(copier, &copy.bounds);
                if (to)
                        to[i] = copy;
        }
        return to;
}

static FeedSpec *put_specs(Copier *copier, const FeedSpec *specs, size_t count)
{
        FeedSpec *to = put(copier, specs, count * sizeof *specs);
        for (size_t i = 0; i < count; i++) {
                FeedSpec copy = specs[i];
                copy.index = put_bytes(copier, copy.index);
                if (copy.bounds) {
                        KeyBounds bounds = put_bounds(copier, copy.bounds);
                        copy.bounds = put(copier, &bounds, sizeof bounds);
                }
                copy.keys = put_values(copier, copy.keys, copy.key_count);
                copy.conditions = put_conditions(copier, copy.conditions, copy.condition_count);
                copy.function = put_bytes(copier, copy.function);
                if (to)
                        to[i] = copy;
        }
        return to;
}

Status feed_specs_copy(const FeedSpec *specs, size_t count, FeedSpec **ret_copy)
{
        Copier copier = {0};
        (void)put_specs(&copier, specs, count);
        copier = (Copier){.space = mem_alloc(copier.used)};
        if (!copier.space)
                return status_nomem();
        *ret_copy = put_specs(&copier, specs, count);
        return ST_OK;
}

/* --- what they mean --- */

static uint64_t mix(uint64_t hash, uint64_t more)
{
        return bytes_hash_seeded(&more, sizeof more, hash);
}

static uint64_t mix_bytes(uint64_t hash, Bytes bytes)
{
        return bytes_hash_seeded(bytes.data, bytes.size, mix(hash, bytes.data ? bytes.size + 1 : 0));
}

static uint64_t mix_values(uint64_t hash, const Value *values, size_t count)
{
        hash = mix(hash, count);
        for (size_t i = 0; i < count; i++)
                hash = mix(hash, value_hash(values[i]));
        return hash;
}

static uint64_t mix_bounds(uint64_t hash, const KeyBounds *bounds)
{
        hash = mix(hash, (uint64_t)bounds->low_type << 8 | (uint64_t)bounds->high_type);
        if (bounds->low_type != BOUND_NONE)
                hash = mix_values(hash, &bounds->low, 1);
        return bounds->high_type != BOUND_NONE ? mix_values(hash, &bounds->high, 1) : hash;
}

static uint64_t mix_condition(uint64_t hash, const FeedCondition *condition)
{
        hash = mix(mix(hash, condition->kind), condition->path.count);
        for (size_t i = 0; i < condition->path.count; i++)
                hash = mix_bytes(hash, condition->path.fields[i]);
        hash = mix_values(hash, condition->values, condition->value_count);
        return condition->kind == FEED_FIELD_BETWEEN ? mix_bounds(hash, &condition->bounds) : hash;
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
        uint64_t hash = mix_bytes(mix(0, count), about);
        for (size_t i = 0; i < count; i++) {
                const FeedSpec *spec = &specs[i];
                hash = mix_bytes(mix_bytes(hash, source->table_info(spec->table)->id), spec->index);
                hash = mix(hash, index_hash(source, spec));
                hash = spec->bounds ? mix_bounds(hash, spec->bounds) : mix(hash, 0);
                hash = mix(mix_values(hash, spec->keys, spec->key_count), spec->condition_count);
                for (size_t j = 0; j < spec->condition_count; j++)
                        hash = mix_condition(hash, &spec->conditions[j]);
                hash = mix_bytes(mix(hash, spec->exact), spec->function);
        }
        return hash;
}
