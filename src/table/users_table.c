/* users_table.c - tables `users` and `permissions` of database `rethinkdb`, with RethinkDB's rules and messages. */
#include "table/system_int.h"
#include "table/users.h"
#include "value/json.h"

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

static Status got(const char *expected, Value v, Arena *arena)
{
        Bytes text = json_pretty_text(v, arena);
        return status_new(ERR_OP_FAILED, "%s, got %.*s.", expected, S(text));
}

/* Fields of `row` beside those named: "Unexpected key(s) `a`, `b`." */
static Status no_others(Value row, const char *const *names, size_t count, Arena *arena)
{
        const char *others = NULL;
        for (size_t i = 0; i < value_count(row); i++) {
                Bytes key;
                bool known = false;
                (void)value_field_at(row, i, &key);
                for (size_t k = 0; k < count; k++)
                        known |= bytes_equal(key, BYTES_STR(names[k]));
                if (!known)
                        others = arena_printf(arena, "%s%s%.*s", others ? others : "", others ? "`, `" : "", S(key));
        }
        return others ? status_new(ERR_OP_FAILED, "Unexpected key(s) `%s`.", others) : ST_OK;
}

/* --- users --- */

static Value build_user(void *ctx, Arena *arena)
{
        const User *user = ctx;
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("id"), system_text(arena, user->name)};
        fields[1] = (Field){BYTES_STR("password"), value_bool(user->has_password)};
        return value_object_sorted(fields, 2);
}

static Status collect_users(SystemCollector *collector)
{
        User **users;
        size_t count;
        TRY(users_all(collector->table->catalog, &users, &count));
        Status st = ST_OK;
        for (size_t i = 0; !st && i < count; i++)
                st = system_add(collector, build_user, users[i]);
        users_all_done(users, count);
        return st;
}

/* What a row says of the password. */
typedef struct Password {
        enum { PASSWORD_KEEP, PASSWORD_NONE, PASSWORD_NEW } what;
        Bytes text;
        uint32_t iterations;
        ScramCredential credential;
        bool fresh; /* for the log */
} Password;

static Status parse_password_object(Value object, Arena *arena, Password *ret)
{
        static const char *const names[] = {"iterations", "password"};
        Value iterations = value_get_str(object, "iterations"), text = value_get_str(object, "password");
        int64_t n;
        if (value_is(iterations, V_NONE))
                return status_new(ERR_OP_FAILED, "Expected a field named `iterations`.");
        if (value_is(iterations, V_NUMBER) && !value_integer(iterations, &n))
                return status_new(ERR_LOGIC, "Number not an integer: %.20g", iterations.number);
        if (!value_is(iterations, V_NUMBER) || n < 1)
                return got("Expected iterations to be a number greater than zero", iterations, arena);
        if (n > USER_ITERATIONS_MAX)
                return status_new(ERR_OP_FAILED, "Expected at most %d iterations, got %lld.", USER_ITERATIONS_MAX,
                                  (long long)n);
        if (value_is(text, V_NONE))
                return status_new(ERR_OP_FAILED, "Expected a field named `password`.");
        if (!value_is(text, V_STRING))
                return got("Expected `password` to be a string", text, arena);
        TRY(no_others(object, names, ELEMENTS(names), arena));
        *ret = (Password){.what = value_bytes(text).size ? PASSWORD_NEW : PASSWORD_NONE,
                          .text = value_bytes(text),
                          .iterations = (uint32_t)n};
        return ST_OK;
}

static Status parse_user(Value row, Arena *arena, Password *ret)
{
        static const char *const names[] = {"id", "password"};
        Value v = value_get_str(row, "password");
        *ret = (Password){.what = PASSWORD_KEEP};
        if (value_is(v, V_NONE))
                return status_new(ERR_OP_FAILED, "Expected a field named `password`.");
        TRY(no_others(row, names, ELEMENTS(names), arena));
        switch (value_type(v)) {
        case V_OBJECT: return parse_password_object(v, arena, ret);
        case V_BOOL:
                if (!value_truthy(v))
                        *ret = (Password){.what = PASSWORD_NONE, .iterations = 1};
                return ST_OK;
        case V_STRING:
                *ret = (Password){.what = value_bytes(v).size ? PASSWORD_NEW : PASSWORD_NONE,
                                  .text = value_bytes(v),
                                  .iterations = value_bytes(v).size ? USER_ITERATIONS : 1};
                return ST_OK;
        default: return got("Expected an object, string or boolean for `password`", v, arena);
        }
}

