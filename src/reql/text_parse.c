/* text_parse.c - expressions: constants, operators, functions; what follows a value is text_terms.c's.
 *
 *      expression  ternary, operators by binding power (climb), unary, then a primary with what follows it (postfix)
 *      primary     constant, (expression), [items], {fields}, variable, r..., function
 *
 * All words are found first, then one pass with one word ahead; a function in parentheses is known by looking on to its
 * arrow, over names and commas only. So time and memory are in proportion to the text. Recursion is bounded by
 * TEXT_NESTING_MAX, and a tree deeper than wire.c takes is refused where it gets too deep. */
#include <math.h>

#include "reql/text_int.h"

/* --- nodes --- */

TextNode *text_node(TextParser *parser, unsigned type, TextSpan span)
{
        TextNode *node = arena_new(parser->arena, TextNode);
        node->type = (uint16_t)type;
        node->span = span;
        return node;
}

TextNode *text_constant(TextParser *parser, Value v, TextSpan span)
{
        TextNode *node = text_node(parser, TERM_DATUM, span);
        node->datum = v;
        node->is_wrapped = true;
        return node;
}

/* An array of arguments inside an array; fields inside an object; options inside an object inside an array. */
static Status note_child(TextParser *parser, TextNode *node, const TextNode *child, bool is_option)
{
        unsigned around = is_option && node->type == TERM_MAKE_OBJ ? 1 : 2;
        node->depth = MAX(node->depth, (uint16_t)(child->depth + around));
        node->uses_row |= child->uses_row;
        if (node->depth > VALUE_MAX_DEPTH)
                return text_mistake(parser, child->span, "This is nested too deep: at most about %d terms.",
                                    VALUE_MAX_DEPTH / 2);
        return ST_OK;
}

Status text_set_args(TextParser *parser, TextNode *node, TextNode *const *args, size_t count)
{
        node->args = arena_array(parser->arena, TextNode *, count);
        node->arg_count = (uint32_t)count;
        node->depth = 2;
        for (size_t i = 0; i < count; i++) {
                node->args[i] = args[i];
                TRY(note_child(parser, node, args[i], false));
        }
        return ST_OK;
}

void text_push_node(TextParser *parser, TextNode *node)
{
        if (parser->node_count == parser->node_capacity) {
                size_t capacity = parser->node_capacity * 2;
                TextNode **nodes = arena_array(parser->arena, TextNode *, capacity);
                memcpy(nodes, parser->nodes, parser->node_count * sizeof *nodes);
                parser->nodes = nodes;
                parser->node_capacity = capacity;
        }
        parser->nodes[parser->node_count++] = node;
}

void text_push_option(TextParser *parser, TextOption option)
{
        if (parser->option_count == parser->option_capacity) {
                size_t capacity = parser->option_capacity * 2;
                TextOption *options = arena_array(parser->arena, TextOption, capacity);
                memcpy(options, parser->options, parser->option_count * sizeof *options);
                parser->options = options;
                parser->option_capacity = capacity;
        }
        parser->options[parser->option_count++] = option;
}

static int option_order(const void *a, const void *b)
{
        const TextOption *left = a, *right = b;
        int order = bytes_compare(left->name, right->name);
        return order ? order : left->at.start < right->at.start ? -1 : 1;
}

/* Merge sort, for qsort may be quadratic. */
static void sort_options(TextOption *options, TextOption *spare, size_t count)
{
        if (count < 2)
                return;
        size_t half = count / 2, i = 0, j = half;
        sort_options(options, spare, half);
        sort_options(options + half, spare, count - half);
        memcpy(spare, options, count * sizeof *options);
        for (size_t k = 0; k < count; k++) {
                bool left = j == count || (i < half && option_order(&spare[i], &spare[j]) <= 0);
                options[k] = left ? spare[i++] : spare[j++];
        }
}

