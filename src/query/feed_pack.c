/* feed_pack.c - see feed_pack.h. */
#include "query/feed_pack.h"

/* --- packing --- */

void *feed_pack_room(FeedPacker *packer, size_t bytes)
{
        void *at = packer->space ? packer->space + packer->used : NULL;
        packer->used += (bytes + 7) & ~(size_t)7;
        return at;
}

Bytes feed_pack_bytes(FeedPacker *packer, Bytes from)
{
        if (!from.data)
                return BYTES_NONE;
        uint8_t *copy = feed_pack_room(packer, from.size);
        if (copy && from.size)
                memcpy(copy, from.data, from.size);
        return BYTES(copy, from.size);
}

Value feed_pack_value(FeedPacker *packer, Value v)
{
        if (value_is(v, V_STRING) || value_is(v, V_BINARY)) {
                v.text = (const char *)feed_pack_bytes(packer, value_bytes(v)).data;
        } else if (value_is(v, V_ARRAY) || value_is_object(v)) {
                uint8_t *copy = feed_pack_room(packer, value_encoded_size(v));
                if (copy) {
                        value_encode(v, copy);
                        v = value_decode(copy);
                }
        }
        return v;
}

const Value *feed_pack_values(FeedPacker *packer, const Value *from, size_t count)
{
        if (!count)
                return NULL;
        Value *values = feed_pack_room(packer, count * sizeof *values);
        for (size_t i = 0; i < count; i++) {
                Value v = feed_pack_value(packer, from[i]);
                if (values)
                        values[i] = v;
        }
        return values;
}

IndexPath feed_pack_path(FeedPacker *packer, IndexPath from)
{
        Bytes *fields = feed_pack_room(packer, from.count * sizeof *fields);
        for (size_t i = 0; i < from.count; i++) {
                Bytes field = feed_pack_bytes(packer, from.fields[i]);
                if (fields)
                        fields[i] = field;
        }
        return (IndexPath){fields, from.count};
}

KeyBounds feed_pack_bounds(FeedPacker *packer, const KeyBounds *from)
{
        KeyBounds copy = *from;
        if (from->low_type != BOUND_NONE)
                copy.low = feed_pack_value(packer, from->low);
        if (from->high_type != BOUND_NONE)
                copy.high = feed_pack_value(packer, from->high);
        return copy;
}

/* --- as a number --- */

uint64_t feed_mix(uint64_t hash, uint64_t more)
{
        return bytes_hash_seeded(&more, sizeof more, hash);
}

uint64_t feed_mix_bytes(uint64_t hash, Bytes bytes)
{
        return bytes_hash_seeded(bytes.data, bytes.size, feed_mix(hash, bytes.data ? bytes.size + 1 : 0));
}

uint64_t feed_mix_values(uint64_t hash, const Value *values, size_t count)
{
        hash = feed_mix(hash, count);
        for (size_t i = 0; i < count; i++)
                hash = feed_mix(hash, value_hash(values[i]));
        return hash;
}

uint64_t feed_mix_path(uint64_t hash, IndexPath path)
{
        hash = feed_mix(hash, path.count);
        for (size_t i = 0; i < path.count; i++)
                hash = feed_mix_bytes(hash, path.fields[i]);
        return hash;
}

uint64_t feed_mix_bounds(uint64_t hash, const KeyBounds *bounds)
{
        if (!bounds)
                return feed_mix(hash, 0);
        hash = feed_mix(hash, 1 + ((uint64_t)bounds->low_type << 8 | (uint64_t)bounds->high_type));
        if (bounds->low_type != BOUND_NONE)
                hash = feed_mix_values(hash, &bounds->low, 1);
        return bounds->high_type != BOUND_NONE ? feed_mix_values(hash, &bounds->high, 1) : hash;
}
