/* shell_describe.c - \l \dt \d \di \jobs \kill \conninfo: what is there. All of it is asked with ordinary terms, so a
 * user sees what he may see; what needs a permission that he has not is left out. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/cell.h"
#include "cli/shell_int.h"
#include "value/json.h"

enum { SAMPLE_ROWS = 100, SAMPLE_FIELDS_MAX = 500, EXAMPLE_BYTES = 200, TYPES_MAX_BYTES = 128, ID_SHOWN = 8 };

/* --- asking --- */

/* The value, or none if the server refuses: a permission that the user has not, a table that went away meanwhile or has
 * no such thing, as those of the system. */
static Status ask_if_allowed(Shell *shell, Value *ret_value, const char *query)
{
        Status st = shell_ask(shell, -1, ret_value, "%s", query);
        if (status_code(st) >= ERR_COMPILE && status_code(st) <= ERR_PERMISSION) {
                status_ignore(st);
                *ret_value = value_none();
                return ST_OK;
        }
        return st;
}

static const char *text_of(Shell *shell, Value string)
{
        Bytes text = value_is(string, V_STRING) ? value_bytes(string) : BYTES_NONE;
        return arena_dup(&shell->arena, text.size ? (const char *)text.data : "", text.size);
}

/* The same with control characters made visible. */
static const char *shown_text(Shell *shell, Value string)
{
        const char *text = text_of(shell, string);
        Buf out;
        buf_init(&out, SHELL_TEXT_MAX_BYTES);
        Status st = cell_append_text(BYTES_STR(text), &out);
        text = st ? "" : arena_dup(&shell->arena, out.size ? (const char *)out.data : "", out.size);
        status_ignore(st);
        buf_done(&out);
        return text;
}

static bool is_list(Value v)
{
        return value_is(v, V_ARRAY);
}

/* data_bytes of the figures of each table: {id: ["table_server", table, server], storage_engine: {disk: ...}} */
static Status ask_figures(Shell *shell, Value *ret_figures)
{
        return ask_if_allowed(
                shell, ret_figures,
                "[1,[39,[[15,[[14,[\"rethinkdb\"]],\"stats\"]],[69,[[2,[1]],[17,[[170,[[170,[[10,[1]],\"id\"]],0]],"
                "\"table_server\"]]]]]],{}]");
}

/* Of all servers together; none if it is not known. */
static Value size_of_table(Value figures, const char *db, const char *table)
{
        double bytes = 0;
        bool found = false;
        for (size_t i = 0; is_list(figures) && i < value_count(figures); i++) {
                Value row = value_at(figures, i);
                if (!value_bytes_are(value_get_str(row, "db"), db) ||
                    !value_bytes_are(value_get_str(row, "table"), table))
                        continue;
                Value v = value_get_str(row, "storage_engine");
                static const char *const path[] = {"disk", "space_usage", "data_bytes"};
                for (size_t n = 0; n < ELEMENTS(path) && value_is_object(v); n++)
                        v = value_get_str(v, path[n]);
                if (value_is(v, V_NUMBER)) {
                        bytes += v.number;
                        found = true;
                }
        }
        return found ? value_number(bytes) : value_none();
}

static Value size_text(Shell *shell, Value bytes)
{
        char text[32];
        if (!value_is(bytes, V_NUMBER) || bytes.number < 0)
                return value_none();
        output_bytes((uint64_t)bytes.number, text);
        return value_str(arena_dup(&shell->arena, text, strlen(text)));
}

/* For people a size with its unit, for programs bytes. */
static void add_size(Shell *shell, ObjectBuilder *row, Value bytes)
{
        Value shown = shell->format == DISPLAY_TABLE ? size_text(shell, bytes) : bytes;
        if (!value_is(shown, V_NONE))
                object_add_str(row, "size", shown);
}

/* --- databases and tables --- */

Status shell_list_databases(Shell *shell, const char *argument)
{
        static const char *const order[] = {"database", "tables", NULL};
        Value names, tables;
        ArrayBuilder rows;
        (void)argument;
        TRY(shell_ask(shell, -1, &names, "[1,[59,[]],{}]"));
        array_init(&rows, &shell->arena, value_count(names));
        for (size_t i = 0; i < value_count(names); i++) {
                Bytes name = value_bytes(value_at(names, i));
                ObjectBuilder row;
                TRY(ask_if_allowed(shell, &tables,
                                   arena_printf(&shell->arena, "[1,[62,[[14,[%s]]]],{}]", shell_json(shell, name))));
                object_init(&row, &shell->arena, 2);
                object_add_str(&row, "database", value_string(name));
                if (is_list(tables))
                        object_add_str(&row, "tables", value_number((double)value_count(tables)));
                array_add(&rows, object_take(&row));
        }
        return shell_show_rows(shell, array_take(&rows), order);
}