Status text_set_options(TextParser *parser, TextNode *node, size_t first)
{
        size_t count = parser->option_count - first;
        node->options = arena_array(parser->arena, TextOption, count);
        node->option_count = (uint32_t)count;
        memcpy(node->options, parser->options + first, count * sizeof *node->options);
        parser->option_count = first;
        bool sorted = true;
        for (size_t i = 1; i < count && sorted; i++)
                sorted = bytes_compare(node->options[i - 1].name, node->options[i].name) < 0;
        if (!sorted)
                sort_options(node->options, arena_array(parser->arena, TextOption, count), count);
        for (size_t i = 0; i < count; i++) {
                const TextOption *option = &node->options[i];
                if (i && bytes_equal(option[-1].name, option->name))
                        return text_mistake(parser, option->at, "`%.*s` is here for the second time.",
                                            (int)MIN(option->name.size, (size_t)100), (const char *)option->name.data);
                TRY(note_child(parser, node, option->node, true));
        }
        return ST_OK;
}

/* --- variables and functions --- */

static Status push_variable(TextParser *parser, TextToken name, uint32_t *ret_id)
{
        if (parser->variable_count == parser->variable_capacity) {
                size_t capacity = parser->variable_capacity * 2;
                TextVariable *variables = arena_array(parser->arena, TextVariable, capacity);
                memcpy(variables, parser->variables, parser->variable_count * sizeof *variables);
                parser->variables = variables;
                parser->variable_capacity = capacity;
        }
        if (parser->variable_count >= TEXT_NESTING_MAX * 4)
                return text_mistake(parser, text_token_span(name), "There are too many variables.");
        *ret_id = ++parser->last_variable;
        parser->variables[parser->variable_count++] = (TextVariable){text_token_bytes(parser->text, name), *ret_id};
        return ST_OK;
}

static TextNode *number_node(TextParser *parser, double number, TextSpan span)
{
        return text_constant(parser, value_number(number), span);
}

static Status variable_node(TextParser *parser, uint32_t id, TextSpan span, TextNode **ret_node)
{
        TextNode *number = number_node(parser, id, span);
        *ret_node = text_node(parser, TERM_VAR, span);
        return text_set_args(parser, *ret_node, &number, 1);
}

static bool find_variable(const TextParser *parser, Bytes name, uint32_t *ret_id)
{
        for (size_t i = parser->variable_count; i-- > 0;)
                if (bytes_equal(parser->variables[i].name, name)) {
                        *ret_id = parser->variables[i].id;
                        return true;
                }
        return false;
}

static Status make_function(TextParser *parser, TextNode *params, TextNode *body, TextSpan span, TextNode **ret_node)
{
        TextNode *const parts[] = {params, body};
        TextNode *func = text_node(parser, TERM_FUNC, span);
        func->is_wrapped = true;
        TRY(text_set_args(parser, func, parts, 2));
        *ret_node = func;
        return ST_OK;
}

Status text_function_around(TextParser *parser, TextNode *node, TextNode **ret_func)
{
        TextNode *id = number_node(parser, ++parser->last_variable, node->span);
        TextNode *params = text_node(parser, TERM_MAKE_ARRAY, node->span);
        TRY(text_set_args(parser, params, &id, 1));
        return make_function(parser, params, node, node->span, ret_func);
}

static Status add_param(TextParser *parser)
{
        uint32_t id = 0;
        TextToken name = text_peek(parser);
        if (name.kind != TOKEN_NAME)
                return text_unexpected(parser, "the name of a parameter");
        (void)text_take(parser);
        TRY(push_variable(parser, name, &id));
        text_push_node(parser, number_node(parser, id, text_token_span(name)));
        return ST_OK;
}

/* Names up to `end`, which is taken. */
static Status param_list(TextParser *parser, TextOp end, const char *wanted)
{
        while (!text_at_op(parser, end)) {
                TRY(add_param(parser));
                if (text_at_op(parser, end))
                        break;
                if (!text_at_op(parser, OP_COMMA))
                        return text_unexpected(parser, wanted);
                (void)text_take(parser);
        }
        (void)text_take(parser);
        return ST_OK;
}

/* { return expression; } */
static Status return_block(TextParser *parser, TextNode **ret_body)
{
        TextToken open = text_take(parser);
        TextToken word = text_peek(parser);
        if (!text_token_is(parser, word, "return"))
                return text_mistake(
                        parser, text_token_span(word),
                        "A function's braces hold one return: { return value; }. An object is written ({...}).");
        (void)text_take(parser);
        TRY(text_expression(parser, ret_body));
        while (text_at_op(parser, OP_SEMICOLON))
                (void)text_take(parser);
        return text_expect(parser, OP_CLOSE_CURLY, open);
}

