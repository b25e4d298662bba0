/* text_terms.c - terms by their names: arguments, options where the JavaScript driver takes them, r.row made into
 * functions where the driver does, and what has a form of its own (r.expr, do, r.binary, run).
 *
 * A text may give anything to any term: types are the server's to judge when it runs. Here the number of arguments and
 * the names of options are looked at, so that a mistake is told where it is, in the words of the text. */
#include "reql/text_int.h"

#include <ctype.h>

#include "value/time.h"

typedef struct Call {
        const TextName *name;
        TextToken word;    /* as it was written */
        bool after_root;   /* r.name(...) */
        size_t first_node; /* on the stacks; a method's value is the first */
        size_t first_option;
} Call;

static Call start_call(TextParser *parser, const TextName *name, TextToken word, TextNode *before)
{
        Call call = {.name = name,
                     .word = word,
                     .after_root = !before,
                     .first_node = parser->node_count,
                     .first_option = parser->option_count};
        if (before)
                text_push_node(parser, before);
        return call;
}

/* --- options --- */

static Status no_such_option(TextParser *parser, const Call *call, Bytes spelling, TextSpan at)
{
        char buffer[TEXT_NAME_BYTES];
        const char *name = call->name->name, *nearest = text_option_nearest(call->name->type, spelling);
        int size = (int)MIN(spelling.size, (size_t)60);
        if (nearest)
                return text_mistake(parser, at, "`%s` has no option `%.*s`. Did you mean `%s`?", name, size,
                                    (const char *)spelling.data, text_camel(nearest, buffer));
        if (!text_option_at(call->name->type, 0))
                return text_mistake(parser, at, "`%s` has no options, and so no `%.*s`: %s", name, size,
                                    (const char *)spelling.data, call->name->signature);
        return text_mistake(parser, at, "`%s` has no option `%.*s`: %s", name, size, (const char *)spelling.data,
                            call->name->signature);
}

static Status add_option(TextParser *parser, const Call *call, TextOption option)
{
        const char *known = text_option_find(call->name->type, option.name);
        if (!known)
                return no_such_option(parser, call, option.name, option.at);
        option.name = BYTES_STR(known);
        text_push_option(parser, option);
        return ST_OK;
}

/* name=value */
static Status keyword_option(TextParser *parser, const Call *call)
{
        TextToken word = text_take(parser);
        TextOption option = {.name = text_token_bytes(parser->text, word), .at = text_token_span(word)};
        if (!text_option_find(call->name->type, option.name) && !text_option_at(call->name->type, 0))
                return text_mistake(parser, text_token_span(text_peek(parser)),
                                    "`%s` has no options. To compare, write ==", call->name->name);
        (void)text_take(parser);
        TRY(text_expression(parser, &option.node));
        return add_option(parser, call, option);
}

/* The last argument, if it is an object literal where the driver looks for options. */
static Status literal_options(TextParser *parser, const Call *call)
{
        size_t count = parser->node_count - call->first_node;
        int at = call->name->options_at - (call->name->form == TEXT_DB && call->after_root);
        if (call->name->options_at < 0 || count == 0 || count - 1 < (size_t)at)
                return ST_OK;
        const TextNode *last = parser->nodes[parser->node_count - 1];
        if (last->type != TERM_MAKE_OBJ || last->is_wrapped)
                return ST_OK;
        parser->node_count--;
        for (size_t i = 0; i < last->option_count; i++)
                TRY(add_option(parser, call, last->options[i]));
        return ST_OK;
}

/* --- arguments --- */

static Status parse_argument(TextParser *parser, const Call *call)
{
        TextNode *node;
        TextToken token = text_peek(parser);
        if (token.kind == TOKEN_NAME && text_peek_at(parser, 1).op == OP_ASSIGN)
                return keyword_option(parser, call);
        if (token.op == OP_DOTS || token.op == OP_STAR)
                return text_mistake(parser, text_token_span(token),
                                    "Items of an array become arguments with r.args(array).");
        TRY(text_expression(parser, &node));
        text_push_node(parser, node);
        return ST_OK;
}

