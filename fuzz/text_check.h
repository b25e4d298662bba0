/* text_check.h - what must hold of text ReQL and its printer, of any text and of any tree: for text_fuzz.c, and for
 * tests/text/text_random.c, which makes up bytes by itself. */
#ifndef FUZZ_TEXT_CHECK_H
#define FUZZ_TEXT_CHECK_H

#include <stdio.h>

#include "query_grammar.h"
#include "reql/print_text.h"
#include "reql/wire.h"
#include "value/json.h"

typedef struct TextCheck {
        Arena arena;
        Buf frame, printed, again;
} TextCheck;

static _Noreturn void text_broken(const char *what, Bytes a, Bytes b)
{
        fprintf(stderr, "text: %s\n%.*s\n%.*s\n", what, (int)a.size, (const char *)a.data, (int)b.size,
                (const char *)b.data);
        abort();
}
static void text_oom(void *ctx, bool over_budget)
{
        abort();
}
static void text_check_init(TextCheck *check)
{
        arena_init(&check->arena, 0);
        arena_on_oom(&check->arena, text_oom, NULL);
        buf_init(&check->frame, 64 << 20);
        buf_init(&check->printed, 64 << 20);
        buf_init(&check->again, 64 << 20);
}
static inline void text_check_done(TextCheck *check)
{
        arena_done(&check->arena);
        buf_done(&check->frame);
        buf_done(&check->printed);
        buf_done(&check->again);
}
static void text_must(Status st, const char *what, Bytes a)
{
        if (st)
                text_broken(what, a, BYTES_STR(status_message(st)));
}

/* --- trees --- */

/* Bit for bit: 0 and -0 are two numbers here. */
static bool same_value(Value a, Value b)
{
        if (value_type(a) != value_type(b))
                return false;
        switch (value_type(a)) {
        case V_NUMBER: return memcmp(&a.number, &b.number, sizeof a.number) == 0;
        case V_ARRAY:
                if (value_count(a) != value_count(b))
                        return false;
                for (size_t i = 0; i < value_count(a); i++)
                        if (!same_value(value_at(a, i), value_at(b, i)))
                                return false;
                return true;
        case V_OBJECT:
        case V_TIME:
        case V_GEOMETRY:
                if (value_count(a) != value_count(b))
                        return false;
                for (size_t i = 0; i < value_count(a); i++) {
                        Bytes key_a, key_b;
                        Value in_a = value_field_at(a, i, &key_a), in_b = value_field_at(b, i, &key_b);
                        if (!bytes_equal(key_a, key_b) || !same_value(in_a, in_b))
                                return false;
                }
                return true;
        default: return value_compare(a, b) == 0;
        }
}

/* Has it an object that only claims to be something? A driver's [1, datum] may bring one; as a literal it is no
 * constant. */
static bool claims(Value v)
{
        Bytes key;
        if (value_is(v, V_OBJECT) && !value_is(value_get_str(v, "$reql_type$"), V_NONE))
                return true;
        for (size_t i = 0; i < value_count(v) && (value_is(v, V_ARRAY) || value_is(v, V_OBJECT)); i++)
                if (claims(value_is(v, V_ARRAY) ? value_at(v, i) : value_field_at(v, i, &key)))
                        return true;
        return false;
}

static bool is_variable(const Term *term)
{
        return term->type == TERM_VAR || term->type == TERM_IMPLICIT_VAR;
}

/* But for the numbers of variables; r.row and the variable it stands for are the same. */
static bool same_tree(const Term *a, const Term *b)
{
        if (is_variable(a) && is_variable(b))
                return a->var_depth == b->var_depth && a->var_index == b->var_index;
        if (a->type == TERM_DATUM && b->type != TERM_DATUM)
                return claims(a->datum);
        if (a->type != b->type || a->arg_count != b->arg_count || a->opt_count != b->opt_count ||
            a->param_count != b->param_count || a->tree_flags != b->tree_flags || a->uses_outer != b->uses_outer ||
            a->has_args_splice != b->has_args_splice)
                return false;
        if (a->type == TERM_DATUM) /* arrays inside [1, datum] are not counted */
                return same_value(a->datum, b->datum) && a->longest_array <= b->longest_array;
        if (a->type == TERM_FUNC)
                return same_tree(a->body, b->body);
        for (size_t i = 0; i < a->arg_count; i++)
                if (!same_tree(a->args[i], b->args[i]))
                        return false;
        for (size_t i = 0; i < a->opt_count; i++)
                if (!bytes_equal(a->opts[i].name, b->opts[i].name) || !same_tree(a->opts[i].term, b->opts[i].term))
                        return false;
        return true;
}