/* What is behind an arrow. Braces are a block in JavaScript, but { name: value } is clear as well. */
static Status arrow_body(TextParser *parser, TextNode **ret_body)
{
        bool block = text_at_op(parser, OP_OPEN_CURLY) && text_peek_at(parser, 2).op != OP_COLON;
        return block ? return_block(parser, ret_body) : text_expression(parser, ret_body);
}

typedef enum FunctionKind { FUNCTION_ARROW, FUNCTION_ARROW_ONE, FUNCTION_WORD, FUNCTION_LAMBDA } FunctionKind;

static Status parse_function(TextParser *parser, FunctionKind kind, TextNode **ret_node)
{
        size_t variables = parser->variable_count, nodes = parser->node_count;
        TextToken start = text_peek(parser);
        TextNode *body;
        if (kind == FUNCTION_WORD || kind == FUNCTION_LAMBDA)
                (void)text_take(parser);
        if (kind == FUNCTION_WORD && text_peek(parser).kind == TOKEN_NAME)
                (void)text_take(parser); /* a name of its own: nothing can use it */
        if (kind == FUNCTION_WORD && !text_at_op(parser, OP_OPEN))
                return text_unexpected(parser, "`(` and parameters");
        if (kind == FUNCTION_WORD || kind == FUNCTION_ARROW)
                (void)text_take(parser); /* ( */
        TextToken first = text_peek(parser);
        switch (kind) {
        case FUNCTION_ARROW_ONE: TRY(add_param(parser)); break;
        case FUNCTION_LAMBDA: TRY(param_list(parser, OP_COLON, "`,` or `:`")); break;
        default: TRY(param_list(parser, OP_CLOSE, "`,` or `)`")); break;
        }
        TextNode *params = text_node(parser, TERM_MAKE_ARRAY, text_token_span(first));
        TRY(text_set_args(parser, params, parser->nodes + nodes, parser->node_count - nodes));
        parser->node_count = nodes;
        if (kind == FUNCTION_ARROW || kind == FUNCTION_ARROW_ONE)
                (void)text_take(parser); /* => */
        if (kind == FUNCTION_WORD) {
                if (!text_at_op(parser, OP_OPEN_CURLY))
                        return text_unexpected(parser, "`{ return value; }`");
                TRY(return_block(parser, &body));
        } else if (kind == FUNCTION_LAMBDA) {
                TRY(text_expression(parser, &body));
        } else {
                TRY(arrow_body(parser, &body));
        }
        parser->variable_count = variables;
        TextSpan span = {start.start, text_last_end(parser)};
        return make_function(parser, params, body, span, ret_node);
}

/* ( names ) => */
static bool at_arrow_list(const TextParser *parser)
{
        size_t ahead = 1;
        while (text_peek_at(parser, ahead).kind == TOKEN_NAME) {
                ahead++;
                if (text_peek_at(parser, ahead).op != OP_COMMA)
                        break;
                ahead++;
        }
        return text_peek_at(parser, ahead).op == OP_CLOSE && text_peek_at(parser, ahead + 1).op == OP_ARROW;
}

/* --- literals --- */

static Status parse_string(TextParser *parser, TextToken token, Bytes *ret_string)
{
        uint32_t at = 0, size = 0;
        if (text_string(parser->text, token, parser->arena, ret_string, &at, &size))
                return ST_OK;
        TextSpan span = {at, at + size};
        return text_mistake(parser, span, "This escape has no meaning. A backslash itself is written \\\\.");
}

static Status parse_number(TextParser *parser, TextToken token, TextNode **ret_node)
{
        double number;
        if (!text_number(parser->text, token, parser->arena, &number))
                return text_mistake(parser, text_token_span(token), "This number is too large.");
        *ret_node = number_node(parser, number, text_token_span(token));
        return ST_OK;
}

static Status parse_array(TextParser *parser, TextNode **ret_node)
{
        size_t first = parser->node_count;
        TextToken open = text_take(parser);
        while (!text_at_op(parser, OP_CLOSE_BOX)) {
                TextNode *item;
                TRY(text_expression(parser, &item));
                text_push_node(parser, item);
                if (!text_at_op(parser, OP_COMMA))
                        break;
                (void)text_take(parser);
        }
        TextToken close = text_peek(parser);
        TRY(text_expect(parser, OP_CLOSE_BOX, open));
        TextNode *node = text_node(parser, TERM_MAKE_ARRAY, (TextSpan){open.start, close.end});
        TRY(text_set_args(parser, node, parser->nodes + first, parser->node_count - first));
        parser->node_count = first;
        *ret_node = node;
        return ST_OK;
}