/* ( arguments ) onto the stacks. */
static Status parse_arguments(TextParser *parser, const Call *call)
{
        TextToken open = text_take(parser);
        while (!text_at_op(parser, OP_CLOSE)) {
                TRY(parse_argument(parser, call));
                if (!text_at_op(parser, OP_COMMA))
                        break;
                (void)text_take(parser);
        }
        return text_expect(parser, OP_CLOSE, open);
}

static const char *count_text(TextParser *parser, int64_t min, int64_t max)
{
        if (max == 0)
                return "no arguments";
        if (max < 0)
                return arena_printf(parser->arena, "%lld or more arguments", (long long)min);
        if (min == max)
                return arena_printf(parser->arena, "%lld argument%s", (long long)min, min == 1 ? "" : "s");
        if (min + 1 == max)
                return arena_printf(parser->arena, "%lld or %lld arguments", (long long)min, (long long)max);
        return arena_printf(parser->arena, "%lld to %lld arguments", (long long)min, (long long)max);
}

static Status check_count(TextParser *parser, const Call *call)
{
        const TermInfo *info = term_info(call->name->type);
        int64_t count = (int64_t)(parser->node_count - call->first_node), min = info->min_args, max = info->max_args;
        for (size_t i = call->first_node; i < parser->node_count; i++)
                if (parser->nodes[i]->type == TERM_ARGS)
                        return ST_OK;
        if (!call->after_root) { /* what stands before the dot is not counted by who writes it */
                min = call->name->form == TEXT_DB ? max - 1 : MAX(min - 1, 0);
                max = max < 0 ? -1 : max - 1;
                count--;
        }
        if (call->name->type == TERM_DATUM)
                min = max = 1;
        if (call->name->type == TERM_FUNCALL)
                min = 1;
        if (count >= min && (max < 0 || count <= max))
                return ST_OK;
        return text_mistake(parser, text_token_span(call->word), "`%s` takes %s but has %lld: %s", call->name->name,
                            count_text(parser, min, max), (long long)count, call->name->signature);
}

/* --- r.row --- */

static bool is_wrapped_place(const TextName *name, size_t i, size_t count, const TextNode *node)
{
        switch ((TextWrap)name->wrap) {
        case WRAP_NONE: return false;
        case WRAP_SELF: return i == 0;
        case WRAP_FIRST: return i == 1;
        case WRAP_SECOND: return i == 2;
        case WRAP_LAST: return i + 1 == count && i > 0;
        case WRAP_ALL: return i > 0 && node->type != TERM_ASC && node->type != TERM_DESC;
        }
        return false;
}

static Status wrap_rows(TextParser *parser, const Call *call)
{
        size_t count = parser->node_count - call->first_node;
        for (size_t i = 0; i < count; i++) {
                TextNode **node = &parser->nodes[call->first_node + i];
                if ((*node)->uses_row && is_wrapped_place(call->name, i, count, *node)) {
                        TextNode *func;
                        TRY(text_function_around(parser, *node, &func));
                        parser->nodes[call->first_node + i] = func;
                }
        }
        return ST_OK;
}

/* --- terms with a form of their own --- */

static TextNode *wrapped_copy(TextParser *parser, const TextNode *node)
{
        TextNode *copy = arena_new(parser->arena, TextNode);
        *copy = *node;
        copy->is_wrapped = true;
        copy->is_buffer = false;
        return copy;
}

/* The function is last in text and first on the wire. */
static Status function_first(TextParser *parser, const Call *call)
{
        TextNode **nodes = parser->nodes + call->first_node;
        size_t count = parser->node_count - call->first_node;
        TextNode *func = nodes[count - 1];
        if (func->uses_row) {
                TRY(text_function_around(parser, func, &func));
                nodes = parser->nodes + call->first_node;
        }
        memmove(nodes + 1, nodes, (count - 1) * sizeof *nodes);
        nodes[0] = func;
        return ST_OK;
}

