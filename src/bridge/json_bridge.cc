// json_bridge.cc - see json_bridge.h. C++ because simdjson is.
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define _Static_assert static_assert
extern "C" {
#include "base/mem.h"
#include "bridge/double_bridge.h"
#include "bridge/json_bridge.h"
}

namespace
{

namespace od = simdjson::ondemand;

static_assert(JSON_BRIDGE_PADDING >= simdjson::SIMDJSON_PADDING, "the padding we ask for is what simdjson needs");
static_assert(sizeof(JsonNode) == 16 && sizeof(JsonMember) == 32, "laid out as value's handles");

constexpr size_t KEEP_BYTES = 1 << 20; // memory a thread keeps between documents
constexpr size_t FIRST_CAPACITY = 16 << 10;

/* Children wait here until their container is complete and its size is known. */
struct Stack {
        char *data = nullptr;
        size_t size = 0, capacity = 0;

        ~Stack() { mem_free(data); }
        bool grow(size_t more)
        {
                size_t wanted = std::max(capacity * 2, std::max(size + more, size_t(4096)));
                void *grown = mem_realloc(data, wanted);
                if (!grown)
                        return false;
                data = static_cast<char *>(grown);
                capacity = wanted;
                return true;
        }
        /* Room for one more; NULL without memory. */
        template <typename T> T *push()
        {
                if (unlikely(capacity - size < sizeof(T)) && !grow(sizeof(T)))
                        return nullptr;
                auto *slot = reinterpret_cast<T *>(data + size);
                size += sizeof(T);
                return slot;
        }
};

struct Thread {
        od::parser parser;
        Stack stack;
};
thread_local Thread *thread_state;
struct ThreadOwner {
        ~ThreadOwner()
        {
                delete thread_state;
                thread_state = nullptr;
        }
};

Thread *thread_get()
{
        if (likely(thread_state != nullptr))
                return thread_state;
        static thread_local ThreadOwner owner;
        (void)owner; // its destructor runs when the thread ends
        thread_state = new (std::nothrow) Thread;
        return thread_state;
}

/* A node in two registers. Written to memory and read back as one 16-byte word it would stall on the narrower stores,
 * which was most of the time that a small document took. A head of 0 is a failure. */
struct Packed {
        uint64_t head, payload;
};
struct PackedMember {
        const uint8_t *key;
        size_t key_size;
        Packed node;
};
static_assert(sizeof(Packed) == sizeof(JsonNode) && sizeof(PackedMember) == sizeof(JsonMember), "the same bytes");
static_assert(offsetof(JsonNode, type) == 0 && offsetof(JsonNode, rep) == 1 && offsetof(JsonNode, depth) == 2 &&
                      offsetof(JsonNode, size) == 4 && offsetof(JsonNode, number) == 8,
              "what pack() assumes");

inline Packed pack(unsigned type, unsigned rep, unsigned depth, size_t size, uint64_t payload)
{
        return Packed{uint64_t(type) | uint64_t(rep) << 8 | uint64_t(depth) << 16 | uint64_t(size) << 32, payload};
}
inline Packed pack_number(double number)
{
        uint64_t bits;
        memcpy(&bits, &number, sizeof(bits));
        return pack(JSON_NODE_NUMBER, JSON_NODE_INLINE, 0, 0, bits);
}
inline uint16_t packed_depth(Packed node)
{
        return uint16_t(node.head >> 16);
}

/* Small moves word by word, for the same reason. */
inline void move_words(void *to, const void *from, size_t bytes)
{
        if (bytes > 256) {
                memcpy(to, from, bytes);
                return;
        }
        auto *out = static_cast<volatile uint64_t *>(to);
        auto *in = static_cast<const volatile uint64_t *>(from);
        for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
                out[i] = in[i];
}

struct Build {
        Arena *arena;
        Stack *stack;
        Bytes marker;
        unsigned max_depth;
        JsonInfo *info;
        JsonOutcome outcome; // why build_*() returned false
        const uint8_t *end;

