/* base64.h - bytes as text (RFC 4648). */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/bytes.h"

typedef enum Base64Kind {
        BASE64_PLAIN, /* ends in + and /, and in = so that the digits are a multiple of four */
        BASE64_URL,   /* ends in - and _, and without = */
} Base64Kind;

size_t base64_size(Base64Kind kind, size_t bytes); /* of the text */
/* Returns the end of what it wrote. No NUL. */
char *base64_write(Base64Kind kind, Bytes data, char *out);
/* The value of a digit; -1: it is none. */
int base64_digit(Base64Kind kind, uint8_t c);
/* False: it is longer than `max` bytes, or no text that base64_write would write. *ret_size is set only if true. */
bool base64_read(Base64Kind kind, Bytes text, size_t max, uint8_t *out, size_t *ret_size);

#endif