static Status field_key(TextParser *parser, TextToken token, Bytes *ret_key)
{
        if (token.kind == TOKEN_NAME) {
                *ret_key = text_token_bytes(parser->text, token);
                return ST_OK;
        }
        if (token.kind == TOKEN_STRING)
                return parse_string(parser, token, ret_key);
        if (token.kind == TOKEN_NUMBER) { /* as JavaScript: {1: "a"} has the key "1" */
                double number;
                int64_t integer;
                if (text_number(parser->text, token, parser->arena, &number) &&
                    value_integer(value_number(number), &integer)) {
                        const char *key = arena_printf(parser->arena, "%lld", (long long)integer);
                        *ret_key = BYTES_STR(key);
                        return ST_OK;
                }
                return text_mistake(parser, text_token_span(token),
                                    "A key that is not an integer is written as a string.");
        }
        if (token.op == OP_OPEN_BOX)
                return text_mistake(parser, text_token_span(token), "A computed key is written r.object(key, value).");
        if (token.op == OP_DOTS)
                return text_mistake(parser, text_token_span(token),
                                    "There is no spread; objects are put together with .merge().");
        return text_unexpected(parser, "a key or `}`");
}

static Status parse_field(TextParser *parser)
{
        TextToken token = text_peek(parser);
        TextOption field = {.at = text_token_span(token)};
        TRY(field_key(parser, token, &field.name));
        (void)text_take(parser);
        if (text_at_op(parser, OP_COLON)) {
                (void)text_take(parser);
                TRY(text_expression(parser, &field.node));
        } else if (token.kind == TOKEN_NAME && (text_at_op(parser, OP_COMMA) || text_at_op(parser, OP_CLOSE_CURLY))) {
                uint32_t id;
                if (!find_variable(parser, field.name, &id))
                        return text_mistake(parser, field.at, "The key `%.*s` has no value: {%.*s: ...}.",
                                            (int)MIN(field.name.size, (size_t)60), (const char *)field.name.data,
                                            (int)MIN(field.name.size, (size_t)60), (const char *)field.name.data);
                TRY(variable_node(parser, id, field.at, &field.node));
        } else {
                return text_unexpected(parser, "`:` and a value");
        }
        text_push_option(parser, field);
        return ST_OK;
}

static Status parse_object(TextParser *parser, TextNode **ret_node)
{
        size_t first = parser->option_count;
        TextToken open = text_take(parser);
        while (!text_at_op(parser, OP_CLOSE_CURLY)) {
                TRY(parse_field(parser));
                if (!text_at_op(parser, OP_COMMA))
                        break;
                (void)text_take(parser);
        }
        TextToken close = text_peek(parser);
        TRY(text_expect(parser, OP_CLOSE_CURLY, open));
        TextNode *node = text_node(parser, TERM_MAKE_OBJ, (TextSpan){open.start, close.end});
        node->depth = 1;
        TRY(text_set_options(parser, node, first));
        *ret_node = node;
        return ST_OK;
}

/* --- primaries --- */

static bool word_constant(const TextParser *parser, TextToken token, Value *ret_value)
{
        static const struct {
                const char *word;
                int what; /* 0 false, 1 true, 2 null */
        } words[] = {{"true", 1}, {"false", 0}, {"null", 2}, {"True", 1}, {"False", 0}, {"None", 2}};
        for (size_t i = 0; i < ELEMENTS(words); i++)
                if (text_token_is(parser, token, words[i].word)) {
                        *ret_value = words[i].what == 2 ? value_null() : value_bool(words[i].what == 1);
                        return true;
                }
        return false;
}

