/* json_bridge.h - simdjson's On-Demand parser behind a C face: JSON text to a tree of 16-byte nodes in an arena.
 * The nodes are laid out as value's handles (value/json.c checks that with _Static_assert); the bridge itself knows
 * nothing above base. No exception leaves, nothing is called back, recursion is bounded by `max_depth`.
 * Threads: any; each thread keeps a parser and a scratch stack of its own. */
#ifndef BRIDGE_JSON_BRIDGE_H
#define BRIDGE_JSON_BRIDGE_H

#include "base/arena.h"
#include "base/bytes.h"

#define JSON_BRIDGE_PADDING 64 /* readable bytes required after the text */

/* Which number stands for which type, in `JsonNode.type` and `.rep`: value's enums, repeated. */
enum {
        JSON_NODE_ARRAY = 2,
        JSON_NODE_BOOL = 3,
        JSON_NODE_NULL = 4,
        JSON_NODE_NUMBER = 5,
        JSON_NODE_OBJECT = 6,
        JSON_NODE_STRING = 10
};
enum { JSON_NODE_INLINE = 0, JSON_NODE_BOXED = 2 };

typedef struct JsonNode JsonNode;
typedef struct JsonMember JsonMember;
struct JsonNode {
        uint8_t type;
        uint8_t rep;
        uint16_t depth;
        uint32_t size;
        union {
                bool boolean;
                double number;
                const char *text;
                const JsonNode *items;
                const JsonMember *members; /* sorted by the bytes of their keys */
        };
};
struct JsonMember {
        Bytes key;
        JsonNode node;
};

typedef enum JsonOutcome {
        JSON_PARSED,
        JSON_REFUSED, /* not JSON; why is for the caller to find out */
        JSON_TOO_DEEP,
        JSON_DUPLICATE, /* two members of one name; `info->duplicate` is it */
        JSON_NO_MEMORY,
} JsonOutcome;
typedef struct JsonInfo {
        Bytes duplicate;
        bool has_marker; /* some object has the member `marker` */
} JsonInfo;

/* Parses an array or object: all of `text`, which has JSON_BRIDGE_PADDING readable bytes behind it and must stay,
 * because strings without escapes point into it. `marker` (may be empty) is looked out for on the way. On failure what
 * was taken from the arena stays taken. Numbers of any length are read as the nearest double; `-0` is 0, as in
 * RapidJSON. */
JsonOutcome json_bridge_parse(Bytes text, Bytes marker, unsigned max_depth, Arena *arena, JsonNode *ret_node,
                              JsonInfo *ret_info);
/* Reads one JSON string: `text` begins after the opening quote. Points into the text if it has no escape, else into the
 * arena. False if it is malformed (incl. lone surrogates) or unclosed; *ret_nomem tells an allocation failure apart.
 * `ret_end` gets the place after the closing quote. Does not check UTF-8. */
bool json_bridge_string(const uint8_t *text, const uint8_t *text_end, Arena *arena, Bytes *ret_string,
                        const uint8_t **ret_end, bool *ret_nomem);
bool json_bridge_utf8_valid(Bytes text);

#endif
