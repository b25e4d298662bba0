/* text_mistake.c - what is said about mistakes: what was expected, what was probably meant. */
#include <stdio.h>

#include "reql/text_int.h"

#define SHOWN_BYTES 60 /* of a word in a message */

Status text_mistake(TextParser *parser, TextSpan at, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        const char *message = arena_vprintf(parser->arena, format, args);
        va_end(args);
        TextPlace place = text_place(parser->text, at);
        parser->error = at;
        return status_new(ERR_COMPILE, "Line %u, column %u: %s", place.line, place.column, message);
}

/* A token, cut between two characters. */
static Bytes shown(const TextParser *parser, TextToken token)
{
        Bytes bytes = text_token_bytes(parser->text, token);
        if (bytes.size > SHOWN_BYTES) {
                bytes.size = SHOWN_BYTES;
                while (bytes.size > 0 && (bytes.data[bytes.size] & 0xc0) == 0x80)
                        bytes.size--;
        }
        return bytes;
}
#define SHOWN(bytes) (int)(bytes).size, (const char *)(bytes).data

/* `wanted` begins with what is expected: a closing bracket, or the end. */
static const char *advice(const TextParser *parser, TextToken token, const char *wanted)
{
        bool after_value = wanted[0] == '`' ? strchr(")]}", wanted[1]) != NULL : strncmp(wanted, "the end", 7) == 0;
        switch (token.op) {
        case OP_ASSIGN: return " Equality is written ==";
        case OP_BITS:
                return " Conditions are joined with && and ||; bits with .bitAnd(), .bitOr(), .bitXor(), .bitNot().";
        case OP_ARROW: return " What stands before an arrow are names: x => ..., (a, b) => ...";
        case OP_DOTS: return " Items of an array become arguments with r.args(array).";
        case OP_DOT: return parser->next ? "" : " A query begins with r.";
        case OP_SLASH: return " Regular expressions are strings: .match(\"^a\").";
        default: break;
        }
        if (!after_value)
                return "";
        if (text_token_is(parser, token, "if"))
                return " A choice is written test ? value : otherwise.";
        if (text_token_is(parser, token, "in"))
                return " Whether an array has a value is array.contains(value).";
        if (text_token_is(parser, token, "is"))
                return " Equality is written ==";
        return token.kind == TOKEN_OTHER ? "" : " Is a comma or an operator missing?";
}

Status text_unexpected(TextParser *parser, const char *wanted)
{
        TextToken token = text_peek(parser);
        const char *hint;
        if (token.kind == TOKEN_BAD) {
                const char *what = text_bad_token(parser->text, token, &hint);
                return text_mistake(parser, text_token_span(token), "%s.%s%s", what, hint ? " " : "", hint ? hint : "");
        }
        if (token.kind == TOKEN_END && parser->next == 0)
                return text_mistake(parser, text_token_span(token),
                                    "There is no query. One is, for example, r.table(\"name\").count()");
        if (token.kind == TOKEN_END)
                return text_mistake(parser, text_token_span(token), "The text ends where %s is expected.", wanted);
        Bytes found = shown(parser, token);
        return text_mistake(parser, text_token_span(token), "Expected %s but found `%.*s`.%s", wanted, SHOWN(found),
                            advice(parser, token, wanted));
}

/* --- words that are no variables --- */

static Bytes nearest_variable(const TextParser *parser, Bytes name)
{
        Bytes nearest = BYTES_NONE;
        unsigned limit = MAX(1u, text_distance_limit(name)), least = limit + 1;
        for (size_t i = parser->variable_count; i-- > 0;) {
                unsigned distance = text_distance(name, parser->variables[i].name, limit);
                if (distance < least && distance < parser->variables[i].name.size) {
                        least = distance;
                        nearest = parser->variables[i].name;
                }
        }
        return nearest;
}