static Status parse_name(TextParser *parser, TextNode **ret_node)
{
        TextToken token = text_peek(parser);
        Value v;
        uint32_t id;
        if (text_peek_at(parser, 1).op == OP_ARROW)
                return parse_function(parser, FUNCTION_ARROW_ONE, ret_node);
        if (find_variable(parser, text_token_bytes(parser->text, token), &id)) {
                (void)text_take(parser);
                return variable_node(parser, id, text_token_span(token), ret_node);
        }
        if (text_token_is(parser, token, "r")) {
                (void)text_take(parser);
                return text_root_term(parser, token, ret_node);
        }
        if (text_token_is(parser, token, "function"))
                return parse_function(parser, FUNCTION_WORD, ret_node);
        if (text_token_is(parser, token, "lambda"))
                return parse_function(parser, FUNCTION_LAMBDA, ret_node);
        if (word_constant(parser, token, &v)) {
                (void)text_take(parser);
                *ret_node = text_constant(parser, v, text_token_span(token));
                return ST_OK;
        }
        bool is_new = text_token_is(parser, token, "new");
        TextToken word = is_new ? text_peek_at(parser, 1) : token;
        if (text_token_is(parser, word, "Buffer") || text_token_is(parser, word, "Date")) {
                if (is_new)
                        (void)text_take(parser);
                return text_token_is(parser, word, "Buffer") ? text_buffer(parser, ret_node)
                                                             : text_date(parser, ret_node);
        }
        return text_unknown_variable(parser, token);
}

static Status parse_group(TextParser *parser, TextNode **ret_node)
{
        if (at_arrow_list(parser))
                return parse_function(parser, FUNCTION_ARROW, ret_node);
        TextToken open = text_take(parser);
        TRY(text_expression(parser, ret_node));
        return text_expect(parser, OP_CLOSE, open);
}

static Status parse_primary(TextParser *parser, TextNode **ret_node)
{
        TextToken token = text_peek(parser);
        switch (token.kind) {
        case TOKEN_NUMBER: (void)text_take(parser); return parse_number(parser, token, ret_node);
        case TOKEN_STRING: {
                Bytes string;
                TRY(parse_string(parser, token, &string));
                (void)text_take(parser);
                *ret_node = text_constant(parser, value_string(string), text_token_span(token));
                return ST_OK;
        }
        case TOKEN_NAME: return parse_name(parser, ret_node);
        default: break;
        }
        switch (token.op) {
        case OP_OPEN: return parse_group(parser, ret_node);
        case OP_OPEN_BOX: return parse_array(parser, ret_node);
        case OP_OPEN_CURLY: return parse_object(parser, ret_node);
        default: return text_unexpected(parser, "a value");
        }
}

static Status parse_postfix(TextParser *parser, TextNode **ret_node)
{
        TRY(parse_primary(parser, ret_node));
        for (;;) {
                TextNode *before = *ret_node;
                TextOp op = (TextOp)text_peek(parser).op;
                if (op != OP_DOT && op != OP_OPEN && op != OP_OPEN_BOX)
                        return ST_OK;
                if (op == OP_DOT && text_at_run(parser))
                        return ST_OK;
                if (before->type == TERM_FUNC)
                        return text_mistake(parser, text_token_span(text_peek(parser)),
                                            "Nothing can follow a function. It is called with r.do(value, function).");
                switch (op) {
                case OP_DOT: TRY(text_method(parser, before, ret_node)); break;
                case OP_OPEN: TRY(text_bracket_call(parser, before, ret_node)); break;
                default: TRY(text_bracket_index(parser, before, ret_node)); break;
                }
        }
}

/* --- operators --- */

static bool is_number(const TextNode *node)
{
        return node->type == TERM_DATUM && value_is(node->datum, V_NUMBER);
}

/* -5 is a constant; -x is -1 * x. */
static Status negative(TextParser *parser, TextNode *operand, TextSpan span, TextNode **ret_node)
{
        if (is_number(operand)) {
                *ret_node = number_node(parser, -operand->datum.number, span);
                return ST_OK;
        }
        TextNode *const factors[] = {number_node(parser, -1, span), operand};
        return text_operator(parser, TERM_MUL, factors, 2, span, ret_node);
}

static Status parse_unary(TextParser *parser, TextNode **ret_node)
{
        TextToken token = text_peek(parser);
        TextNode *operand;
        if (token.op != OP_NOT && token.op != OP_MINUS && token.op != OP_PLUS)
                return parse_postfix(parser, ret_node);
        if (++parser->nesting > TEXT_NESTING_MAX)
                return text_mistake(parser, text_token_span(token), "This is nested too deep.");
        (void)text_take(parser);
        TRY(parse_unary(parser, &operand));
        parser->nesting--;
        TextSpan span = {token.start, operand->span.end};
        switch (token.op) {
        case OP_NOT: return text_operator(parser, TERM_NOT, &operand, 1, span, ret_node);
        case OP_MINUS: return negative(parser, operand, span, ret_node);
        default: *ret_node = operand; return ST_OK;
        }
}

