/* shell_names.c - names for completion: terms from the language's table, everything else asked of the server; \h. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/cell.h"
#include "cli/shell_complete.h"
#include "cli/shell_int.h"
#include "reql/text_names.h"
#include "value/json.h"

enum { ASK_MS = 1500, SAMPLE_ROWS = 100, PATH_MAX_BYTES = 4096 };

typedef struct Naming {
        Shell *shell;
        const Completion *completion;
        Candidates *candidates;
        const char *before, *after; /* around each name: quotes */
        const char *suffix;
} Naming;

/* What was typed matches whatever its case; what is put has the name's own. */
static bool begins(Bytes name, Bytes word)
{
        if (name.size < word.size)
                return false;
        for (size_t i = 0; i < word.size; i++) {
                uint8_t a = name.data[i], b = word.data[i];
                a = a >= 'A' && a <= 'Z' ? (uint8_t)(a + 32) : a;
                b = b >= 'A' && b <= 'Z' ? (uint8_t)(b + 32) : b;
                if (a != b)
                        return false;
        }
        return true;
}

/* Names that would need escapes in a string are left out, as are those that would move the cursor. */
static bool is_plain(Bytes name)
{
        for (size_t i = 0; i < name.size; i++) {
                if (name.data[i] < 0x20 || name.data[i] == 0x7f || strchr("\"'`\\", name.data[i]))
                        return false;
        }
        return name.size > 0;
}

static void add_name(Naming *naming, Bytes name)
{
        if (!begins(name, naming->completion->word) || !is_plain(name))
                return;
        const char *text = arena_printf(naming->candidates->arena, "%s%.*s%s", naming->before, (int)name.size,
                                        (const char *)name.data, naming->after);
        candidates_add(naming->candidates, text, naming->suffix);
}

static void add_list(Naming *naming, Value names)
{
        for (size_t i = 0; value_is(names, V_ARRAY) && i < value_count(names); i++) {
                if (value_is(value_at(names, i), V_STRING))
                        add_name(naming, value_bytes(value_at(names, i)));
        }
}

/* --- from the server --- */

/* Completion says nothing about what goes wrong: there is just nothing to offer. */
static bool ask_names(Shell *shell, Value *ret_value, const char *query)
{
        if (!shell->remote)
                return false;
        Status st = shell_ask(shell, ASK_MS, ret_value, "%s", query);
        bool asked = st == ST_OK;
        status_ignore(st);
        return asked;
}

static const char *db_term(Shell *shell, Bytes db)
{
        return arena_printf(&shell->arena, "[14,[%s]]", shell_json(shell, db.data ? db : BYTES_STR(shell->db)));
}

static const char *table_term(Shell *shell, const Completion *completion)
{
        return arena_printf(&shell->arena, "[15,[%s,%s]]", db_term(shell, completion->db),
                            shell_json(shell, completion->table));
}

static void add_databases(Naming *naming)
{
        Value names;
        if (ask_names(naming->shell, &names, "[1,[59,[]],{}]"))
                add_list(naming, names);
}

static void add_tables(Naming *naming)
{
        Shell *shell = naming->shell;
        Value names;
        if (ask_names(shell, &names,
                      arena_printf(&shell->arena, "[1,[62,[%s]],{}]", db_term(shell, naming->completion->db))))
                add_list(naming, names);
}

static void add_indexes(Naming *naming)
{
        Shell *shell = naming->shell;
        Value names;
        if (ask_names(shell, &names,
                      arena_printf(&shell->arena, "[1,[77,[%s]],{}]", table_term(shell, naming->completion))))
                add_list(naming, names);
}

