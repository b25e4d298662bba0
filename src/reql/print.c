/* print.c - trees as JavaScript, with RethinkDB's habits: what can follow a dot does (`var1("a").count()`), operators
 * and constructors stand before their arguments (`r.add(1, 2)`), a chain begins with `r.` once (`r.add(add(1, 2),
 * 3).count()`). Strings are not escaped there, nor here: it is for reading. */
#include "reql/print.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>

#include "base/base64.h"
#include "value/json.h"

#define MAX_NESTING 15 /* deeper terms are "..." */
#define MAX_FUNCS   MAX_NESTING
#define MAX_CHAIN   512

typedef struct Printer {
        Buf *out;
        unsigned nesting;
        bool inside;                      /* an argument: constants need no r.expr() */
        bool no_r;                        /* "r." stands before already */
        const Term *funcs[MAX_FUNCS + 1]; /* around the term, outermost first */
        size_t func_count;
} Printer;

static Status print_term(Printer *p, const Term *term);

static Status put(Printer *p, const char *text)
{
        return buf_append_str(p->out, text);
}

static Status put_quoted(Printer *p, Bytes text)
{
        TRY(put(p, "\""));
        TRY(buf_append(p->out, text.data, text.size));
        return put(p, "\"");
}

static Status put_r(Printer *p)
{
        return p->no_r ? ST_OK : put(p, "r.");
}

/* LEFT_BOUND and left_bound: leftBound */
static Status put_name(Printer *p, Bytes name)
{
        for (size_t i = 0; i < name.size; i++) {
                bool upper = name.data[i] == '_' && i + 1 < name.size;
                i += upper;
                TRY(buf_append_byte(p->out, (uint8_t)(upper ? toupper(name.data[i]) : tolower(name.data[i]))));
        }
        return ST_OK;
}

static Status put_term_name(Printer *p, const Term *term)
{
        if (term->type == TERM_JAVASCRIPT)
                return put(p, "js");
        return put_name(p, BYTES_STR(term_info(term->type)->name));
}

/* --- constants --- */

static Status print_datum(Printer *p, Value v);

static Status print_fields(Printer *p, Value object)
{
        TRY(put(p, "{"));
        for (size_t i = 0; i < value_count(object); i++) {
                Bytes key;
                Value field = value_field_at(object, i, &key);
                TRY(put(p, i ? ", " : ""));
                TRY(put_quoted(p, key));
                TRY(put(p, ": "));
                TRY(print_datum(p, field));
        }
        return put(p, "}");
}

static Status print_items(Printer *p, Value array)
{
        TRY(put(p, "["));
        for (size_t i = 0; i < value_count(array); i++) {
                TRY(put(p, i ? ", " : ""));
                TRY(print_datum(p, value_at(array, i)));
        }
        return put(p, "]");
}

static Status print_binary(Printer *p, Value v)
{
        size_t size = base64_size(BASE64_PLAIN, value_bytes(v).size);
        TRY(buf_reserve(p->out, size));
        (void)base64_write(BASE64_PLAIN, value_bytes(v), (char *)p->out->data + p->out->size);
        p->out->size += size;
        return ST_OK;
}

static Status print_datum(Printer *p, Value v)
{
        int64_t integer;
        switch (value_type(v)) {
        case V_MINVAL: return put(p, "r.minval");
        case V_MAXVAL: return put(p, "r.maxval");
        case V_NULL: return put(p, "null");
        case V_BOOL: return put(p, v.boolean ? "true" : "false");
        case V_NUMBER:
                if (value_integer(v, &integer))
                        return buf_printf(p->out, "%" PRId64, integer);
                return buf_printf(p->out, trunc(v.number) == v.number ? "%.0f" : "%f", v.number);
        case V_STRING: return put_quoted(p, value_bytes(v));
        case V_BINARY:
                TRY(put(p, "Buffer("));
                TRY(print_binary(p, v));
                return put(p, ", 'base64')");
        case V_ARRAY: return print_items(p, v);
        default: return print_fields(p, v);
        }
}

/* A whole object as an expression: r.object("a", 1) */
static Status print_wrapped_datum(Printer *p, Value object)
{
        TRY(put_r(p));
        TRY(put(p, "object("));
        for (size_t i = 0; i < value_count(object); i++) {
                Bytes key;
                Value field = value_field_at(object, i, &key);
                TRY(put(p, i ? ", " : ""));
                TRY(put_quoted(p, key));
                TRY(put(p, ", "));
                TRY(print_datum(p, field));
        }
        return put(p, ")");
}

