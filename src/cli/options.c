/* options.c - flag, environment, file, default: in this order the first that has a value wins. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <ini.h>

enum { NEAREST_MAX_LENGTH = 64, NAME_MAX_LENGTH = 80 };

/* --- one value --- */

typedef struct Unit {
        const char *name;
        double bytes;
} Unit;
static const Unit units[] = {
        {"", 1},
        {"B", 1},
        {"K", 1024},
        {"kB", 1e3},
        {"KiB", 1024},
        {"M", 1048576},
        {"MB", 1e6},
        {"MiB", 1048576},
        {"G", 1073741824},
        {"GB", 1e9},
        {"GiB", 1073741824},
        {"T", 1099511627776},
        {"TB", 1e12},
        {"TiB", 1099511627776},
};

Status options_size(const char *what, const char *text, uint64_t *ret_bytes)
{
        char *end = NULL;
        double number = isdigit((unsigned char)text[0]) ? strtod(text, &end) : NAN;
        if (end && !strpbrk(text, "xXpPeE")) {
                while (*end == ' ')
                        end++;
                for (size_t i = 0; i < ELEMENTS(units); i++) {
                        if (strcasecmp(end, units[i].name) != 0)
                                continue;
                        double bytes = number * units[i].bytes;
                        if (bytes > 9e15)
                                return status_new(ERR_INVALID, "%s: %s is more than any machine has", what, text);
                        *ret_bytes = (uint64_t)bytes;
                        return ST_OK;
                }
        }
        return status_hint(status_new(ERR_INVALID, "%s: \"%s\" is not a size", what, text),
                           "write a number and a unit (kB, MB, GB, KiB, MiB, GiB), for example 512MB or 2GiB");
}

static Status parse_flag(const char *what, const char *text, bool *ret_flag)
{
        static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no", "off", ""};
        for (size_t i = 0; i < ELEMENTS(yes); i++) {
                if (strcasecmp(text, yes[i]) == 0) {
                        *ret_flag = true;
                        return ST_OK;
                }
        }
        for (size_t i = 0; i < ELEMENTS(no); i++) {
                if (strcasecmp(text, no[i]) == 0) {
                        *ret_flag = false;
                        return ST_OK;
                }
        }
        return status_hint(status_new(ERR_INVALID, "%s: \"%s\" is neither yes nor no", what, text),
                           "write true or false");
}

static Status parse_number(const char *what, const Option *option, const char *text, int64_t *ret_number)
{
        char *end;
        errno = 0;
        long long number = strtoll(text, &end, 10);
        if (end == text || *end || errno == ERANGE)
                return status_new(ERR_INVALID, "%s: \"%s\" is not a whole number", what, text);
        if (number < option->least || number > option->most)
                return status_new(ERR_INVALID, "%s: %lld is outside %" PRId64 " .. %" PRId64, what, number,
                                  option->least, option->most);
        *ret_number = number;
        return ST_OK;
}

/* The place of `text` among the words of `choices`. */
static Status parse_choice(const char *what, const Option *option, const char *text, int *ret_choice)
{
        size_t length = strlen(text);
        int place = 0;
        for (const char *word = option->choices; length && *word; place++) {
                size_t word_length = strcspn(word, " ");
                if (word_length == length && strncasecmp(word, text, length) == 0) {
                        *ret_choice = place;
                        return ST_OK;
                }
                word += word_length;
                word += *word == ' ';
        }
        return status_hint(status_new(ERR_INVALID, "%s: there is no \"%s\"", what, text), "one of: %s",
                           option->choices);
}

static void list_add(OptionList *list, const char *text, Arena *arena)
{
        const char **items = arena_array(arena, const char *, list->count + 1);
        if (list->count)
                memcpy(items, list->items, list->count * sizeof *items);
        items[list->count++] = text;
        list->items = items;
}

static Status set_value(const Option *option, const char *what, const char *text, Arena *arena, void *values)
{
        void *field = (char *)values + option->offset;
        switch (option->kind) {
        case OPTION_TEXT: *(const char **)field = arena_dup(arena, text, strlen(text)); return ST_OK;
        case OPTION_FLAG: return parse_flag(what, text, field);
        case OPTION_NUMBER: return parse_number(what, option, text, field);
        case OPTION_SIZE: return options_size(what, text, field);
        case OPTION_CHOICE: return parse_choice(what, option, text, field);
        case OPTION_LIST: list_add(field, arena_dup(arena, text, strlen(text)), arena); return ST_OK;
        }
        return ST_OK;
}

