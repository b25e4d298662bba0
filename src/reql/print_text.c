/* print_text.c - see print_text.h.
 *
 * What is printed is what the parser reads back as the same tree, so this file mirrors text_terms.c: an object that
 * would be taken for options is wrapped in r.expr(), options that the driver's notation has no place for are written
 * name=value, and what cannot stand before a dot becomes the first argument behind `r.`.
 *
 * Lines are broken from outside in: something is first printed on one line, which is taken back as soon as it gets too
 * long; so every level costs at most one line. */
#include "reql/print_text.h"

#include <ctype.h>
#include <stdio.h>

#include "base/base64.h"
#include "reql/text_names.h"
#include "value/json.h"

typedef struct Scope Scope;
struct Scope { /* a function around what is printed, innermost first */
        const Scope *outer;
        const Term *func;
};

typedef struct TextPrinter {
        Buf *out;
        size_t width; /* 0: everything on one line */
        size_t indent;
        size_t line_start;
        size_t limit; /* trying whether something fits: where `out` may not pass; 0: not trying */
        bool over;    /* it did not */
        const Scope *scope;
} TextPrinter;

static Status print_term(TextPrinter *p, const Term *term);
static Status print_value(TextPrinter *p, Value v);

/* --- output --- */

static Status put_bytes(TextPrinter *p, Bytes text)
{
        if (p->limit && text.size > p->limit - MIN(p->limit, p->out->size)) {
                p->over = true;
                return ST_OK;
        }
        return buf_append(p->out, text.data, text.size);
}

static Status put(TextPrinter *p, const char *text)
{
        return put_bytes(p, BYTES_STR(text));
}

static Status put_string(TextPrinter *p, Bytes text)
{
        if (p->limit && text.size > p->limit - MIN(p->limit, p->out->size)) {
                p->over = true;
                return ST_OK;
        }
        TRY(json_write_string(text, p->out));
        p->over |= p->limit && p->out->size > p->limit;
        return ST_OK;
}

static Status new_line(TextPrinter *p)
{
        TRY(put(p, "\n"));
        p->line_start = p->out->size;
        for (size_t i = 0; i < p->indent; i++)
                TRY(put(p, " "));
        return ST_OK;
}

/* Items one by one on lines of their own, or all on one line. */
static Status items_begin(TextPrinter *p, bool broken)
{
        if (!broken)
                return ST_OK;
        p->indent += 2;
        return new_line(p);
}
static Status items_next(TextPrinter *p, bool broken)
{
        if (!broken)
                return put(p, ", ");
        TRY(put(p, ","));
        return new_line(p);
}
static Status items_end(TextPrinter *p, bool broken)
{
        if (!broken)
                return ST_OK;
        p->indent -= 2;
        return new_line(p);
}

/* Does the term (or, without one, the value) fit into what is left of this line? */
static Status fits(TextPrinter *p, const Term *term, Value v, bool *ret_fits)
{
        *ret_fits = true;
        if (!p->width || p->limit)
                return ST_OK;
        size_t start = p->out->size;
        p->limit = MAX(p->line_start + p->width, start + 1);
        p->over = false;
        Status st = term ? print_term(p, term) : print_value(p, v);
        *ret_fits = !p->over;
        p->limit = 0;
        p->over = false;
        p->out->size = start;
        return st;
}

/* --- constants --- */

static bool is_plain_key(Bytes key)
{
        if (key.size == 0 || isdigit(key.data[0]))
                return false;
        for (size_t i = 0; i < key.size; i++)
                if (key.data[i] >= 0x80 || (!isalnum(key.data[i]) && key.data[i] != '_' && key.data[i] != '$'))
                        return false;
        return true;
}

static Status put_key(TextPrinter *p, Bytes key)
{
        TRY(is_plain_key(key) ? put_bytes(p, key) : put_string(p, key));
        return put(p, ": ");
}

static Status print_array_value(TextPrinter *p, Value array)
{
        bool whole;
        TRY(fits(p, NULL, array, &whole));
        TRY(put(p, "["));
        TRY(items_begin(p, !whole));
        for (size_t i = 0; i < value_count(array) && !p->over; i++) {
                if (i)
                        TRY(items_next(p, !whole));
                TRY(print_value(p, value_at(array, i)));
        }
        TRY(items_end(p, !whole));
        return put(p, "]");
}

