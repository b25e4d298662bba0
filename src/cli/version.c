/* version.c - `photondb version`. */

#include "cli/command.h"
#include "storage/store.h"

static Status run_version(const Invocation *invocation, int *ret_exit)
{
        (void)invocation;
        (void)ret_exit;
        printf("photondb %s\n"
               "wire protocol   RethinkDB V0_3, V0_4, V1_0\n"
               "data directory  format %d\n",
               PHOTONDB_VERSION, STORE_FORMAT_VERSION);
        return ST_OK;
}

static const Option no_options[] = {{NULL}};

const Command version_command = {
        .name = "version",
        .words = "",
        .summary = "show the version of program, protocol and data format",
        .examples = "photondb version\nphotondb --version",
        .options = no_options,
        .run = run_version,
};