typedef struct Operator {
        unsigned type;  /* 0: none */
        unsigned power; /* the higher binds closer */
} Operator;
enum { POWER_OR = 1, POWER_AND, POWER_NOT, POWER_EQUAL, POWER_ORDER, POWER_SUM, POWER_PRODUCT };

static Operator operator_at(const TextParser *parser)
{
        TextToken token = text_peek(parser);
        switch (token.op) {
        case OP_OR: return (Operator){TERM_OR, POWER_OR};
        case OP_AND: return (Operator){TERM_AND, POWER_AND};
        case OP_EQ: return (Operator){TERM_EQ, POWER_EQUAL};
        case OP_NE: return (Operator){TERM_NE, POWER_EQUAL};
        case OP_LT: return (Operator){TERM_LT, POWER_ORDER};
        case OP_LE: return (Operator){TERM_LE, POWER_ORDER};
        case OP_GT: return (Operator){TERM_GT, POWER_ORDER};
        case OP_GE: return (Operator){TERM_GE, POWER_ORDER};
        case OP_PLUS: return (Operator){TERM_ADD, POWER_SUM};
        case OP_MINUS: return (Operator){TERM_SUB, POWER_SUM};
        case OP_STAR: return (Operator){TERM_MUL, POWER_PRODUCT};
        case OP_SLASH: return (Operator){TERM_DIV, POWER_PRODUCT};
        case OP_PERCENT: return (Operator){TERM_MOD, POWER_PRODUCT};
        default: break;
        }
        if (text_token_is(parser, token, "or"))
                return (Operator){TERM_OR, POWER_OR};
        if (text_token_is(parser, token, "and"))
                return (Operator){TERM_AND, POWER_AND};
        return (Operator){0};
}

/* Numbers are worked out here, as a driver's language does; what has no finite result is left to the server. */
static bool fold(unsigned type, const TextNode *left, const TextNode *right, double *ret_number)
{
        if (!is_number(left) || !is_number(right))
                return false;
        double a = left->datum.number, b = right->datum.number;
        switch (type) {
        case TERM_ADD: *ret_number = a + b; break;
        case TERM_SUB: *ret_number = a - b; break;
        case TERM_MUL: *ret_number = a * b; break;
        case TERM_DIV: *ret_number = b == 0 ? INFINITY : a / b; break;
        default: return false;
        }
        return isfinite(*ret_number);
}

static Status climb(TextParser *parser, unsigned least, TextNode **ret_node);

/* Python's `not`: binds less than comparison. */
static Status parse_operand(TextParser *parser, unsigned least, TextNode **ret_node)
{
        TextToken token = text_peek(parser);
        uint32_t id;
        if (least > POWER_NOT || !text_token_is(parser, token, "not") || text_peek_at(parser, 1).op == OP_ARROW ||
            find_variable(parser, BYTES_STR("not"), &id))
                return parse_unary(parser, ret_node);
        TextNode *operand;
        if (++parser->nesting > TEXT_NESTING_MAX)
                return text_mistake(parser, text_token_span(token), "This is nested too deep.");
        (void)text_take(parser);
        TRY(climb(parser, POWER_NOT, &operand));
        parser->nesting--;
        return text_operator(parser, TERM_NOT, &operand, 1, (TextSpan){token.start, operand->span.end}, ret_node);
}

static Status climb(TextParser *parser, unsigned least, TextNode **ret_node)
{
        unsigned compared = 0; /* power of a comparison just made */
        uint32_t start = text_peek(parser).start;
        TRY(parse_operand(parser, least, ret_node));
        for (;;) {
                Operator operator= operator_at(parser);
                TextToken token = text_peek(parser);
                if (!operator.type || operator.power<least)
                        return ST_OK;
                bool compares = operator.power == POWER_EQUAL || operator.power == POWER_ORDER;
                if (compares && compared == operator.power)
                        return text_mistake(parser, text_token_span(token),
                                            "Comparisons are not chained: write a < b && b < c, or r.lt(a, b, c).");
                TextNode *operands[2] = {*ret_node, NULL};
                double number;
                (void)text_take(parser);
                TRY(climb(parser, operator.power + 1, &operands[1]));
                TextSpan span = {start, operands[1]->span.end};
                if (fold(operator.type, operands[0], operands[1], &number))
                        *ret_node = number_node(parser, number, span);
                else
                        TRY(text_operator(parser, operator.type, operands, 2, span, ret_node));
                compared = compares ? operator.power : 0;
        }
}