        Packed fail(JsonOutcome why)
        {
                outcome = why;
                return Packed{0, 0};
        }
};

/* The first quote or backslash at or after `p`; bounded by `end`, which is returned if there is none. */
const uint8_t *scan_string(const uint8_t *p, const uint8_t *end)
{
#if defined(__SSE2__)
        const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
        while (end - p >= 16) {
                __m128i chunk = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
                int mask =
                        _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(chunk, quote), _mm_cmpeq_epi8(chunk, backslash)));
                if (mask)
                        return p + __builtin_ctz(mask);
                p += 16;
        }
#endif
        while (p < end && *p != '"' && *p != '\\')
                p++;
        return p;
}

bool hex4(const uint8_t *p, const uint8_t *end, unsigned *ret_code)
{
        if (end - p < 4)
                return false;
        unsigned code = 0;
        for (int i = 0; i < 4; i++) {
                unsigned c = p[i], digit;
                if (c - '0' < 10)
                        digit = c - '0';
                else if ((c | 0x20) - 'a' < 6)
                        digit = (c | 0x20) - 'a' + 10;
                else
                        return false;
                code = code << 4 | digit;
        }
        *ret_code = code;
        return true;
}

size_t put_utf8(unsigned code, uint8_t *out)
{
        if (code < 0x80) {
                out[0] = uint8_t(code);
                return 1;
        }
        if (code < 0x800) {
                out[0] = uint8_t(0xC0 | code >> 6);
                out[1] = uint8_t(0x80 | (code & 0x3F));
                return 2;
        }
        if (code < 0x10000) {
                out[0] = uint8_t(0xE0 | code >> 12);
                out[1] = uint8_t(0x80 | (code >> 6 & 0x3F));
                out[2] = uint8_t(0x80 | (code & 0x3F));
                return 3;
        }
        out[0] = uint8_t(0xF0 | code >> 18);
        out[1] = uint8_t(0x80 | (code >> 12 & 0x3F));
        out[2] = uint8_t(0x80 | (code >> 6 & 0x3F));
        out[3] = uint8_t(0x80 | (code & 0x3F));
        return 4;
}

/* `p` is at a backslash; appends what it stands for. */
const uint8_t *unescape_one(const uint8_t *p, const uint8_t *end, uint8_t *out, size_t *length)
{
        if (end - p < 2)
                return nullptr;
        switch (p[1]) {
        case '"': out[(*length)++] = '"'; return p + 2;
        case '\\': out[(*length)++] = '\\'; return p + 2;
        case '/': out[(*length)++] = '/'; return p + 2;
        case 'b': out[(*length)++] = '\b'; return p + 2;
        case 'f': out[(*length)++] = '\f'; return p + 2;
        case 'n': out[(*length)++] = '\n'; return p + 2;
        case 'r': out[(*length)++] = '\r'; return p + 2;
        case 't': out[(*length)++] = '\t'; return p + 2;
        case 'u': break;
        default: return nullptr;
        }
        unsigned code, low;
        if (!hex4(p + 2, end, &code))
                return nullptr;
        p += 6;
        if (code >= 0xD800 && code <= 0xDFFF) {
                if (code >= 0xDC00 || end - p < 6 || p[0] != '\\' || p[1] != 'u' || !hex4(p + 2, end, &low) ||
                    low < 0xDC00 || low > 0xDFFF)
                        return nullptr;
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                p += 6;
        }
        *length += put_utf8(code, out + *length);
        return p;
}

bool read_string(const uint8_t *text, const uint8_t *end, Arena *arena, Bytes *ret_string, const uint8_t **ret_end,
                 bool *ret_nomem)
{
        const uint8_t *p = scan_string(text, end);
        if (unlikely(p >= end))
                return false;
        if (likely(*p == '"')) {
                *ret_string = Bytes{text, size_t(p - text)};
                *ret_end = p + 1;
                return true;
        }
        /* The closing quote: an upper bound for the unescaped length. */
        const uint8_t *close = p;
        while (close < end && *close != '"')
                close = scan_string(close + (*close == '\\' ? 2 : 0), end);
        if (close >= end)
                return false;
        auto *out = static_cast<uint8_t *>(arena_try_alloc(arena, size_t(close - text)));
        if (!out) {
                *ret_nomem = true;
                return false;
        }
        size_t length = 0;
        p = text;
        for (;;) {
                const uint8_t *stop = scan_string(p, close);
                memcpy(out + length, p, size_t(stop - p));
                length += size_t(stop - p);
                if (stop == close)
                        break;
                p = unescape_one(stop, close, out, &length);
                if (!p)
                        return false;
        }
        *ret_string = Bytes{out, length};
        *ret_end = close + 1;
        return true;
}