/* --- suggestions --- */

/* Edits (insert, delete, change, swap of neighbours) from one word to another. */
static unsigned edit_distance(const char *a, const char *b)
{
        unsigned rows[3][NEAREST_MAX_LENGTH + 1];
        size_t a_length = strlen(a), b_length = strlen(b);
        if (a_length > NEAREST_MAX_LENGTH || b_length > NEAREST_MAX_LENGTH)
                return UINT32_MAX;
        unsigned *before = rows[0], *above = rows[1], *row = rows[2];
        for (size_t j = 0; j <= b_length; j++)
                above[j] = before[j] = (unsigned)j;
        for (size_t i = 1; i <= a_length; i++) {
                row[0] = (unsigned)i;
                for (size_t j = 1; j <= b_length; j++) {
                        unsigned change = above[j - 1] + (a[i - 1] != b[j - 1]);
                        row[j] = MIN(change, MIN(above[j], row[j - 1]) + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = MIN(row[j], before[j - 2] + 1);
                }
                unsigned *oldest = before;
                before = above;
                above = row;
                row = oldest;
        }
        return above[b_length];
}

const char *options_nearest(const char *word, const char *const *words)
{
        const char *nearest = NULL;
        unsigned least = UINT32_MAX;
        size_t length = strlen(word);
        for (; *words; words++) {
                unsigned distance = edit_distance(word, *words);
                /* what somebody began to type is near, however much is missing */
                if (length >= 3 && strncmp(word, *words, length) == 0)
                        distance = MIN(distance, 1);
                if (distance < least) {
                        least = distance;
                        nearest = *words;
                }
        }
        return least <= 1 + length / 4 ? nearest : NULL;
}

static const Option *find_option(const Option *options, const char *name, size_t length)
{
        for (; options->name; options++) {
                if (strlen(options->name) == length && strncmp(options->name, name, length) == 0)
                        return options;
        }
        return NULL;
}

/* "-f": few options have a letter. */
static const Option *find_letter(const Option *options, const char *word)
{
        for (; options->name && word[0] == '-' && word[1] != '-' && !word[2]; options++) {
                if (options->letter == word[1])
                        return options;
        }
        return NULL;
}

static Status unknown_option(const Option *options, const char *where, const char *dashes, const char *name,
                             Arena *arena)
{
        size_t count = 0;
        while (options[count].name)
                count++;
        const char **names = arena_array(arena, const char *, count + 2);
        for (size_t i = 0; i < count; i++)
                names[i] = options[i].name;
        names[count] = "help";
        names[count + 1] = NULL;
        Status st = status_new(ERR_INVALID, "%sthere is no option %s%s", where, dashes, name);
        const char *nearest = options_nearest(name, names);
        if (nearest)
                return status_hint(st, "did you mean %s%s?", dashes, nearest);
        return status_hint(st, "--help lists the options");
}

/* --- the sources --- */

typedef struct Given {
        bool *set; /* by place in the table: a source before had it */
        const Option *options;
        Arena *arena;
        void *values;
        const char *file;
        Status failed; /* of the configuration file */
} Given;

static Status parse_arguments(const OptionsInput *input, Given *given, const char **positionals, size_t positional_max,
                              size_t *ret_count, bool *ret_help)
{
        bool only_words = false;
        *ret_count = 0;
        for (int i = 0; i < input->argc; i++) {
                const char *word = input->argv[i];
                if (only_words || word[0] != '-' || !word[1]) {
                        if (*ret_count == positional_max)
                                return status_hint(status_new(ERR_INVALID, "\"%s\" is one word too many", word),
                                                   "--help shows what the command takes");
                        positionals[(*ret_count)++] = word;
                        continue;
                }
                if (strcmp(word, "--") == 0) {
                        only_words = true;
                        continue;
                }
                if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
                        *ret_help = true;
                        return ST_OK;
                }
                const Option *option = find_letter(input->options, word);
                const char *text = NULL;
                if (!option && word[1] != '-')
                        return unknown_option(input->options, "", "-", word + 1, given->arena);
                if (!option) {
                        const char *name = word + 2;
                        size_t length = strcspn(name, "=");
                        option = find_option(input->options, name, length);
                        if (!option)
                                return unknown_option(input->options, "", "--", arena_dup(given->arena, name, length),
                                                      given->arena);
                        text = name[length] == '=' ? name + length + 1 : NULL;
                }
                if (!text)
                        text = option->bare;
                if (!text && option->kind == OPTION_FLAG)
                        text = "true";
                else if (!text && i + 1 < input->argc)
                        text = input->argv[++i];
                else if (!text)
                        return status_hint(status_new(ERR_INVALID, "--%s needs a value", option->name), "--%s %s",
                                           option->name, option->value_name);
                given->set[option - input->options] = true;
                TRY(set_value(option, arena_printf(given->arena, "--%s", option->name), text, given->arena,
                              given->values));
        }
        return ST_OK;
}

