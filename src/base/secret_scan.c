#include "base/secret_scan.h"

#include <stdlib.h>
#include <string.h>

/* Wu and Manber's search (1994): the last two bytes of the window tell how far it may move; most often by its whole length.
 * All patterns have one length, so that a window is all that must be carried from piece to piece. */
struct secret_patterns {
    size_t length;
    uint8_t text[SECRET_PATTERNS][SECRET_WINDOW];
    uint8_t fold[256];
    uint8_t shift[1 << 16]; /* by a pair of folded bytes */
};

uint8_t secret_fold(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + ('a' - 'A')) : byte == '-' ? '+' : byte == '_' ? '/' : byte;
}

static unsigned pair(const struct secret_patterns *p, const uint8_t *at)
{
    return (unsigned)p->fold[at[0]] << 8 | p->fold[at[1]];
}

/* Keeps the last bytes of an encoding. */
static void add(struct secret_patterns *p, size_t i, const char *text, size_t length)
{
    for (size_t k = 0; k < p->length; k++)
        p->text[i][k] = secret_fold((uint8_t)text[length - p->length + k]);
}

/* The characters that the secret alone decides where `before` bytes of something else precede it in the encoded text. */
static size_t base64_inner(const char *secret, size_t length, size_t before, char *ret)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t first = (8 * before + 5) / 6, end = 8 * (before + length) / 6;
    for (size_t c = first; c < end; c++) {
        unsigned value = 0;
        for (size_t bit = 6 * c; bit < 6 * c + 6; bit++)
            value = value << 1 | ((uint8_t)secret[bit / 8 - before] >> (7 - bit % 8) & 1);
        ret[c - first] = alphabet[value];
    }
    return end - first;
}

static void add_all(struct secret_patterns *p, const char *secret, size_t length, char *work)
{
    static const char digits[] = "0123456789abcdef";
    add(p, 0, secret, length);
    for (size_t i = 0; i < length; i++)
        work[i] = secret[length - 1 - i];
    add(p, 1, work, p->length); /* its end is the beginning here */
    for (size_t i = 0; i < length; i++) {
        work[2 * i] = digits[(uint8_t)secret[i] >> 4];
        work[2 * i + 1] = digits[(uint8_t)secret[i] & 15];
    }
    add(p, 2, work, 2 * length);
    for (size_t before = 0; before < 3; before++)
        add(p, 3 + before, work, base64_inner(secret, length, before, work));
}

struct secret_patterns *secret_patterns_new(const char *secret, struct error *e)
{
    size_t length = strlen(secret);
    if (length < SECRET_MIN || length > SECRET_MAX) {
        error_set(e, ERROR_CONFIG, "a token of %zu bytes; allowed: %d to %d", length, SECRET_MIN, SECRET_MAX);
        return NULL;
    }
    struct secret_patterns *p = calloc(1, sizeof *p);
    char *work = malloc(2 * length);
    if (!p || !work) {
        free(p);
        free(work);
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    p->length = length < SECRET_WINDOW ? length : SECRET_WINDOW;
    for (unsigned i = 0; i < 256; i++)
        p->fold[i] = secret_fold((uint8_t)i);
    add_all(p, secret, length, work);
    explicit_bzero(work, 2 * length);
    free(work);
    memset(p->shift, (int)p->length - 1, sizeof p->shift);
    for (size_t i = 0; i < SECRET_PATTERNS; i++)
        for (size_t k = 0; k + 1 < p->length; k++) {
            uint8_t *shift = &p->shift[pair(p, p->text[i] + k)], distance = (uint8_t)(p->length - 2 - k);
            if (distance < *shift)
                *shift = distance;
        }
    return p;
}

void secret_patterns_free(struct secret_patterns *p)
{
    if (p)
        explicit_bzero(p, sizeof *p);
    free(p);
}

const uint8_t *secret_patterns_get(const struct secret_patterns *p, size_t i, size_t *ret_length)
{
    *ret_length = p->length;
    return p->text[i];
}

static bool matches(const struct secret_patterns *p, const uint8_t *pattern, const uint8_t *at)
{
    for (size_t k = 0; k < p->length; k++)
        if (pattern[k] != p->fold[at[k]])
            return false;
    return true;
}

static bool search(const struct secret_patterns *p, const uint8_t *data, size_t length)
{
    size_t at = p->length - 2; /* of the window's last two bytes */
    while (at + 1 < length) {
        uint8_t shift = p->shift[pair(p, data + at)];
        if (shift > 0) {
            at += shift;
            continue;
        }
        const uint8_t *window = data + at + 2 - p->length;
        for (size_t i = 0; i < SECRET_PATTERNS; i++)
            if (matches(p, p->text[i], window))
                return true;
        at++;
    }
    return false;
}

void secret_scan_init(struct secret_scan *s, const struct secret_patterns *patterns)
{
    *s = (struct secret_scan){.patterns = patterns};
}

bool secret_scan_feed(struct secret_scan *s, const void *data, size_t length)
{
    const struct secret_patterns *p = s->patterns;
    if (!p || length == 0)
        return false;
    /* The border: what is left of before, and as much of the new as can belong to a match with it. */
    uint8_t border[2 * SECRET_WINDOW];
    size_t keep = p->length - 1, fresh = length < keep ? length : keep;
    memcpy(border, s->tail, s->tail_length);
    memcpy(border + s->tail_length, data, fresh);
    bool found = search(p, border, s->tail_length + fresh) || search(p, data, length);
    size_t have = s->tail_length + fresh;
    if (length >= keep)
        memcpy(s->tail, (const uint8_t *)data + length - keep, keep);
    else
        memmove(s->tail, have > keep ? border + have - keep : border, have < keep ? have : keep);
    s->tail_length = length >= keep ? keep : have < keep ? have : keep;
    return found;
}

bool secret_in_text(const struct secret_patterns *patterns, const void *data, size_t length)
{
    return patterns && search(patterns, data, length);
}
