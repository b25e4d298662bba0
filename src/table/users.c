/* users.c - see users.h: the users in memory, their documents, and what they may do.
 *
 *      u<name>   {at_server: {read: bool ...} or null, grants: [{id, of_table, permissions}], has_password, id: name,
 *                 iterations, salt, server_key, stored_key}
 *
 * A grant for a database or table that is gone does no harm, since ids never come again: it is shown to nobody, and
 * left out when the user's document is next written. */
#include "table/system_int.h"
#include "table/users.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "value/json.h"

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

/* --- a user --- */

static Status user_new(Bytes name, size_t grant_capacity, User **ret_user)
{
        User *user = mem_zalloc(sizeof *user + grant_capacity * sizeof(UserGrant) + name.size + 1);
        if (!user)
                return status_nomem();
        char *text = (char *)&user->grants[grant_capacity];
        if (name.size)
                memcpy(text, name.data, name.size);
        atomic_init(&user->refs, 1);
        user->name = BYTES(text, name.size);
        *ret_user = user;
        return ST_OK;
}

static User *user_ref(User *user)
{
        atomic_fetch_add_explicit(&user->refs, 1, memory_order_relaxed);
        return user;
}

User *user_unref(User *user)
{
        if (!user || atomic_fetch_sub_explicit(&user->refs, 1, memory_order_acq_rel) != 1)
                return NULL;
        explicit_bzero(&user->credential, sizeof user->credential);
        mem_free(user);
        return NULL;
}

static void user_unrefp(User **user)
{
        *user = user_unref(*user);
}

static bool is_admin(Bytes name)
{
        return bytes_equal(name, BYTES_STR(ADMIN));
}

