#include "server/byte_range.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Moves *text over its digits. A number too large for us is as good as the largest: no file is that long. */
static uint64_t take_number(const char **text)
{
    uint64_t value = 0;
    for (; is_digit(**text); (*text)++) {
        uint64_t digit = (uint64_t)(**text - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    return value;
}

/* "-500": the last 500 bytes. */
static enum byte_range_answer parse_suffix(const char *text, uint64_t size, struct byte_range *ret)
{
    if (!is_digit(*text))
        return BYTE_RANGE_WHOLE;
    uint64_t length = take_number(&text);
    if (*text)
        return BYTE_RANGE_WHOLE;
    if (length == 0)
        return BYTE_RANGE_UNSATISFIABLE;
    if (size == 0)
        return BYTE_RANGE_WHOLE; /* satisfiable, but no Content-Range could say it */
    if (length > size)
        length = size;
    *ret = (struct byte_range){.first = size - length, .length = length};
    return BYTE_RANGE_PART;
}

/* "0-499", "500-": both ends count; one past the end of the file means the end. */
static enum byte_range_answer parse_from(const char *text, uint64_t size, struct byte_range *ret)
{
    uint64_t first = take_number(&text), last = UINT64_MAX;
    if (*text++ != '-')
        return BYTE_RANGE_WHOLE;
    if (is_digit(*text))
        last = take_number(&text);
    if (*text || last < first)
        return BYTE_RANGE_WHOLE;
    if (first >= size)
        return BYTE_RANGE_UNSATISFIABLE;
    if (last >= size)
        last = size - 1;
    *ret = (struct byte_range){.first = first, .length = last - first + 1};
    return BYTE_RANGE_PART;
}

enum byte_range_answer byte_range_parse(const char *header, uint64_t size, struct byte_range *ret)
{
    static const char unit[] = "bytes=";
    *ret = (struct byte_range){.first = 0, .length = size};
    if (!header || strncasecmp(header, unit, strlen(unit)) != 0)
        return BYTE_RANGE_WHOLE;
    const char *range = header + strlen(unit);
    if (*range == '-')
        return parse_suffix(range + 1, size, ret);
    if (is_digit(*range))
        return parse_from(range, size, ret);
    return BYTE_RANGE_WHOLE;
}
