/* shell_complete.c - see shell_complete.h. */
#include "cli/shell_complete.h"

#include <ctype.h>

#include "reql/text_lex.h"

enum { DEPTH_MAX = 64 };

/* A word of the text, in the form that is needed here. */
typedef struct Word {
        TextToken token;
        Bytes text;     /* of a string: what is between its quotes */
        bool open;      /* a string that does not end */
        bool after_dot; /* a name */
} Word;

/* One level of brackets. */
typedef struct Level {
        uint8_t bracket; /* 0: the statement itself */
        Bytes callee;    /* (: the word before it; data NULL: none, as in (x)("field") */
        bool method;     /* the word stood behind a dot */
        size_t commas;
        Bytes only_string; /* (: its first argument, when that is a string */
        Bytes key;         /* {: of the value being typed */
        bool in_value;
        /* of the chain that is being typed on this level */
        Bytes path[COMPLETE_PATH_MAX];
        size_t path_count;
        Bytes db; /* the last call was db("...") */
} Level;

typedef struct Context {
        Bytes text;
        uint32_t at;
        Word last, before_last;
        Level levels[DEPTH_MAX];
        size_t depth;    /* of the level being filled */
        Bytes db, table; /* of the last table(...) */
} Context;

static bool is_op(const Word *word, TextOp op)
{
        return word->token.kind == TOKEN_OTHER && word->token.op == op;
}

static Word next_word(Context *c)
{
        Word word = {.token = text_next_token(c->text, &c->at)};
        Bytes text = text_token_bytes(c->text, word.token);
        bool quoted = text.size && strchr("\"'`", text.data[0]);
        word.text = text;
        if (word.token.kind == TOKEN_NAME) {
                word.after_dot = is_op(&c->last, OP_DOT);
        } else if (word.token.kind == TOKEN_STRING) {
                word.text = BYTES(text.data + 1, text.size - 2);
        } else if (word.token.kind == TOKEN_BAD && quoted) {
                word.open = word.token.end == c->text.size;
                word.text = BYTES(text.data + 1, text.size - 1);
        }
        return word;
}

/* --- levels --- */

static const TextName *callee_term(const Level *level)
{
        if (level->bracket != '(' || !level->callee.data || !level->method)
                return NULL;
        return text_name_find(level->callee);
}

/* A call of this level's value with "field", or getField("field"): one step inwards. */
static bool is_field_call(const Level *level)
{
        const TextName *term = callee_term(level);
        if (level->bracket != '(')
                return false;
        return !level->callee.data || !level->method ||
               (term &&
                (term->type == TERM_IMPLICIT_VAR || term->type == TERM_GET_FIELD || term->type == TERM_BRACKET));
}

static void open_bracket(Context *c, uint8_t bracket)
{
        Level level = {.bracket = bracket};
        if (bracket == '(' && c->last.token.kind == TOKEN_NAME) {
                level.callee = c->last.text;
                level.method = c->last.after_dot;
        }
        if (c->depth + 1 < DEPTH_MAX)
                c->levels[++c->depth] = level;
}

static void new_chain(Level *level)
{
        level->path_count = 0;
        level->db = BYTES_NONE;
}

static void close_bracket(Context *c)
{
        if (c->depth == 0)
                return;
        const Level *inner = &c->levels[c->depth--];
        Level *outer = &c->levels[c->depth];
        const TextName *term = callee_term(inner);
        bool one_string = inner->only_string.data && inner->commas == 0;
        Bytes db = outer->db;
        outer->db = BYTES_NONE;
        if (inner->bracket == '(' && is_field_call(inner)) {
                bool starts = inner->callee.data && (!inner->method || (term && term->type == TERM_IMPLICIT_VAR));
                if (starts)
                        outer->path_count = 0;
                if (one_string && outer->path_count < COMPLETE_PATH_MAX)
                        outer->path[outer->path_count++] = inner->only_string;
                return;
        }
        outer->path_count = 0;
        if (!one_string || !term)
                return;
        if (term->type == TERM_DB)
                outer->db = inner->only_string;
        if (term->type == TERM_TABLE) {
                c->table = inner->only_string;
                c->db = db;
        }
}

