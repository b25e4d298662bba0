/* users.h - who may log in and what each may do: documents `u<name>` of the catalog, held in memory.
 *
 * A User is immutable and counted; a change publishes another one under the same name, while all slots of the names'
 * lock are held and before its commit is finished (README I2), so that what is permitted is right from the moment at
 * which the change is answered. `admin` is always there and may do everything. Any thread. */
#ifndef TABLE_USERS_H
#define TABLE_USERS_H

#include "table/permissions.h"
#include "table/table_int.h"

#define ADMIN "admin"

typedef struct UserGrant { /* what is said for one database or table */
        char id[UUID_TEXT_BYTES + 1];
        bool of_table;
        Permissions permissions;
} UserGrant;

typedef struct User {
        atomic_uint refs;
        Bytes name; /* behind the grants */
        bool has_password;
        ScramCredential credential; /* without a password: that of the empty one */
        Permissions at_server;
        size_t grant_count;
        UserGrant grants[]; /* sorted by id */
} User;
User *user_unref(User *user); /* NULL is fine; returns NULL */

/* --- opening and closing the catalog --- */
Status users_load(TableCatalog *catalog, Bytes key, Value doc) MUST_USE;
Status users_loaded(TableCatalog *catalog) MUST_USE; /* after all: makes `admin` if it has no document */
void users_forget(TableCatalog *catalog);

/* --- looking --- */
User *users_find(TableCatalog *catalog, Bytes name); /* a new reference, or NULL */
/* All users, referenced, in no order. */
Status users_all(TableCatalog *catalog, User ***ret_users, size_t *ret_count) MUST_USE;
void users_all_done(User **users, size_t count);
/* For TableSource. */
Status users_permit(void *ctx, Bytes user, unsigned what, Bytes db, Bytes table) MUST_USE;
Status users_permit_table(TableRef *table, Bytes user, unsigned what) MUST_USE;
/* By ids: `table_id` data NULL: on the database's level. */
Status users_permit_ids(TableCatalog *catalog, Bytes user, unsigned what, Bytes db_id, Bytes table_id) MUST_USE;

/* --- changing --- */
/* Edits a copy of the user (`fresh`: there was none); an error leaves all as it was. Under ddl_mu: builds nothing in an
 * arena. */
typedef Status (*UserEdit)(void *ctx, User *user, bool fresh);
/* ERR_NOT_FOUND if there is no such user and none is to be made. */
Status users_edit(TableCatalog *catalog, Bytes name, bool create, UserEdit edit, void *ctx,
                  uint64_t *ret_position) MUST_USE;
Status users_delete(TableCatalog *catalog, Bytes name, uint64_t *ret_position) MUST_USE; /* ERR_NOT_FOUND */
/* The place of a database's or table's permissions in a user given to a UserEdit, which has room for one more. */
Permissions *user_permissions_for(User *user, Bytes id, bool of_table);
/* The same for looking; nothing is said if there is no entry. */
Permissions user_permissions_at(const User *user, Bytes id);
Status users_credential(TableCatalog *catalog, Bytes password, uint32_t iterations,
                        ScramCredential *ret_credential) MUST_USE;
Status users_grant(void *ctx, Bytes granter, Bytes user, Bytes db, Bytes table, Value permissions, Arena *arena,
                   Value *ret_result, uint64_t *ret_position) MUST_USE;
void users_audit(TableCatalog *catalog, const char *format, ...) PRINTF_LIKE(2, 3);
/* {"read":true} ..., for the log. */
const char *permissions_text(Permissions permissions, char out[96]);

#endif
