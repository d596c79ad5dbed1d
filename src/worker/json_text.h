/* Texts into JSON strings, sixteen bytes at once, escaped as DuckDB 1.5.5 escapes them: quote and backslash, and
 * control characters, for which JSON has short forms (RFC 8259, 7) or \u00XX. Nothing else is: UTF-8 stays, and so do
 * '/' and DEL. For json.c and json_value.c; what is here is part of their loops. */
#ifndef WORKER_JSON_TEXT_H
#define WORKER_JSON_TEXT_H

#include "worker/text_scan.h"

#define JSON_ESCAPED_MAX 6 /* bytes of a byte */

/* Bytes that may be overwritten behind what is written. */
#define JSON_SLACK 16

static inline bytes16 json_special_of(bytes16 b)
{
    return (bytes16)((b < 0x20) | (b == '"') | (b == '\\'));
}

/* Not zero if one of eight bytes is to be escaped; the lowest high bit that is set is the first one's. */
static inline uint64_t json_special_bytes(uint64_t word)
{
    uint64_t low = (word - ONES * 0x20) & ~word & HIGHS;
    return low | zero_bytes(word ^ (ONES * '"')) | zero_bytes(word ^ (ONES * '\\'));
}

/* `c` is to be escaped. */
static inline uint8_t *json_escape_byte(uint8_t *to, uint8_t c)
{
    static const char letters[0x20] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};
    static const char digits[] = "0123456789ABCDEF";
    char letter = c < 0x20 ? letters[c] : (char)c;
    *to++ = '\\';
    if (letter) {
        *to++ = (uint8_t)letter;
        return to;
    }
    memcpy(to, "u00", 3);
    to[3] = (uint8_t)digits[c >> 4];
    to[4] = (uint8_t)digits[c & 15];
    return to + 5;
}

static inline bool json_is_special(uint8_t c)
{
    return c < 0x20 || c == '"' || c == '\\';
}

/* `to` has room for JSON_ESCAPED_MAX times the length, and JSON_SLACK. */
static inline uint8_t *json_escape(uint8_t *to, const char *data, size_t length)
{
    const char *end = data + length;
    while (end - data >= 8) {
        if (end - data >= 16) {
            bytes16 b = load_bytes(data);
            if (!any(json_special_of(b))) {
                memcpy(to, &b, sizeof b);
                to += 16;
                data += 16;
                continue;
            }
        }
        uint64_t word = load64(data), special = json_special_bytes(word);
        memcpy(to, &word, sizeof word);
        size_t n = special ? (size_t)__builtin_ctzll(special) / 8 : 8;
        to += n;
        data += n;
        if (special)
            to = json_escape_byte(to, (uint8_t)*data++);
    }
    for (; data < end; data++)
        if (json_is_special((uint8_t)*data))
            to = json_escape_byte(to, (uint8_t)*data);
        else
            *to++ = (uint8_t)*data;
    return to;
}

#endif
