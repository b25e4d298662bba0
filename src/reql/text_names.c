/* text_names.c - see text_names.h. */
#include "reql/text_names.h"

#include <ctype.h>

static const TextName names[] = {
#define TERM_TEXT(NAME, spelling, text_form, wraps, at, text_signature, text_help)                                     \
        {.name = (spelling),                                                                                           \
         .signature = (text_signature),                                                                                \
         .help = (text_help),                                                                                          \
         .type = TERM_##NAME,                                                                                          \
         .form = (text_form),                                                                                          \
         .wrap = (wraps),                                                                                              \
         .size = sizeof(spelling) - 1,                                                                                 \
         .options_at = (at)},
#include "reql/terms.def"
#undef TERM
};

static const struct {
        const char *spelling;
        uint16_t type;
} aliases[] = {
#define TERM_ALIAS(NAME, other) {(other), TERM_##NAME},
#include "reql/terms.def"
#undef TERM
};

/* --- spellings --- */

/* The next byte of a name that counts, in lower case; -1 at the end. */
static int next_letter(Bytes name, size_t *at)
{
        while (*at < name.size && name.data[*at] == '_')
                (*at)++;
        return *at < name.size ? tolower(name.data[(*at)++]) : -1;
}

bool text_same_name(Bytes a, Bytes b)
{
        size_t at_a = 0, at_b = 0;
        for (;;) {
                int letter = next_letter(a, &at_a);
                if (letter != next_letter(b, &at_b))
                        return false;
                if (letter < 0)
                        return true;
        }
}

enum { COMPARED_BYTES = 64 };

static size_t letters_of(Bytes name, char out[COMPARED_BYTES])
{
        size_t at = 0, size = 0;
        for (int letter; size < COMPARED_BYTES && (letter = next_letter(name, &at)) >= 0;)
                out[size++] = (char)letter;
        return size;
}

unsigned text_distance(Bytes a, Bytes b, unsigned limit)
{
        char from[COMPARED_BYTES], to[COMPARED_BYTES];
        size_t from_size = letters_of(a, from), to_size = letters_of(b, to);
        if ((from_size > to_size ? from_size - to_size : to_size - from_size) > limit)
                return limit + 1;
        unsigned rows[3][COMPARED_BYTES + 1]; /* before the last one, the last one, this one */
        unsigned *older = rows[0], *old = rows[1], *now = rows[2];
        for (size_t j = 0; j <= to_size; j++)
                old[j] = older[j] = (unsigned)j;
        for (size_t i = 1; i <= from_size; i++) {
                now[0] = (unsigned)i;
                for (size_t j = 1; j <= to_size; j++) {
                        unsigned best = old[j - 1] + (from[i - 1] != to[j - 1]);
                        best = MIN(best, MIN(old[j], now[j - 1]) + 1);
                        if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1])
                                best = MIN(best, older[j - 2] + 1);
                        now[j] = best;
                }
                unsigned *spare = older;
                older = old;
                old = now;
                now = spare;
        }
        return MIN(old[to_size], limit + 1);
}

unsigned text_distance_limit(Bytes name)
{
        return name.size <= 2 ? 0 : name.size <= 5 ? 1 : name.size <= 10 ? 2 : 3;
}

/* --- terms --- */

const TextName *text_names(size_t *ret_count)
{
        *ret_count = ELEMENTS(names);
        return names;
}

const TextName *text_name_of(unsigned type)
{
        for (size_t i = 0; i < ELEMENTS(names); i++)
                if (names[i].type == type)
                        return &names[i];
        return NULL;
}

const TextName *text_name_find(Bytes spelling)
{
        size_t at = 0;
        int first = next_letter(spelling, &at); /* names begin with a letter: few need a closer look */
        for (size_t i = 0; i < ELEMENTS(names); i++)
                if ((names[i].name[0] | 0x20) == first && text_same_name(spelling, BYTES(names[i].name, names[i].size)))
                        return &names[i];
        for (size_t i = 0; i < ELEMENTS(aliases); i++)
                if (text_same_name(spelling, BYTES_STR(aliases[i].spelling)))
                        return text_name_of(aliases[i].type);
        return NULL;
}

const TextName *text_name_nearest(Bytes spelling)
{
        const TextName *nearest = NULL;
        unsigned limit = text_distance_limit(spelling), least = limit + 1;
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                unsigned distance = text_distance(spelling, BYTES_STR(names[i].name), limit);
                if (distance < least) {
                        least = distance;
                        nearest = &names[i];
                }
        }
        return nearest;
}

/* --- options --- */

const char *text_camel(const char *name, char out[TEXT_NAME_BYTES])
{
        size_t size = 0;
        bool as_is = name[0] == '_';
        for (; *name && size + 1 < TEXT_NAME_BYTES; name++) {
                bool upper = !as_is && name[0] == '_' && name[1];
                name += upper;
                out[size++] = (char)(upper ? toupper((unsigned char)*name) : *name);
        }
        out[size] = '\0';
        return out;
}

const char *text_option_at(unsigned type, size_t n)
{
        const TermInfo *info = term_info(type);
        if (!info || !info->optargs)
                return NULL;
        for (const char *const *option = info->optargs; *option; option++)
                if ((*option)[0] != '_' && n-- == 0)
                        return *option;
        return NULL;
}

const char *text_option_find(unsigned type, Bytes spelling)
{
        const TermInfo *info = term_info(type);
        if (!info || !info->optargs)
                return NULL;
        for (const char *const *option = info->optargs; *option; option++)
                if (bytes_equal(spelling, BYTES_STR(*option)) ||
                    ((*option)[0] != '_' && text_same_name(spelling, BYTES_STR(*option))))
                        return *option;
        return NULL;
}

const char *text_option_nearest(unsigned type, Bytes spelling)
{
        const char *nearest = NULL, *option;
        unsigned limit = text_distance_limit(spelling), least = limit + 1;
        for (size_t i = 0; (option = text_option_at(type, i)); i++) {
                unsigned distance = text_distance(spelling, BYTES_STR(option), limit);
                if (distance < least) {
                        least = distance;
                        nearest = option;
                }
        }
        return nearest;
}