Status shell_list_tables(Shell *shell, const char *argument)
{
        static const char *const order[] = {"table", "primary_key", "rows", "size", "indexes", NULL};
        const char *db = *argument ? argument : shell->db;
        Value names, figures, info, count;
        ArrayBuilder rows;
        TRY(shell_ask(shell, -1, &names, "[1,[62,[[14,[%s]]]],{}]", shell_json(shell, BYTES_STR(db))));
        TRY(ask_figures(shell, &figures));
        array_init(&rows, &shell->arena, value_count(names));
        for (size_t i = 0; i < value_count(names); i++) {
                ObjectBuilder row;
                TableName name;
                TRY(table_name_make(db, text_of(shell, value_at(names, i)), &shell->arena, &name));
                TRY(ask_if_allowed(shell, &info, arena_printf(&shell->arena, "[1,[79,[%s]],{}]", name.table_term)));
                TRY(ask_if_allowed(shell, &count, arena_printf(&shell->arena, "[1,[43,[%s]],{}]", name.table_term)));
                if (!value_is_object(info))
                        continue;
                object_init(&row, &shell->arena, 5);
                object_add_str(&row, "table", value_str(name.table));
                object_add_str(&row, "primary_key", value_get_str(info, "primary_key"));
                object_add_str(&row, "indexes", value_number((double)value_count(value_get_str(info, "indexes"))));
                if (value_is(count, V_NUMBER))
                        object_add_str(&row, "rows", count);
                add_size(shell, &row, size_of_table(figures, db, name.table));
                array_add(&rows, object_take(&row));
        }
        return shell_show_rows(shell, array_take(&rows), order);
}

/* --- indexes --- */

static const char *index_status(Shell *shell, Value index)
{
        Value progress = value_get_str(index, "progress");
        if (value_truthy(value_get_str(index, "outdated")))
                return "outdated";
        if (value_truthy(value_get_str(index, "ready")))
                return "ready";
        if (!value_is(progress, V_NUMBER))
                return "building";
        return arena_printf(&shell->arena, "building, %.0f %%", progress.number * 100);
}

/* Rows for the indexes of one table. */
static Status add_indexes(Shell *shell, const TableName *name, bool with_table, ArrayBuilder *rows)
{
        static const char *const flags[] = {"multi", "geo", "unique"};
        Value indexes;
        TRY(ask_if_allowed(shell, &indexes, arena_printf(&shell->arena, "[1,[139,[%s]],{}]", name->table_term)));
        for (size_t i = 0; is_list(indexes) && i < value_count(indexes); i++) {
                Value index = value_at(indexes, i);
                ObjectBuilder row;
                const char *options = "";
                object_init(&row, &shell->arena, 5);
                if (with_table)
                        object_add_str(&row, "table", value_str(name->table));
                object_add_str(&row, "index", value_get_str(index, "index"));
                object_add_str(&row, "status", value_str(index_status(shell, index)));
                for (size_t n = 0; n < ELEMENTS(flags); n++) {
                        Value flag = value_get_str(index, flags[n]);
                        if (value_is(flag, V_BOOL) && value_truthy(flag))
                                options =
                                        arena_printf(&shell->arena, "%s%s%s", options, *options ? ", " : "", flags[n]);
                }
                if (*options)
                        object_add_str(&row, "options", value_str(options));
                object_add_str(&row, "function", value_get_str(index, "query"));
                array_add(rows, object_take(&row));
        }
        return ST_OK;
}

