#include "worker/json_value.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "worker/json_text.h"

static const struct error malformed = {ERROR_QUERY, "a value of a column of the type JSON is not JSON"};
static const struct error too_deep = {
    ERROR_QUERY, "a value of a column of the type JSON has more than 10000 arrays and objects in each other"};

/* What may come next. */
enum state {
    WANT_VALUE, /* a value */
    WANT_ITEM,  /* a value or the end of the array */
    WANT_KEY,   /* a name or the end of the object */
    WANT_COLON,
    WANT_COMMA /* or the end */
};

struct reader {
    const char *at, *end;
    enum state state;
    bool comma; /* not yet written: none stands in front of a closing bracket */
    unsigned depth;
    uint64_t objects[JSON_DEPTH_MAX / 64 + 1]; /* a bit a level: not an array */
};

uint8_t *json_put(struct block_writer *w, uint8_t *at, const char *data, size_t length)
{
    while (length > 0) {
        at = block_writer_room(w, at, 2 * JSON_ROOM);
        if (!at)
            return NULL;
        size_t n = (size_t)(w->end - at) - JSON_ROOM;
        n = n < length ? n : length;
        memcpy(at, data, n);
        at += n;
        data += n;
        length -= n;
    }
    return at;
}

static bool in_object(const struct reader *r)
{
    return r->depth > 0 && (r->objects[(r->depth - 1) / 64] >> ((r->depth - 1) % 64) & 1);
}

/* --- tokens: how many bytes there are of one; 0: it is none --- */

static size_t digits(const char *at, const char *end)
{
    size_t n = 0;
    while (at + n < end && at[n] >= '0' && at[n] <= '9')
        n++;
    return n;
}

static size_t number(const char *at, const char *end)
{
    const char *p = at + (*at == '-');
    size_t whole = digits(p, end);
    if (whole == 0 || (*p == '0' && whole > 1))
        return 0;
    p += whole;
    if (p < end && *p == '.') {
        size_t n = digits(p + 1, end);
        if (n == 0)
            return 0;
        p += 1 + n;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        size_t n = digits(p, end);
        if (n == 0)
            return 0;
        p += n;
    }
    return (size_t)(p - at);
}

/* The four digits of \uXXXX; negative: they are none. */
static int code_unit(const char *at, const char *end)
{
    int unit = 0;
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
        return -1;
    for (size_t i = 2; i < 6; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        unit = 16 * unit + digit;
    }
    return unit;
}

/* Half a surrogate pair is no character, though the grammar has it. */
static size_t escape(const char *at, const char *end)
{
    if (end - at < 2)
        return 0;
    if (at[1] != 'u')
        return memchr("\"\\/bfnrt", at[1], 8) ? 2 : 0;
    int unit = code_unit(at, end), kind = unit >> 10;
    if (unit < 0 || kind == 0xDC00 >> 10)
        return 0;
    if (kind != 0xD800 >> 10)
        return 6;
    int low = code_unit(at + 6, end);
    return low >= 0 && low >> 10 == 0xDC00 >> 10 ? 12 : 0;
}

/* With its quotes. */
static size_t string(const char *at, const char *end)
{
    const char *p = at + 1;
    while (p < end) {
        while (end - p >= 16 && !any(json_special_of(load_bytes(p))))
            p += 16;
        while (p < end && !json_is_special((uint8_t)*p))
            p++;
        if (p < end && *p == '"')
            return (size_t)(p + 1 - at);
        size_t n = p < end && *p == '\\' ? escape(p, end) : 0;
        if (n == 0)
            return 0;
        p += n;
    }
    return 0;
}

static size_t word(const char *at, const char *end, const char *text)
{
    size_t length = strlen(text);
    return (size_t)(end - at) >= length && strncasecmp(at, text, length) == 0 ? length : 0;
}

/* `ret_word` is how it is written. */
static size_t non_finite(const char *at, const char *end, const char **ret_word)
{
    static const char *const words[] = {"nan", "infinity", "inf"};
    bool negative = *at == '-';
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = word(at + negative, end, words[i]);
        *ret_word = i == 0 ? "\"NaN\"" : negative ? "\"-Infinity\"" : "\"Infinity\"";
        if (n)
            return n + negative;
    }
    return 0;
}

/* --- one token of the text, to `at` --- */