static Status finish_call(TextParser *parser, const Call *call, TextSpan span, TextNode **ret_node)
{
        TRY(literal_options(parser, call));
        TRY(check_count(parser, call));
        const TextNode *first = parser->node_count > call->first_node ? parser->nodes[call->first_node] : NULL;
        if (call->name->type == TERM_DATUM || (call->name->type == TERM_BINARY && first->is_buffer)) {
                parser->node_count = call->first_node;
                *ret_node = wrapped_copy(parser, first);
                return ST_OK;
        }
        TRY(wrap_rows(parser, call));
        if (call->name->type == TERM_FUNCALL)
                TRY(function_first(parser, call));
        TextNode *node = text_node(parser, call->name->type, span);
        TRY(text_set_args(parser, node, parser->nodes + call->first_node, parser->node_count - call->first_node));
        parser->node_count = call->first_node;
        TRY(text_set_options(parser, node, call->first_option));
        *ret_node = node;
        return ST_OK;
}

static Status parse_call(TextParser *parser, Call call, uint32_t start, TextNode **ret_node)
{
        TRY(parse_arguments(parser, &call));
        TextSpan span = {start, text_last_end(parser)};
        return finish_call(parser, &call, span, ret_node);
}

Status text_operator(TextParser *parser, unsigned type, TextNode *const *args, size_t count, TextSpan span,
                     TextNode **ret_node)
{
        *ret_node = text_node(parser, type, span);
        return text_set_args(parser, *ret_node, args, count);
}

/* --- r.name --- */

static Status constant_term(TextParser *parser, const TextName *name, TextSpan span, TextNode **ret_node)
{
        TextNode *node = text_node(parser, name->type, span);
        node->uses_row = name->type == TERM_IMPLICIT_VAR;
        if (name->type != TERM_IMPLICIT_VAR && text_at_op(parser, OP_OPEN) &&
            text_peek_at(parser, 1).op == OP_CLOSE) { /* r.minval() is clear, too */
                (void)text_take(parser);
                (void)text_take(parser);
        }
        *ret_node = node;
        return text_set_args(parser, node, NULL, 0);
}

Status text_root_term(TextParser *parser, TextToken r, TextNode **ret_node)
{
        if (text_at_op(parser, OP_OPEN)) /* r(value) is r.expr(value) */
                return parse_call(parser, start_call(parser, text_name_of(TERM_DATUM), r, NULL), r.start, ret_node);
        if (!text_at_op(parser, OP_DOT))
                return text_mistake(parser, text_token_span(r),
                                    "`r` is no value by itself: a term follows it, as in r.table(\"name\").");
        (void)text_take(parser);
        TextToken word = text_peek(parser);
        if (word.kind != TOKEN_NAME)
                return text_unexpected(parser, "the name of a term");
        const TextName *name = text_name_find(text_token_bytes(parser->text, word));
        if (!name)
                return text_unknown_term(parser, word, true);
        (void)text_take(parser);
        if (name->form == TEXT_CONSTANT)
                return constant_term(parser, name, (TextSpan){r.start, word.end}, ret_node);
        if (!text_at_op(parser, OP_OPEN))
                return text_mistake(parser, text_token_span(word), "`%s` lacks its parentheses: %s", name->name,
                                    name->signature);
        return parse_call(parser, start_call(parser, name, word, NULL), r.start, ret_node);
}

/* --- value.name --- */

/* Fields of these may be written with a dot: nothing else can be meant. */
static bool may_have_fields(const TextNode *node)
{
        while (node->type == TERM_BRACKET && node->arg_count == 2)
                node = node->args[0];
        return node->type == TERM_VAR || node->type == TERM_IMPLICIT_VAR;
}

static Status bracket(TextParser *parser, TextNode *before, TextNode *what, TextSpan span, TextNode **ret_node)
{
        TextNode *const args[] = {before, what};
        return text_operator(parser, TERM_BRACKET, args, 2, span, ret_node);
}

static Status dot_field(TextParser *parser, TextNode *before, TextToken word, TextNode **ret_node)
{
        const TextName *name = text_name_find(text_token_bytes(parser->text, word));
        if (may_have_fields(before)) {
                Value key = value_string(text_token_bytes(parser->text, word));
                (void)text_take(parser);
                return bracket(parser, before, text_constant(parser, key, text_token_span(word)), text_token_span(word),
                               ret_node);
        }
        if (name && text_name_after_dot(name))
                return text_mistake(parser, text_token_span(word), "`%s` lacks its parentheses: %s", name->name,
                                    name->signature);
        return text_unknown_term(parser, word, false);
}

