/* base64.c - see base64.h. */
#include "base/base64.h"

static const char all_digits[2][64] = {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                                       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"};

size_t base64_size(Base64Kind kind, size_t bytes)
{
        return kind == BASE64_URL ? bytes / 3 * 4 + (bytes % 3 * 4 + 2) / 3 : (bytes + 2) / 3 * 4;
}

char *base64_write(Base64Kind kind, Bytes data, char *out)
{
        const char *digits = all_digits[kind];
        size_t at = 0;
        for (; data.size - at >= 3; at += 3) {
                uint32_t three = (uint32_t)data.data[at] << 16 | (uint32_t)data.data[at + 1] << 8 | data.data[at + 2];
                *out++ = digits[three >> 18];
                *out++ = digits[three >> 12 & 63];
                *out++ = digits[three >> 6 & 63];
                *out++ = digits[three & 63];
        }
        size_t left = data.size - at;
        if (left > 0) {
                uint32_t two = (uint32_t)data.data[at] << 8 | (left > 1 ? data.data[at + 1] : 0);
                *out++ = digits[two >> 10];
                *out++ = digits[two >> 4 & 63];
                if (left > 1)
                        *out++ = digits[two << 2 & 63];
                for (; kind == BASE64_PLAIN && left < 3; left++)
                        *out++ = '=';
        }
        return out;
}

int base64_digit(Base64Kind kind, uint8_t c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == (uint8_t)all_digits[kind][62] ? 62 : c == (uint8_t)all_digits[kind][63] ? 63 : -1;
}

bool base64_read(Base64Kind kind, Bytes text, size_t max, uint8_t *out, size_t *ret_size)
{
        size_t digits = text.size, size = 0;
        uint32_t bits = 0;
        unsigned held = 0;
        while (kind == BASE64_PLAIN && digits > 0 && text.data[digits - 1] == '=')
                digits--;
        for (size_t i = 0; i < digits; i++) {
                int digit = base64_digit(kind, text.data[i]);
                if (digit < 0)
                        return false;
                bits = bits << 6 | (uint32_t)digit;
                held += 6;
                if (held < 8)
                        continue;
                if (size == max)
                        return false;
                held -= 8;
                out[size++] = (uint8_t)(bits >> held);
        }
        if (held >= 6 || (bits & ((1u << held) - 1)) != 0 || text.size != base64_size(kind, size))
                return false;
        *ret_size = size;
        return true;
}