static Status print_object_value(TextPrinter *p, Value object)
{
        bool whole;
        TRY(fits(p, NULL, object, &whole));
        TRY(put(p, "{"));
        TRY(items_begin(p, !whole));
        for (size_t i = 0; i < value_count(object) && !p->over; i++) {
                Bytes key;
                Value field = value_field_at(object, i, &key);
                if (i)
                        TRY(items_next(p, !whole));
                TRY(put_key(p, key));
                TRY(print_value(p, field));
        }
        TRY(items_end(p, !whole));
        return put(p, "}");
}

static Status print_binary(TextPrinter *p, Bytes bytes)
{
        TRY(put(p, "r.binary(Buffer.from(\""));
        for (size_t i = 0; i < bytes.size && !p->over; i += 48) {
                char digits[64];
                char *end = base64_write(BASE64_PLAIN, BYTES(bytes.data + i, MIN(bytes.size - i, (size_t)48)), digits);
                TRY(put_bytes(p, BYTES(digits, (size_t)(end - digits))));
        }
        return put(p, "\", \"base64\"))");
}

static Status print_value(TextPrinter *p, Value v)
{
        char number[32];
        if (p->over)
                return ST_OK;
        switch (value_type(v)) {
        case V_MINVAL: return put(p, "r.minval");
        case V_MAXVAL: return put(p, "r.maxval");
        case V_BOOL: return put(p, v.boolean ? "true" : "false");
        case V_NUMBER: return put_bytes(p, BYTES(number, json_number_text(v.number, number)));
        case V_STRING: return put_string(p, value_bytes(v));
        case V_BINARY: return print_binary(p, value_bytes(v));
        case V_ARRAY: return print_array_value(p, v);
        case V_OBJECT:
        case V_TIME:
        case V_GEOMETRY: return print_object_value(p, v);
        default: return put(p, "null");
        }
}

/* --- functions and variables --- */

static const Term *function_around(const Term *term)
{
        for (term = term->parent; term && term->type != TERM_FUNC;)
                term = term->parent;
        return term;
}

/* Names go by how many variables there are around: `row` for the one of an outermost function, then x, y, z ... */
static Status put_variable(TextPrinter *p, const Term *func, uint32_t index)
{
        static const char letters[] = "xyzuvwabcdefghijklmnopqst";
        const Term *outermost = func;
        size_t position = index;
        for (const Term *outer = function_around(func); outer; outer = function_around(outer)) {
                position += outer->param_count;
                outermost = outer;
        }
        if (outermost->param_count == 1 && position-- == 0)
                return put(p, "row");
        char name[32] = {letters[position < sizeof letters - 1 ? position : 0]};
        if (position >= sizeof letters - 1)
                (void)snprintf(name + 1, sizeof name - 1, "%zu", position);
        return put(p, name);
}

static Status print_variable_term(TextPrinter *p, const Term *var)
{
        const Scope *scope = p->scope;
        uint32_t up = var->var_depth;
        for (; scope && up > 0; scope = scope->outer)
                up--;
        const Term *func = scope ? scope->func : NULL;
        if (!func) { /* of a function around what is printed */
                func = function_around(var);
                for (up = var->var_depth; func && up > 0; up--)
                        func = function_around(func);
        }
        if (!func)
                return put(p, var->type == TERM_IMPLICIT_VAR ? "r.row" : "row");
        return put_variable(p, func, var->var_index);
}

static bool is_object(const Term *term)
{
        return term->type == TERM_MAKE_OBJ || (term->type == TERM_DATUM && value_is_object(term->datum));
}

static Status print_function(TextPrinter *p, const Term *func)
{
        bool bare = func->param_count == 1, braces = is_object(func->body);
        TRY(put(p, bare ? "" : "("));
        for (uint32_t i = 0; i < func->param_count && !p->over; i++) {
                TRY(put(p, i ? ", " : ""));
                TRY(put_variable(p, func, i));
        }
        TRY(put(p, bare ? " => " : ") => "));
        const Scope scope = {.outer = p->scope, .func = func};
        p->scope = &scope;
        TRY(put(p, braces ? "(" : ""));
        TRY(print_term(p, func->body));
        p->scope = scope.outer;
        return put(p, braces ? ")" : "");
}

/* --- arrays and objects around terms --- */

static Status print_array(TextPrinter *p, const Term *term)
{
        bool whole;
        TRY(fits(p, term, value_none(), &whole));
        TRY(put(p, "["));
        TRY(items_begin(p, !whole));
        for (size_t i = 0; i < term->arg_count && !p->over; i++) {
                if (i)
                        TRY(items_next(p, !whole));
                TRY(print_term(p, term->args[i]));
        }
        TRY(items_end(p, !whole));
        return put(p, "]");
}

