/* text_fuzz.c - text ReQL: any bytes as a text, or, when the first is 255, as decisions that make a tree
 * (query_grammar.h). What must hold is in text_check.h: no crash, memory in proportion to the text, places inside the
 * text; and what compiles is printed as a text that gives the same tree and prints the same again. */
#include "text_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static TextCheck check;
        static Gen gen;
        if (!gen.out.max_bytes) {
                text_check_init(&check);
                buf_init(&gen.out, 1 << 20);
                gen_check();
        }
        if (size > 1 << 16)
                return 0;
        if (size && data[0] == 255) {
                gen.data = data + 1;
                gen.size = size - 1;
                text_check_random_tree(&check, &gen);
        } else {
                text_check_text(&check, BYTES(data, size));
        }
        return 0;
}
