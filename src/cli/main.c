/* main.c - dispatch only: commands.c knows the commands, and what happens on an error. */
#include "cli/command.h"

int main(int argc, char **argv)
{
        return command_main(argc, argv);
}
