/* changes_document.c - an item of a feed as RethinkDB's document: as a value, and as JSON without making one.
 *
 *      {"new_offset", "new_val", "old_offset", "old_val", "token", "type"}     of a change; initial rows: nothing old
 *      {"state", "token", "type"}      {"error", "token"} */
#include "query/changes_flow.h"
#include "value/json.h"

#define MAX_FIELDS 6

typedef struct Document {
        struct {
                const char *key;
                Value value;
        } fields[MAX_FIELDS]; /* in order of key */
        size_t count;
} Document;

static void add(Document *document, const char *key, Value value)
{
        document->fields[document->count].key = key;
        document->fields[document->count++].value = value_is(value, V_NONE) ? value_null() : value;
}

static const char *type_of(const Change *change)
{
        if (change->initial)
                return "initial";
        return change_absent(change->old_value) ? "add" : change_absent(change->new_value) ? "remove" : "change";
}

static void fill_change(const Change *change, FlowStyle style, Document *document)
{
        if (style.offsets)
                add(document, "new_offset", change->new_offset);
        add(document, "new_val", change->new_value);
        if (change->initial)
                return;
        if (style.offsets)
                add(document, "old_offset", change->old_offset);
        add(document, "old_val", change->old_value);
}

static Status fill(const FlowItem *item, FlowStyle style, Document *document)
{
        *document = (Document){0};
        switch (item->kind) {
        case FLOW_CHANGE:
                if (MAX(item->change.old_value.depth, item->change.new_value.depth) >= VALUE_MAX_DEPTH)
                        return status_new(ERR_RESOURCE, "A changed document is nested too deeply to be shown.");
                fill_change(&item->change, style, document);
                break;
        case FLOW_STATE: add(document, "state", value_str(item->text)); break;
        case FLOW_ERROR: add(document, "error", value_str(item->text)); break;
        }
        if (item->token.data)
                add(document, "token", value_string(item->token));
        if (style.types && item->kind != FLOW_ERROR)
                add(document, "type", value_str(item->kind == FLOW_STATE ? "state" : type_of(&item->change)));
        return ST_OK;
}

Status flow_document(const FlowItem *item, FlowStyle style, Arena *arena, Value *ret)
{
        Document document;
        TRY(fill(item, style, &document));
        Field *fields = arena_array(arena, Field, document.count);
        for (size_t i = 0; i < document.count; i++)
                fields[i] = (Field){BYTES_STR(document.fields[i].key), document.fields[i].value};
        *ret = value_object_sorted(fields, document.count);
        return ST_OK;
}

Status flow_document_write(const FlowItem *item, FlowStyle style, Buf *out)
{
        Document document;
        TRY(fill(item, style, &document));
        for (size_t i = 0; i < document.count; i++) {
                TRY(buf_append_str(out, i ? ",\"" : "{\""));
                TRY(buf_append_str(out, document.fields[i].key));
                TRY(buf_append_str(out, "\":"));
                TRY(json_write(document.fields[i].value, out));
        }
        return buf_append_byte(out, '}');
}