static uint8_t *refuse(struct block_writer *w, const struct error *why)
{
    w->refused = why;
    return NULL;
}

static uint8_t *put_comma(struct reader *r, uint8_t *at)
{
    if (r->comma)
        *at++ = ',';
    r->comma = false;
    return at;
}

static uint8_t *put_opening(struct reader *r, struct block_writer *w, uint8_t *at)
{
    if (r->depth == JSON_DEPTH_MAX)
        return refuse(w, &too_deep);
    uint64_t bit = (uint64_t)1 << (r->depth % 64), *word = &r->objects[r->depth / 64];
    bool object = *r->at == '{';
    *word = object ? *word | bit : *word & ~bit;
    r->depth++;
    r->state = object ? WANT_KEY : WANT_ITEM;
    *at = (uint8_t)*r->at++;
    return at + 1;
}

static uint8_t *put_closing(struct reader *r, uint8_t *at)
{
    r->comma = false;
    r->depth--;
    r->state = WANT_COMMA;
    *at = (uint8_t)*r->at++;
    return at + 1;
}

static size_t literal(const char *at, const char *end)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if ((size_t)(end - at) >= strlen(words[i]) && memcmp(at, words[i], strlen(words[i])) == 0)
            return strlen(words[i]);
    return 0;
}

static uint8_t *put_scalar(struct reader *r, struct block_writer *w, uint8_t *at, bool non_finite_as_text)
{
    const char *text = r->at, *shown = NULL;
    size_t length = *text == '"' ? string(text, r->end) : literal(text, r->end);
    if (length == 0)
        length = number(text, r->end);
    if (length == 0 && (length = non_finite(text, r->end, &shown)) != 0)
        shown = non_finite_as_text ? shown : "null";
    if (length == 0)
        return refuse(w, &malformed);
    r->at += length;
    r->state = WANT_COMMA;
    return shown ? json_put(w, at, shown, strlen(shown)) : json_put(w, at, text, length);
}

static uint8_t *put_name(struct reader *r, struct block_writer *w, uint8_t *at)
{
    size_t length = *r->at == '"' ? string(r->at, r->end) : 0;
    if (length == 0)
        return refuse(w, &malformed);
    at = json_put(w, at, r->at, length);
    r->at += length;
    r->state = WANT_COLON;
    return at;
}

static bool is_closing(const struct reader *r)
{
    if (*r->at == ']')
        return !in_object(r) && r->depth > 0 && (r->state == WANT_ITEM || r->state == WANT_COMMA);
    return *r->at == '}' && in_object(r) && (r->state == WANT_KEY || r->state == WANT_COMMA);
}

static uint8_t *put_token(struct reader *r, struct block_writer *w, uint8_t *at, bool non_finite_as_text)
{
    if (is_closing(r))
        return put_closing(r, at);
    switch (r->state) {
    case WANT_VALUE:
    case WANT_ITEM:
        at = put_comma(r, at);
        return *r->at == '[' || *r->at == '{' ? put_opening(r, w, at) : put_scalar(r, w, at, non_finite_as_text);
    case WANT_KEY:
        return put_name(r, w, put_comma(r, at));
    case WANT_COLON:
        if (*r->at != ':')
            break;
        r->at++;
        r->state = WANT_VALUE;
        *at = ':';
        return at + 1;
    case WANT_COMMA:
        if (*r->at != ',' || r->depth == 0)
            break;
        r->at++;
        r->comma = true;
        r->state = in_object(r) ? WANT_KEY : WANT_ITEM;
        return at;
    }
    return refuse(w, &malformed);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

uint8_t *json_put_value(struct block_writer *w, uint8_t *at, const char *data, size_t length, bool non_finite_as_text)
{
    struct reader r;
    r.at = data;
    r.end = data + length;
    r.state = WANT_VALUE;
    r.comma = false;
    r.depth = 0;
    while (at) {
        while (r.at < r.end && is_blank(*r.at))
            r.at++;
        if (r.at == r.end)
            break;
        at = block_writer_room(w, at, JSON_ROOM);
        if (at)
            at = put_token(&r, w, at, non_finite_as_text);
    }
    if (at && (r.depth > 0 || r.state != WANT_COMMA))
        return refuse(w, &malformed);
    return at ? block_writer_room(w, at, JSON_ROOM) : NULL;
}