/* JSON's grammar of numbers, for all of [p, end). */
bool is_number(const char *p, const char *end)
{
        auto digits = [&] {
                const char *start = p;
                while (p < end && *p >= '0' && *p <= '9')
                        p++;
                return p > start;
        };
        if (p < end && *p == '-')
                p++;
        if (p < end && *p == '0')
                p++;
        else if (!digits())
                return false;
        if (p < end && *p == '.') {
                p++;
                if (!digits())
                        return false;
        }
        if (p < end && (*p == 'e' || *p == 'E')) {
                p++;
                if (p < end && (*p == '+' || *p == '-'))
                        p++;
                if (!digits())
                        return false;
        }
        return p == end;
}

/* simdjson 3.0.1 reads some numbers of more than 19 digits wrongly (0.10000000000000000555 is 1.8e-36 to it), so that
 * it gets the short ones only. A number that is not taken from `value` is skipped when its container goes on. */
bool read_number(od::value &value, double *ret_number)
{
        std::string_view token = value.raw_json_token();
        const char *p = token.data(), *end = p + token.size();
        while (end > p && (end[-1] == ' ' || end[-1] == '\n' || end[-1] == '\t' || end[-1] == '\r'))
                end--;
        const char *digit = p + (*p == '-');
        if (end - digit <= 15 && digit < end && (*digit != '0' || end - digit == 1)) {
                int64_t integer = 0;
                while (digit < end && *digit >= '0' && *digit <= '9')
                        integer = integer * 10 + (*digit++ - '0');
                if (digit == end) { /* "-0" is an integer, so 0, as RapidJSON has it; "-0.0" and "-0e0" keep the sign */
                        *ret_number = double(*p == '-' ? -integer : integer);
                        return true;
                }
        }
        if (end - p <= 19)
                return !value.get_double().get(*ret_number);
        return is_number(p, end) && double_parse(p, size_t(end - p), ret_number) && std::isfinite(*ret_number);
}

int compare_keys(Bytes a, Bytes b)
{
        size_t n = std::min(a.size, b.size);
        int c = n ? memcmp(a.data, b.data, n) : 0;
        return c ? c : (a.size > b.size) - (a.size < b.size);
}

/* Sorts by key. False if two are equal; *ret_key is it. */
bool sort_members(JsonMember *members, size_t count, Bytes *ret_key)
{
        if (count <= 24) {
                for (size_t i = 1; i < count; i++) {
                        int order = compare_keys(members[i - 1].key, members[i].key);
                        if (order < 0)
                                continue;
                        JsonMember moving = members[i];
                        size_t at = i;
                        while (order > 0) {
                                members[at] = members[at - 1];
                                if (--at == 0)
                                        break;
                                order = compare_keys(members[at - 1].key, moving.key);
                        }
                        members[at] = moving;
                        if (order == 0) {
                                *ret_key = moving.key;
                                return false;
                        }
                }
                return true;
        }
        auto before = [](const JsonMember &a, const JsonMember &b) { return compare_keys(a.key, b.key) < 0; };
        if (!std::is_sorted(members, members + count, before))
                std::sort(members, members + count, before);
        for (size_t i = 1; i < count; i++)
                if (compare_keys(members[i - 1].key, members[i].key) == 0) {
                        *ret_key = members[i].key;
                        return false;
                }
        return true;
}

template <typename Source> Packed build_array(Build &build, Source &source, unsigned depth);
template <typename Source> Packed build_object(Build &build, Source &source, unsigned depth);

