/* changes_pending.c - changes that wait to be told.
 *
 * Squashing joins by key and by value: a change goes on where an earlier one of the same row ended (its new value is
 * this one's old value). So rows that come more than once (multi indexes, get_all with a key twice, concat_map) stay as
 * many as they are. What ends where it began is gone. */
#include "base/mem.h"
#include "query/changes_flow.h"

#define NONE UINT32_MAX

typedef struct PendingChange {
        Change change;
        uint64_t hash;
        uint32_t older; /* in its bucket; NONE: none */
} PendingChange;

struct Pending {
        Arena arena;
        PendingChange *changes;
        size_t count, capacity, given;
        uint32_t *buckets; /* the newest change of each; NULL: none was squashed */
        size_t bucket_count;
};

Status pending_new(Pending **ret_pending)
{
        Pending *pending = mem_zalloc(sizeof *pending);
        if (!pending)
                return status_nomem();
        arena_init(&pending->arena, 0);
        *ret_pending = pending;
        return ST_OK;
}

Pending *pending_free(Pending *pending)
{
        if (!pending)
                return NULL;
        arena_done(&pending->arena);
        mem_free(pending);
        return NULL;
}

Arena *pending_arena(Pending *pending, const Arena *like)
{
        pending->arena.max_bytes = like->max_bytes;
        pending->arena.oom = like->oom;
        pending->arena.oom_ctx = like->oom_ctx;
        pending->arena.stop = like->stop;
        return &pending->arena;
}

static bool same(Value a, Value b)
{
        return change_absent(a) || change_absent(b) ? change_absent(a) && change_absent(b) : value_equal(a, b);
}

static PendingChange *append(Pending *pending, const Change *change)
{
        if (pending->count == pending->capacity) {
                size_t capacity = pending->capacity ? 2 * pending->capacity : 8;
                PendingChange *changes = arena_array(&pending->arena, PendingChange, capacity);
                if (pending->count)
                        memcpy(changes, pending->changes, pending->count * sizeof *changes);
                pending->changes = changes;
                pending->capacity = capacity;
        }
        PendingChange *added = &pending->changes[pending->count++];
        *added = (PendingChange){.change = *change, .older = NONE};
        return added;
}

void pending_add(Pending *pending, const Change *change)
{
        (void)append(pending, change);
}

static void put_in_bucket(Pending *pending, size_t i)
{
        uint32_t *bucket = &pending->buckets[pending->changes[i].hash & (pending->bucket_count - 1)];
        pending->changes[i].older = *bucket;
        *bucket = (uint32_t)i;
}

static void make_buckets(Pending *pending)
{
        pending->bucket_count = pending->bucket_count ? 4 * pending->bucket_count : 16;
        pending->buckets = arena_array(&pending->arena, uint32_t, pending->bucket_count);
        memset(pending->buckets, 0xff, pending->bucket_count * sizeof *pending->buckets);
        for (size_t i = 0; i < pending->count; i++)
                put_in_bucket(pending, i);
}

static PendingChange *find_before(Pending *pending, const Change *change, uint64_t hash)
{
        for (uint32_t i = pending->buckets[hash & (pending->bucket_count - 1)]; i != NONE;) {
                PendingChange *earlier = &pending->changes[i];
                if (i >= pending->given && earlier->hash == hash && value_equal(earlier->change.key, change->key) &&
                    same(earlier->change.new_value, change->old_value))
                        return earlier;
                i = earlier->older;
        }
        return NULL;
}

static Value copy(Pending *pending, Value v)
{
        return value_is(v, V_NONE) ? v : value_copy(v, &pending->arena);
}

void pending_squash(Pending *pending, const Change *change)
{
        uint64_t hash = value_hash(change->key);
        if (pending->count >= pending->bucket_count)
                make_buckets(pending);
        PendingChange *earlier = find_before(pending, change, hash);
        if (earlier) {
                earlier->change.new_value = copy(pending, change->new_value);
                earlier->change.new_offset = change->new_offset;
                return;
        }
        Change copied = *change;
        copied.key = copy(pending, change->key);
        copied.old_value = copy(pending, change->old_value);
        copied.new_value = copy(pending, change->new_value);
        append(pending, &copied)->hash = hash;
        put_in_bucket(pending, pending->count - 1);
}

/* A change that came to nothing by squashing, or is none. */
static bool is_nothing(const Pending *pending, const Change *change)
{
        if (change->error || change->initial)
                return false;
        if (pending->buckets)
                return same(change->old_value, change->new_value);
        return change_absent(change->old_value) && change_absent(change->new_value);
}

static void pass_nothing(Pending *pending)
{
        while (pending->given < pending->count && is_nothing(pending, &pending->changes[pending->given].change))
                pending->given++;
}

bool pending_take(Pending *pending, Change *ret_change)
{
        pass_nothing(pending);
        if (pending->given == pending->count)
                return false;
        *ret_change = pending->changes[pending->given++].change;
        pass_nothing(pending);
        return true;
}

bool pending_is_empty(const Pending *pending)
{
        size_t i = pending->given;
        while (i < pending->count && is_nothing(pending, &pending->changes[i].change))
                i++;
        return i == pending->count;
}

size_t pending_count(const Pending *pending)
{
        return pending->count - pending->given;
}

size_t pending_bytes(const Pending *pending)
{
        return sizeof *pending + pending->arena.total_bytes;
}
