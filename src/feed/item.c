/* item.c - events in memory: made once for a class, shared by its feeds; and from the log's records to what a class
 * shows of them. */
#include "feed/hub_int.h"

/* --- from records --- */

Status feed_row_changed(const Record *record, Bytes primary_key, Arena *hold, RowChanged *ret_changed)
{
        Bytes old;
        bool known;
        TRY(record_old(record, hold, &old, &known));
        if (!known)
                return status_new(ERR_CORRUPT, "the log does not say what a row was before it changed");
        RowChanged changed = {.old_row = old.data ? value_decode(old.data) : value_none(),
                              .new_row = record->kind == RECORD_PUT ? value_decode(record->value.data) : value_none()};
        Value row = value_is(changed.new_row, V_NONE) ? changed.old_row : changed.new_row;
        changed.key = value_is(row, V_NONE) ? value_none() : value_get(row, primary_key);
        *ret_changed = changed;
        return ST_OK;
}

/* --- items --- */

static size_t encoded_size(Value v)
{
        return value_is(v, V_NONE) ? 0 : value_encoded_size(v);
}

Status feed_item_alloc(FeedHub *hub, FeedItemKind kind, size_t bytes, FeedItem **ret_item)
{
        if (bytes > UINT32_MAX)
                return status_new(ERR_LIMIT, "a change has %zu bytes", bytes);
        FeedItem *item = mem_alloc(sizeof(FeedItem) + bytes);
        if (!item)
                return status_nomem();
        *item = (FeedItem){.bytes = (uint32_t)bytes, .kind = (uint8_t)kind, .hub = hub};
        atomic_init(&item->refs, 1);
        atomic_fetch_add_explicit(&hub->queued_bytes, sizeof(FeedItem) + bytes, memory_order_relaxed);
        *ret_item = item;
        return ST_OK;
}

static Status item_of_values(FeedHub *hub, FeedItemKind kind, const Value values[5], FeedItem **ret_item)
{
        size_t sizes[5], bytes = 0;
        for (size_t i = 0; i < 5; i++)
                bytes += sizes[i] = encoded_size(values[i]);
        TRY(feed_item_alloc(hub, kind, bytes, ret_item));
        uint8_t *at = (*ret_item)->data;
        for (size_t i = 0; i < 5; i++) {
                (*ret_item)->sizes[i] = (uint32_t)sizes[i];
                if (sizes[i])
                        value_encode(values[i], at);
                at += sizes[i];
        }
        return ST_OK;
}

Status feed_item_new(FeedHub *hub, Value key, const MatchShown *shown, FeedItem **ret_item)
{
        if (!shown->error) {
                const Value values[5] = {key, shown->old_value, shown->new_value, shown->old_index, shown->new_index};
                return item_of_values(hub, FEED_ITEM_CHANGE, values, ret_item);
        }
        size_t size = strlen(shown->error) + 1;
        TRY(feed_item_alloc(hub, FEED_ITEM_ERROR, size, ret_item));
        (*ret_item)->error_code = shown->error_code;
        memcpy((*ret_item)->data, shown->error, size);
        return ST_OK;
}

Status feed_item_of_row(FeedHub *hub, const RowChanged *changed, FeedItem **ret_item)
{
        const Value none = value_none(), values[5] = {changed->key, changed->old_row, changed->new_row, none, none};
        return item_of_values(hub, FEED_ITEM_ROW, values, ret_item);
}

void feed_items_number(FeedItem *const *items, size_t count, uint64_t position, int64_t wall_us)
{
        for (size_t i = 0; i < count; i++) {
                items[i]->position = position;
                items[i]->wall_us = wall_us;
                items[i]->index = (uint32_t)i;
                items[i]->last = i + 1 == count;
        }
}

FeedItem *feed_item_ref(FeedItem *item)
{
        atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
        return item;
}

FeedItem *feed_item_unref(FeedItem *item)
{
        if (!item || atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) != 1)
                return NULL;
        size_t data_bytes = item->kind == FEED_ITEM_WORK ? feed_work_free(item) : item->bytes;
        atomic_fetch_sub_explicit(&item->hub->queued_bytes, sizeof(FeedItem) + data_bytes, memory_order_relaxed);
        mem_free(item);
        return NULL;
}

static void decode(const FeedItem *item, const uint8_t *data, Value ret_values[5])
{
        for (size_t i = 0; i < 5; i++) {
                ret_values[i] = item->sizes[i] ? value_decode(data) : value_none();
                data += item->sizes[i];
        }
}

RowChanged feed_item_row(const FeedItem *item)
{
        Value values[5];
        decode(item, item->data, values);
        return (RowChanged){.key = values[0], .old_row = values[1], .new_row = values[2]};
}

void feed_item_event(const FeedItem *item, const uint8_t *data, FeedEvent *ret_event)
{
        Value values[5];
        bool failed = item->kind == FEED_ITEM_ERROR;
        decode(item, data, values);
        *ret_event = (FeedEvent){
                .kind = failed ? FEED_ERROR : FEED_CHANGE,
                .last_of_commit = item->last,
                .key = values[0],
                .old_value = values[1],
                .new_value = values[2],
                .old_index = values[3],
                .new_index = values[4],
                .place = {.position = item->position, .index = item->last ? FEED_WHOLE_COMMIT : item->index + 1},
                .wall_us = item->wall_us,
                .error = failed ? (const char *)data : NULL,
                .error_code = item->error_code};
}
