/* json.c - JSON in: simdjson by way of src/bridge, and the words for what it refuses. JSON out is json_write.c's. */
#include "value/json.h"

#include <assert.h>
#include <math.h>

#include "bridge/double_bridge.h"
#include "bridge/json_bridge.h"
#include "value/json_int.h"
#include "value/value_int.h"

/* The bridge builds our handles without knowing them: the layouts have to agree. */
_Static_assert(sizeof(JsonNode) == sizeof(Value) && offsetof(JsonNode, type) == offsetof(Value, type) &&
                       offsetof(JsonNode, rep) == offsetof(Value, rep) &&
                       offsetof(JsonNode, depth) == offsetof(Value, depth) &&
                       offsetof(JsonNode, size) == offsetof(Value, size) &&
                       offsetof(JsonNode, number) == offsetof(Value, number) &&
                       offsetof(JsonNode, members) == offsetof(Value, fields),
               "JsonNode is Value");
_Static_assert(sizeof(JsonMember) == sizeof(Field) && offsetof(JsonMember, key) == offsetof(Field, key) &&
                       offsetof(JsonMember, node) == offsetof(Field, value),
               "JsonMember is Field");
_Static_assert((int)JSON_NODE_ARRAY == V_ARRAY && (int)JSON_NODE_BOOL == V_BOOL && (int)JSON_NODE_NULL == V_NULL &&
                       (int)JSON_NODE_NUMBER == V_NUMBER && (int)JSON_NODE_OBJECT == V_OBJECT &&
                       (int)JSON_NODE_STRING == V_STRING && (int)JSON_NODE_INLINE == REP_INLINE &&
                       (int)JSON_NODE_BOXED == REP_BOXED,
               "the bridge's types are ours");
_Static_assert(JSON_PADDING == JSON_BRIDGE_PADDING, "one padding");

static Status too_deep(void)
{
        return status_new(ERR_LIMIT, "Nesting is deeper than %d levels.", VALUE_MAX_DEPTH);
}

static Status refusal(Bytes text)
{
        const char *message = NULL;
        switch (json_explain(text, &message)) {
        case JSON_BROKEN: return status_new(ERR_INVALID, "%s", message);
        case JSON_DEEP: return too_deep();
        case JSON_FINE: break;
        }
        /* JSON in shape: then a string is no UTF-8. */
        if (!json_bridge_utf8_valid(text))
                return json_explain_utf8(text);
        return status_new(ERR_INVALID, "Unspecific syntax error.");
}

/* A text that is one string, number or word: simdjson limits the size of such a number, so they are read here. */
static Status parse_scalar(Bytes text, Bytes token, Arena *arena, Value *ret_value)
{
        const char *message = NULL;
        if (json_explain(text, &message) != JSON_FINE || !json_bridge_utf8_valid(text))
                return refusal(text);
        switch (token.data[0]) {
        case 'n': *ret_value = value_null(); return ST_OK;
        case 't': *ret_value = value_bool(true); return ST_OK;
        case 'f': *ret_value = value_bool(false); return ST_OK;
        case '"': {
                const uint8_t *end;
                bool nomem;
                Bytes string;
                if (!json_bridge_string(token.data + 1, token.data + token.size, arena, &string, &end, &nomem))
                        return nomem ? status_nomem() : status_new(ERR_INVALID, "Unspecific syntax error.");
                *ret_value = value_string(string);
                return ST_OK;
        }
        default: {
                double number;
                if (!double_parse((const char *)token.data, token.size, &number))
                        return status_new(ERR_INVALID, "Unspecific syntax error.");
                if (bytes_equal(token, BYTES_STR("-0")))
                        number = 0;
                *ret_value = value_number(number);
                return ST_OK;
        }
        }
}

/* Replaces in place what claims to be a pseudo-type, innermost first. The tree is the parser's, nobody else has seen
 * it. */
static Status classify_inside(Value *v, Arena *arena)
{
        if (v->type == V_ARRAY) {
                uint16_t deepest = 0;
                for (size_t i = 0; i < v->size; i++) {
                        TRY(classify_inside((Value *)&v->items[i], arena));
                        deepest = MAX(deepest, v->items[i].depth);
                }
                v->depth = value_depth_around(deepest);
        } else if (v->type == V_OBJECT) {
                uint16_t deepest = 0;
                for (size_t i = 0; i < v->size; i++) {
                        TRY(classify_inside((Value *)&v->fields[i].value, arena));
                        deepest = MAX(deepest, v->fields[i].value.depth);
                }
                v->depth = value_depth_around(deepest);
                TRY(value_classify(*v, arena, v));
        }
        return ST_OK;
}

Status json_parse(Bytes text, JsonPseudo pseudo, Arena *arena, Value *ret_value)
{
        size_t at = 0, end = text.size;
        while (at < end && strchr(" \t\r\n", text.data[at]) && text.data[at])
                at++;
        if (at == end)
                return status_new(ERR_INVALID, "The document is empty.");
        if (text.data[at] != '{' && text.data[at] != '[') {
                while (strchr(" \t\r\n", text.data[end - 1]) && text.data[end - 1])
                        end--;
                return parse_scalar(text, BYTES(text.data + at, end - at), arena, ret_value);
        }
        JsonInfo info;
        Value value;
        Bytes marker = pseudo == JSON_PSEUDO ? time_keys[0] : BYTES_NONE;
        switch (json_bridge_parse(text, marker, VALUE_MAX_DEPTH, arena, (JsonNode *)&value, &info)) {
        case JSON_PARSED: break;
        case JSON_REFUSED: return refusal(text);
        case JSON_TOO_DEEP: return too_deep();
        case JSON_DUPLICATE:
                return status_new(ERR_EXISTS, "%.*s", (int)info.duplicate.size, (const char *)info.duplicate.data);
        case JSON_NO_MEMORY: return status_nomem();
        }
        if (pseudo == JSON_PSEUDO && info.has_marker)
                TRY(classify_inside(&value, arena));
        *ret_value = value;
        return ST_OK;
}

Status json_parse_copy(Bytes text, JsonPseudo pseudo, Arena *arena, Value *ret_value)
{
        uint8_t *copy = arena_try_alloc(arena, text.size + JSON_PADDING);
        if (!copy)
                return status_nomem();
        if (text.size)
                memcpy(copy, text.data, text.size);
        memset(copy + text.size, 0, JSON_PADDING);
        return json_parse(BYTES(copy, text.size), pseudo, arena, ret_value);
}