bool build_string(Build &build, od::raw_json_string raw, Bytes *ret_string)
{
        const uint8_t *after;
        bool nomem = false;
        if (likely(read_string(reinterpret_cast<const uint8_t *>(raw.raw()), build.end, build.arena, ret_string, &after,
                               &nomem)))
                return true;
        build.fail(nomem ? JSON_NO_MEMORY : JSON_REFUSED);
        return false;
}

/* Inlined into both loops, so that simdjson's iterators stay in registers. */
__attribute__((always_inline)) inline Packed build_value(Build &build, od::value &value, unsigned depth)
{
        od::json_type type;
        if (unlikely(value.type().get(type)))
                return build.fail(JSON_REFUSED);
        switch (type) {
        case od::json_type::string: {
                od::raw_json_string raw;
                Bytes string;
                if (value.get_raw_json_string().get(raw))
                        return build.fail(JSON_REFUSED);
                if (!build_string(build, raw, &string))
                        return Packed{0, 0};
                return pack(JSON_NODE_STRING, JSON_NODE_INLINE, 0, string.size,
                            reinterpret_cast<uintptr_t>(string.data));
        }
        case od::json_type::number: {
                double number;
                return likely(read_number(value, &number)) ? pack_number(number) : build.fail(JSON_REFUSED);
        }
        case od::json_type::boolean: {
                bool boolean;
                if (value.get_bool().get(boolean))
                        return build.fail(JSON_REFUSED);
                return pack(JSON_NODE_BOOL, JSON_NODE_INLINE, 0, 0, boolean);
        }
        case od::json_type::null: {
                bool null;
                if (value.is_null().get(null) || !null)
                        return build.fail(JSON_REFUSED);
                return pack(JSON_NODE_NULL, JSON_NODE_INLINE, 0, 0, 0);
        }
        case od::json_type::array:
                return likely(depth < build.max_depth) ? build_array(build, value, depth + 1)
                                                       : build.fail(JSON_TOO_DEEP);
        case od::json_type::object:
                return likely(depth < build.max_depth) ? build_object(build, value, depth + 1)
                                                       : build.fail(JSON_TOO_DEEP);
        }
        return build.fail(JSON_REFUSED);
}

template <typename Source> __attribute__((noinline)) Packed build_array(Build &build, Source &source, unsigned depth)
{
        Stack *stack = build.stack;
        size_t base = stack->size;
        uint16_t deepest = 0;
        od::array array;
        if (source.get_array().get(array))
                return build.fail(JSON_REFUSED);
        for (auto element : array) {
                od::value value;
                if (element.get(value))
                        return build.fail(JSON_REFUSED);
                Packed child = build_value(build, value, depth);
                if (!child.head)
                        return child;
                deepest = std::max(deepest, packed_depth(child));
                auto *slot = stack->push<volatile Packed>();
                if (!slot)
                        return build.fail(JSON_NO_MEMORY);
                slot->head = child.head;
                slot->payload = child.payload;
        }
        size_t bytes = stack->size - base;
        void *items = nullptr; // an arena has no address for nothing
        if (bytes) {
                items = arena_try_alloc(build.arena, bytes);
                if (!items)
                        return build.fail(JSON_NO_MEMORY);
                move_words(items, stack->data + base, bytes);
        }
        stack->size = base;
        return pack(JSON_NODE_ARRAY, JSON_NODE_BOXED, deepest + 1u, bytes / sizeof(Packed),
                    reinterpret_cast<uintptr_t>(items));
}

