/* jsontext.c - see jsontext.h. */
#include "cli/jsontext.h"

static const uint8_t *skip_string(const uint8_t *from, const uint8_t *end)
{
        for (from++; from < end; from++) {
                if (*from == '\\')
                        from++;
                else if (*from == '"')
                        return from + 1;
        }
        return end;
}

const uint8_t *jsontext_skip_space(const uint8_t *from, const uint8_t *end)
{
        while (from < end && (*from == ' ' || *from == '\n' || *from == '\r' || *from == '\t'))
                from++;
        return from;
}

const uint8_t *jsontext_skip_value(const uint8_t *from, const uint8_t *end)
{
        if (from == end)
                return end;
        if (*from == '"')
                return skip_string(from, end);
        if (*from != '{' && *from != '[') {
                while (from < end && !strchr(",]} \n\r\t", *from))
                        from++;
                return from;
        }
        size_t depth = 0;
        while (from < end) {
                if (*from == '"') {
                        from = skip_string(from, end);
                        continue;
                }
                depth += *from == '{' || *from == '[';
                depth -= *from == '}' || *from == ']';
                from++;
                if (depth == 0)
                        return from;
        }
        return end;
}

Status jsontext_each_element(Bytes array, Status (*each)(void *ctx, Bytes element), void *ctx)
{
        const uint8_t *end = array.data + array.size, *at = jsontext_skip_space(array.data + 1, end);
        while (at < end && *at != ']') {
                const uint8_t *after = jsontext_skip_value(at, end);
                TRY(each(ctx, BYTES(at, after - at)));
                at = jsontext_skip_space(after, end);
                if (at < end && *at == ',')
                        at = jsontext_skip_space(at + 1, end);
                else
                        break;
        }
        return ST_OK;
}

Bytes jsontext_field(Bytes object, const char *key)
{
        size_t key_size = strlen(key);
        const uint8_t *end = object.data + object.size, *at = jsontext_skip_space(object.data, end);
        if (at == end || *at != '{')
                return BYTES_NONE;
        at = jsontext_skip_space(at + 1, end);
        while (at < end && *at == '"') {
                const uint8_t *name = at + 1;
                at = jsontext_skip_value(at, end);
                bool wanted = (size_t)(at - name) == key_size + 1 && memcmp(name, key, key_size) == 0;
                at = jsontext_skip_space(at, end);
                if (at == end || *at != ':')
                        return BYTES_NONE;
                at = jsontext_skip_space(at + 1, end);
                const uint8_t *after = jsontext_skip_value(at, end);
                if (wanted)
                        return BYTES(at, after - at);
                at = jsontext_skip_space(after, end);
                if (at < end && *at == ',')
                        at = jsontext_skip_space(at + 1, end);
        }
        return BYTES_NONE;
}

Status jsontext_append_term(Bytes json, Buf *out)
{
        const uint8_t *at = json.data, *end = at + json.size, *copied = at;
        while (at < end) {
                if (*at == '"') {
                        at = skip_string(at, end);
                        continue;
                }
                if (*at == '[' || *at == ']') {
                        TRY(buf_append(out, copied, (size_t)(at - copied)));
                        TRY(buf_append_str(out, *at == '[' ? "[2,[" : "]]"));
                        copied = at + 1;
                }
                at++;
        }
        return buf_append(out, copied, (size_t)(end - copied));
}