/* limit(100).map(row => row(path...).keys().default([])).reduce(setUnion).default([]): only names travel. */
static void add_fields(Naming *naming)
{
        Shell *shell = naming->shell;
        const Completion *completion = naming->completion;
        Arena *arena = &shell->arena;
        Value names;
        const char *row = "[10,[1]]";
        if (!completion->table.data)
                return;
        for (size_t i = 0; i < completion->path_count; i++)
                row = arena_printf(arena, "[170,[%s,%s]]", row, shell_json(shell, completion->path[i]));
        const char *query = arena_printf(arena,
                                         "[1,[92,[[37,[[38,[[71,[%s,%d]],[69,[[2,[1]],[92,[[94,[%s]],[2,[]]]]]]]],"
                                         "[69,[[2,[2,3]],[90,[[10,[2]],[10,[3]]]]]]]],[2,[]]]],{}]",
                                         table_term(shell, completion), SAMPLE_ROWS, row);
        if (ask_names(shell, &names, query))
                add_list(naming, names);
}

/* --- terms and options --- */

static void add_terms(Naming *naming, bool root, bool methods)
{
        size_t count;
        const TextName *names = text_names(&count);
        for (size_t i = 0; i < count; i++) {
                bool fits = (root && text_name_after_root(&names[i])) || (methods && text_name_after_dot(&names[i]));
                if (!fits)
                        continue;
                naming->suffix = root != methods && names[i].form != TEXT_CONSTANT ? "(" : "";
                add_name(naming, BYTES_STR(names[i].name));
        }
}

static void add_options(Naming *naming)
{
        char text[TEXT_NAME_BYTES];
        const Completion *completion = naming->completion;
        naming->suffix = ": ";
        for (size_t n = 0; completion->term && text_option_at(completion->term->type, n); n++)
                add_name(naming, BYTES_STR(text_camel(text_option_at(completion->term->type, n), text)));
        if (completion->and_fields)
                add_fields(naming);
}

/* --- files --- */

static void add_files(Naming *naming)
{
        Bytes word = naming->completion->word;
        size_t name_at = word.size;
        char dir[PATH_MAX_BYTES] = ".", path[2 * PATH_MAX_BYTES];
        while (name_at > 0 && word.data[name_at - 1] != '/')
                name_at--;
        if (name_at > 0)
                snprintf(dir, sizeof dir, "%.*s", (int)name_at, (const char *)word.data);
        DIR *stream = opendir(dir);
        for (struct dirent *entry; stream && (entry = readdir(stream));) {
                struct stat info;
                Bytes name = BYTES_STR(entry->d_name);
                size_t typed = word.size - name_at;
                if (name.size < typed || memcmp(name.data, word.data + name_at, typed) != 0 || !is_plain(name) ||
                    (name.data[0] == '.' && typed == 0))
                        continue;
                snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
                bool directory = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
                candidates_add(naming->candidates,
                               arena_printf(naming->candidates->arena, "%.*s%s", (int)name_at, (const char *)word.data,
                                            entry->d_name),
                               directory ? "/" : "");
        }
        if (stream)
                closedir(stream);
}

/* --- all together --- */

static void add_words(Naming *naming, const char *words)
{
        while (*words) {
                size_t length = strcspn(words, " ");
                add_name(naming, BYTES(words, length));
                words += length;
                words += *words == ' ';
        }
}

static void add_commands(Naming *naming)
{
        for (size_t n = 0; shell_command_name(n); n++)
                add_name(naming, BYTES_STR(arena_printf(naming->candidates->arena, "%s", shell_command_name(n))));
}

