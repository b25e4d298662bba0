/* cell.c - see cell.h. */
#include "cli/cell.h"

#include <utf8proc.h>

#include "value/json.h"
#include "value/time.h"

enum { INDENT_COLUMNS = 2 };

/* --- text --- */

/* Signs that reorder what stands around them could make a line say something else. */
static bool is_hidden(utf8proc_int32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
               (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static Status append_hidden(utf8proc_int32_t c, Buf *out)
{
        switch (c) {
        case '\n': return buf_append(out, "\\n", 2);
        case '\t': return buf_append(out, "\\t", 2);
        case '\r': return buf_append(out, "\\r", 2);
        }
        return buf_printf(out, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
}

Status cell_append_text(Bytes text, Buf *out)
{
        size_t plain = 0; /* bytes before `i` that need no change */
        for (size_t i = 0; i < text.size;) {
                utf8proc_int32_t c = text.data[i];
                utf8proc_ssize_t size = 1;
                if (c >= 0x80)
                        size = utf8proc_iterate(text.data + i, (utf8proc_ssize_t)(text.size - i), &c);
                if (size > 0 && !is_hidden(c)) {
                        i += (size_t)size;
                        plain += (size_t)size;
                        continue;
                }
                TRY(buf_append(out, text.data + i - plain, plain));
                plain = 0;
                if (size > 0)
                        TRY(append_hidden(c, out));
                else
                        TRY(buf_printf(out, "\\x%02x", text.data[i]));
                i += (size_t)MAX(size, 1);
        }
        return buf_append(out, text.data + text.size - plain, plain);
}

size_t cell_fit(Bytes text, size_t columns, size_t *ret_width)
{
        size_t width = 0, i = 0;
        while (i < text.size) {
                utf8proc_int32_t c = text.data[i];
                utf8proc_ssize_t size = 1;
                size_t takes = 1;
                if (c >= 0x80) {
                        size = utf8proc_iterate(text.data + i, (utf8proc_ssize_t)(text.size - i), &c);
                        takes = size > 0 ? (size_t)utf8proc_charwidth(c) : 1;
                        size = MAX(size, 1);
                }
                if (width + takes > columns)
                        break;
                width += takes;
                i += (size_t)size;
        }
        *ret_width = width;
        return i;
}

size_t cell_width(Bytes text)
{
        size_t width;
        cell_fit(text, SIZE_MAX, &width);
        return width;
}

/* --- values on one line --- */

static Status append_time(Value time, Buf *out)
{
        Arena arena;
        Bytes text;
        arena_init(&arena, 0);
        Status st = time_to_iso8601(time, &arena, &text);
        if (st) { /* no such date: as it is stored */
                status_ignore(st);
                st = buf_printf(out, "epoch %.3f", time_epoch(time));
        } else {
                st = buf_append(out, text.data, text.size);
        }
        arena_done(&arena);
        return st;
}

static Status append_quoted(Bytes text, Buf *out)
{
        Buf json;
        buf_init(&json, SIZE_MAX / 2);
        Status st = json_write_message(text, &json);
        if (st == ST_OK)
                st = cell_append_text(BYTES(json.data, json.size), out);
        buf_done(&json);
        return st;
}

static Status append_compact(Value v, size_t stop_at, Buf *out)
{
        bool object = value_is(v, V_OBJECT) || value_is(v, V_GEOMETRY);
        Bytes key;
        if (!object && !value_is(v, V_ARRAY)) {
                if (value_is(v, V_STRING)) {
                        Bytes text = value_bytes(v);
                        if (stop_at)
                                text.size = MIN(text.size, stop_at);
                        return append_quoted(text, out);
                }
                return cell_append_value(v, 0, out);
        }
        TRY(buf_append_byte(out, object ? '{' : '['));
        bool first = true;
        for (size_t i = 0; i < value_count(v); i++) {
                Value child = object ? value_field_at(v, i, &key) : value_at(v, i);
                if (stop_at && out->size > stop_at)
                        break;
                if (value_is(v, V_GEOMETRY) && bytes_equal(key, BYTES_STR("$reql_type$")))
                        continue;
                if (!first)
                        TRY(buf_append_byte(out, ','));
                first = false;
                if (object) {
                        TRY(append_quoted(key, out));
                        TRY(buf_append_byte(out, ':'));
                }
                TRY(append_compact(child, stop_at, out));
        }
        return buf_append_byte(out, object ? '}' : ']');
}

Status cell_append_value(Value v, size_t max_bytes, Buf *out)
{
        char number[32];
        switch (value_type(v)) {
        case V_NONE: return ST_OK;
        case V_NULL: return buf_append_str(out, "null");
        case V_BOOL: return buf_append_str(out, value_truthy(v) ? "true" : "false");
        case V_NUMBER: return buf_append(out, number, json_number_text(v.number, number));
        case V_STRING: {
                Bytes text = value_bytes(v);
                if (max_bytes)
                        text.size = MIN(text.size, max_bytes);
                return cell_append_text(text, out);
        }
        case V_BINARY: return buf_printf(out, "<%u byte%s>", v.size, v.size == 1 ? "" : "s");
        case V_TIME: return append_time(v, out);
        case V_MINVAL: return buf_append_str(out, "minval");
        case V_MAXVAL: return buf_append_str(out, "maxval");
        case V_ARRAY:
        case V_OBJECT:
        case V_GEOMETRY: break;
        }
        return append_compact(v, max_bytes ? out->size + max_bytes : 0, out);
}

/* --- values over several lines --- */

typedef struct Pretty {
        size_t columns;
        bool color;
        Buf *out, line; /* `line`: to try whether a value fits on one */
} Pretty;

static Status colored(Pretty *p, const char *color, Bytes text)
{
        if (p->color)
                TRY(buf_append_str(p->out, color));
        TRY(buf_append(p->out, text.data, text.size));
        return p->color ? buf_append_str(p->out, CELL_PLAIN) : ST_OK;
}

static Status pretty_scalar(Pretty *p, Value v)
{
        const char *color = CELL_PLAIN;
        buf_clear(&p->line);
        switch (value_type(v)) {
        case V_STRING:
                color = CELL_GREEN;
                TRY(append_quoted(value_bytes(v), &p->line));
                break;
        case V_TIME:
                color = CELL_CYAN;
                TRY(buf_append_str(&p->line, "r.ISO8601(\""));
                TRY(append_time(v, &p->line));
                TRY(buf_append_str(&p->line, "\")"));
                break;
        case V_NUMBER:
                color = CELL_YELLOW;
                TRY(cell_append_value(v, 0, &p->line));
                break;
        case V_NULL:
                color = CELL_DIM;
                TRY(cell_append_value(v, 0, &p->line));
                break;
        default:
                color = CELL_CYAN;
                TRY(cell_append_value(v, 0, &p->line));
                break;
        }
        return colored(p, color, BYTES(p->line.data, p->line.size));
}

static Status pretty_key(Pretty *p, Bytes key)
{
        buf_clear(&p->line);
        TRY(append_quoted(key, &p->line));
        TRY(colored(p, CELL_BLUE, BYTES(p->line.data, p->line.size)));
        return buf_append_str(p->out, ": ");
}

static Status new_line(Pretty *p, size_t indent)
{
        TRY(buf_append_byte(p->out, '\n'));
        for (size_t i = 0; i < indent; i++)
                TRY(buf_append_byte(p->out, ' '));
        return ST_OK;
}

/* Does it fit on the rest of a line? Only looks as far as that is open. */
static Status fits(Pretty *p, Value v, size_t used, bool *ret_fits)
{
        *ret_fits = false;
        if (used >= p->columns)
                return ST_OK;
        buf_clear(&p->line);
        TRY(append_compact(v, p->columns - used + 8, &p->line));
        /* the spaces behind signs, and quotes around times */
        *ret_fits = cell_width(BYTES(p->line.data, p->line.size)) + 2 * value_count(v) + 4 <= p->columns - used;
        return ST_OK;
}

static Status pretty_value(Pretty *p, Value v, size_t indent, size_t used, bool on_one_line)
{
        bool object = value_is(v, V_OBJECT) || value_is(v, V_GEOMETRY);
        Bytes key;
        if (!object && !value_is(v, V_ARRAY))
                return pretty_scalar(p, v);
        if (!on_one_line)
                TRY(fits(p, v, used, &on_one_line));
        TRY(buf_append_byte(p->out, object ? '{' : '['));
        size_t count = value_count(v), shown = 0, inner = indent + INDENT_COLUMNS;
        for (size_t i = 0; i < count; i++) {
                Value child = object ? value_field_at(v, i, &key) : value_at(v, i);
                if (value_is(v, V_GEOMETRY) && bytes_equal(key, BYTES_STR("$reql_type$")))
                        continue;
                if (shown++)
                        TRY(buf_append_str(p->out, on_one_line ? ", " : ","));
                if (!on_one_line)
                        TRY(new_line(p, inner));
                size_t at = inner;
                if (object) {
                        TRY(pretty_key(p, key));
                        at += cell_width(BYTES(p->line.data, p->line.size)) + 2;
                }
                TRY(pretty_value(p, child, inner, at, on_one_line));
        }
        if (shown && !on_one_line)
                TRY(new_line(p, indent));
        return buf_append_byte(p->out, object ? '}' : ']');
}

Status cell_append_pretty(Value v, size_t indent, size_t columns, bool color, Buf *out)
{
        Pretty p = {.columns = columns, .color = color, .out = out};
        buf_init(&p.line, SIZE_MAX / 2);
        Status st = pretty_value(&p, v, indent, indent, false);
        buf_done(&p.line);
        return st;
}
