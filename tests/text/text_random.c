/* text_random.c - fuzz/text_check.h over made-up trees and texts, from a seed: text-random [FIRST SEED [COUNT]] */
#include <stdlib.h>

#include "../../fuzz/text_check.h"

static uint64_t state;
static uint64_t next_random(void)
{
        state += 0x9e3779b97f4a7c15;
        uint64_t x = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
}

/* The text of a tree, with some words and marks changed, left out or doubled: nearly right. */
static void damage(Buf *text)
{
        static const char *const pieces[] = {
                "(",     ")",      "{",    "}", "[",      "]",        ".",      ",",       ":",  ";",   "=>",
                "=",     "==",     "&&",   "!", "-",      "'",        "\"",     "\\",      "r.", "row", " not ",
                " and ", "filter", "x",    "0", "1e9",    "function", "lambda", "return",  "/*", "//",  "\n",
                "`",     "\u00e9", "\xff", "?", "Buffer", "new Date", ".run(",  "default", "*",  "..."};
        for (uint64_t times = 1 + next_random() % 4; times > 0 && text->size > 0; times--) {
                size_t at = next_random() % text->size,
                       cut = next_random() % 4 ? next_random() % 6 : next_random() % 60;
                cut = MIN(cut, text->size - at);
                const char *piece = next_random() % 3 ? pieces[next_random() % ELEMENTS(pieces)] : "";
                size_t added = strlen(piece), rest = text->size - at - cut;
                if (buf_reserve(text, added))
                        abort();
                memmove(text->data + at + added, text->data + at + cut, rest);
                memcpy(text->data + at, piece, added);
                text->size = at + added + rest;
        }
}

int main(int argc, char **argv)
{
        uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1,
                 count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1500;
        uint8_t bytes[600];
        TextCheck check;
        Gen gen = {0};
        Buf text;
        text_check_init(&check);
        buf_init(&gen.out, 1 << 20);
        buf_init(&text, 64 << 20);
        gen_check();
        for (uint64_t seed = first; seed < first + count; seed++) {
                state = seed;
                size_t size = next_random() % sizeof bytes;
                for (size_t i = 0; i < size; i++)
                        bytes[i] = (uint8_t)next_random();
                gen.data = bytes;
                gen.size = size;
                buf_clear(&check.printed);
                text_check_random_tree(&check, &gen);
                for (int i = 0; i < 3; i++) {
                        buf_clear(&text);
                        if (buf_append(&text, check.printed.data, check.printed.size))
                                abort();
                        damage(&text);
                        text_check_text(&check, BYTES(text.data, text.size));
                }
        }
        printf("seeds %llu to %llu are fine\n", (unsigned long long)first, (unsigned long long)(first + count - 1));
        buf_done(&text);
        buf_done(&gen.out);
        text_check_done(&check);
        return 0;
}