static Status print_object(TextPrinter *p, const Term *term)
{
        bool whole;
        TRY(fits(p, term, value_none(), &whole));
        TRY(put(p, "{"));
        TRY(items_begin(p, !whole));
        for (size_t i = 0; i < term->opt_count && !p->over; i++) {
                if (i)
                        TRY(items_next(p, !whole));
                TRY(put_key(p, term->opts[i].name));
                TRY(print_term(p, term->opts[i].term));
        }
        TRY(items_end(p, !whole));
        return put(p, "}");
}

/* --- calls --- */

static size_t receiver_index(const Term *term)
{
        return term->type == TERM_FUNCALL ? 1 : 0;
}

/* Is it written behind a dot (or, a field, in parentheses) that follows its first argument? */
static bool follows_value(const Term *term, const TextName *name)
{
        size_t at = receiver_index(term);
        if (!name || term->arg_count <= at)
                return false;
        switch ((TextForm)name->form) {
        case TEXT_ROOT:
        case TEXT_EITHER:
        case TEXT_CONSTANT: return false;
        case TEXT_DB:
                if ((int64_t)term->arg_count <= term_info(term->type)->min_args)
                        return false;
                break;
        default: break;
        }
        return term->args[at]->type != TERM_ARGS && term->args[at]->type != TERM_FUNC;
}

/* row("a") */
static bool is_field(const Term *term)
{
        return term->type == TERM_BRACKET && term->arg_count == 2 && term->opt_count == 0 &&
               term->args[1]->type != TERM_ARGS;
}

static Status put_option_name(TextPrinter *p, Bytes name, const char *behind)
{
        char wire[TEXT_NAME_BYTES], camel[TEXT_NAME_BYTES];
        size_t size = MIN(name.size, sizeof wire - 1);
        memcpy(wire, name.data, size);
        wire[size] = '\0';
        TRY(put(p, text_camel(wire, camel)));
        return put(p, behind);
}

static Status print_options(TextPrinter *p, const Term *term, bool braces, bool broken)
{
        TRY(put(p, braces ? "{" : ""));
        for (size_t i = 0; i < term->opt_count && !p->over; i++) {
                if (i)
                        TRY(braces ? put(p, ", ") : items_next(p, broken));
                TRY(put_option_name(p, term->opts[i].name, braces ? ": " : "="));
                TRY(print_term(p, term->opts[i].term));
        }
        return put(p, braces ? "}" : "");
}

/* How the arguments from `first` on are written. */
typedef struct Arguments {
        const Term *term;
        size_t first;
        bool braces;    /* options as an object; else name=value */
        int options_at; /* from there on, a last object would be read as options; -1: nowhere */
} Arguments;

static Status print_argument(TextPrinter *p, const Arguments *arguments, size_t i)
{
        const Term *term = arguments->term, *arg = term->args[i];
        bool last = i + 1 == term->arg_count && !(arguments->braces && term->opt_count);
        bool wrap = last && is_object(arg) && arguments->options_at >= 0 && (int64_t)i >= arguments->options_at;
        TRY(put(p, wrap ? "r.expr(" : ""));
        TRY(print_term(p, arg));
        return put(p, wrap ? ")" : "");
}

/* ( ... ) */
static Status print_arguments(TextPrinter *p, const Arguments *arguments)
{
        const Term *term = arguments->term;
        size_t count = term->arg_count - MIN(arguments->first, (size_t)term->arg_count);
        bool is_call = term->type == TERM_FUNCALL, broken = false;
        TRY(put(p, "("));
        if (p->width && !p->limit && count + (term->opt_count > 0) + is_call > 1) {
                /* whether the whole fits was asked before: what is left of the line may still do */
                size_t start = p->out->size;
                p->limit = MAX(p->line_start + p->width, start + 1);
                p->over = false;
                TRY(print_arguments(p, arguments));
                broken = p->over;
                p->limit = 0;
                p->over = false;
                p->out->size = start;
        }
        TRY(items_begin(p, broken));
        bool any = false;
        for (size_t i = arguments->first; i < term->arg_count && !p->over; i++, any = true) {
                if (any)
                        TRY(items_next(p, broken));
                TRY(print_argument(p, arguments, i));
        }
        if (is_call && term->arg_count) { /* the function: first on the wire, last in text */
                if (any)
                        TRY(items_next(p, broken));
                TRY(print_term(p, term->args[0]));
                any = true;
        }
        if (term->opt_count) {
                if (any)
                        TRY(items_next(p, broken));
                TRY(print_options(p, term, arguments->braces, broken));
        }
        TRY(items_end(p, broken));
        return put(p, ")");
}