static Status edit_user(void *ctx, User *user, bool fresh)
{
        Password *password = ctx;
        password->fresh = fresh;
        if (password->what == PASSWORD_KEEP)
                return user->has_password
                               ? ST_OK
                               : status_new(ERR_OP_FAILED, "Expected an object or string to set the password, or "
                                                           "`false` to keep it unset, got true.");
        user->has_password = password->what == PASSWORD_NEW;
        user->credential = password->credential;
        return ST_OK;
}

static Status put_user(const SystemWrite *w, Bytes name)
{
        static const char *const did[] = {"written", "cleared", "set"};
        TableCatalog *catalog = w->table->catalog;
        Password password;
        TRY(parse_user(w->new_row, w->arena, &password));
        /* Before the lock: it takes a millisecond or, with many iterations, seconds. */
        if (password.what != PASSWORD_KEEP)
                TRY(users_credential(catalog, password.text, password.iterations, &password.credential));
        Status st = users_edit(catalog, name, true, edit_user, &password, w->position);
        explicit_bzero(&password.credential, sizeof password.credential);
        TRY(st);
        if (password.fresh)
                users_audit(catalog, "user `%.*s` made %s password, by `%s`", S(name),
                            password.what == PASSWORD_NEW ? "with a" : "without", w->user);
        else if (password.what != PASSWORD_KEEP)
                users_audit(catalog, "password of user `%.*s` %s, by `%s`", S(name), did[password.what], w->user);
        return ST_OK;
}

static Status write_user(const SystemWrite *w)
{
        if (!value_is(w->id, V_STRING) || w->generated)
                return got("Expected a username as the primary key", w->id, w->arena);
        Bytes name = value_bytes(w->id);
        if (name.size && memchr(name.data, 0, name.size)) /* a name is a C string to the sessions */
                return got("Expected a username without null bytes", w->id, w->arena);
        if (!value_is(w->new_row, V_NULL))
                return put_user(w, name);
        if (bytes_equal(name, BYTES_STR(ADMIN)))
                return status_new(ERR_OP_FAILED, "The user `" ADMIN "` can't be deleted.");
        Status st = users_delete(w->table->catalog, name, w->position);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                return status_new(ERR_OP_FAILED, "User `%.*s` not found.", S(name));
        }
        if (!st)
                users_audit(w->table->catalog, "user `%.*s` deleted, by `%s`", S(name), w->user);
        return st;
}

const SystemTable system_users = {
        .name = "users",
        .id = "664a9e0b-8871-51f2-b85c-e0abcb12d3cd",
        .collect = collect_users,
        .write = write_user,
        .asks_always = true,
};

/* --- permissions --- */

typedef struct PermissionsOf { /* a row */
        const User *user;
        bool uuids;
        Permissions permissions;
        Bytes db_id, db, table_id, table; /* data NULL: not of one */
} PermissionsOf;

static Value build_permissions(void *ctx, Arena *arena)
{
        const PermissionsOf *of = ctx;
        ArrayBuilder id;
        ObjectBuilder row;
        array_init(&id, arena, 3);
        object_init(&row, arena, 4);
        array_add(&id, system_text(arena, of->user->name));
        if (of->db_id.data) {
                array_add(&id, system_text(arena, of->db_id));
                object_add_str(&row, "database", system_text(arena, of->uuids ? of->db_id : of->db));
        }
        if (of->table_id.data) {
                array_add(&id, system_text(arena, of->table_id));
                object_add_str(&row, "table", system_text(arena, of->uuids ? of->table_id : of->table));
        }
        Value key = array_take(&id);
        object_add_str(&row, "id", key);
        object_add_str(&row, "permissions", permissions_value(of->permissions, arena_array(arena, Field, 4)));
        object_add_str(&row, "user", value_at(key, 0));
        return object_take(&row);
}

typedef struct PermissionsWalk {
        SystemCollector *collector;
        User **users;
        size_t count;
} PermissionsWalk;

/* The rows of all users about one database or table. */
static Status collect_about(PermissionsWalk *walk, PermissionsOf of)
{
        of.uuids = walk->collector->table->uuids;
        for (size_t i = 0; i < walk->count; i++) {
                of.user = walk->users[i];
                of.permissions = user_permissions_at(of.user, of.table_id.data ? of.table_id : of.db_id);
                if (of.permissions.said)
                        TRY(system_add(walk->collector, build_permissions, &of));
        }
        return ST_OK;
}

static Status collect_about_db(void *ctx, Bytes id, Bytes name)
{
        return collect_about(ctx, (PermissionsOf){.db_id = id, .db = name});
}

static Status collect_about_table(void *ctx, TableRef *table)
{
        Bytes db_id = table->system ? BYTES_STR(SYSTEM_DB_ID) : BYTES(table->db_id, UUID_TEXT_BYTES);
        return collect_about(ctx, (PermissionsOf){.db_id = db_id,
                                                  .db = table->info.db,
                                                  .table_id = table->info.id,
                                                  .table = table->info.name});
}

