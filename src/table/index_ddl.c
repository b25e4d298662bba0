/* index_ddl.c - creating, dropping and renaming indexes, and the write hook: changes of a table's schema.
 *
 * Each is one commit of the table's document and of what becomes of the index's tree, under ddl_mu and the table's
 * writer lock, so that the next writer of a row knows the new schema (index_int.h). An index is created empty and not
 * ready; index_build.c fills it. */
#include "table/index_int.h"
#include "table/ttl.h"

#include <stdlib.h>

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

/* --- messages --- */

static Status special(const char *what)
{
        return status_new(ERR_OP_FAILED, "Database `" SYSTEM_DB "` is special; you can't %s.", what);
}

static Status no_table(const TableRef *table)
{
        return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` does not exist.", S(table->info.db), S(table->info.name));
}

static Status name_conflict(Bytes name)
{
        return status_new(ERR_LOGIC, "Index name conflict: `%.*s` is the name of the primary key.", S(name));
}

/* --- the shape of every change --- */

typedef struct Change {
        TableCatalog *catalog;
        TableRef *table;     /* as it is now; borrowed from the map */
        SchemaSpec to;       /* the schema to be */
        uint32_t clear_tree; /* 0: none */
} Change;

static void change_done(Change *change)
{
        mem_free(change->to.items);
}

/* The present state, to be edited. ddl_mu is held. */
static Status change_begin(const TableRef *table, Change *change)
{
        TableCatalog *catalog = table->catalog;
        TableRef *now = ddl_find_table(catalog, table->info.id);
        if (!now)
                return no_table(table);
        *change = (Change){.catalog = catalog, .table = now};
        return schema_spec(now->schema, &change->to);
}

static size_t find_item(const Change *change, Bytes name)
{
        size_t i = 0;
        while (i < change->to.count && !bytes_equal(change->to.items[i].name, name))
                i++;
        return i;
}

static void remove_item(Change *change, size_t i)
{
        SchemaItem *items = change->to.items;
        memmove(&items[i], &items[i + 1], (change->to.count - i - 1) * sizeof *items);
        change->to.count--;
}

static Status change_commit(Change *change, uint64_t *ret_position)
{
        _cleanup_(schema_unrefp) Schema *schema = NULL;
        TRY(schema_new(schema_version(change->catalog), &change->to, &schema));
        TableSettings settings = table_settings(change->table);
        settings.schema = schema;
        return ddl_change_table(change->catalog, change->table, &settings, change->clear_tree, ret_position);
}

typedef struct Answer {
        const char *field;
        double number;
} Answer;

static Value build_answer(void *ctx, Arena *arena)
{
        const Answer *answer = ctx;
        Field *field = arena_array(arena, Field, 1);
        field[0] = (Field){BYTES_STR(answer->field), value_number(answer->number)};
        return value_object_sorted(field, 1);
}

static Status answer_of(Arena *arena, const char *field, double number, Value *ret_result)
{
        return build_guarded(arena, build_answer, &(Answer){field, number}, ret_result);
}

/* --- create --- */

static Status create_locked(TableRef *table, const IndexSpec *spec, Arena *arena, Value *ret_result,
                            uint64_t *ret_position)
{
        _cleanup_(change_done) Change change = {0};
        uint32_t tree;
        Index *index;
        TRY(change_begin(table, &change));
        if (find_item(&change, spec->name) < change.to.count)
                return status_new(ERR_OP_FAILED, "Index `%.*s` already exists on table `%.*s.%.*s`.", S(spec->name),
                                  S(change.table->info.db), S(change.table->info.name));
        TRY(schema_free_tree(&change.to, &tree));
        TRY(answer_of(arena, "created", 1, ret_result));
        TRY(index_new(tree, spec, change.catalog->host->now_us(change.catalog->host->ctx), &index));
        change.to.items[change.to.count++] = (SchemaItem){.name = spec->name, .index = index};
        change.clear_tree = tree; /* what an index before it has left, if anything */
        Status st = change_commit(&change, ret_position);
        index_unref(index);
        return st;
}

static Status index_create(TableRef *table, const IndexSpec *spec, Arena *arena, Value *ret_result,
                           uint64_t *ret_position)
{
        if (bytes_equal(spec->name, table->info.primary_key))
                return name_conflict(spec->name);
        if (!table->store)
                return special("create secondary indexes on the tables in it");
        mutex_lock(&table->catalog->ddl_mu);
        Status st = create_locked(table, spec, arena, ret_result, ret_position);
        ddl_end(table->catalog);
        if (!st)
                build_wake(table->catalog);
        return st;
}

/* --- drop --- */

static Status no_index(const TableRef *table, Bytes name)
{
        return status_new(ERR_OP_FAILED, "Index `%.*s` does not exist on table `%.*s.%.*s`.", S(name),
                          S(table->info.db), S(table->info.name));
}

static Status drop_locked(TableRef *table, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        _cleanup_(change_done) Change change = {0};
        TRY(change_begin(table, &change));
        size_t i = find_item(&change, name);
        if (i == change.to.count)
                return no_index(change.table, name);
        TRY(answer_of(arena, "dropped", 1, ret_result));
        change.clear_tree = change.to.items[i].index->tree;
        remove_item(&change, i);
        return change_commit(&change, ret_position);
}

static Status index_drop(TableRef *table, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        if (!table->store)
                return no_index(table, name);
        mutex_lock(&table->catalog->ddl_mu);
        Status st = drop_locked(table, name, arena, ret_result, ret_position);
        ddl_end(table->catalog);
        return st;
}

/* --- rename --- */

static Status cannot_rename(const TableRef *table, Bytes name, Bytes new_name)
{
        return status_new(ERR_OP_FAILED,
                          "Index `%.*s` does not exist or index `%.*s` already exists on table `%.*s.%.*s`.", S(name),
                          S(new_name), S(table->info.db), S(table->info.name));
}

static Status rename_locked(TableRef *table, Bytes name, Bytes new_name, bool overwrite, Arena *arena,
                            Value *ret_result, uint64_t *ret_position)
{
        _cleanup_(change_done) Change change = {0};
        TRY(change_begin(table, &change));
        size_t i = find_item(&change, name), there = find_item(&change, new_name);
        if (i == change.to.count)
                return overwrite ? no_index(change.table, name) : cannot_rename(change.table, name, new_name);
        if (i == there)
                return answer_of(arena, "renamed", 0, ret_result);
        if (there < change.to.count && !overwrite)
                return cannot_rename(change.table, name, new_name);
        TRY(answer_of(arena, "renamed", 1, ret_result));
        change.to.items[i].name = new_name;
        if (there < change.to.count) {
                change.clear_tree = change.to.items[there].index->tree;
                remove_item(&change, there);
        }
        return change_commit(&change, ret_position);
}

static Status index_rename(TableRef *table, Bytes name, Bytes new_name, bool overwrite, Arena *arena, Value *ret_result,
                           uint64_t *ret_position)
{
        if (bytes_equal(name, table->info.primary_key))
                return name_conflict(name);
        if (bytes_equal(new_name, table->info.primary_key))
                return name_conflict(new_name);
        if (!table->store)
                return cannot_rename(table, name, new_name);
        mutex_lock(&table->catalog->ddl_mu);
        Status st = rename_locked(table, name, new_name, overwrite, arena, ret_result, ret_position);
        ddl_end(table->catalog);
        return st;
}

/* --- the end of a build --- */

/* `error` data NULL: it is ready. */
static Status end_build(TableRef *table, const Index *index, Bytes error)
{
        _cleanup_(change_done) Change change = {0};
        uint64_t position = 0;
        size_t i = 0;
        TRY(change_begin(table, &change));
        while (i < change.to.count && change.to.items[i].index != index)
                i++;
        if (i < change.to.count) {
                change.to.items[i].ready = !error.data;
                change.to.items[i].error = error;
        } else if (change.to.ttl.index == index) {
                change.to.ttl.ready = true;
        } else {
                return ST_OK; /* it is no more */
        }
        if (error.data)
                change.clear_tree = index->tree;
        return change_commit(&change, &position);
}

Status index_make_ready(TableRef *table, const Index *index)
{
        mutex_lock(&table->catalog->ddl_mu);
        Status st = end_build(table, index, BYTES_NONE);
        ddl_end(table->catalog);
        if (!st && index->field.data)
                ttl_wake(table->catalog);
        return st;
}

Status index_make_failed(TableRef *table, const Index *index, Bytes error)
{
        mutex_lock(&table->catalog->ddl_mu);
        Status st = end_build(table, index, error);
        ddl_end(table->catalog);
        return st;
}

/* --- status --- */

/* What is printed of a function is made on the heap before an arena is asked for anything. */
typedef struct StatusList {
        const Schema *schema;
        const bool *wanted; /* NULL: all */
        Buf *binaries, *texts;
} StatusList;

static Value text_in(Arena *arena, Bytes text)
{
        return value_string(BYTES(arena_dup(arena, text.data, text.size), text.size));
}

static Value status_row(const StatusList *list, size_t i, Arena *arena)
{
        const IndexInfo *info = &list->schema->infos[i];
        const Buf *binary = &list->binaries[i], *text = &list->texts[i];
        ObjectBuilder row;
        object_init(&row, arena, 9);
        if (info->error.data)
                object_add_str(&row, "error", text_in(arena, info->error));
        object_add_str(&row, "function",
                       value_binary(BYTES(arena_dup(arena, binary->data, binary->size), binary->size)));
        object_add_str(&row, "geo", value_bool(info->geo));
        object_add_str(&row, "index", text_in(arena, info->name));
        object_add_str(&row, "multi", value_bool(info->multi));
        object_add_str(&row, "outdated", value_bool(false));
        if (!info->ready && !info->error.data)
                object_add_str(&row, "progress", value_number(index_progress(list->schema->indexes[i])));
        object_add_str(&row, "query", text_in(arena, BYTES(text->data, text->size)));
        object_add_str(&row, "ready", value_bool(info->ready));
        if (info->unique) /* ours: RethinkDB's rows have no such field */
                object_add_str(&row, "unique", value_bool(true));
        return object_take(&row);
}

static Value build_status(void *ctx, Arena *arena)
{
        const StatusList *list = ctx;
        ArrayBuilder rows;
        array_init(&rows, arena, list->schema->count);
        for (size_t i = 0; i < list->schema->count; i++)
                if (!list->wanted || list->wanted[i])
                        array_add(&rows, status_row(list, i, arena));
        return array_take(&rows);
}

#define PRINTED_MAX_BYTES ((size_t)64 << 20)

/* "indexCreate('x', function(_var1) { ... }, {multi: true, geo: true})" */
static Status print_index(const IndexInfo *info, const Index *index, Buf *binary, Buf *text)
{
        const struct {
                const char *name;
                bool set;
        } options[] = {{"multi", info->multi}, {"geo", info->geo}, {"unique", info->unique}};
        IndexSpec spec = {.function = index->function, .multi = info->multi, .geo = info->geo, .unique = info->unique};
        const char *before = ", {";
        TRY(closure_binary_write(&spec, binary));
        TRY(buf_printf(text, "indexCreate('%.*s', ", S(info->name)));
        TRY(closure_print(index->closure, text));
        for (size_t i = 0; i < ELEMENTS(options); i++) {
                if (!options[i].set)
                        continue;
                TRY(buf_printf(text, "%s%s: true", before, options[i].name));
                before = ", ";
        }
        return buf_append_str(text, info->multi || info->geo || info->unique ? "})" : ")");
}

static Status status_of(const Schema *schema, const bool *wanted, Arena *arena, Value *ret_status)
{
        StatusList list = {.schema = schema, .wanted = wanted};
        Status st = ST_OK;
        list.binaries = mem_zalloc((2 * schema->count + 1) * sizeof(Buf));
        if (!list.binaries)
                return status_nomem();
        list.texts = list.binaries + schema->count;
        for (size_t i = 0; i < 2 * schema->count; i++)
                buf_init(&list.binaries[i], PRINTED_MAX_BYTES);
        for (size_t i = 0; !st && i < schema->count; i++)
                if (!wanted || wanted[i])
                        st = print_index(&schema->infos[i], schema->indexes[i], &list.binaries[i], &list.texts[i]);
        if (!st)
                st = build_guarded(arena, build_status, &list, ret_status);
        for (size_t i = 0; i < 2 * schema->count; i++)
                buf_done(&list.binaries[i]);
        mem_free(list.binaries);
        return st;
}

/* Of the names that are not there, RethinkDB complains of the first in order. */
static Status find_wanted(const TableRef *table, const Schema *schema, const Value *names, size_t count, bool *wanted)
{
        Bytes missing = BYTES_NONE;
        for (size_t i = 0; i < count; i++) {
                Bytes name = value_bytes(names[i]);
                size_t at = schema_find(schema, name);
                if (at < schema->count)
                        wanted[at] = true;
                else if (!missing.data || bytes_compare(name, missing) < 0)
                        missing = name;
        }
        if (!missing.data)
                return ST_OK;
        return status_new(ERR_OP_FAILED, "Index `%.*s` was not found on table `%.*s.%.*s`.", S(missing),
                          S(table->info.db), S(table->info.name));
}

static Status index_status(TableRef *table, const Value *names, size_t count, Arena *arena, Value *ret_status)
{
        static const Schema empty = {.count = 0};
        _cleanup_(schema_unrefp) Schema *now = NULL;
        const Schema *schema = &empty;
        if (table->store) {
                if (store_table_dropped(table->store))
                        return no_table(table);
                schema = now = table_state_schema(table->state);
        }
        bool wanted[STORE_TREES_MAX] = {false};
        TRY(find_wanted(table, schema, names, count, wanted));
        return status_of(schema, count ? wanted : NULL, arena, ret_status);
}

/* --- write hook --- */

static Status hook_set_locked(TableRef *table, Bytes function, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        _cleanup_(change_done) Change change = {0};
        _cleanup_(closure_unrefp) Closure *closure = NULL;
        TRY(change_begin(table, &change));
        bool existed = change.to.hook.data != NULL;
        TRY(answer_of(arena, !function.data ? "deleted" : existed ? "replaced" : "created", 1, ret_result));
        if (!function.data && !existed)
                return ST_OK;
        if (function.data)
                TRY(closure_load(function, &closure));
        change.to.hook = function;
        change.to.hook_closure = closure;
        return change_commit(&change, ret_position);
}

static Status write_hook_set(TableRef *table, Bytes function, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        if (!table->store)
                return special("set a write hook on the tables in it");
        mutex_lock(&table->catalog->ddl_mu);
        Status st = hook_set_locked(table, function, arena, ret_result, ret_position);
        ddl_end(table->catalog);
        return st;
}

static Value build_hook(void *ctx, Arena *arena)
{
        const StatusList *list = ctx;
        const Buf *binary = list->binaries, *text = list->texts;
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("function"),
                            value_binary(BYTES(arena_dup(arena, binary->data, binary->size), binary->size))};
        fields[1] = (Field){BYTES_STR("query"), text_in(arena, BYTES(text->data, text->size))};
        return value_object_sorted(fields, 2);
}

static Status print_hook(const Schema *schema, Buf *binary, Buf *text)
{
        TRY(buf_append_str(binary, CLOSURE_HOOK_PREFIX));
        TRY(buf_append(binary, schema->hook.data, schema->hook.size));
        TRY(buf_append_str(text, "setWriteHook("));
        TRY(closure_print(schema->hook_closure, text));
        return buf_append_byte(text, ')');
}

static Status write_hook_get(TableRef *table, Arena *arena, Value *ret_hook)
{
        Buf binary, text;
        const Schema *schema = table->schema;
        *ret_hook = value_none();
        if (!schema || !schema->hook.data)
                return ST_OK;
        buf_init(&binary, PRINTED_MAX_BYTES);
        buf_init(&text, PRINTED_MAX_BYTES);
        Status st = print_hook(schema, &binary, &text);
        if (!st)
                st = build_guarded(arena, build_hook, &(StatusList){.binaries = &binary, .texts = &text}, ret_hook);
        buf_done(&binary);
        buf_done(&text);
        return st;
}

void index_ddl_fill(TableSource *source)
{
        source->index_create = index_create;
        source->index_drop = index_drop;
        source->index_rename = index_rename;
        source->index_status = index_status;
        source->write_hook_set = write_hook_set;
        source->write_hook_get = write_hook_get;
}