Status text_unknown_variable(TextParser *parser, TextToken token)
{
        static const struct {
                const char *word, *message;
        } known[] = {
                {"undefined", "There is no undefined in the language: null is the nearest."},
                {"NaN", "Numbers are finite."},
                {"Infinity", "Numbers are finite."},
                {"return", "A query is written without `return`; it stands in a function's braces only."},
                {"await", "There is nothing to wait for: write the query alone."},
                {"typeof", "The type of a value is value.typeOf()."},
                {"const", "There are no variables but those of functions: r.do(value, x => ...)."},
                {"let", "There are no variables but those of functions: r.do(value, x => ...)."},
                {"var", "There are no variables but those of functions: r.do(value, x => ...)."},
                {"if", "A choice is written r.branch(test, value, otherwise) or test ? value : otherwise."},
                {"for", "Each item is visited by .map(), .forEach() and others."},
                {"new", "Only Buffer and Date are made with new."},
                {"async", "Functions are run by the server: (a, b) => value."},
        };
        TextSpan at = text_token_span(token);
        Bytes name = shown(parser, token);
        for (size_t i = 0; i < ELEMENTS(known); i++)
                if (text_token_is(parser, token, known[i].word))
                        return text_mistake(parser, at, "%s", known[i].message);
        TextToken next = text_peek_at(parser, 1), third = text_peek_at(parser, 2);
        if (next.op == OP_MINUS && third.op == OP_GT && third.start == next.start + 1)
                return text_mistake(parser, at, "An arrow is written =>: `%.*s => ...`", SHOWN(name));
        Bytes near = nearest_variable(parser, name);
        if (near.data)
                return text_mistake(parser, at, "There is no variable `%.*s`. Did you mean `%.*s`?", SHOWN(name),
                                    (int)MIN(near.size, (size_t)SHOWN_BYTES), (const char *)near.data);
        const TextName *term = text_name_find(name);
        if (!term && text_peek_at(parser, 1).op == OP_OPEN)
                term = text_name_nearest(name);
        if (term && text_name_after_root(term))
                return text_mistake(parser, at, "There is no variable `%.*s`. Did you mean `r.%s`? Terms begin with r.",
                                    SHOWN(name), term->name);
        return text_mistake(parser, at,
                            "There is no variable `%.*s`. Strings are written in quotes; a query begins with r.",
                            SHOWN(name));
}

/* --- words that are no terms --- */

/* What other languages call things. */
static const char *elsewhere(const TextParser *parser, TextToken token)
{
        static const struct {
                const char *word, *term;
        } words[] = {
                {"where", ".filter(...)"},
                {"find", ".filter(...)"},
                {"having", ".filter(...)"},
                {"select", ".pluck(...)"},
                {"project", ".pluck(...)"},
                {"columns", ".pluck(...)"},
                {"sort", ".orderBy(...)"},
                {"order", ".orderBy(...)"},
                {"sortBy", ".orderBy(...)"},
                {"length", ".count()"},
                {"size", ".count()"},
                {"len", ".count()"},
                {"first", ".nth(0)"},
                {"last", ".nth(-1)"},
                {"take", ".limit(n)"},
                {"top", ".limit(n)"},
                {"drop", ".tableDrop(name)"},
                {"remove", ".delete()"},
                {"put", ".insert(...)"},
                {"push", ".append(value)"},
                {"unique", ".distinct()"},
                {"mean", ".avg(...)"},
                {"average", ".avg(...)"},
                {"flatMap", ".concatMap(...)"},
                {"join", ".eqJoin(...)"},
                {"leftJoin", ".outerJoin(...)"},
                {"like", ".match(pattern)"},
                {"equals", ".eq(value)"},
                {"gte", ".ge(value)"},
                {"lte", ".le(value)"},
                {"neq", ".ne(value)"},
                {"minus", ".sub(value)"},
                {"plus", ".add(value)"},
                {"times", ".mul(value)"},
                {"concat", ".add(value)"},
                {"substring", ".slice(from, to)"},
                {"toString", ".coerceTo(\"string\")"},
                {"toLowerCase", ".downcase()"},
                {"toUpperCase", ".upcase()"},
                {"lower", ".downcase()"},
                {"upper", ".upcase()"},
                {"coalesce", ".default(value)"},
                {"ifNull", ".default(value)"},
                {"explain", "the option explain"},
                {"in", "array.contains(value)"},
                {"exists", ".isEmpty().not()"},
                {"toArray", ".coerceTo(\"array\")"},
                {"createIndex", ".indexCreate(name)"},
                {"createTable", ".tableCreate(name)"},
                {"createDb", "r.dbCreate(name)"},
        };
        Bytes name = text_token_bytes(parser->text, token);
        for (size_t i = 0; i < ELEMENTS(words); i++)
                if (text_same_name(name, BYTES_STR(words[i].word)))
                        return words[i].term;
        return NULL;
}