/* First grant whose id is not below. */
static size_t grant_place(const User *user, Bytes id)
{
        size_t low = 0, high = user->grant_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (bytes_compare(BYTES(user->grants[middle].id, UUID_TEXT_BYTES), id) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static bool is_grant_of(const User *user, size_t place, Bytes id)
{
        return place < user->grant_count && bytes_equal(BYTES(user->grants[place].id, UUID_TEXT_BYTES), id);
}

Permissions user_permissions_at(const User *user, Bytes id)
{
        size_t place = grant_place(user, id);
        return is_grant_of(user, place, id) ? user->grants[place].permissions : (Permissions){0};
}

Permissions *user_permissions_for(User *user, Bytes id, bool of_table)
{
        size_t place = grant_place(user, id);
        if (!is_grant_of(user, place, id)) {
                memmove(&user->grants[place + 1], &user->grants[place],
                        (user->grant_count - place) * sizeof *user->grants);
                user->grants[place] = (UserGrant){.of_table = of_table};
                memcpy(user->grants[place].id, id.data, UUID_TEXT_BYTES);
                user->grant_count++;
        }
        return &user->grants[place].permissions;
}

/* --- looking --- */

User *users_find(TableCatalog *catalog, Bytes name)
{
        unsigned slot;
        names_lock(catalog, &slot);
        User *user = map_get(catalog->users, name);
        if (user)
                user_ref(user);
        names_unlock(catalog, slot);
        return user;
}

Status users_all(TableCatalog *catalog, User ***ret_users, size_t *ret_count)
{
        unsigned slot;
        size_t cursor = 0, count = 0;
        Bytes name;
        void *value;
        names_lock(catalog, &slot);
        User **users = mem_alloc((map_count(catalog->users) + 1) * sizeof *users);
        while (users && map_next(catalog->users, &cursor, &name, &value))
                users[count++] = user_ref(value);
        names_unlock(catalog, slot);
        if (!users)
                return status_nomem();
        *ret_users = users;
        *ret_count = count;
        return ST_OK;
}

void users_all_done(User **users, size_t count)
{
        for (size_t i = 0; i < count; i++)
                user_unref(users[i]);
        mem_free(users);
}

static Status lacks(Bytes user, const char *permission)
{
        return status_new(ERR_PERMISSION, "User `%.*s` does not have the required `%s` permission.", S(user),
                          permission);
}

/* A user who was deleted may do nothing. */
static unsigned allowed_at(const User *user, Bytes db_id, Bytes table_id)
{
        unsigned allowed = user ? user->at_server.yes : 0;
        if (user && db_id.data)
                allowed = permissions_within(allowed, user_permissions_at(user, db_id));
        if (user && table_id.data)
                allowed = permissions_within(allowed, user_permissions_at(user, table_id));
        return allowed;
}

Status users_permit_ids(TableCatalog *catalog, Bytes user, unsigned what, Bytes db_id, Bytes table_id)
{
        if (is_admin(user))
                return ST_OK;
        unsigned slot;
        names_lock(catalog, &slot);
        unsigned allowed = allowed_at(map_get(catalog->users, user), db_id, table_id);
        names_unlock(catalog, slot);
        const char *lacking = permissions_lacking(allowed, what);
        return lacking ? lacks(user, lacking) : ST_OK;
}

static Bytes db_id_of(const TableRef *table)
{
        return table->system ? BYTES_STR(SYSTEM_DB_ID) : BYTES(table->db_id, UUID_TEXT_BYTES);
}

Status users_permit_table(TableRef *table, Bytes user, unsigned what)
{
        if (table->system && (what == PERMIT_CONFIG || table->system->own_rows))
                return ST_OK;                       /* it cannot be configured, which whoever tries is told */
        if (table->system && (what & PERMIT_WRITE)) /* which RethinkDB asks for first there */
                TRY(users_permit_ids(table->catalog, user, PERMIT_READ, db_id_of(table), table->info.id));
        return users_permit_ids(table->catalog, user, what, db_id_of(table), table->info.id);
}

/* `what` on each table of a database. Under a slot. */
static const char *lacking_on_tables(TableCatalog *catalog, const User *user, unsigned what, const Database *database)
{
        size_t cursor = 0;
        Bytes name;
        void *value;
        const char *lacking = NULL;
        while (!lacking && map_next(catalog->tables, &cursor, &name, &value)) {
                const TableRef *table = value;
                if (bytes_equal(BYTES(table->db_id, UUID_TEXT_BYTES), BYTES(database->id, UUID_TEXT_BYTES)))
                        lacking = permissions_lacking(allowed_at(user, db_id_of(table), table->info.id), what);
        }
        return lacking;
}

Status users_permit(void *ctx, Bytes user, unsigned what, Bytes db, Bytes table)
{
        TableCatalog *catalog = ctx;
        const char *lacking;
        unsigned slot;
        if (is_admin(user))
                return ST_OK;
        if (!db.data)
                return users_permit_ids(catalog, user, what, BYTES_NONE, BYTES_NONE);
        if (bytes_equal(db, BYTES_STR(SYSTEM_DB)))
                return ST_OK; /* its tables are permitted by permit_table; else nothing can be done with it, which
                                 whoever tries is told */
        names_lock(catalog, &slot);
        const User *found = map_get(catalog->users, user);
        const Database *database = names_db(catalog, db);
        const TableRef *ref = database && table.data ? names_table(catalog, db, table) : NULL;
        if (!database || (table.data && !ref)) {
                lacking = NULL; /* the caller is told that it does not exist */
        } else {
                Bytes db_id = BYTES(database->id, UUID_TEXT_BYTES);
                lacking = permissions_lacking(allowed_at(found, db_id, ref ? ref->info.id : BYTES_NONE),
                                              what & ~(unsigned)PERMIT_TABLES);
                if (!lacking && (what & PERMIT_TABLES))
                        lacking = lacking_on_tables(catalog, found, what & ~(unsigned)PERMIT_TABLES, database);
        }
        names_unlock(catalog, slot);
        return lacking ? lacks(user, lacking) : ST_OK;
}

Status table_user_find(TableCatalog *catalog, Bytes name, ScramCredential *ret_credential, bool *ret_found)
{
        unsigned slot;
        names_lock(catalog, &slot);
        const User *user = map_get(catalog->users, name);
        *ret_found = user != NULL;
        if (user)
                *ret_credential = user->credential;
        names_unlock(catalog, slot);
        return ST_OK;
}

bool table_user_has_password(TableCatalog *catalog, Bytes name)
{
        _cleanup_(user_unrefp) User *user = users_find(catalog, name);
        return user && user->has_password;
}

/* --- the document --- */

static Bytes document_key(Bytes name, Arena *arena)
{
        uint8_t *key = arena_alloc(arena, name.size + 1);
        key[0] = 'u';
        if (name.size)
                memcpy(key + 1, name.data, name.size);
        return BYTES(key, name.size + 1);
}

static Value grant_document(const UserGrant *grant, Arena *arena)
{
        ObjectBuilder object;
        object_init(&object, arena, 3);
        object_add_str(&object, "id", value_string(BYTES(grant->id, UUID_TEXT_BYTES)));
        object_add_str(&object, "of_table", value_bool(grant->of_table));
        object_add_str(&object, "permissions", permissions_value(grant->permissions, arena_array(arena, Field, 4)));
        return object_take(&object);
}

typedef struct Document {
        const User *user;
        Bytes key;
} Document;

static Value build_document(void *ctx, Arena *arena)
{
        Document *document = ctx;
        const User *user = document->user;
        const ScramCredential *c = &user->credential;
        ObjectBuilder object;
        ArrayBuilder grants;
        document->key = document_key(user->name, arena);
        array_init(&grants, arena, user->grant_count);
        for (size_t i = 0; i < user->grant_count; i++)
                array_add(&grants, grant_document(&user->grants[i], arena));
        object_init(&object, arena, 8);
        object_add_str(&object, "at_server", permissions_value(user->at_server, arena_array(arena, Field, 4)));
        object_add_str(&object, "grants", array_take(&grants));
        object_add_str(&object, "has_password", value_bool(user->has_password));
        object_add_str(&object, "id", value_string(user->name));
        object_add_str(&object, "iterations", value_number(c->iterations));
        object_add_str(&object, "salt", value_binary(BYTES(c->salt, sizeof c->salt)));
        object_add_str(&object, "server_key", value_binary(BYTES(c->server_key, sizeof c->server_key)));
        object_add_str(&object, "stored_key", value_binary(BYTES(c->stored_key, sizeof c->stored_key)));
        return object_take(&object);
}

static Status put_user(TableCatalog *catalog, Commit *commit, const User *user)
{
        Arena arena;
        Document document = {.user = user};
        Value doc;
        arena_init(&arena, 0);
        Status st = build_guarded(&arena, build_document, &document, &doc);
        if (!st)
                st = ddl_put_document(catalog, commit, document.key, doc);
        arena_done(&arena);
        return st;
}

static Status delete_user(TableCatalog *catalog, Commit *commit, Bytes name)
{
        uint8_t *key = mem_alloc(name.size + 1);
        bool found;
        if (!key)
                return status_nomem();
        key[0] = 'u';
        if (name.size)
                memcpy(key + 1, name.data, name.size);
        Status st = commit_delete(commit, catalog->documents, BYTES(key, name.size + 1), &found);
        mem_free(key);
        return st;
}

/* --- reading it --- */

static bool read_binary(Value doc, const char *field, uint8_t *out, size_t size)
{
        Value v = value_get_str(doc, field);
        if (!value_is(v, V_BINARY) || value_bytes(v).size != size)
                return false;
        memcpy(out, value_bytes(v).data, size);
        return true;
}

static bool read_credential(Value doc, ScramCredential *c)
{
        int64_t iterations;
        if (!value_integer(value_get_str(doc, "iterations"), &iterations) || iterations < 1 || iterations > UINT32_MAX)
                return false;
        c->iterations = (uint32_t)iterations;
        return read_binary(doc, "salt", c->salt, sizeof c->salt) &&
               read_binary(doc, "server_key", c->server_key, sizeof c->server_key) &&
               read_binary(doc, "stored_key", c->stored_key, sizeof c->stored_key);
}

static bool read_permissions(Value v, bool at_server, Permissions *ret)
{
        PermissionsChange change;
        Arena arena;
        *ret = (Permissions){0};
        if (value_is(v, V_NULL))
                return true;
        if (!value_is(v, V_OBJECT))
                return false;
        arena_init(&arena, 0); /* for the message, which nobody reads */
        for (size_t i = 0; i < value_count(v); i++) {
                Bytes key;
                Value said = value_field_at(v, i, &key);
                if (!value_is(said, V_BOOL)) {
                        arena_done(&arena);
                        return false;
                }
        }
        Status st = permissions_parse(v, at_server, &arena, &change);
        arena_done(&arena);
        if (st) {
                status_ignore(st);
                return false;
        }
        *ret = change.to;
        return true;
}

static bool read_grant(Value doc, User *user)
{
        Value id = value_get_str(doc, "id"), of_table = value_get_str(doc, "of_table");
        Permissions permissions;
        if (!value_is(id, V_STRING) || value_bytes(id).size != UUID_TEXT_BYTES || !value_is(of_table, V_BOOL) ||
            !read_permissions(value_get_str(doc, "permissions"), false, &permissions))
                return false;
        *user_permissions_for(user, value_bytes(id), value_truthy(of_table)) = permissions;
        return true;
}

static bool read_user(Value doc, User *user)
{
        Value grants = value_get_str(doc, "grants"), has_password = value_get_str(doc, "has_password");
        if (!value_is(has_password, V_BOOL) || !read_credential(doc, &user->credential) ||
            !read_permissions(value_get_str(doc, "at_server"), true, &user->at_server))
                return false;
        user->has_password = value_truthy(has_password);
        for (size_t i = 0; i < value_count(grants); i++)
                if (!read_grant(value_at(grants, i), user))
                        return false;
        return true;
}

/* The user that a document says; NULL and ST_OK if it is not one. */
static Status parse_document(Bytes key, Value doc, User **ret_user)
{
        _cleanup_(user_unrefp) User *user = NULL;
        Value id = value_get_str(doc, "id"), grants = value_get_str(doc, "grants");
        *ret_user = NULL;
        if (!value_is(id, V_STRING) || !bytes_equal(value_bytes(id), BYTES(key.data + 1, key.size - 1)) ||
            !value_is(grants, V_ARRAY))
                return ST_OK;
        TRY(user_new(value_bytes(id), value_count(grants), &user));
        if (read_user(doc, user))
                *ret_user = take(user);
        return ST_OK;
}

bool table_user_document_valid(Bytes key, Value doc)
{
        _cleanup_(user_unrefp) User *user = NULL;
        Status st = parse_document(key, doc, &user);
        bool valid = st != ST_OK || user; /* no memory to tell: not wrong */
        status_ignore(st);
        return valid;
}

Status users_load(TableCatalog *catalog, Bytes key, Value doc)
{
        _cleanup_(user_unrefp) User *user = NULL;
        TRY(parse_document(key, doc, &user));
        if (!user)
                return status_new(ERR_CORRUPT, "the catalog's document `%.*s` is not one of a user", S(key));
        TRY(map_put(catalog->users, user->name, user, NULL));
        take(user);
        return ST_OK;
}

Status users_loaded(TableCatalog *catalog)
{
        _cleanup_(user_unrefp) User *user = NULL;
        if (map_get(catalog->users, BYTES_STR(ADMIN)))
                return ST_OK;
        TRY(user_new(BYTES_STR(ADMIN), 0, &user));
        user->at_server = (Permissions){15, 15};
        if (catalog->host->credential)
                TRY(users_credential(catalog, BYTES("", 0), 1, &user->credential));
        TRY(map_put(catalog->users, user->name, user, NULL));
        take(user);
        return ST_OK;
}

void users_forget(TableCatalog *catalog)
{
        size_t cursor = 0;
        Bytes name;
        void *value;
        while (catalog->users && map_next(catalog->users, &cursor, &name, &value))
                user_unref(value);
        catalog->users = map_free(catalog->users);
}

/* --- changing --- */

Status users_credential(TableCatalog *catalog, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        const HostOps *host = catalog->host;
        if (!host->credential)
                return status_new(ERR_OP_FAILED, "This server keeps no passwords.");
        return host->credential(host->ctx, password, iterations, ret_credential);
}

/* Is there a database or table with that id? Under ddl_mu. */
static bool is_known(TableCatalog *catalog, const UserGrant *grant)
{
        Bytes id = BYTES(grant->id, UUID_TEXT_BYTES), name;
        size_t cursor = 0;
        void *value;
        if (bytes_equal(id, BYTES_STR(SYSTEM_DB_ID)))
                return true;
        for (size_t i = 0; i < catalog->system_count; i++)
                if (bytes_equal(catalog->system[i]->info.id, id))
                        return true;
        while (grant->of_table && map_next(catalog->tables, &cursor, &name, &value))
                if (bytes_equal(((TableRef *)value)->info.id, id))
                        return true;
        while (!grant->of_table && map_next(catalog->databases, &cursor, &name, &value))
                if (bytes_equal(BYTES(((Database *)value)->id, UUID_TEXT_BYTES), id))
                        return true;
        return false;
}

/* Leaves out what says nothing or is about what is gone. */
static void prune(TableCatalog *catalog, User *user)
{
        size_t count = 0;
        for (size_t i = 0; i < user->grant_count; i++)
                if (user->grants[i].permissions.said && is_known(catalog, &user->grants[i]))
                        user->grants[count++] = user->grants[i];
        user->grant_count = count;
}

/* A copy with room for one more grant. */
static Status user_copy(Bytes name, const User *user, User **ret_user)
{
        TRY(user_new(name, (user ? user->grant_count : 0) + 1, ret_user));
        User *copy = *ret_user;
        if (!user)
                return ST_OK;
        copy->has_password = user->has_password;
        copy->credential = user->credential;
        copy->at_server = user->at_server;
        copy->grant_count = user->grant_count;
        memcpy(copy->grants, user->grants, user->grant_count * sizeof *user->grants);
        return ST_OK;
}

/* Enters `user` (its reference goes to the map), finishes the commit and frees `old`, or undoes all of it. */
static Status publish(TableCatalog *catalog, Commit *commit, User *user, User *old, uint64_t *ret_position)
{
        uint64_t position = 0;
        names_lock_all(catalog);
        Status st = map_put(catalog->users, user->name, user, NULL);
        if (st) {
                commit_abort(commit);
        } else {
                st = commit_finish(commit, &position);
                if (st && old)
                        status_ignore(
                                map_put(catalog->users, old->name, old, NULL)); /* the entry is there: cannot fail */
                else if (st)
                        map_remove(catalog->users, user->name);
        }
        names_unlock_all(catalog);
        user_unref(st ? user : old);
        *ret_position = MAX(*ret_position, position);
        return st;
}

static Status edit_locked(TableCatalog *catalog, Bytes name, bool create, UserEdit edit, void *ctx,
                          uint64_t *ret_position)
{
        _cleanup_(user_unrefp) User *user = NULL;
        Commit *commit = NULL;
        User *old = map_get(catalog->users, name);
        if (!old && !create)
                return status_new(ERR_NOT_FOUND, "no such user");
        TRY(user_copy(name, old, &user));
        TRY(edit(ctx, user, !old));
        prune(catalog, user);
        TRY(ddl_begin(catalog, &commit));
        Status st = put_user(catalog, commit, user);
        if (st) {
                commit_abort(commit);
                return st;
        }
        return publish(catalog, commit, take(user), old, ret_position);
}

Status users_edit(TableCatalog *catalog, Bytes name, bool create, UserEdit edit, void *ctx, uint64_t *ret_position)
{
        mutex_lock(&catalog->ddl_mu);
        Status st = edit_locked(catalog, name, create, edit, ctx, ret_position);
        ddl_end(catalog);
        return st;
}

static Status delete_locked(TableCatalog *catalog, Bytes name, uint64_t *ret_position)
{
        Commit *commit = NULL;
        uint64_t position = 0;
        User *old = map_get(catalog->users, name);
        if (!old)
                return status_new(ERR_NOT_FOUND, "no such user");
        TRY(ddl_begin(catalog, &commit));
        Status st = delete_user(catalog, commit, name);
        if (st) {
                commit_abort(commit);
                return st;
        }
        TRY(commit_finish(commit, &position));
        names_lock_all(catalog);
        map_remove(catalog->users, name);
        names_unlock_all(catalog);
        user_unref(old);
        *ret_position = MAX(*ret_position, position);
        return ST_OK;
}

Status users_delete(TableCatalog *catalog, Bytes name, uint64_t *ret_position)
{
        mutex_lock(&catalog->ddl_mu);
        Status st = delete_locked(catalog, name, ret_position);
        ddl_end(catalog);
        return st;
}

/* --- the first password --- */

static Status set_credential(void *ctx, User *user, bool fresh)
{
        if (user->has_password)
                return ST_OK; /* somebody was faster: theirs stays */
        user->has_password = true;
        user->credential = *(const ScramCredential *)ctx;
        return ST_OK;
}

Status table_admin_initial_password(TableCatalog *catalog, Bytes password, bool *ret_set)
{
        ScramCredential credential;
        uint64_t position = 0;
        *ret_set = false;
        if (password.size == 0 || table_user_has_password(catalog, BYTES_STR(ADMIN)))
                return ST_OK;
        TRY(users_credential(catalog, password, USER_ITERATIONS, &credential));
        Status st = users_edit(catalog, BYTES_STR(ADMIN), true, set_credential, &credential, &position);
        explicit_bzero(&credential, sizeof credential);
        TRY(st);
        *ret_set = true;
        return store_sync(catalog->store, position);
}

/* --- what the log is told --- */

void users_audit(TableCatalog *catalog, const char *format, ...)
{
        char line[1024];
        va_list args;
        if (!catalog->host->audit)
                return;
        va_start(args, format);
        vsnprintf(line, sizeof line, format, args);
        va_end(args);
        catalog->host->audit(catalog->host->ctx, line);
}

const char *permissions_text(Permissions permissions, char out[96])
{
        Field fields[4];
        Value v = permissions_value(permissions, fields);
        size_t used = 0;
        if (value_is(v, V_NULL))
                return "null";
        for (size_t i = 0; i < value_count(v); i++) {
                Bytes key;
                Value yes = value_field_at(v, i, &key);
                used += (size_t)snprintf(out + used, 96 - used, "%s\"%.*s\":%s", i ? "," : "{", S(key),
                                         value_truthy(yes) ? "true" : "false");
        }
        snprintf(out + used, 96 - used, "}");
        return out;
}

/* --- grant --- */

typedef struct Grant {
        PermissionsChange change;
        Bytes id; /* data NULL: at the server's level */
        bool of_table;
        Permissions old_said, new_said;
} Grant;

static Status apply_grant(void *ctx, User *user, bool fresh)
{
        Grant *grant = ctx;
        Permissions *at = grant->id.data ? user_permissions_for(user, grant->id, grant->of_table) : &user->at_server;
        grant->old_said = *at;
        grant->new_said = *at = permissions_change(*at, grant->change);
        return ST_OK;
}

static Value permissions_result(Permissions permissions, Arena *arena)
{
        return permissions_value(permissions, arena_array(arena, Field, 4));
}

static Value grant_result(const Grant *grant, Arena *arena)
{
        ObjectBuilder pair, result;
        Value *one = arena_array(arena, Value, 1);
        object_init(&pair, arena, 2);
        object_add_str(&pair, "new_val", permissions_result(grant->new_said, arena));
        object_add_str(&pair, "old_val", permissions_result(grant->old_said, arena));
        *one = object_take(&pair);
        object_init(&result, arena, 2);
        object_add_str(&result, "granted", value_number(1));
        object_add_str(&result, "permissions_changes", value_array(one, 1));
        return object_take(&result);
}

static Status not_found(Bytes user)
{
        return status_new(ERR_OP_FAILED, "User `%.*s` not found.", S(user));
}

Status users_grant(void *ctx, Bytes granter, Bytes user, Bytes db, Bytes table, Value permissions, Arena *arena,
                   Value *ret_result, uint64_t *ret_position)
{
        TableCatalog *catalog = ctx;
        TableRef *target = NULL, *of_permissions = NULL;
        Grant grant = {0};
        Value id;
        char text[96];
        if (is_admin(user))
                return status_new(ERR_OP_FAILED, "The permissions of the user `" ADMIN "` can't be modified.");
        TRY(catalog_table_find(catalog, BYTES_STR(SYSTEM_DB), BYTES_STR("permissions"), &of_permissions));
        Status st = users_permit_table(of_permissions, granter, PERMIT_READ | PERMIT_WRITE);
        catalog_table_unref(of_permissions);
        TRY(st);
        User *there = users_find(catalog, user);
        if (!there)
                return not_found(user);
        user_unref(there);
        if (table.data) {
                TRY(catalog_table_find(catalog, db, table, &target));
                grant.id = BYTES(arena_try_alloc(arena, UUID_TEXT_BYTES), UUID_TEXT_BYTES);
                if (grant.id.data)
                        memcpy((void *)grant.id.data, target->info.id.data, UUID_TEXT_BYTES);
                catalog_table_unref(target);
                if (!grant.id.data)
                        return status_nomem();
                grant.of_table = true;
        } else if (db.data) {
                TRY(catalog_db_id(catalog, db, arena, &id));
                grant.id = value_bytes(id);
        }
        TRY(permissions_parse(permissions, !db.data, arena, &grant.change));
        st = users_edit(catalog, user, false, apply_grant, &grant, ret_position);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                return not_found(user);
        }
        TRY(st);
        users_audit(catalog, "permissions of user `%.*s` on %s%.*s%s%.*s are %s now, by `%.*s`", S(user),
                    !db.data     ? "the server"
                    : table.data ? "table "
                                 : "database ",
                    S(db), table.data ? "." : "", S(table), permissions_text(grant.new_said, text), S(granter));
        *ret_result = grant_result(&grant, arena);
        return ST_OK;
}