Status shell_list_indexes(Shell *shell, const char *argument)
{
        static const char *const order[] = {"table", "index", "status", "options", NULL};
        ArrayBuilder rows;
        TableName name;
        array_init(&rows, &shell->arena, 8);
        if (*argument) {
                Value info; /* an error if there is none */
                TRY(shell_table_name(shell, argument, &name));
                TRY(shell_ask(shell, -1, &info, "[1,[79,[%s]],{}]", name.table_term));
                TRY(add_indexes(shell, &name, true, &rows));
                return shell_show_rows(shell, array_take(&rows), order);
        }
        Value names;
        TRY(shell_ask(shell, -1, &names, "[1,[62,[[14,[%s]]]],{}]", shell_json(shell, BYTES_STR(shell->db))));
        for (size_t i = 0; i < value_count(names); i++) {
                TRY(table_name_make(shell->db, text_of(shell, value_at(names, i)), &shell->arena, &name));
                TRY(add_indexes(shell, &name, true, &rows));
        }
        return shell_show_rows(shell, array_take(&rows), order);
}

/* --- a table --- */

typedef struct SampledField {
        Bytes name;
        uint32_t types; /* a bit for each ValueType */
        size_t count;
        Value example;
} SampledField;

static const char *type_name(ValueType type)
{
        switch (type) {
        case V_BINARY: return "binary";
        case V_TIME: return "time";
        case V_GEOMETRY: return "geometry";
        case V_ARRAY: return "array";
        case V_BOOL: return "bool";
        case V_NULL: return "null";
        case V_NUMBER: return "number";
        case V_OBJECT: return "object";
        case V_STRING: return "string";
        default: return "?";
        }
}

static size_t collect_fields(Value rows, SampledField *fields)
{
        size_t count = 0;
        for (size_t i = 0; i < value_count(rows); i++) {
                Value row = value_at(rows, i);
                for (size_t n = 0; value_is(row, V_OBJECT) && n < value_count(row); n++) {
                        Bytes key;
                        Value v = value_field_at(row, n, &key);
                        size_t at = 0;
                        while (at < count && !bytes_equal(fields[at].name, key))
                                at++;
                        if (at == SAMPLE_FIELDS_MAX)
                                continue;
                        if (at == count)
                                fields[count++] = (SampledField){.name = key, .example = v};
                        fields[at].types |= 1u << v.type;
                        fields[at].count++;
                        if (value_is(fields[at].example, V_NULL))
                                fields[at].example = v;
                }
        }
        return count;
}

static int compare_fields(const void *a, const void *b)
{
        return bytes_compare(((const SampledField *)a)->name, ((const SampledField *)b)->name);
}

static Status field_row(Shell *shell, const SampledField *field, size_t row_count, ArrayBuilder *rows)
{
        char types[TYPES_MAX_BYTES] = "";
        ObjectBuilder row;
        Buf example;
        for (unsigned type = 0; type <= V_MAXVAL; type++) {
                size_t size = strlen(types);
                if (field->types & 1u << type)
                        snprintf(types + size, sizeof types - size, "%s%s", size ? " or " : "",
                                 type_name((ValueType)type));
        }
        buf_init(&example, SHELL_TEXT_MAX_BYTES);
        Status st = cell_append_value(field->example, EXAMPLE_BYTES, &example);
        Value shown = value_string(BYTES(arena_dup(&shell->arena, example.data, example.size), example.size));
        buf_done(&example);
        TRY(st);
        object_init(&row, &shell->arena, 4);
        object_add_str(&row, "field", value_string(field->name));
        object_add_str(&row, "type", value_str(arena_dup(&shell->arena, types, strlen(types))));
        object_add_str(&row, "in",
                       value_str(field->count == row_count ? "all"
                                                           : arena_printf(&shell->arena, "%zu %%",
                                                                          MAX(field->count * 100 / row_count, 1))));
        object_add_str(&row, "example", shown);
        array_add(rows, object_take(&row));
        return ST_OK;
}

/* A table within a description. */
static Status show_grid(Shell *shell, Sink *sink, const char *title, Value rows, const char *const *order)
{
        _cleanup_(display_freep) Display *display = NULL;
        DisplayStyle style = shell_style(shell, sink);
        style.format = DISPLAY_TABLE;
        style.expanded = style.footer = false;
        style.order = order;
        TRY(sink_printf(sink, "\n%s\n", title));
        TRY(display_new(&style, sink, &display));
        TRY(display_atom(display, json_text(rows, &shell->arena)));
        return display_end(display);
}

static Status line(Sink *sink, const char *title, Value v)
{
        Buf text;
        if (value_is(v, V_NONE) || value_is(v, V_NULL))
                return ST_OK;
        buf_init(&text, SHELL_TEXT_MAX_BYTES);
        Status st = buf_printf(&text, "  %-12s ", title);
        st = st ? st : cell_append_value(v, 0, &text);
        st = st ? st : buf_append_byte(&text, '\n');
        st = st ? st : sink_bytes(sink, BYTES(text.data, text.size));
        buf_done(&text);
        return st;
}