Status text_expression(TextParser *parser, TextNode **ret_node)
{
        TextNode *parts[3];
        uint32_t start = text_peek(parser).start;
        if (++parser->nesting > TEXT_NESTING_MAX)
                return text_mistake(parser, text_token_span(text_peek(parser)), "This is nested too deep.");
        TRY(climb(parser, POWER_OR, ret_node));
        if (text_at_op(parser, OP_QUESTION)) {
                parts[0] = *ret_node;
                (void)text_take(parser);
                TRY(text_expression(parser, &parts[1]));
                if (!text_at_op(parser, OP_COLON))
                        return text_unexpected(parser, "`:` and the other value");
                (void)text_take(parser);
                TRY(text_expression(parser, &parts[2]));
                TRY(text_operator(parser, TERM_BRANCH, parts, 3, (TextSpan){start, parts[2]->span.end}, ret_node));
        }
        parser->nesting--;
        return ST_OK;
}

/* --- the whole --- */

Status text_expect(TextParser *parser, TextOp op, TextToken open)
{
        if (!text_at_op(parser, op)) {
                TextPlace place = text_place(parser->text, text_token_span(open));
                const char *close = op == OP_CLOSE ? ")" : op == OP_CLOSE_BOX ? "]" : "}";
                return text_unexpected(parser,
                                       arena_printf(parser->arena, "`%s` for the `%c` of line %u, column %u", close,
                                                    parser->text.data[open.start], place.line, place.column));
        }
        (void)text_take(parser);
        return ST_OK;
}

static void find_tokens(TextParser *parser)
{
        size_t capacity = parser->text.size / 4 + 16;
        uint32_t at = 0;
        parser->tokens = arena_array(parser->arena, TextToken, capacity);
        for (;;) {
                TextToken token = text_next_token(parser->text, &at);
                if (parser->token_count == capacity) {
                        TextToken *more = arena_array(parser->arena, TextToken, capacity * 2);
                        memcpy(more, parser->tokens, capacity * sizeof *more);
                        parser->tokens = more;
                        capacity *= 2;
                }
                parser->tokens[parser->token_count++] = token;
                if (token.kind == TOKEN_END || token.kind == TOKEN_BAD)
                        return;
        }
}

static Status parse_whole(TextParser *parser, TextNode **ret_root)
{
        TRY(text_other_language(parser));
        TRY(text_expression(parser, ret_root));
        bool runs = text_at_run(parser);
        if (runs)
                TRY(text_run(parser));
        while (text_at_op(parser, OP_SEMICOLON))
                (void)text_take(parser);
        if (text_peek(parser).kind == TOKEN_END)
                return ST_OK;
        if (parser->next && parser->tokens[parser->next - 1].op == OP_SEMICOLON)
                return text_mistake(parser, text_token_span(text_peek(parser)),
                                    "There is one query in a text; this begins another.");
        return text_unexpected(parser, runs ? "the end" : "the end, or a dot and a term");
}

Status text_parse(Bytes text, Arena *arena, TextQuery *ret_query)
{
        TextParser parser = {.text = text,
                             .arena = arena,
                             .nodes = arena_array(arena, TextNode *, 32),
                             .node_capacity = 32,
                             .options = arena_array(arena, TextOption, 16),
                             .option_capacity = 16,
                             .variables = arena_array(arena, TextVariable, 16),
                             .variable_capacity = 16,
                             .run_options = value_none()};
        TextNode *root = NULL;
        *ret_query = (TextQuery){.text = text, .wire = value_none(), .options = value_none()};
        if (text.size >= UINT32_MAX)
                return status_new(ERR_LIMIT, "A query of %zu bytes is too large.", text.size);
        find_tokens(&parser);
        Status st = parse_whole(&parser, &root);
        if (st) {
                ret_query->error = parser.error;
                return st;
        }
        ret_query->root = root;
        ret_query->wire = text_wire(&parser, root);
        ret_query->options = parser.run_options;
        return ST_OK;
}