static Arguments arguments_of(const Term *term, const TextName *name, bool after_dot)
{
        size_t first = after_dot ? receiver_index(term) + 1 : term->type == TERM_FUNCALL ? 1 : 0;
        int at = !name || name->options_at < 0 ? -1 : name->options_at - (name->form == TEXT_DB && !after_dot);
        return (Arguments){
                .term = term, .first = first, .braces = at >= 0 && (int64_t)term->arg_count >= at, .options_at = at};
}

static Status put_term_name(TextPrinter *p, const Term *term, const TextName *name)
{
        if (name)
                return put(p, name->name);
        char small[TEXT_NAME_BYTES], camel[TEXT_NAME_BYTES]; /* a term that nobody writes */
        const char *wire = term_info(term->type)->name;
        size_t size = 0;
        for (; wire[size] && size + 1 < sizeof small; size++)
                small[size] = (char)tolower((unsigned char)wire[size]);
        small[size] = '\0';
        return put(p, text_camel(small, camel));
}

static Status print_root_call(TextPrinter *p, const Term *term, const TextName *name)
{
        TRY(put(p, "r."));
        TRY(put_term_name(p, term, name));
        if (name && name->form == TEXT_CONSTANT && term->arg_count == 0 && term->opt_count == 0)
                return ST_OK;
        const Arguments arguments = arguments_of(term, name, false);
        return print_arguments(p, &arguments);
}

/* --- chains --- */

static bool needs_expr(const Term *term)
{
        return term->type == TERM_MAKE_ARRAY || term->type == TERM_MAKE_OBJ ||
               (term->type == TERM_DATUM && !value_is(term->datum, V_BINARY));
}

/* A new line before its dot? Not for the table of a database. */
static bool takes_line(const Term *term)
{
        return !is_field(term) && !(term->type == TERM_TABLE && term->args[0]->type == TERM_DB);
}

static Status print_link(TextPrinter *p, const Term *term, const TextName *name, bool broken)
{
        const Arguments arguments = arguments_of(term, name, true);
        if (is_field(term)) {
                TRY(put(p, "("));
                TRY(print_term(p, term->args[1]));
                return put(p, ")");
        }
        if (broken && takes_line(term))
                TRY(new_line(p));
        TRY(put(p, "."));
        TRY(put_term_name(p, term, name));
        return print_arguments(p, &arguments);
}

/* What the chain begins with and its links up to `term`. */
static Status print_chain(TextPrinter *p, const Term *term, bool broken)
{
        const TextName *name = text_name_of(term->type);
        if (p->over)
                return ST_OK;
        if (term->type != TERM_DATUM && follows_value(term, name)) {
                const Term *receiver = term->args[receiver_index(term)];
                TRY(print_chain(p, receiver, broken));
                return print_link(p, term, name, broken);
        }
        bool wrap = needs_expr(term);
        TRY(put(p, wrap ? "r.expr(" : ""));
        TRY(print_term(p, term));
        return put(p, wrap ? ")" : "");
}

static Status print_call(TextPrinter *p, const Term *term)
{
        const TextName *name = text_name_of(term->type);
        if (!follows_value(term, name))
                return print_root_call(p, term, name);
        bool whole;
        TRY(fits(p, term, value_none(), &whole));
        size_t lines = 0;
        for (const Term *link = term; !whole && lines < 2; link = link->args[receiver_index(link)]) {
                if (link->type == TERM_DATUM || !follows_value(link, text_name_of(link->type)))
                        break;
                lines += takes_line(link);
        }
        bool broken = !whole && lines > 1; /* with one link alone, its arguments are broken */
        p->indent += broken ? 2 : 0;
        Status st = print_chain(p, term, broken);
        p->indent -= broken ? 2 : 0;
        return st;
}

static Status print_term(TextPrinter *p, const Term *term)
{
        if (p->over)
                return ST_OK;
        switch (term->type) {
        case TERM_DATUM: return print_value(p, term->datum);
        case TERM_MAKE_ARRAY: return print_array(p, term);
        case TERM_MAKE_OBJ: return print_object(p, term);
        case TERM_FUNC: return print_function(p, term);
        case TERM_VAR:
        case TERM_IMPLICIT_VAR: return print_variable_term(p, term);
        default: return print_call(p, term);
        }
}

Status print_text(const Term *term, size_t width, Buf *out)
{
        TextPrinter printer = {.out = out, .width = width, .line_start = out->size};
        return print_term(&printer, term);
}

Status print_text_value(Value v, size_t width, Buf *out)
{
        TextPrinter printer = {.out = out, .width = width, .line_start = out->size};
        return print_value(&printer, v);
}