typedef struct TableFacts {
        TableName name;
        Value info, count, config, hook, figures, sample;
} TableFacts;

static Status ask_facts(Shell *shell, const char *table, TableFacts *facts)
{
        Arena *arena = &shell->arena;
        const char *term;
        TRY(shell_table_name(shell, table, &facts->name));
        term = facts->name.table_term;
        TRY(shell_ask(shell, -1, &facts->info, "[1,[79,[%s]],{}]", term));
        TRY(ask_if_allowed(shell, &facts->count, arena_printf(arena, "[1,[43,[%s]],{}]", term)));
        TRY(ask_if_allowed(shell, &facts->config, arena_printf(arena, "[1,[174,[%s]],{}]", term)));
        TRY(ask_if_allowed(shell, &facts->hook, arena_printf(arena, "[1,[190,[%s]],{}]", term)));
        TRY(ask_if_allowed(shell, &facts->sample, arena_printf(arena, "[1,[71,[%s,%d]],{}]", term, SAMPLE_ROWS)));
        return ask_figures(shell, &facts->figures);
}

static Status show_facts(Shell *shell, Sink *sink, const TableFacts *facts)
{
        static const char *const settings[] = {"storage", "durability", "write_acks", "ttl"};
        TRY(sink_printf(sink, "table %s.%s\n", facts->name.db, facts->name.table));
        TRY(line(sink, "primary key", value_get_str(facts->info, "primary_key")));
        TRY(line(sink, "rows", facts->count));
        TRY(line(sink, "size", size_text(shell, size_of_table(facts->figures, facts->name.db, facts->name.table))));
        for (size_t i = 0; value_is_object(facts->config) && i < ELEMENTS(settings); i++)
                TRY(line(sink, settings[i], value_get_str(facts->config, settings[i])));
        Value hook = value_is_object(facts->hook) ? value_get_str(facts->hook, "query") : value_none();
        return line(sink, "write hook", hook);
}

static Status show_sample(Shell *shell, Sink *sink, const TableFacts *facts)
{
        static const char *const order[] = {"field", "type", "in", "example", NULL};
        size_t row_count = is_list(facts->sample) ? value_count(facts->sample) : 0;
        ArrayBuilder rows;
        if (row_count == 0)
                return ST_OK;
        SampledField *fields = arena_array(&shell->arena, SampledField, SAMPLE_FIELDS_MAX);
        size_t count = collect_fields(facts->sample, fields);
        Bytes key = value_bytes(value_get_str(facts->info, "primary_key"));
        qsort(fields, count, sizeof *fields, compare_fields);
        array_init(&rows, &shell->arena, count);
        for (int others = 0; others < 2; others++) { /* the primary key first */
                for (size_t i = 0; i < count; i++) {
                        if (bytes_equal(fields[i].name, key) != others)
                                TRY(field_row(shell, &fields[i], row_count, &rows));
                }
        }
        const char *title = row_count < SAMPLE_ROWS ? arena_printf(&shell->arena, "fields")
                                                    : arena_printf(&shell->arena, "fields of %zu rows", row_count);
        return show_grid(shell, sink, title, array_take(&rows), order);
}

static Status show_table(Shell *shell, Sink *sink, const TableFacts *facts)
{
        static const char *const order[] = {"index", "status", "options", NULL};
        ArrayBuilder indexes;
        array_init(&indexes, &shell->arena, 8);
        TRY(add_indexes(shell, &facts->name, false, &indexes));
        Value list = array_take(&indexes);
        TRY(show_facts(shell, sink, facts));
        if (value_count(list) > 0)
                TRY(show_grid(shell, sink, "indexes", list, order));
        return show_sample(shell, sink, facts);
}

Status shell_describe_table(Shell *shell, const char *argument)
{
        TableFacts facts;
        Sink *sink = shell_sink(shell);
        if (!*argument)
                return shell_list_tables(shell, argument);
        TRY(ask_facts(shell, argument, &facts));
        shell_begin_output(shell, sink);
        return shell_end_output(shell, sink, show_table(shell, sink, &facts));
}

/* --- jobs --- */

#define JOBS "[15,[[14,[\"rethinkdb\"]],\"jobs\"]]"