static void take_sign(Context *c, TextOp op)
{
        Level *level = &c->levels[c->depth];
        switch (op) {
        case OP_OPEN: open_bracket(c, '('); return;
        case OP_OPEN_BOX: open_bracket(c, '['); return;
        case OP_OPEN_CURLY: open_bracket(c, '{'); return;
        case OP_CLOSE:
        case OP_CLOSE_BOX:
        case OP_CLOSE_CURLY: close_bracket(c); return;
        case OP_COMMA:
                level->commas++;
                level->in_value = false;
                level->key = BYTES_NONE;
                break;
        case OP_COLON:
                if (level->bracket == '{') {
                        level->key = c->last.text;
                        level->in_value = true;
                }
                break;
        case OP_SEMICOLON: c->db = c->table = BYTES_NONE; break;
        case OP_DOT: return;
        default: break;
        }
        new_chain(level);
}

static void take_word(Context *c, Word word)
{
        Level *level = &c->levels[c->depth];
        if (word.token.kind == TOKEN_OTHER)
                take_sign(c, (TextOp)word.token.op);
        else if (word.token.kind == TOKEN_STRING && level->commas == 0 && !level->only_string.data &&
                 is_op(&c->last, OP_OPEN))
                level->only_string = word.text;
        else if (word.token.kind == TOKEN_NAME && !word.after_dot)
                new_chain(level);
        c->before_last = c->last;
        c->last = word;
}

/* --- what fits --- */

static void of_table(const Context *c, Completion *completion)
{
        completion->db = c->db;
        completion->table = c->table;
}

static void fields(const Context *c, Completion *completion, bool inside)
{
        completion->kind = c->table.data ? COMPLETE_FIELDS : COMPLETE_NONE;
        of_table(c, completion);
        if (!inside || c->depth == 0)
                return;
        const Level *outer = &c->levels[c->depth - 1]; /* the chain that is called with a field */
        const Level *level = &c->levels[c->depth];
        const TextName *term = callee_term(level);
        if (level->callee.data && (!level->method || (term && term->type == TERM_IMPLICIT_VAR)))
                return;
        completion->path_count = outer->path_count;
        memcpy(completion->path, outer->path, sizeof completion->path);
}

/* Names that an argument of this term may be. */
static void argument(const Context *c, const Level *level, Completion *completion)
{
        const TextName *term = callee_term(level);
        if (is_field_call(level)) {
                fields(c, completion, level == &c->levels[c->depth]);
                return;
        }
        if (!term)
                return;
        switch ((TermType)term->type) {
        case TERM_DB:
        case TERM_DB_DROP: completion->kind = COMPLETE_DATABASES; return;
        case TERM_TABLE:
        case TERM_TABLE_DROP:
                completion->kind = level->commas == 0 ? COMPLETE_TABLES : COMPLETE_NONE;
                completion->db = c->levels[c->depth - 1].db;
                return;
        case TERM_INDEX_DROP:
        case TERM_INDEX_STATUS:
        case TERM_INDEX_WAIT:
        case TERM_INDEX_RENAME:
                completion->kind = c->table.data ? COMPLETE_INDEXES : COMPLETE_NONE;
                of_table(c, completion);
                return;
        case TERM_GET_FIELD:
        case TERM_HAS_FIELDS:
        case TERM_PLUCK:
        case TERM_WITHOUT:
        case TERM_WITH_FIELDS:
        case TERM_ORDER_BY:
        case TERM_ASC:
        case TERM_DESC:
        case TERM_GROUP:
        case TERM_SUM:
        case TERM_AVG:
        case TERM_MIN:
        case TERM_MAX:
        case TERM_INDEX_CREATE: fields(c, completion, false); return;
        default: return;
        }
}

static void object_value(const Context *c, const Level *level, Completion *completion)
{
        if (text_same_name(level->key, BYTES_STR("index")) && c->table.data) {
                completion->kind = COMPLETE_INDEXES;
                of_table(c, completion);
        }
}

static void object_key(const Context *c, Completion *completion)
{
        const Level *outer = &c->levels[c->depth - 1];
        const TextName *term = callee_term(outer);
        completion->kind = COMPLETE_OPTIONS;
        of_table(c, completion);
        completion->and_fields = c->table.data != NULL;
        /* Counting what stands before the dot: r.f({}) and x.f({}) cannot always be told apart, so both are offered
         * where the object may be either. */
        if (term && term->options_at >= 0 && (int)outer->commas + 1 >= term->options_at)
                completion->term = term;
        if (!completion->term && !completion->and_fields)
                completion->kind = COMPLETE_NONE;
}

