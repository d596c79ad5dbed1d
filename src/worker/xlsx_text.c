#include "worker/xlsx_text.h"

#include <string.h>

#include "worker/text_scan.h"

/* Not zero where a byte is no character that stands for itself, or may not be: 0xEF begins U+FFFE. */
static inline bytes16 special_of(bytes16 b)
{
    return (bytes16)((b < 0x20) | (b == '&') | ((b & 0xfd) == '<') | (b == '_') | (b == 0xEF)); /* '<' 0x3C, '>' 0x3E */
}

static inline bool is_special(char c)
{
    uint8_t b = (uint8_t)c;
    return b < 0x20 || b == '&' || b == '<' || b == '>' || b == '_' || b == 0xEF;
}

bool xlsx_is_plain(const char *data, size_t length)
{
    for (; length >= 16; data += 16, length -= 16)
        if (any(special_of(load_bytes(data))))
            return false;
    while (length > 0 && !is_special(*data)) {
        data++;
        length--;
    }
    return length == 0;
}

static inline bool is_forbidden(uint8_t c)
{
    return c < 0x20 && c != '\t' && c != '\n'; /* a reader makes a line feed of a carriage return: XML 1.0, 2.11 */
}

/* U+FFFE, U+FFFF */
static bool is_noncharacter(const char *at, const char *end)
{
    return end - at >= 3 && memcmp(at, "\xEF\xBF", 2) == 0 && ((uint8_t)at[2] & 0xFE) == 0xBE;
}

static bool is_hex_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

/* The underscore at `at` begins what a reader would take for an escape: "_x0041_", whose last underscore may also be
 * the first of an escape of ours. */
static bool reads_as_escape(const char *at, const char *end)
{
    if (end - at < 7 || at[1] != 'x')
        return false;
    for (int i = 2; i < 6; i++)
        if (!is_hex_digit(at[i]))
            return false;
    return at[6] == '_' || is_forbidden((uint8_t)at[6]) || is_noncharacter(at + 6, end);
}

static uint8_t *put(uint8_t *to, const char *text)
{
    size_t length = strlen(text);
    memcpy(to, text, length);
    return to + length;
}

static uint8_t *put_code(uint8_t *to, unsigned code)
{
    static const char digits[] = "0123456789ABCDEF";
    to = put(to, "_x");
    for (int shift = 12; shift >= 0; shift -= 4)
        *to++ = (uint8_t)digits[code >> shift & 15];
    *to++ = '_';
    return to;
}

/* The character at *from, of those that is_special() tells. */
static uint8_t *put_special(uint8_t *to, const char **from, const char *end)
{
    const char *at = *from;
    uint8_t c = (uint8_t)*at;
    if (c == 0xEF && is_noncharacter(at, end)) {
        *from = at + 3;
        return put_code(to, 0xFF00u + ((uint8_t)at[2] == 0xBE ? 0xFE : 0xFF));
    }
    *from = at + 1;
    if (is_forbidden(c) || (c == '_' && reads_as_escape(at, end)))
        return put_code(to, c);
    if (c == '&')
        return put(to, "&amp;");
    if (c == '<' || c == '>')
        return put(to, c == '<' ? "&lt;" : "&gt;");
    *to = c;
    return to + 1;
}

uint8_t *xlsx_escape(uint8_t *to, const char **from, const char *stop, const char *end)
{
    const char *at = *from;
    while (at < stop) {
        if (stop - at >= 16) {
            bytes16 b = load_bytes(at);
            memcpy(to, &b, sizeof b);
            if (!any(special_of(b))) {
                at += 16;
                to += 16;
                continue;
            }
        }
        const char *until = stop - at > 16 ? at + 16 : stop;
        while (at < until) {
            if (is_special(*at))
                to = put_special(to, &at, end);
            else
                *to++ = (uint8_t)*at++;
        }
    }
    *from = at;
    return to;
}

/* --- lengths --- */

/* UTF-16 units of the character that begins with this byte; 0: it begins none. */
static inline size_t units_of(char c)
{
    uint8_t b = (uint8_t)c;
    return (size_t)((b & 0xC0) != 0x80) + (b >= 0xF0);
}

size_t xlsx_units(const char *data, size_t length)
{
    size_t units = 0;
    for (size_t i = 0; i < length; i++)
        units += units_of(data[i]);
    return units;
}

size_t xlsx_prefix(const char *data, size_t length, size_t units)
{
    for (size_t i = 0; i < length; i++) {
        if (units_of(data[i]) > units)
            return i;
        units -= units_of(data[i]);
    }
    return length;
}