void shell_complete(void *ctx, Bytes before, Candidates *candidates)
{
        Shell *shell = ctx;
        Completion completion = complete_at(before);
        char quote[2] = {(char)completion.quote, 0};
        Naming naming = {.shell = shell,
                         .completion = &completion,
                         .candidates = candidates,
                         .before = completion.quotes ? "\"" : "",
                         .after = completion.quotes ? "\"" : "",
                         .suffix = arena_printf(candidates->arena, "%s", quote)};
        ArenaMark mark = arena_mark(&shell->arena);
        candidates->word_bytes = completion.word.size;
        switch (completion.kind) {
        case COMPLETE_NONE: break;
        case COMPLETE_START:
                add_words(&naming, "r");
                naming.suffix = ".";
                break;
        case COMPLETE_ROOT: add_terms(&naming, true, false); break;
        case COMPLETE_METHODS: add_terms(&naming, false, true); break;
        case COMPLETE_TERMS: add_terms(&naming, true, true); break;
        case COMPLETE_DATABASES: add_databases(&naming); break;
        case COMPLETE_TABLES: add_tables(&naming); break;
        case COMPLETE_INDEXES: add_indexes(&naming); break;
        case COMPLETE_FIELDS: add_fields(&naming); break;
        case COMPLETE_OPTIONS: add_options(&naming); break;
        case COMPLETE_FORMATS: add_words(&naming, DISPLAY_FORMATS); break;
        case COMPLETE_FILES: add_files(&naming); break;
        case COMPLETE_COMMANDS:
                completion.word = BYTES(completion.word.data + 1, completion.word.size - 1);
                candidates->word_bytes--;
                naming.suffix = " ";
                add_commands(&naming);
                break;
        case COMPLETE_GLOBALS:
                for (size_t i = 0; shell_global_options[i]; i++)
                        add_name(&naming, BYTES_STR(shell_global_options[i]));
                break;
        }
        arena_rewind(&shell->arena, mark);
}

/* --- \h --- */

static const struct {
        uint16_t type;
        const char *text;
} examples[] = {
        {TERM_DB, "r.db(\"shop\").table(\"users\")"},
        {TERM_TABLE, "r.table(\"users\").count()"},
        {TERM_GET, "r.table(\"users\").get(1)"},
        {TERM_GET_ALL, "r.table(\"users\").getAll(\"Rome\", \"Paris\", {index: \"city\"})"},
        {TERM_BETWEEN, "r.table(\"users\").between(20, 30, {index: \"age\", rightBound: \"closed\"})"},
        {TERM_FILTER, "r.table(\"users\").filter(user => user(\"age\") > 30 && user(\"city\") == \"Rome\")"},
        {TERM_MAP, "r.table(\"users\").map(user => user(\"age\") * 12)"},
        {TERM_CONCAT_MAP, "r.table(\"posts\").concatMap(post => post(\"tags\"))"},
        {TERM_REDUCE, "r.table(\"orders\")(\"total\").reduce((a, b) => a + b)"},
        {TERM_FOLD, "r.range(5).fold(0, (sum, n) => sum + n)"},
        {TERM_ORDER_BY, "r.table(\"users\").orderBy(r.desc(\"age\"), \"name\").limit(10)"},
        {TERM_GROUP, "r.table(\"orders\").group(\"customer\").sum(\"total\").ungroup()"},
        {TERM_SUM, "r.table(\"orders\").sum(\"total\")"},
        {TERM_AVG, "r.table(\"users\").avg(\"age\")"},
        {TERM_COUNT, "r.table(\"users\").count(user => user(\"age\") > 30)"},
        {TERM_DISTINCT, "r.table(\"users\").distinct({index: \"city\"})"},
        {TERM_PLUCK, "r.table(\"users\").pluck(\"id\", {address: [\"city\"]})"},
        {TERM_WITHOUT, "r.table(\"users\").without(\"photo\")"},
        {TERM_MERGE, "r.table(\"users\").merge(user => ({adult: user(\"age\") >= 18}))"},
        {TERM_EQ_JOIN, "r.table(\"orders\").eqJoin(\"customer\", r.table(\"users\")).zip()"},
        {TERM_INNER_JOIN, "r.table(\"a\").innerJoin(r.table(\"b\"), (x, y) => x(\"n\") < y(\"n\"))"},
        {TERM_INSERT, "r.table(\"users\").insert({id: 1, name: \"Ann\"}, {conflict: \"update\"})"},
        {TERM_UPDATE, "r.table(\"users\").get(1).update({visits: r.row(\"visits\").add(1).default(1)})"},
        {TERM_REPLACE, "r.table(\"users\").get(1).replace(r.row.without(\"photo\"))"},
        {TERM_DELETE, "r.table(\"users\").getAll(false, {index: \"active\"}).delete()"},
        {TERM_INDEX_CREATE, "r.table(\"users\").indexCreate(\"cityAge\", user => [user(\"city\"), user(\"age\")])"},
        {TERM_TABLE_CREATE, "r.db(\"shop\").tableCreate(\"users\", {primaryKey: \"email\"})"},
        {TERM_BRANCH, "r.branch(r.now().hours() < 12, \"morning\", \"later\")"},
        {TERM_FOR_EACH, "r.range(3).forEach(n => r.table(\"t\").insert({id: n}))"},
        {TERM_FUNCALL, "r.table(\"users\").get(1).do(user => user(\"name\"))"},
        {TERM_DEFAULT, "r.table(\"users\").map(user => user(\"age\").default(0))"},
        {TERM_MATCH, "r.table(\"users\").filter(user => user(\"name\").match(\"(?i)^a\"))"},
        {TERM_CHANGES, "r.table(\"orders\").changes({includeInitial: true})"},
        {TERM_CONTAINS, "r.table(\"posts\").filter(post => post(\"tags\").contains(\"news\"))"},
        {TERM_HAS_FIELDS, "r.table(\"users\").hasFields({address: {city: true}})"},
        {TERM_DURING, "r.table(\"orders\").filter(o => o(\"at\").during(r.now() - 86400, r.now()))"},
        {TERM_ISO8601, "r.ISO8601(\"2026-11-21T18:00:00Z\")"},
        {TERM_EPOCH_TIME, "r.epochTime(1795284000)"},
        {TERM_GET_NEAREST,
         "r.table(\"shops\").getNearest(r.point(12.5, 41.9), {index: \"place\", maxDist: 5, unit: \"km\"})"},
        {TERM_GRANT, "r.db(\"shop\").grant(\"ann\", {read: true, write: false})"},
        {TERM_HTTP, "r.http(\"https://example.com/data.json\")"},
        {TERM_RANGE, "r.range(1, 10)"},
        {TERM_LITERAL, "r.table(\"users\").get(1).update({address: r.literal({city: \"Rome\"})})"},
};