static Status print_constant(Printer *p, Value v)
{
        if (p->inside)
                return print_datum(p, v);
        if (value_is(v, V_OBJECT))
                return print_wrapped_datum(p, v);
        TRY(put_r(p));
        TRY(put(p, "expr("));
        TRY(print_datum(p, v));
        return put(p, ")");
}

/* --- arguments --- */

/* Arguments from `first` on, and the options, joined by commas. */
static Status print_arguments(Printer *p, const Term *term, size_t first)
{
        bool inside = p->inside;
        const char *comma = "";
        p->inside = true;
        for (size_t i = first; i < term->arg_count; i++, comma = ", ") {
                TRY(put(p, comma));
                TRY(print_term(p, term->args[i]));
        }
        if (term->opt_count) {
                TRY(put(p, comma));
                TRY(put(p, "{"));
                for (size_t i = 0; i < term->opt_count; i++) {
                        TRY(put(p, i ? ", \"" : "\""));
                        TRY(put_name(p, term->opts[i].name));
                        TRY(put(p, "\": "));
                        TRY(print_term(p, term->opts[i].term));
                }
                TRY(put(p, "}"));
        }
        p->inside = inside;
        return ST_OK;
}

static Status print_array(Printer *p, const Term *term)
{
        if (!p->inside) {
                TRY(put_r(p));
                TRY(put(p, "expr("));
        }
        TRY(put(p, "["));
        TRY(print_arguments(p, term, 0));
        TRY(put(p, "]"));
        return p->inside ? ST_OK : put(p, ")");
}

static Status print_object(Printer *p, const Term *term)
{
        bool inside = p->inside;
        if (!inside) {
                TRY(put_r(p));
                TRY(put(p, "object("));
        } else {
                TRY(put(p, "{"));
        }
        p->inside = true;
        for (size_t i = 0; i < term->opt_count; i++) {
                TRY(put(p, i ? ", " : ""));
                TRY(put_quoted(p, term->opts[i].name));
                TRY(put(p, inside ? ": " : ", "));
                TRY(print_term(p, term->opts[i].term));
        }
        p->inside = inside;
        return put(p, inside ? "}" : ")");
}

/* --- functions and variables --- */

Status print_variable(uint32_t id, Buf *out)
{
        int32_t number = (int32_t)id;
        return number < 0 ? buf_printf(out, "_var%" PRId64, -(int64_t)number) : buf_printf(out, "var%" PRId32, number);
}

static Status put_var(Printer *p, uint32_t id)
{
        return print_variable(id, p->out);
}

static Status print_var(Printer *p, const Term *var)
{
        if (var->type == TERM_IMPLICIT_VAR) {
                TRY(put_r(p));
                return put(p, "row");
        }
        if (var->var_depth < p->func_count)
                return put_var(p, p->funcs[p->func_count - 1 - var->var_depth]->param_ids[var->var_index]);
        uint32_t up = var->var_depth; /* of a function around what is printed */
        for (const Term *outer = var->parent; outer; outer = outer->parent)
                if (outer->type == TERM_FUNC && up-- == 0)
                        return put_var(p, outer->param_ids[var->var_index]);
        return put(p, "var");
}

static Status print_func(Printer *p, const Term *func)
{
        bool inside = p->inside, no_r = p->no_r;
        TRY(put(p, "function("));
        for (size_t i = 0; i < func->param_count; i++) {
                TRY(put(p, i ? ", " : ""));
                TRY(put_var(p, func->param_ids[i]));
        }
        TRY(put(p, ") { return "));
        p->inside = false;
        p->funcs[p->func_count++] = func;
        TRY(print_term(p, func->body));
        p->func_count--;
        p->inside = inside;
        p->no_r = no_r;
        return put(p, "; }");
}

/* --- terms --- */