static Completion in_string(const Context *c, Word string)
{
        const Level *level = &c->levels[c->depth];
        Completion completion = {.word = string.text, .quote = string.text.data[-1]};
        if (level->bracket == '{' && level->in_value)
                object_value(c, level, &completion);
        else if (level->bracket == '{')
                fields(c, &completion, false);
        else if (level->bracket == '[' && c->depth > 0)
                argument(c, &c->levels[c->depth - 1], &completion);
        else
                argument(c, level, &completion);
        return completion;
}

static Completion outside_string(const Context *c, Bytes word)
{
        const Level *level = &c->levels[c->depth];
        Completion completion = {.word = word};
        if (is_op(&c->last, OP_DOT)) {
                bool root = c->before_last.token.kind == TOKEN_NAME && !c->before_last.after_dot &&
                            bytes_equal(c->before_last.text, BYTES_STR("r"));
                completion.kind = root ? COMPLETE_ROOT : COMPLETE_METHODS;
                return completion;
        }
        bool after_value = c->last.token.kind == TOKEN_NAME || c->last.token.kind == TOKEN_STRING ||
                           c->last.token.kind == TOKEN_NUMBER || is_op(&c->last, OP_CLOSE) ||
                           is_op(&c->last, OP_CLOSE_BOX) || is_op(&c->last, OP_CLOSE_CURLY);
        if (after_value)
                return completion;
        if (level->bracket == '{' && level->in_value) {
                object_value(c, level, &completion);
                completion.quotes = completion.kind != COMPLETE_NONE;
        } else if (level->bracket == '{') {
                object_key(c, &completion);
        } else if (level->bracket == '(' && word.size == 0) {
                argument(c, level, &completion);
                completion.quotes = completion.kind != COMPLETE_NONE;
        }
        if (completion.kind == COMPLETE_NONE && level->bracket != '{')
                completion.kind = COMPLETE_START;
        return completion;
}

static Completion in_statement(Bytes before)
{
        Context c = {.text = before};
        for (;;) {
                Word word = next_word(&c);
                if (word.token.kind == TOKEN_END)
                        return outside_string(&c, BYTES(before.data + before.size, 0));
                if (word.open)
                        return in_string(&c, word);
                if (word.token.kind == TOKEN_BAD && word.token.end == before.size)
                        return (Completion){0};
                if (word.token.kind == TOKEN_NAME && word.token.end == before.size)
                        return outside_string(&c, word.text);
                take_word(&c, word);
        }
}

/* --- backslash commands --- */

static Completion in_command(Bytes before)
{
        static const struct {
                const char *name;
                CompleteKind kind;
        } arguments[] = {{"d", COMPLETE_TABLES},      {"di", COMPLETE_TABLES},      {"c", COMPLETE_DATABASES},
                         {"dt", COMPLETE_DATABASES},  {"h", COMPLETE_TERMS},        {"set", COMPLETE_GLOBALS},
                         {"unset", COMPLETE_GLOBALS}, {"format", COMPLETE_FORMATS}, {"i", COMPLETE_FILES},
                         {"o", COMPLETE_FILES}};
        size_t at = 1;
        while (at < before.size && !isspace(before.data[at]))
                at++;
        Bytes name = BYTES(before.data + 1, at - 1);
        if (at == before.size)
                return (Completion){.kind = COMPLETE_COMMANDS, .word = before};
        while (at < before.size && isspace(before.data[at]))
                at++;
        Bytes rest = BYTES(before.data + at, before.size - at);
        if (bytes_equal(name, BYTES_STR("explain")) || bytes_equal(name, BYTES_STR("watch")))
                return in_statement(rest);
        Completion completion = {.word = rest};
        for (size_t i = 0; i < ELEMENTS(arguments); i++) {
                if (bytes_equal(name, BYTES_STR(arguments[i].name)))
                        completion.kind = arguments[i].kind;
        }
        const uint8_t *dot = completion.kind == COMPLETE_TABLES && rest.size ? memchr(rest.data, '.', rest.size) : NULL;
        if (dot) {
                completion.db = BYTES(rest.data, (size_t)(dot - rest.data));
                completion.word = BYTES(dot + 1, rest.size - completion.db.size - 1);
        }
        for (size_t i = 0; i < completion.word.size; i++) {
                if (isspace(completion.word.data[i]) && completion.kind != COMPLETE_FILES)
                        completion.kind = COMPLETE_NONE; /* the second word */
        }
        return completion;
}

Completion complete_at(Bytes before)
{
        size_t from = 0;
        while (from < before.size && isspace(before.data[from]))
                from++;
        Bytes text = BYTES(before.data + from, before.size - from);
        return text.size && text.data[0] == '\\' ? in_command(text) : in_statement(text);
}
