/* permissions.h - what a user may do, as far as it is said: at the server's level, for a database, for a table.
 *
 * At each level a permission is given, refused or not said; the narrowest level that says something decides, and what
 * nobody says is refused. Pure: no I/O, no locks, any thread. */
#ifndef TABLE_PERMISSIONS_H
#define TABLE_PERMISSIONS_H

#include "query/source.h"

typedef struct Permissions { /* bits of enum Permission */
        uint8_t said, yes;   /* yes is part of said */
} Permissions;

/* What becomes of permissions: those mentioned are set or (null) said no more, the others stay. */
typedef struct PermissionsChange {
        uint8_t mentioned;
        Permissions to; /* part of mentioned */
} PermissionsChange;

/* Reads {read, write, config, connect} of booleans and nulls, with RethinkDB's messages (ERR_OP_FAILED); `connect` only
 * `at_server`. */
MUST_USE Status permissions_parse(Value object, bool at_server, Arena *arena, PermissionsChange *ret_change);
Permissions permissions_change(Permissions old, PermissionsChange change);
/* {config, connect, read, write}: what is said; V_NULL if nothing is. Four fields at most, in `fields`. */
Value permissions_value(Permissions permissions, Field fields[4]);
/* What is allowed (bits of yes) below a level at which `outer` is, when `inner` is said here. */
static inline unsigned permissions_within(unsigned outer, Permissions inner)
{
        return (outer & ~(unsigned)inner.said) | inner.yes;
}
/* The permission of `what` that is lacking if `allowed` are there, as RethinkDB names it; NULL: none. Writing needs
 * reading, too. */
const char *permissions_lacking(unsigned allowed, unsigned what);

#endif