/* --- checks --- */

static uint8_t *text_padded(TextCheck *check, Bytes text)
{
        uint8_t *copy = arena_alloc(&check->arena, text.size + JSON_PADDING);
        memcpy(copy, text.data, text.size);
        memset(copy + text.size, 0, JSON_PADDING);
        return copy;
}

/* [1,[10001,["text"]]]: what a client sends. Bytes that are not UTF-8 are replaced. */
static Status text_send(TextCheck *check, Bytes text, WireQuery *ret_query, const Term **ret_at)
{
        buf_clear(&check->frame);
        text_must(buf_printf(&check->frame, "[1,[%d,[", WIRE_TEXT_TERM), "frame", text);
        text_must(json_write_message(text, &check->frame), "frame", text);
        text_must(buf_append_str(&check->frame, "]]]"), "frame", text);
        Bytes frame = BYTES(check->frame.data, check->frame.size);
        *ret_query = (WireQuery){0};
        return wire_parse(BYTES(text_padded(check, frame), frame.size), &check->arena, ret_query, ret_at);
}

/* Printed and parsed it is the same, on one line and on many, and printed again the same text. (There is no text for
 * [1, datum]: what differs between that and the datum as a literal is left out.) */
static void text_check_tree(TextCheck *check, const Term *root)
{
        static const size_t widths[] = {0, 80, 20, 1};
        const Term *at;
        for (size_t i = 0; i < ELEMENTS(widths); i++) {
                WireQuery again;
                buf_clear(&check->printed);
                buf_clear(&check->again);
                text_must(print_text(root, widths[i], &check->printed), "not printed", BYTES_NONE);
                Bytes printed = BYTES(check->printed.data, check->printed.size);
                text_must(text_send(check, printed, &again, &at), "printed text is no query", printed);
                if (!same_tree(root, again.root))
                        text_broken("printed text is another query", printed, BYTES_NONE);
                text_must(print_text(again.root, widths[i], &check->again), "not printed again", printed);
                if (!bytes_equal(printed, BYTES(check->again.data, check->again.size)))
                        text_broken("printed again it is another text", printed,
                                    BYTES(check->again.data, check->again.size));
        }
}

static void text_check_place(Bytes text, TextSpan span)
{
        if (span.start > span.end || span.end > text.size)
                text_broken("a place that is not in the text", text, BYTES_NONE);
        TextPlace place = text_place(text, span);
        if (place.line < 1 || place.column < 1 || place.end_line < place.line ||
            (place.end_line == place.line && place.end_column < place.column))
                text_broken("a place that ends before it starts", text, BYTES_NONE);
}

/* Any bytes: parsed or refused, in memory in proportion to their number. */
static void text_check_text(TextCheck *check, Bytes text)
{
        WireQuery query;
        const Term *at = NULL;
        TextSpan span;
        arena_reset(&check->arena);
        size_t before = check->arena.total_bytes;
        Status st = text_send(check, text, &query, &at);
        if (check->arena.total_bytes - before > (1 << 17) + 500 * text.size)
                text_broken("too much memory for this text", text, BYTES_NONE);
        if (st && status_code(st) != ERR_COMPILE)
                text_broken(status_message(st), text, BYTES_NONE);
        if (query.text && text_find(query.text, at, &span))
                text_check_place(query.text->text, span);
        else if (st && query.text && at)
                text_broken("an error without a place", text, BYTES_NONE);
        if (!st)
                text_check_tree(check, query.root);
        status_free(st);
}

/* Random queries as drivers send them: every tree that compiles has its text. */
static void text_check_random_tree(TextCheck *check, Gen *gen)
{
        WireQuery query;
        const Term *at;
        arena_reset(&check->arena);
        gen_query(gen);
        Bytes json = BYTES(gen->out.data, gen->out.size);
        Status st = wire_parse(BYTES(text_padded(check, json), json.size), &check->arena, &query, &at);
        if (!st)
                text_check_tree(check, query.root);
        status_free(st);
}

#endif
