/* main.c - dispatch only: commands.c knows the commands, and what happens on an error. */
#include <string.h>

#include "cli/command.h"
#include "worker/worker.h"

int main(int argc, char **argv)
{
        if (argc > 2 && strcmp(argv[1], "worker") == 0) /* started by a server, not by people */
                return worker_main(argc - 2, argv + 2);
        return command_main(argc, argv);
}
