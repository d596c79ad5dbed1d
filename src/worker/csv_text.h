/* Texts into CSV, sixteen bytes at once: which of them ask for quotes, copying, doubling of quotes. For csv.c and
 * csv_rules.c; what is here is part of their loops.
 *
 * `delimiter` is the file's, one byte of ASCII, sixteen times (spread()). Where an output has room for some bytes and
 * CSV_SLACK, those of the slack may be overwritten, whatever the length of the text is. */
#ifndef WORKER_CSV_TEXT_H
#define WORKER_CSV_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "worker/text_scan.h"
#include "worker/value_text.h"

/* What the fastest way may write behind a value's end; the next value writes over it. */
#define CSV_SLACK VALUE_TEXT_MAX

static inline bytes16 spread(char c)
{
    return (bytes16){0} + (uint8_t)c;
}

/* Not zero if one of eight bytes asks for quotes. Zero bytes do not, so a short word may be padded with them. */
static inline uint64_t special_bytes(uint64_t word, bytes16 delimiter)
{
    return zero_bytes(word ^ (ONES * '\n')) | zero_bytes(word ^ (ONES * '\r')) |
           zero_bytes(word ^ ((words2)delimiter)[0]) |
           zero_bytes((word & ~ONES) ^ (ONES * '"')); /* '"' is 0x22 and '#' 0x23 */
}

static inline bytes16 special_of(bytes16 b, bytes16 delimiter)
{
    return (bytes16)((b == '\n') | (b == '\r') | (b == delimiter) | ((b & 0xfe) == '"'));
}

static inline bytes16 quotes_of(bytes16 b)
{
    return (bytes16)(b == '"');
}

/* Of a text: quotes around it, and quotes in it doubled. */
enum need { PLAIN, QUOTES, DOUBLED_QUOTES };

static inline enum need need_of(bytes16 special, bytes16 quotes)
{
    return !any(special) ? PLAIN : !any(quotes) ? QUOTES : DOUBLED_QUOTES;
}

/* Copies `length` bytes, at least eight, and says what they need. */
static inline __attribute__((always_inline)) enum need copy_and_look(uint8_t *to, const char *data, size_t length,
                                                                     bytes16 delimiter)
{
    if (length < 16) {
        uint64_t head = load64(data), tail = load64(data + length - 8);
        memcpy(to, &head, sizeof head);
        memcpy(to + length - 8, &tail, sizeof tail);
        return special_bytes(head, delimiter) | special_bytes(tail, delimiter) ? DOUBLED_QUOTES : PLAIN;
    }
    bytes16 tail = load_bytes(data + length - 16), found = special_of(tail, delimiter), quotes = quotes_of(tail);
    size_t i = 0;
    do {
        bytes16 b = load_bytes(data + i);
        found |= special_of(b, delimiter);
        quotes |= quotes_of(b);
        memcpy(to + i, &b, sizeof b);
        i += 16;
    } while (i + 16 <= length);
    memcpy(to + length - 16, &tail, sizeof tail);
    return need_of(found, quotes);
}

/* The same without the copy, of at least 16 bytes. */
static inline enum need look(const char *data, size_t length, bytes16 delimiter)
{
    bytes16 found = {0}, quotes = {0};
    for (size_t i = 0; i + 16 < length; i += 16) {
        found |= special_of(load_bytes(data + i), delimiter);
        quotes |= quotes_of(load_bytes(data + i));
    }
    bytes16 tail = load_bytes(data + length - 16);
    return need_of(found | special_of(tail, delimiter), quotes | quotes_of(tail));
}

/* Every quote twice. `to` has room for twice the length and CSV_SLACK. */
static inline uint8_t *write_doubled(uint8_t *to, const char *data, size_t length)
{
    const char *end = data + length;
    while (end - data >= 8) {
        uint64_t word = load64(data);
        memcpy(to, &word, sizeof word);
        uint64_t quotes = zero_bytes(word ^ (ONES * '"'));
        size_t n = quotes ? (size_t)__builtin_ctzll(quotes) / 8 + 1 : 8;
        to += n;
        data += n;
        if (quotes)
            *to++ = '"';
    }
    while (data < end) {
        if (*data == '"')
            *to++ = '"';
        *to++ = (uint8_t)*data++;
    }
    return to;
}

/* `to` has room for twice the length, two bytes and CSV_SLACK. */
static inline uint8_t *write_quoted(uint8_t *to, const char *data, size_t length)
{
    *to = '"';
    to = write_doubled(to + 1, data, length);
    *to = '"';
    return to + 1;
}

#endif
