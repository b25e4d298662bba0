/* identity.h - who this server is: an id that stays with the data directory, and a name for people. */
#ifndef SERVER_IDENTITY_H
#define SERVER_IDENTITY_H

#include "os/os.h"

#define SERVER_ID_FILE    "server-id" /* in the data directory: the id and a newline */
#define SERVER_ID_BYTES   37          /* uuid text with NUL */
#define SERVER_NAME_BYTES 64

/* Reads the id, or makes and writes one. ERR_CORRUPT if the file is something else. */
MUST_USE Status identity_load(Os *os, const char *data_dir, char ret_id[SERVER_ID_BYTES]);
/* `name` made to fit RethinkDB's rules for names (only [A-Za-z0-9_], not empty); NULL: from the host's name. */
void identity_name(const char *name, char ret_name[SERVER_NAME_BYTES]);

#endif