static Status collect_all_permissions(PermissionsWalk *walk)
{
        TableCatalog *catalog = walk->collector->table->catalog;
        for (size_t i = 0; i < walk->count; i++) {
                PermissionsOf of = {.user = walk->users[i], .permissions = walk->users[i]->at_server};
                if (of.permissions.said)
                        TRY(system_add(walk->collector, build_permissions, &of));
        }
        TRY(collect_about_db(walk, BYTES_STR(SYSTEM_DB_ID), BYTES_STR(SYSTEM_DB)));
        TRY(catalog_each_db(catalog, collect_about_db, walk));
        for (size_t i = 0; i < catalog->system_count; i++)
                TRY(collect_about_table(walk, catalog->system[i]));
        return catalog_each_table(catalog, collect_about_table, walk);
}

static Status collect_permissions(SystemCollector *collector)
{
        PermissionsWalk walk = {.collector = collector};
        TRY(users_all(collector->table->catalog, &walk.users, &walk.count));
        Status st = collect_all_permissions(&walk);
        users_all_done(walk.users, walk.count);
        return st;
}

/* What a key [user, database's id, table's id] names; texts in the write's arena. */
typedef struct Place {
        size_t levels; /* 1 the server, 2 a database, 3 a table */
        Bytes user, db_id, db, table_id, table;
        bool found; /* by the walk */
} Place;

typedef struct PlaceWalk {
        Place *place;
        Arena *arena;
} PlaceWalk;

static Value build_text(void *ctx, Arena *arena)
{
        return system_text(arena, *(Bytes *)ctx);
}

/* The walks hold references, which the arena must not jump past. */
static Status keep(Arena *arena, Bytes text, Bytes *ret)
{
        Value v;
        TRY(build_guarded(arena, build_text, &text, &v));
        *ret = value_bytes(v);
        return ST_OK;
}

static Status match_db(void *ctx, Bytes id, Bytes name)
{
        PlaceWalk *walk = ctx;
        if (!bytes_equal(id, walk->place->db_id))
                return ST_OK;
        walk->place->found = true;
        return keep(walk->arena, name, &walk->place->db);
}

static Status match_table(void *ctx, TableRef *table)
{
        PlaceWalk *walk = ctx;
        Bytes db_id = table->system ? BYTES_STR(SYSTEM_DB_ID) : BYTES(table->db_id, UUID_TEXT_BYTES);
        if (!bytes_equal(table->info.id, walk->place->table_id) || !bytes_equal(db_id, walk->place->db_id))
                return ST_OK;
        walk->place->found = true;
        return keep(walk->arena, table->info.name, &walk->place->table);
}

static bool is_uuid(Value v)
{
        if (!value_is(v, V_STRING) || value_bytes(v).size != UUID_TEXT_BYTES)
                return false;
        Bytes text = value_bytes(v);
        for (size_t i = 0; i < text.size; i++) {
                uint8_t c = text.data[i];
                bool dash = i == 8 || i == 13 || i == 18 || i == 23;
                bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
                if (dash ? c != '-' : !hex)
                        return false;
        }
        return true;
}

static Status parse_place(const SystemWrite *w, Place *place)
{
        TableCatalog *catalog = w->table->catalog;
        PlaceWalk walk = {place, w->arena};
        Value v = w->id;
        *place = (Place){.levels = value_is(v, V_ARRAY) ? value_count(v) : 0};
        if (place->levels < 1 || place->levels > 3)
                return got("Expected an array of one to three items in the primary key", v, w->arena);
        v = value_at(w->id, 0);
        if (!value_is(v, V_STRING))
                return got("Expected a string as the username", v, w->arena);
        place->user = value_bytes(v);
        if (place->levels == 1)
                return ST_OK;
        v = value_at(w->id, 1);
        if (!is_uuid(v))
                return got("Expected a UUID as the database", v, w->arena);
        place->db_id = value_bytes(v);
        TRY(match_db(&walk, BYTES_STR(SYSTEM_DB_ID), BYTES_STR(SYSTEM_DB)));
        TRY(catalog_each_db(catalog, match_db, &walk));
        if (!place->found)
                return status_new(ERR_OP_FAILED, "No database with UUID `%.*s` exists.", S(place->db_id));
        if (place->levels == 2)
                return ST_OK;
        v = value_at(w->id, 2);
        if (!is_uuid(v))
                return got("Expected a UUID as the table", v, w->arena);
        place->table_id = value_bytes(v);
        place->found = false;
        for (size_t i = 0; i < catalog->system_count; i++)
                TRY(match_table(&walk, catalog->system[i]));
        TRY(catalog_each_table(catalog, match_table, &walk));
        if (!place->found)
                return status_new(ERR_OP_FAILED, "No table with UUID `%.*s` exists.", S(place->table_id));
        return ST_OK;
}