Status text_method(TextParser *parser, TextNode *before, TextNode **ret_node)
{
        (void)text_take(parser); /* the dot */
        TextToken word = text_peek(parser);
        if (word.kind != TOKEN_NAME)
                return text_unexpected(parser, "the name of a term");
        if (text_peek_at(parser, 1).op != OP_OPEN)
                return dot_field(parser, before, word, ret_node);
        const TextName *name = text_name_find(text_token_bytes(parser->text, word));
        if (!name)
                return text_unknown_term(parser, word, false);
        if (!text_name_after_dot(name))
                return text_mistake(parser, text_token_span(word), "`%s` does not follow a value: %s", name->name,
                                    name->signature);
        (void)text_take(parser);
        return parse_call(parser, start_call(parser, name, word, before), word.start, ret_node);
}

Status text_bracket_call(TextParser *parser, TextNode *before, TextNode **ret_node)
{
        TextToken open = text_take(parser);
        TextNode *what;
        if (text_at_op(parser, OP_CLOSE))
                return text_mistake(parser, text_token_span(open),
                                    "The name of a field is missing: value(\"name\"). (Terms follow a dot.)");
        TRY(text_expression(parser, &what));
        if (text_at_op(parser, OP_COMMA))
                return text_mistake(parser, text_token_span(text_peek(parser)),
                                    "One field at a time: value(\"a\")(\"b\"), or .pluck(\"a\", \"b\").");
        TRY(text_expect(parser, OP_CLOSE, open));
        return bracket(parser, before, what, (TextSpan){open.start, text_last_end(parser)}, ret_node);
}

Status text_bracket_index(TextParser *parser, TextNode *before, TextNode **ret_node)
{
        TextToken open = text_take(parser);
        TextNode *args[3] = {before, NULL, NULL};
        size_t count = 2;
        if (text_at_op(parser, OP_COLON))
                args[1] = text_constant(parser, value_number(0), text_token_span(text_peek(parser)));
        else
                TRY(text_expression(parser, &args[1]));
        bool is_slice = text_at_op(parser, OP_COLON);
        if (is_slice) {
                (void)text_take(parser);
                if (!text_at_op(parser, OP_CLOSE_BOX))
                        TRY(text_expression(parser, &args[count++]));
        }
        TRY(text_expect(parser, OP_CLOSE_BOX, open));
        TextSpan span = {open.start, text_last_end(parser)};
        return text_operator(parser, is_slice ? TERM_SLICE : TERM_BRACKET, args, count, span, ret_node);
}

/* --- JavaScript's own objects, which the driver turns into terms --- */

/* The next expression, which has to be a constant, or for a Buffer an array of bytes. */
static Status constant_argument(TextParser *parser, const char *wanted, Value *ret_value)
{
        TextNode *node;
        if (text_at_op(parser, OP_CLOSE))
                return text_unexpected(parser, wanted);
        TRY(text_expression(parser, &node));
        *ret_value = node->datum;
        if (node->type == TERM_DATUM)
                return ST_OK;
        bool is_array = node->type == TERM_MAKE_ARRAY;
        uint8_t *bytes = arena_alloc(parser->arena, node->arg_count);
        for (size_t i = 0; is_array && i < node->arg_count; i++) {
                int64_t byte = -1;
                Value item = node->args[i]->datum;
                is_array = value_is(item, V_NUMBER) && value_integer(item, &byte) && byte >= 0 && byte <= 255;
                bytes[i] = (uint8_t)byte;
        }
        if (!is_array)
                return text_mistake(parser, node->span, "Expected %s: this is worked out before the query runs.",
                                    wanted);
        *ret_value = value_binary(BYTES(bytes, node->arg_count));
        return ST_OK;
}