static const char *env_name(const Option *option, char *out, size_t size)
{
        int length = snprintf(out, size, "PHOTONDB_%s", option->name);
        for (int i = 0; i < length && i < (int)size; i++)
                out[i] = out[i] == '-' ? '_' : (char)toupper((unsigned char)out[i]);
        return out;
}

static Status parse_environment(OptionsEnv env, Given *given)
{
        char name[NAME_MAX_LENGTH];
        for (size_t i = 0; given->options[i].name; i++) {
                const Option *option = &given->options[i];
                const char *text = given->set[i] ? NULL : env(env_name(option, name, sizeof name));
                if (!text)
                        continue;
                /* Kubernetes puts the address of a service called photondb here, e.g. tcp://10.3.2.1:28015 */
                if (option->kind == OPTION_NUMBER && strncmp(text, "tcp://", 6) == 0)
                        continue;
                given->set[i] = true;
                TRY(set_value(option, name, text, given->arena, given->values));
        }
        return ST_OK;
}

static int take_setting(void *ctx, const char *section, const char *name, const char *value)
{
        Given *given = ctx;
        if (given->failed)
                return 0;
        if (*section) {
                given->failed =
                        status_hint(status_new(ERR_INVALID, "%s: unexpected section [%s]", given->file, section),
                                    "the file has no sections, only lines `name = value`");
                return 0;
        }
        char key[NAME_MAX_LENGTH];
        snprintf(key, sizeof key, "%s", name);
        for (char *c = key; *c; c++)
                *c = *c == '_' ? '-' : *c;
        const Option *option = find_option(given->options, key, strlen(key));
        if (!option || strcmp(key, "config") == 0) {
                given->failed = unknown_option(given->options, arena_printf(given->arena, "%s: ", given->file), "", key,
                                               given->arena);
                return 0;
        }
        bool *set = &given->set[option - given->options];
        if (*set)
                return 1;
        /* a later line of the same name wins, so it does not count as set before the file ends */
        given->failed = set_value(option, arena_printf(given->arena, "%s: %s", given->file, option->name), value,
                                  given->arena, given->values);
        return given->failed == ST_OK;
}

static Status parse_file(const char *path, Given *given)
{
        given->file = path;
        FILE *file = fopen(path, "re");
        if (!file)
                return status_errno(errno, "cannot read the configuration file %s", path);
        int line = ini_parse_file(file, take_setting, given);
        fclose(file);
        if (given->failed)
                return take(given->failed);
        if (line > 0)
                return status_hint(status_new(ERR_INVALID, "%s:%d: not a setting", path, line),
                                   "write `name = value`, for example: driver-port = 28015");
        if (line < 0)
                return status_nomem();
        return ST_OK;
}

Status options_parse(const OptionsInput *input, Arena *arena, void *values, const char **positionals,
                     size_t positional_max, size_t *ret_positional_count, bool *ret_help)
{
        size_t count = 0;
        while (input->options[count].name)
                count++;
        Given given = {.options = input->options, .arena = arena, .values = values};
        given.set = arena_zalloc(arena, count + 1);
        *ret_help = false;
        for (size_t i = 0; i < count; i++) {
                if (input->options[i].fallback)
                        TRY(set_value(&input->options[i], input->options[i].name, input->options[i].fallback, arena,
                                      values));
        }
        TRY(parse_arguments(input, &given, positionals, positional_max, ret_positional_count, ret_help));
        if (*ret_help)
                return ST_OK;
        if (input->env)
                TRY(parse_environment(input->env, &given));
        const Option *config = find_option(input->options, "config", strlen("config"));
        const char *path = config ? *(const char **)((char *)values + config->offset) : NULL;
        return path ? parse_file(path, &given) : ST_OK;
}
