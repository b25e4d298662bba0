/* text_tree.c - from the parsed tree to the wire form, and from terms back to places in the text. */
#include "reql/text_int.h"

/* --- to the wire --- */

static Value wire_fields(const TextParser *parser, const TextNode *node)
{
        Field *fields = arena_array(parser->arena, Field, node->option_count);
        for (size_t i = 0; i < node->option_count; i++)
                fields[i] = (Field){node->options[i].name, text_wire(parser, node->options[i].node)};
        return value_object_sorted(fields, node->option_count);
}

Value text_wire(const TextParser *parser, const TextNode *node)
{
        if (node->type == TERM_DATUM)
                return node->datum;
        if (node->type == TERM_MAKE_OBJ)
                return wire_fields(parser, node);
        size_t count = node->option_count ? 3 : 2;
        Value *args = arena_array(parser->arena, Value, node->arg_count);
        Value *term = arena_array(parser->arena, Value, count);
        for (size_t i = 0; i < node->arg_count; i++)
                args[i] = text_wire(parser, node->args[i]);
        term[0] = value_number(node->type);
        term[1] = value_array(args, node->arg_count);
        if (count == 3)
                term[2] = wire_fields(parser, node);
        return value_array(term, count);
}

/* --- back --- */

static const TextNode *child_of(const TextNode *node, const Term *child)
{
        if (child->frame_name.data) {
                for (size_t i = 0; i < node->option_count; i++)
                        if (bytes_equal(node->options[i].name, child->frame_name))
                                return node->options[i].node;
                return NULL;
        }
        return child->frame >= 0 && (size_t)child->frame < node->arg_count ? node->args[child->frame] : NULL;
}

/* Along the same steps that term_backtrace tells. What a step does not lead to stands where it leads from. */
static const TextNode *find(const TextNode *root, const Term *term)
{
        if (!term->parent)
                return root;
        const TextNode *parent = find(root, term->parent);
        bool steps = term->frame_name.data || term->frame >= 0;
        const TextNode *child = steps ? child_of(parent, term) : NULL;
        return child ? child : parent;
}

bool text_find(const TextQuery *query, const Term *term, TextSpan *ret_span)
{
        if (!query->root) {
                *ret_span = query->error;
                return true;
        }
        if (!term)
                return false;
        *ret_span = find(query->root, term)->span;
        return true;
}

/* --- for people --- */

static void count_to(Bytes text, uint32_t end, uint32_t *at, unsigned *line, unsigned *column)
{
        for (; *at < end && *at < text.size; (*at)++) {
                if (text.data[*at] == '\n') {
                        (*line)++;
                        *column = 1;
                } else if ((text.data[*at] & 0xc0) != 0x80) {
                        (*column)++;
                }
        }
}

TextPlace text_place(Bytes text, TextSpan span)
{
        TextPlace place;
        uint32_t at = 0;
        unsigned line = 1, column = 1;
        count_to(text, span.start, &at, &line, &column);
        place.line = line;
        place.column = column;
        count_to(text, span.end, &at, &line, &column);
        place.end_line = line;
        place.end_column = column;
        return place;
}