const char *shell_example(size_t n)
{
        return n < ELEMENTS(examples) ? examples[n].text : NULL;
}

static Status help_all(Sink *sink)
{
        size_t count, width = 0;
        const TextName *names = text_names(&count);
        for (size_t i = 0; i < count; i++) {
                size_t length = strlen(names[i].name) + 2;
                if (width + length > sink->columns) {
                        TRY(sink_str(sink, "\n"));
                        width = 0;
                }
                TRY(sink_printf(sink, "%s  ", names[i].name));
                width += length;
        }
        TRY(sink_str(sink, "\n\\h TERM tells more, for example: \\h getAll\n"));
        return sink_flush(sink);
}

Status shell_help_terms(Shell *shell, const char *name)
{
        Sink *sink = shell_sink(shell);
        char text[TEXT_NAME_BYTES];
        if (strncmp(name, "r.", 2) == 0)
                name += 2;
        name += *name == '.';
        if (!*name)
                return help_all(sink);
        const TextName *found = text_name_find(BYTES_STR(name));
        if (!found) {
                Status st = status_new(ERR_NOT_FOUND, "there is no term %s", name);
                const TextName *nearest = text_name_nearest(BYTES_STR(name));
                return nearest ? status_hint(st, "did you mean %s?", nearest->name) : status_hint(st, "\\h lists them");
        }
        TRY(sink_printf(sink, "%s\n  %s\n", found->signature, found->help));
        for (size_t n = 0; text_option_at(found->type, n); n++)
                TRY(sink_printf(sink, "%s%s",
                                n ? ", " : "  options: ", text_camel(text_option_at(found->type, n), text)));
        if (text_option_at(found->type, 0))
                TRY(sink_str(sink, "\n"));
        for (size_t i = 0; i < ELEMENTS(examples); i++) {
                if (examples[i].type == found->type)
                        TRY(sink_printf(sink, "  example: %s\n", examples[i].text));
        }
        return sink_flush(sink);
}