Status text_unknown_term(TextParser *parser, TextToken token, bool after_root)
{
        TextSpan at = text_token_span(token);
        Bytes name = shown(parser, token);
        const char *root = after_root ? "r." : "";
        const char *meant = elsewhere(parser, token);
        if (meant)
                return text_mistake(parser, at, "There is no term `%s%.*s`. Did you mean %s?", root, SHOWN(name),
                                    meant);
        const TextName *near = text_name_nearest(name);
        if (near && !after_root && text_peek_at(parser, 1).op != OP_OPEN) /* `.age` is more often a field than `.ge` */
                return text_mistake(
                        parser, at,
                        "There is no term `%.*s`. A field is taken with parentheses: (\"%.*s\"). Or did you "
                        "mean `%s%s`?",
                        SHOWN(name), SHOWN(name), text_name_after_dot(near) ? "." : "r.", near->name);
        if (near)
                return text_mistake(parser, at, "There is no term `%s%.*s`. Did you mean `%s%s`?", root, SHOWN(name),
                                    after_root && text_name_after_root(near) ? "r."
                                    : text_name_after_dot(near)              ? "."
                                                                             : "r.",
                                    near->name);
        if (after_root)
                return text_mistake(parser, at, "There is no term `r.%.*s`.", SHOWN(name));
        return text_mistake(parser, at, "There is no term `%.*s`. A field is taken with parentheses: (\"%.*s\").",
                            SHOWN(name), SHOWN(name));
}

/* --- other languages --- */

static bool word_is(const TextParser *parser, TextToken token, const char *word)
{
        return token.kind == TOKEN_NAME && text_same_name(text_token_bytes(parser->text, token), BYTES_STR(word));
}

/* The word behind FROM, INTO, UPDATE or TABLE. */
static Bytes sql_table(const TextParser *parser)
{
        static const char *const before[] = {"from", "into", "update", "table"};
        for (size_t i = 0; i + 1 < parser->token_count && i < 200; i++)
                for (size_t j = 0; j < ELEMENTS(before); j++)
                        if (word_is(parser, parser->tokens[i], before[j]) && parser->tokens[i + 1].kind == TOKEN_NAME &&
                            !word_is(parser, parser->tokens[i + 1], "if"))
                                return shown(parser, parser->tokens[i + 1]);
        return BYTES_STR("name");
}

Status text_other_language(TextParser *parser)
{
        static const struct {
                const char *word, *rest;
        } sql[] = {{"select", ".filter({a: 1}).pluck(\"b\")"},
                   {"insert", ".insert({a: 1})"},
                   {"update", ".filter({a: 1}).update({b: 2})"},
                   {"delete", ".filter({a: 1}).delete()"},
                   {"create", ".indexCreate(\"a\"), r.tableCreate(\"name\"), r.dbCreate(\"name\")"},
                   {"alter", ".config().update({...})"},
                   {"drop", ".indexDrop(\"a\"), r.tableDrop(\"name\"), r.dbDrop(\"name\")"},
                   {"show", ".info(), r.tableList(), r.dbList()"},
                   {"describe", ".info()"},
                   {"explain", " with the option explain"},
                   {"truncate", ".delete()"},
                   {"with", ".filter({a: 1})"}};
        TextToken first = text_peek(parser), second = text_peek_at(parser, 1);
        bool goes_on = second.kind == TOKEN_NAME || second.kind == TOKEN_STRING || second.kind == TOKEN_NUMBER ||
                       second.op == OP_STAR;
        for (size_t i = 0; goes_on && i < ELEMENTS(sql); i++)
                if (word_is(parser, first, sql[i].word)) {
                        Bytes table = sql_table(parser);
                        return text_mistake(parser, text_token_span(first),
                                            "This looks like SQL. ReQL is written r.table(\"%.*s\")%s", SHOWN(table),
                                            sql[i].rest);
                }
        if (text_token_is(parser, first, "db") && second.op == OP_DOT)
                return text_mistake(parser, text_token_span(first),
                                    "A database is r.db(\"name\"), and a table of it r.db(\"name\").table(\"name\").");
        return ST_OK;
}