static bool decode_hex(TextParser *parser, Bytes text, Bytes *ret_bytes)
{
        uint8_t *bytes = arena_alloc(parser->arena, text.size / 2);
        for (size_t i = 0; i < text.size; i++) {
                int c = tolower(text.data[i]);
                if (!isxdigit(c))
                        return false;
                uint8_t digit = (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
                bytes[i / 2] = (uint8_t)(i % 2 ? bytes[i / 2] | digit : digit << 4);
        }
        *ret_bytes = BYTES(bytes, text.size / 2);
        return text.size % 2 == 0;
}

static bool decode_base64(TextParser *parser, Value text, Value *ret_value)
{
        Field *fields = arena_array(parser->arena, Field, 2);
        fields[0] = (Field){BYTES_STR("$reql_type$"), value_str("BINARY")};
        fields[1] = (Field){BYTES_STR("data"), text};
        _cleanup_(status_freep) Status st = value_classify(value_object_sorted(fields, 2), parser->arena, ret_value);
        return !st;
}

static Status buffer_value(TextParser *parser, Value data, Value encoding, TextSpan at, Value *ret_value)
{
        Bytes bytes;
        if (value_is(data, V_BINARY)) {
                *ret_value = data;
                return ST_OK;
        }
        if (!value_is(data, V_STRING))
                return text_mistake(parser, at, "Buffer.from takes a string and its encoding, or an array of bytes.");
        if (value_is(encoding, V_NONE) || value_bytes_are(encoding, "utf8") || value_bytes_are(encoding, "utf-8")) {
                *ret_value = value_binary(value_bytes(data));
                return ST_OK;
        }
        if (value_bytes_are(encoding, "hex")) {
                if (!decode_hex(parser, value_bytes(data), &bytes))
                        return text_mistake(parser, at, "This is not hexadecimal.");
                *ret_value = value_binary(bytes);
                return ST_OK;
        }
        if (!value_bytes_are(encoding, "base64"))
                return text_mistake(parser, at, "The encoding is \"utf8\", \"hex\" or \"base64\".");
        if (!decode_base64(parser, data, ret_value))
                return text_mistake(parser, at, "This is not base64.");
        return ST_OK;
}

Status text_buffer(TextParser *parser, TextNode **ret_node)
{
        Value data, encoding = value_none(), bytes;
        TextToken word = text_take(parser);
        if (text_at_op(parser, OP_DOT)) {
                (void)text_take(parser);
                if (!text_token_is(parser, text_peek(parser), "from"))
                        return text_unexpected(parser, "`from`");
                (void)text_take(parser);
        }
        TextToken open = text_peek(parser);
        if (open.op != OP_OPEN)
                return text_unexpected(parser, "`(`");
        (void)text_take(parser);
        TRY(constant_argument(parser, "a string or bytes", &data));
        if (text_at_op(parser, OP_COMMA)) {
                (void)text_take(parser);
                TRY(constant_argument(parser, "an encoding", &encoding));
        }
        TRY(text_expect(parser, OP_CLOSE, open));
        TextSpan span = {word.start, text_last_end(parser)};
        TRY(buffer_value(parser, data, encoding, span, &bytes));
        *ret_node = text_constant(parser, bytes, span);
        (*ret_node)->is_buffer = true;
        return ST_OK;
}

/* As the driver sends a Date: 2020-01-31T12:00:00.000Z */
static Status date_text(TextParser *parser, Value time, Bytes *ret_text)
{
        Bytes text;
        TRY(time_in_zone(time, BYTES_STR("+00:00"), parser->arena, &time));
        TRY(time_to_iso8601(time, parser->arena, &text));
        const char seconds[] = "2020-01-31T12:00:00";
        size_t whole = MIN(sizeof seconds - 1, text.size);
        const char *millis = whole < text.size && text.data[whole] == '.' ? "" : ".000";
        size_t fraction = *millis ? 0 : 4;
        const char *made = arena_printf(parser->arena, "%.*s%sZ", (int)MIN(whole + fraction, text.size),
                                        (const char *)text.data, millis);
        *ret_text = BYTES_STR(made);
        return ST_OK;
}

static Status date_value(TextParser *parser, Value when, Bytes *ret_text)
{
        Value time;
        if (value_is(when, V_NUMBER))
                time = value_time(parser->arena, when.number / 1000, BYTES_STR("+00:00"));
        else
                TRY(time_from_iso8601(value_bytes(when), BYTES_STR("+00:00"), parser->arena, &time));
        return date_text(parser, time, ret_text);
}

Status text_date(TextParser *parser, TextNode **ret_node)
{
        Value when;
        Bytes text;
        TextToken word = text_take(parser), open = text_peek(parser);
        if (open.op != OP_OPEN)
                return text_unexpected(parser, "`(`");
        (void)text_take(parser);
        if (text_at_op(parser, OP_CLOSE))
                return text_mistake(parser, text_token_span(word), "The time of the query is r.now().");
        TRY(constant_argument(parser, "a date in quotes", &when));
        TRY(text_expect(parser, OP_CLOSE, open));
        TextSpan span = {word.start, text_last_end(parser)};
        if (!value_is(when, V_STRING) && !value_is(when, V_NUMBER))
                return text_mistake(parser, span, "A Date is made of a string or of milliseconds.");
        _cleanup_(status_freep) Status st = date_value(parser, when, &text);
        if (st)
                return text_mistake(parser, span, "This is no date: %s", status_message(st));
        TextNode *argument = text_constant(parser, value_string(text), span);
        return text_operator(parser, TERM_ISO8601, &argument, 1, span, ret_node);
}

/* --- .run(conn, {options}) --- */

bool text_at_run(const TextParser *parser)
{
        return text_at_op(parser, OP_DOT) && text_token_is(parser, text_peek_at(parser, 1), "run") &&
               text_peek_at(parser, 2).op == OP_OPEN;
}

/* arrayLimit as array_limit; wire.c knows which there are. */
static Bytes wire_name(TextParser *parser, Bytes name)
{
        uint8_t *out = arena_alloc(parser->arena, name.size * 2);
        size_t size = 0;
        for (size_t i = 0; i < name.size; i++) {
                if (isupper(name.data[i]))
                        out[size++] = '_';
                out[size++] = (uint8_t)tolower(name.data[i]);
        }
        return BYTES(out, size);
}

static Value run_value(TextParser *parser, const TextOption *option)
{
        Value v = text_wire(parser, option->node);
        if (!bytes_equal(option->name, BYTES_STR("db")) || !value_is(v, V_STRING))
                return v;
        Value *args = arena_array(parser->arena, Value, 1), *term = arena_array(parser->arena, Value, 2);
        args[0] = v; /* db: "name" is r.db("name"), as drivers send it */
        term[0] = value_number(TERM_DB);
        term[1] = value_array(args, 1);
        return value_array(term, 2);
}

static Status run_argument(TextParser *parser)
{
        TextToken token = text_peek(parser);
        if (token.kind == TOKEN_NAME && text_peek_at(parser, 1).op == OP_ASSIGN) {
                TextOption option = {.name = text_token_bytes(parser->text, token), .at = text_token_span(token)};
                (void)text_take(parser);
                (void)text_take(parser);
                TRY(text_expression(parser, &option.node));
                text_push_option(parser, option);
                return ST_OK;
        }
        if (token.kind == TOKEN_NAME) { /* the connection, whatever it is called */
                (void)text_take(parser);
                return ST_OK;
        }
        if (token.op != OP_OPEN_CURLY)
                return text_unexpected(parser, "options: {arrayLimit: 1000}");
        TextNode *literal;
        TRY(text_expression(parser, &literal));
        if (literal->type != TERM_MAKE_OBJ)
                return text_mistake(parser, literal->span, "The options of run are written out: {arrayLimit: 1000}");
        for (size_t i = 0; i < literal->option_count; i++)
                text_push_option(parser, literal->options[i]);
        return ST_OK;
}

Status text_run(TextParser *parser)
{
        TextNode *options = text_node(parser, TERM_MAKE_OBJ, text_token_span(text_peek(parser)));
        size_t first = parser->option_count;
        (void)text_take(parser);
        (void)text_take(parser);
        TextToken open = text_take(parser);
        while (!text_at_op(parser, OP_CLOSE)) {
                TRY(run_argument(parser));
                if (!text_at_op(parser, OP_COMMA))
                        break;
                (void)text_take(parser);
        }
        TRY(text_expect(parser, OP_CLOSE, open));
        for (size_t i = first; i < parser->option_count; i++)
                parser->options[i].name = wire_name(parser, parser->options[i].name);
        TRY(text_set_options(parser, options, first));
        if (!options->option_count)
                return ST_OK;
        Field *fields = arena_array(parser->arena, Field, options->option_count);
        for (size_t i = 0; i < options->option_count; i++)
                fields[i] = (Field){options->options[i].name, run_value(parser, &options->options[i])};
        parser->run_options = value_object_sorted(fields, options->option_count);
        return ST_OK;
}
