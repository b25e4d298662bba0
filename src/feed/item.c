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

Status feed_item_new(FeedHub *hub, Value key, const MatchShown *shown, FeedItem **ret_item)
{
        const Value values[5] = {key, shown->old_value, shown->new_value, shown->old_index, shown->new_index};
        size_t sizes[5] = {0}, bytes = 0, count = shown->error ? 1 : 5;
        for (size_t i = 0; i < count; i++)
                bytes += sizes[i] = encoded_size(values[i]);
        size_t text = shown->error ? strlen(shown->error) + 1 : 0;
        bytes += text;
        if (bytes > UINT32_MAX)
                return status_new(ERR_LIMIT, "a change has %zu bytes", bytes);
        FeedItem *item = mem_alloc(sizeof(FeedItem) + bytes);
        if (!item)
                return status_nomem();
        *item = (FeedItem){
                .bytes = (uint32_t)bytes, .failed = shown->error != NULL, .error_code = shown->error_code, .hub = hub};
        atomic_init(&item->refs, 1);
        uint8_t *at = item->data;
        for (size_t i = 0; i < count; i++) {
                item->sizes[i] = (uint32_t)sizes[i];
                if (sizes[i])
                        value_encode(values[i], at);
                at += sizes[i];
        }
        if (text)
                memcpy(at, shown->error, text);
        atomic_fetch_add_explicit(&hub->queued_bytes, feed_item_bytes(item), memory_order_relaxed);
        *ret_item = item;
        return ST_OK;
}

FeedItem *feed_item_ref(FeedItem *item)
{
        atomic_fetch_add_explicit(&item->refs, 1, memory_order_relaxed);
        return item;
}

FeedItem *feed_item_unref(FeedItem *item)
{
        if (item && atomic_fetch_sub_explicit(&item->refs, 1, memory_order_acq_rel) == 1) {
                atomic_fetch_sub_explicit(&item->hub->queued_bytes, feed_item_bytes(item), memory_order_relaxed);
                mem_free(item);
        }
        return NULL;
}

void feed_item_event(const FeedItem *item, const uint8_t *data, FeedEvent *ret_event)
{
        Value values[5];
        for (size_t i = 0; i < 5; i++) {
                values[i] = item->sizes[i] ? value_decode(data) : value_none();
                data += item->sizes[i];
        }
        *ret_event = (FeedEvent){
                .kind = item->failed ? FEED_ERROR : FEED_CHANGE,
                .last_of_commit = item->last,
                .key = values[0],
                .old_value = values[1],
                .new_value = values[2],
                .old_index = values[3],
                .new_index = values[4],
                .place = {.position = item->position, .index = item->last ? FEED_WHOLE_COMMIT : item->index + 1},
                .wall_us = item->wall_us,
                .error = item->failed ? (const char *)data : NULL,
                .error_code = item->error_code};
}