Status shell_list_jobs(Shell *shell, const char *argument)
{
        static const char *const order[] = {"id", "type", "seconds", "user", "what", NULL};
        Value jobs;
        ArrayBuilder rows;
        (void)argument;
        TRY(shell_ask(shell, -1, &jobs, "[1,%s,{}]", JOBS));
        array_init(&rows, &shell->arena, value_count(jobs));
        for (size_t i = 0; i < value_count(jobs); i++) {
                Value job = value_at(jobs, i), id = value_get_str(job, "id"), info = value_get_str(job, "info");
                ObjectBuilder row;
                object_init(&row, &shell->arena, 5);
                object_add_str(&row, "type", value_get_str(job, "type"));
                object_add_str(&row, "seconds", value_get_str(job, "duration_sec"));
                if (is_list(id) && value_count(id) == 2 && value_is(value_at(id, 1), V_STRING)) {
                        Bytes text = value_bytes(value_at(id, 1));
                        if (shell->format == DISPLAY_TABLE)
                                text.size = MIN(text.size, (size_t)ID_SHOWN);
                        object_add_str(&row, "id", value_string(text));
                }
                Value user = value_is_object(info) ? value_get_str(info, "user") : value_none();
                Value what = value_is_object(info) ? value_get_str(info, "query") : value_none();
                if (value_is(user, V_STRING))
                        object_add_str(&row, "user", user);
                if (value_is(what, V_NONE))
                        what = info;
                object_add_str(&row, "what", what);
                array_add(&rows, object_take(&row));
        }
        return shell_show_rows(shell, array_take(&rows), order);
}

Status shell_kill_job(Shell *shell, const char *argument)
{
        Value jobs, answer, found = value_none();
        size_t count = 0;
        if (!*argument)
                return status_hint(status_new(ERR_INVALID, "\\kill needs the id of a query"), "\\jobs lists them");
        TRY(shell_ask(shell, -1, &jobs, "[1,%s,{}]", JOBS));
        for (size_t i = 0; i < value_count(jobs); i++) {
                Value id = value_get_str(value_at(jobs, i), "id");
                if (!is_list(id) || value_count(id) != 2 || !value_is(value_at(id, 1), V_STRING))
                        continue;
                Bytes text = value_bytes(value_at(id, 1));
                if (value_bytes_are(value_at(id, 0), "query") && text.size >= strlen(argument) &&
                    memcmp(text.data, argument, strlen(argument)) == 0) {
                        found = value_at(id, 1);
                        count++;
                }
        }
        if (count == 0)
                return status_hint(status_new(ERR_NOT_FOUND, "no query has the id %s", argument), "\\jobs lists them");
        if (count > 1)
                return status_hint(status_new(ERR_INVALID, "%zu queries have ids that begin with %s", count, argument),
                                   "give more of it");
        TRY(shell_ask(shell, -1, &answer, "[1,[54,[[16,[%s,[2,[\"query\",%s]]]]]],{}]", JOBS,
                      shell_json(shell, value_bytes(found))));
        fprintf(stderr, "ended\n");
        return ST_OK;
}

/* --- the connection --- */

Status shell_describe_server(Shell *shell, const char **ret_text)
{
        const RemoteOptions *remote = &shell->values->remote;
        Value status;
        const char *version = "", *name = "";
        TRY(ask_if_allowed(shell, &status, "[1,[15,[[14,[\"rethinkdb\"]],\"server_status\"]],{}]"));
        if (is_list(status) && value_count(status) == 1) {
                Value process = value_get_str(value_at(status, 0), "process");
                name = shown_text(shell, value_get_str(value_at(status, 0), "name"));
                if (value_is_object(process))
                        version = shown_text(shell, value_get_str(process, "version"));
        }
        if (strncmp(version, "PhotonDB", 8) != 0)
                version = arena_printf(&shell->arena, "PhotonDB%s%s", *version ? " " : "", version);
        *ret_text = arena_printf(&shell->arena, "%s%s%s on %s:%" PRId64 ", user %s", version, *name ? ", server " : "",
                                 name, remote->host, remote->port, remote->user);
        return ST_OK;
}

Status shell_show_connection(Shell *shell, const char *argument)
{
        const char *server;
        Sink *sink = shell_sink(shell);
        (void)argument;
        TRY(shell_describe_server(shell, &server));
        TRY(sink_str(sink, server));
        TRY(sink_printf(sink, ", database %s\n", shell->db));
        return sink_flush(sink);
}