template <typename Source> __attribute__((noinline)) Packed build_object(Build &build, Source &source, unsigned depth)
{
        Stack *stack = build.stack;
        size_t base = stack->size;
        uint16_t deepest = 0;
        od::object object;
        if (source.get_object().get(object))
                return build.fail(JSON_REFUSED);
        for (auto result : object) {
                od::field field;
                Bytes key;
                if (std::move(result).get(field))
                        return build.fail(JSON_REFUSED);
                if (!build_string(build, field.key(), &key))
                        return Packed{0, 0};
                if (unlikely(key.size == build.marker.size) && key.size > 0 &&
                    memcmp(key.data, build.marker.data, key.size) == 0)
                        build.info->has_marker = true;
                Packed child = build_value(build, field.value(), depth);
                if (!child.head)
                        return child;
                deepest = std::max(deepest, packed_depth(child));
                auto *slot = stack->push<volatile PackedMember>();
                if (!slot)
                        return build.fail(JSON_NO_MEMORY);
                slot->key = key.data;
                slot->key_size = key.size;
                slot->node.head = child.head;
                slot->node.payload = child.payload;
        }
        size_t bytes = stack->size - base, count = bytes / sizeof(JsonMember);
        JsonMember *members = nullptr;
        if (bytes) {
                members = static_cast<JsonMember *>(arena_try_alloc(build.arena, bytes));
                if (!members)
                        return build.fail(JSON_NO_MEMORY);
                move_words(members, stack->data + base, bytes);
        }
        stack->size = base;
        /* A duplicate is told only when all of the text proved to be JSON: go on. */
        Bytes duplicate;
        if (unlikely(!sort_members(members, count, &duplicate)) && !build.info->duplicate.data)
                build.info->duplicate = duplicate;
        return pack(JSON_NODE_OBJECT, JSON_NODE_BOXED, deepest + 1u, count, reinterpret_cast<uintptr_t>(members));
}

JsonOutcome parse_document(Thread *thread, Build &build, Bytes text, JsonNode *ret_node)
{
        od::parser &parser = thread->parser;
        size_t wanted = std::max(text.size, FIRST_CAPACITY);
        /* simdjson's own depth is one above ours, so that ours decides. */
        if (parser.capacity() < wanted && parser.allocate(wanted, build.max_depth + 2))
                return JSON_NO_MEMORY;
        od::document document;
        auto error =
                parser.iterate(reinterpret_cast<const char *>(text.data), text.size, text.size + JSON_BRIDGE_PADDING)
                        .get(document);
        if (error)
                return error == simdjson::MEMALLOC ? JSON_NO_MEMORY : JSON_REFUSED;
        od::json_type type;
        if (document.type().get(type))
                return JSON_REFUSED;
        Packed root;
        if (type == od::json_type::array)
                root = build_array(build, document, 1);
        else if (type == od::json_type::object)
                root = build_object(build, document, 1);
        else
                return JSON_REFUSED;
        if (!root.head)
                return build.outcome;
        /* Out of bounds is where a document ends that has nothing behind its root. */
        if (document.current_location().error() != simdjson::OUT_OF_BOUNDS)
                return JSON_REFUSED;
        memcpy(ret_node, &root, sizeof(root));
        return build.info->duplicate.data ? JSON_DUPLICATE : JSON_PARSED;
}

} // namespace

extern "C" {

JsonOutcome json_bridge_parse(Bytes text, Bytes marker, unsigned max_depth, Arena *arena, JsonNode *ret_node,
                              JsonInfo *ret_info)
{
        *ret_info = JsonInfo{};
        Thread *thread = thread_get();
        if (!thread)
                return JSON_NO_MEMORY;
        Build build{arena, &thread->stack, marker, max_depth, ret_info, JSON_REFUSED, text.data + text.size};
        thread->stack.size = 0;
        JsonNode node = {};
        JsonOutcome outcome;
        try {
                outcome = parse_document(thread, build, text, &node);
        } catch (...) { // simdjson is used without exceptions; this is for the standard library under it
                outcome = JSON_NO_MEMORY;
        }
        if (outcome == JSON_PARSED)
                *ret_node = node;
        if (unlikely(thread->parser.capacity() > KEEP_BYTES || thread->stack.capacity > KEEP_BYTES)) {
                delete thread;
                thread_state = nullptr;
        }
        return outcome;
}

bool json_bridge_string(const uint8_t *text, const uint8_t *text_end, Arena *arena, Bytes *ret_string,
                        const uint8_t **ret_end, bool *ret_nomem)
{
        *ret_nomem = false;
        return read_string(text, text_end, arena, ret_string, ret_end, ret_nomem);
}

bool json_bridge_utf8_valid(Bytes text)
{
        return simdjson::validate_utf8(reinterpret_cast<const char *>(text.data), text.size);
}

} // extern "C"
