/* closure_import.c - index functions as RethinkDB 2.4 gives them in index_status: what its dumps hold.
 *
 *      prefix | 09 version, of how it is stored | 07 07 07 versions of ReQL | 00 a ReQL function | 00 no captured
 *      variables | u32 implicit variables, 0 | n parameters | n * i64 their numbers | u32 size | the body, a NUL behind
 * it | u32 for backtraces | multi | geo
 *
 * The body is the wire form with one more number at the end of each term (its place in the query), and every constant
 * wrapped: [170,[[10,[[1,-19,0]],0],[1,"a",0]],0]. Functions that captured variables, and those in JavaScript, are
 * refused. */
#include "query/closure.h"
#include "reql/term.h"
#include "value/json.h"

#define HEADER_BYTES  10 /* to the number of parameters */
#define TRAILER_BYTES 6
#define MAX_PARAMS    127 /* above, the number takes more than a byte */

static bool header_fits(Bytes b)
{
        static const uint8_t functions[] = {0, 0, 0, 0, 0, 0};
        return b.size > HEADER_BYTES && b.data[0] == 9 && memcmp(b.data + 4, functions, sizeof functions) == 0 &&
               b.data[HEADER_BYTES] <= MAX_PARAMS;
}

static Status write_term(Value v, Buf *out);

static Status write_terms(Value array, Buf *out)
{
        TRY(buf_append_byte(out, '['));
        for (size_t i = 0; i < value_count(array); i++) {
                if (i)
                        TRY(buf_append_byte(out, ','));
                TRY(write_term(value_at(array, i), out));
        }
        return buf_append_byte(out, ']');
}

static Status write_options(Value object, Buf *out)
{
        TRY(buf_append_byte(out, '{'));
        for (size_t i = 0; i < value_count(object); i++) {
                Bytes key;
                Value option = value_field_at(object, i, &key);
                if (i)
                        TRY(buf_append_byte(out, ','));
                TRY(json_write_string(key, out));
                TRY(buf_append_byte(out, ':'));
                TRY(write_term(option, out));
        }
        return buf_append_byte(out, '}');
}

/* Constants of VAR, and of a FUNC's parameters, stand as they are. */
static Status write_constant(Value v, Buf *out)
{
        if (value_is(v, V_ARRAY) || value_is_object(v)) {
                TRY(buf_printf(out, "[%d,", TERM_DATUM));
                TRY(json_write(v, out));
                return buf_append_byte(out, ']');
        }
        return json_write(v, out);
}

static Status write_term(Value v, Buf *out)
{
        size_t count = value_is(v, V_ARRAY) ? value_count(v) : 0;
        int64_t type;
        if (count < 2 || !value_is(value_at(v, 0), V_NUMBER) || !value_integer(value_at(v, 0), &type) ||
            !value_is(value_at(v, count - 1), V_NUMBER))
                return status_new(ERR_CORRUPT, "No function: a term is not one of RethinkDB's.");
        if (type == TERM_DATUM)
                return write_constant(value_at(v, 1), out);
        TRY(buf_printf(out, "[%d", (int)type));
        for (size_t i = 1; i + 1 < count; i++) {
                Value part = value_at(v, i);
                TRY(buf_append_byte(out, ','));
                if (value_is(part, V_ARRAY))
                        TRY(write_terms(part, out));
                else if (value_is(part, V_OBJECT))
                        TRY(write_options(part, out));
                else
                        return status_new(ERR_CORRUPT, "No function: a term is not one of RethinkDB's.");
        }
        return buf_append_byte(out, ']');
}

Status closure_import(Bytes binary, Arena *arena, Buf *out, bool *ret_multi, bool *ret_geo)
{
        const size_t prefix = sizeof CLOSURE_PREFIX - 1;
        Value body;
        if (binary.size <= prefix || memcmp(binary.data, CLOSURE_PREFIX, prefix) != 0)
                return status_new(ERR_CORRUPT, "No function.");
        Bytes b = BYTES(binary.data + prefix, binary.size - prefix);
        if (!header_fits(b))
                return status_new(ERR_CORRUPT,
                                  "No function: neither one of PhotonDB's nor a plain one of RethinkDB's.");
        size_t params = b.data[HEADER_BYTES], at = HEADER_BYTES + 1 + 8 * params;
        size_t size = b.size >= at + 4 + TRAILER_BYTES ? load_u32(b.data + at) : 0;
        if (size == 0 || size != b.size - at - 4 - TRAILER_BYTES)
                return status_new(ERR_CORRUPT, "No function: its sizes do not add up.");
        Status st = json_parse_copy(BYTES(b.data + at + 4, size - 1), JSON_PLAIN, arena, &body);
        if (st)
                return status_code(st) == ERR_NOMEM ? st : (status_ignore(st), status_new(ERR_CORRUPT, "No function."));
        TRY(buf_printf(out, "[%d,[[%d,[", TERM_FUNC, TERM_MAKE_ARRAY));
        for (size_t i = 0; i < params; i++)
                TRY(buf_printf(out, "%s%lld", i ? "," : "",
                               (long long)(int64_t)load_u64(b.data + HEADER_BYTES + 1 + 8 * i)));
        TRY(buf_append_str(out, "]],"));
        TRY(write_term(body, out));
        TRY(buf_append_str(out, "]]"));
        *ret_multi = b.data[b.size - 2] == 1;
        *ret_geo = b.data[b.size - 1] == 1;
        return ST_OK;
}