/* Terms that stand before their arguments. */
static bool is_prefix(const Term *term)
{
        switch (term->type) {
        case TERM_ERROR:
        case TERM_UUID:
        case TERM_HTTP:
        case TERM_DB:
        case TERM_EQ:
        case TERM_NE:
        case TERM_LT:
        case TERM_LE:
        case TERM_GT:
        case TERM_GE:
        case TERM_NOT:
        case TERM_ADD:
        case TERM_SUB:
        case TERM_MUL:
        case TERM_DIV:
        case TERM_MOD:
        case TERM_BIT_AND:
        case TERM_BIT_OR:
        case TERM_BIT_XOR:
        case TERM_BIT_NOT:
        case TERM_BIT_SAL:
        case TERM_BIT_SAR:
        case TERM_OBJECT:
        case TERM_RANGE:
        case TERM_DB_CREATE:
        case TERM_DB_DROP:
        case TERM_DB_LIST:
        case TERM_BRANCH:
        case TERM_OR:
        case TERM_AND:
        case TERM_JSON:
        case TERM_ISO8601:
        case TERM_EPOCH_TIME:
        case TERM_NOW:
        case TERM_TIME:
        case TERM_LITERAL:
        case TERM_RANDOM:
        case TERM_GEOJSON:
        case TERM_POINT:
        case TERM_LINE:
        case TERM_POLYGON:
        case TERM_CIRCLE:
        case TERM_ARGS:
        case TERM_JAVASCRIPT:
        case TERM_ASC:
        case TERM_DESC:
        case TERM_MINVAL:
        case TERM_MAXVAL:
        case TERM_DATUM:
        case TERM_VAR:
        case TERM_IMPLICIT_VAR:
        case TERM_FUNC:
        case TERM_MAKE_ARRAY:
        case TERM_MAKE_OBJ: return true;
        case TERM_TABLE:
        case TERM_FUNCALL: return term->arg_count != 2;
        default: return (term->type >= TERM_MONDAY && term->type <= TERM_DECEMBER) || term->arg_count == 0;
        }
}

static bool is_bare(const Term *term)
{
        if (term->arg_count)
                return false;
        return term->type == TERM_MINVAL || term->type == TERM_MAXVAL ||
               (term->type >= TERM_MONDAY && term->type <= TERM_DECEMBER);
}

static Status print_prefix(Printer *p, const Term *term)
{
        TRY(put_r(p));
        if (term->type == TERM_FUNCALL) { /* the function is the first on the wire and the last in JavaScript */
                bool inside = p->inside;
                TRY(put(p, "do("));
                TRY(print_arguments(p, term, 1));
                TRY(put(p, term->arg_count > 1 ? ", " : ""));
                p->inside = true;
                TRY(print_term(p, term->args[0]));
                p->inside = inside;
                return put(p, ")");
        }
        TRY(put_term_name(p, term));
        if (is_bare(term))
                return ST_OK;
        TRY(put(p, "("));
        TRY(print_arguments(p, term, 0));
        return put(p, ")");
}

/* What follows the thing that a link of the chain works on. */
static Status print_link(Printer *p, const Term *term)
{
        bool inside = p->inside;
        if (term->type == TERM_FUNCALL) {
                TRY(put(p, ".do("));
                p->inside = true;
                TRY(print_term(p, term->args[0]));
                p->inside = inside;
                return put(p, ")");
        }
        if (term->type != TERM_BRACKET) {
                TRY(put(p, "."));
                TRY(put_term_name(p, term));
        }
        TRY(put(p, "("));
        TRY(print_arguments(p, term, 1));
        return put(p, ")");
}

static Status print_chain(Printer *p, const Term *term)
{
        const Term *links[MAX_CHAIN];
        size_t count = 0;
        bool no_r = p->no_r;
        for (; !is_prefix(term) && count < MAX_CHAIN; term = term->args[term->type == TERM_FUNCALL ? 1 : 0])
                links[count++] = term;
        if (count == MAX_CHAIN)
                return put(p, "...");
        if (term->type != TERM_VAR && term->type != TERM_DATUM && term->type != TERM_FUNC) {
                TRY(put_r(p));
                p->no_r = true;
        }
        TRY(print_term(p, term));
        p->no_r = no_r;
        while (count > 0)
                TRY(print_link(p, links[--count]));
        return ST_OK;
}

static Status print_term(Printer *p, const Term *term)
{
        Status st;
        if (p->nesting >= MAX_NESTING)
                return put(p, "...");
        p->nesting++;
        switch (term->type) {
        case TERM_DATUM: st = print_constant(p, term->datum); break;
        case TERM_MAKE_ARRAY: st = print_array(p, term); break;
        case TERM_MAKE_OBJ: st = print_object(p, term); break;
        case TERM_FUNC: st = print_func(p, term); break;
        case TERM_VAR:
        case TERM_IMPLICIT_VAR: st = print_var(p, term); break;
        default: st = is_prefix(term) ? print_prefix(p, term) : print_chain(p, term); break;
        }
        p->nesting--;
        return st;
}

Status print_javascript(const Term *term, Buf *out)
{
        Printer printer = {.out = out};
        return print_term(&printer, term);
}