/* Field `database` or `table`, if it is there, must say what the key says. */
static Status check_named(const SystemWrite *w, const char *field, const char *what, Bytes name, Bytes id)
{
        SystemFields fields = {.row = w->new_row, .arena = w->arena, .prefix = ""};
        Value v = value_get_str(w->new_row, field);
        Bytes said;
        if (value_is(v, V_NONE))
                return ST_OK;
        if (!w->table->uuids) {
                TRY(fields_check_name(&fields, NULL, what, v, &said));
        } else {
                if (!is_uuid(v))
                        return fields_wrong(&fields, NULL, "Expected a UUID; got ", v);
                said = value_bytes(v);
        }
        if (!bytes_equal(said, w->table->uuids ? id : name))
                return status_new(ERR_OP_FAILED, "The key `%s` does not match the primary key.", field);
        return ST_OK;
}

typedef struct PermissionsEdit {
        const Place *place;
        bool clears;
        PermissionsChange change;
        Permissions result;
} PermissionsEdit;

static Status edit_permissions(void *ctx, User *user, bool fresh)
{
        PermissionsEdit *edit = ctx;
        const Place *place = edit->place;
        Permissions *at = place->levels == 1   ? &user->at_server
                          : place->levels == 2 ? user_permissions_for(user, place->db_id, false)
                                               : user_permissions_for(user, place->table_id, true);
        *at = edit->clears ? (Permissions){0} : permissions_change(*at, edit->change);
        edit->result = *at;
        return ST_OK;
}

static Status no_user(Bytes name)
{
        return status_new(ERR_OP_FAILED, "No user named `%.*s`.", S(name));
}

static Status parse_permissions_row(const SystemWrite *w, const Place *place, PermissionsEdit *edit)
{
        static const char *const names[] = {"id", "permissions", "user", "database", "table"};
        Value user = value_get_str(w->new_row, "user");
        if (!value_is(user, V_NONE) && !value_is(user, V_STRING))
                return got("Expected a string as the username", user, w->arena);
        if (!value_is(user, V_NONE) && !bytes_equal(value_bytes(user), place->user))
                return status_new(ERR_OP_FAILED, "The key `user` does not match the primary key.");
        if (place->levels > 1)
                TRY(check_named(w, "database", "database name", place->db, place->db_id));
        if (place->levels > 2)
                TRY(check_named(w, "table", "table name", place->table, place->table_id));
        Value permissions = value_get_str(w->new_row, "permissions");
        if (value_is(permissions, V_NONE))
                return status_new(ERR_OP_FAILED, "Expected a field `permissions`.");
        TRY(permissions_parse(permissions, place->levels == 1, w->arena, &edit->change));
        return no_others(w->new_row, names, 2 + place->levels, w->arena);
}

static Status write_permissions(const SystemWrite *w)
{
        TableCatalog *catalog = w->table->catalog;
        Place place;
        PermissionsEdit edit = {.place = &place, .clears = value_is(w->new_row, V_NULL)};
        char text[96];
        if (w->generated)
                return status_new(ERR_OP_FAILED, "You must specify a primary key.");
        TRY(parse_place(w, &place));
        User *user = users_find(catalog, place.user);
        if (!user)
                return no_user(place.user);
        user_unref(user);
        if (bytes_equal(place.user, BYTES_STR(ADMIN)))
                return status_new(ERR_OP_FAILED, "The permissions of the user `" ADMIN "` can't be modified.");
        if (!edit.clears)
                TRY(parse_permissions_row(w, &place, &edit));
        Status st = users_edit(catalog, place.user, false, edit_permissions, &edit, w->position);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                return no_user(place.user);
        }
        TRY(st);
        users_audit(catalog, "permissions of user `%.*s` on %s%.*s%s%.*s are %s now, by `%s`", S(place.user),
                    place.levels == 1   ? "the server"
                    : place.levels == 2 ? "database "
                                        : "table ",
                    S(place.db), place.levels == 3 ? "." : "", S(place.table), permissions_text(edit.result, text),
                    w->user);
        if (!edit.result.said)
                *w->ret_row = value_null(); /* a row that says nothing is none */
        return ST_OK;
}

const SystemTable system_permissions = {
        .name = "permissions",
        .id = "c8083c3a-17a1-5451-bf91-47caa60650be",
        .collect = collect_permissions,
        .write = write_permissions,
        .asks_always = true,
};
