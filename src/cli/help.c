/* help.c - `photondb help [COMMAND]` and every command's --help, made from the tables that the parser uses. */
#include <ctype.h>

#include "cli/command.h"

enum { LEFT_WIDTH = 28 };

static void print_lines(const char *text, const char *indent)
{
        while (*text) {
                size_t length = strcspn(text, "\n");
                printf("%s%.*s\n", indent, (int)length, text);
                text += length;
                text += *text == '\n';
        }
}

static void print_option(const Option *option)
{
        char left[64];
        char letter[8] = "";
        if (option->letter)
                snprintf(letter, sizeof letter, "-%c, ", option->letter);
        const char *before = !option->value_name ? "" : option->bare ? "[=" : " ";
        int length = snprintf(left, sizeof left, "%s--%s%s%s%s", letter, option->name, before,
                              option->value_name ? option->value_name : "", option->bare ? "]" : "");
        printf("  %-*s%s%s", LEFT_WIDTH, left, length >= LEFT_WIDTH ? " " : "", option->help);
        if (option->choices)
                printf(": %s", option->choices);
        if (option->fallback && option->kind != OPTION_FLAG)
                printf(" [%s]", option->fallback);
        putchar('\n');
}

void command_print_help(const Command *command)
{
        printf("photondb %s - %s\n\nUsage: photondb %s%s%s%s\n", command->name, command->summary, command->name,
               command->options->name ? " [options]" : "", *command->words ? " " : "", command->words);
        if (command->details) {
                putchar('\n');
                print_lines(command->details, "");
        }
        if (command->options->name) {
                printf("\nOptions (also as PHOTONDB_NAME in the environment, with _ for -):\n");
                for (const Option *option = command->options; option->name; option++)
                        print_option(option);
        }
        if (command->examples) {
                printf("\nExamples:\n");
                print_lines(command->examples, "  ");
        }
}

void command_print_overview(void)
{
        printf("PhotonDB - a document database that RethinkDB's drivers use.\n\nUsage: photondb COMMAND [options]\n\n"
               "Commands:\n");
        for (size_t i = 0; commands[i]; i++) {
                const Command *command = commands[i];
                char left[64];
                snprintf(left, sizeof left, "%s%s%s", command->name, *command->words ? " " : "", command->words);
                printf("  %-*s%s\n", LEFT_WIDTH, left, command->summary);
        }
        printf("\nphotondb COMMAND --help tells more, with examples.\n\n"
               "First steps:\n"
               "  photondb serve                                       start a server in ./photondb_data\n"
               "  photondb import --table test.users --create u.json   load a file\n"
               "  photondb db list                                     see what is there\n\n"
               "Exit statuses: 0 done, 1 failed, 2 wrong usage, 3 some rows were bad (the others are imported),\n"
               "4 no connection to the server or login refused, 5 check: no verdict, 130 interrupted.\n");
}

static Status run_help(const Invocation *invocation, int *ret_exit)
{
        if (invocation->word_count == 0) {
                command_print_overview();
                return ST_OK;
        }
        const Command *command;
        int words;
        char *argv[COMMAND_MAX_WORDS];
        for (size_t i = 0; i < invocation->word_count; i++)
                argv[i] = (char *)invocation->words[i];
        *ret_exit = EXIT_USAGE;
        TRY(command_find((int)invocation->word_count, argv, invocation->arena, &command, &words));
        *ret_exit = EXIT_DONE;
        command_print_help(command);
        return ST_OK;
}

static const Option no_options[] = {{NULL}};

const Command help_command = {
        .name = "help",
        .words = "[COMMAND]",
        .most_words = 2,
        .summary = "show this, or how a command is used",
        .examples = "photondb help\nphotondb help import\nphotondb help table create",
        .options = no_options,
        .run = run_help,
};
