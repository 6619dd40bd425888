#include "base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice data, struct buf *out)
{
    for (size_t i = 0; i < data.len; i += 3) {
        size_t left = data.len - i;
        uint32_t group = (uint32_t)data.data[i] << 16;
        if (left > 1)
            group |= (uint32_t)data.data[i + 1] << 8;
        if (left > 2)
            group |= data.data[i + 2];
        buf_append_u8(out, (uint8_t)digits[group >> 18]);
        buf_append_u8(out, (uint8_t)digits[(group >> 12) & 63]);
        buf_append_u8(out, left > 1 ? (uint8_t)digits[(group >> 6) & 63] : '=');
        buf_append_u8(out, left > 2 ? (uint8_t)digits[group & 63] : '=');
    }
}

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct slice text, uint8_t *out, size_t max, size_t *len)
{
    *len = 0;
    if (text.len % 4 != 0)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        uint32_t group = 0;
        size_t bytes = 3;
        for (size_t j = 0; j < 4; j++) {
            uint8_t c = text.data[i + j];
            int value = value_of(c);
            if (c == '=' && i + 4 == text.len && (j == 3 || (j == 2 && text.data[i + 3] == '='))) {
                bytes = bytes == 3 ? j - 1 : bytes;
                value = 0;
            }
            if (value < 0)
                return false;
            group = group << 6 | (uint32_t)value;
        }
        if (*len + bytes > max)
            return false;
        for (size_t j = 0; j < bytes; j++)
            out[(*len)++] = (uint8_t)(group >> (16 - 8 * j));
    }
    return true;
}
