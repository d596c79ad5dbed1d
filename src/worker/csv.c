#include "worker/csv.h"

#include <stdlib.h>
#include <string.h>

#include "worker/encoder.h"
#include "worker/text_scan.h"
#include "worker/typed_values.h"

/* What the fastest way may write behind a value's end; the next value writes over it. */
#define SLACK VALUE_TEXT_MAX

/* Not zero if one of eight bytes asks for quotes. Zero bytes do not, so a short word may be padded with them. */
static inline uint64_t special_bytes(uint64_t word)
{
    return zero_bytes(word ^ (ONES * '\n')) | zero_bytes(word ^ (ONES * '\r')) | zero_bytes(word ^ (ONES * ',')) |
           zero_bytes((word & ~ONES) ^ (ONES * '"')); /* '"' is 0x22 and '#' 0x23 */
}

static inline bytes16 special_of(bytes16 b)
{
    return (bytes16)((b == '\n') | (b == '\r') | (b == ',') | ((b & 0xfe) == '"'));
}

static inline bytes16 quotes_of(bytes16 b)
{
    return (bytes16)(b == '"');
}

enum need { PLAIN, QUOTES, DOUBLED_QUOTES };

/* Copies `length` bytes, at least eight, and says what they need: quotes around them, and quotes in them doubled. */
static inline enum need copy_and_look(uint8_t *to, const char *data, size_t length)
{
    if (length < 16) {
        uint64_t head = load64(data), tail = load64(data + length - 8);
        memcpy(to, &head, sizeof head);
        memcpy(to + length - 8, &tail, sizeof tail);
        return special_bytes(head) | special_bytes(tail) ? DOUBLED_QUOTES : PLAIN;
    }
    bytes16 tail = load_bytes(data + length - 16), found = special_of(tail), quotes = quotes_of(tail);
    size_t i = 0;
    do {
        bytes16 b = load_bytes(data + i);
        found |= special_of(b);
        quotes |= quotes_of(b);
        memcpy(to + i, &b, sizeof b);
        i += 16;
    } while (i + 16 <= length);
    memcpy(to + length - 16, &tail, sizeof tail);
    return !any(found) ? PLAIN : !any(quotes) ? QUOTES : DOUBLED_QUOTES;
}

bool csv_needs_quotes(const char *data, size_t length)
{
    if (length == 0)
        return true;
    uint64_t word = 0;
    while (length >= 8) {
        if (special_bytes(load64(data)))
            return true;
        data += 8;
        length -= 8;
    }
    memcpy(&word, data, length);
    return special_bytes(word) != 0;
}

/* Every quote twice. `to` has room for twice the length and SLACK. */
static uint8_t *write_doubled(uint8_t *to, const char *data, size_t length)
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

/* `to` has room for twice the length and SLACK. */
static uint8_t *write_quoted(uint8_t *to, const char *data, size_t length)
{
    *to = '"';
    to = write_doubled(to + 1, data, length);
    *to = '"';
    return to + 1;
}

/* Where the values of a chunk go. Ahead of every SPAN_COLUMNS columns of a row there is room for them, as far as their
 * texts are short: were it a row's, few rows of thousands of columns would fill a block. */
#define SPAN_COLUMNS 128

struct target {
    struct block_writer *w;
    size_t span_max; /* bytes of such columns, SLACK included */
};

/* Longer texts are written in pieces, so that blocks are filled to their ends; else memory would be kept for what a
 * text might need, twice its length, and a chunk may have two thousand of them. */
#define LONG_TEXT ((size_t)8 << 10)
#define PIECE_MIN ((size_t)1 << 10)

static enum need look(const char *data, size_t length)
{
    bytes16 found = {0}, quotes = {0};
    for (size_t i = 0; i + 16 < length; i += 16) {
        found |= special_of(load_bytes(data + i));
        quotes |= quotes_of(load_bytes(data + i));
    }
    bytes16 tail = load_bytes(data + length - 16);
    found |= special_of(tail);
    quotes |= quotes_of(tail);
    return !any(found) ? PLAIN : !any(quotes) ? QUOTES : DOUBLED_QUOTES;
}

/* Ahead of `at` there is room for one byte and SLACK, and so there is in the end for a span. */
static uint8_t *write_long_text(const struct target *t, uint8_t *at, const char *data, size_t length)
{
    enum need need = look(data, length);
    if (need != PLAIN)
        *at++ = '"';
    while (length > 0) {
        at = block_writer_room(t->w, at, 2 * PIECE_MIN + SLACK);
        if (!at)
            return NULL;
        size_t n = (size_t)(t->w->end - at) - SLACK;
        if (need == DOUBLED_QUOTES)
            n /= 2;
        n = n < length ? n : length;
        at = need == DOUBLED_QUOTES ? write_doubled(at, data, n) : (uint8_t *)memcpy(at, data, n) + n;
        data += n;
        length -= n;
    }
    if (need != PLAIN)
        *at++ = '"';
    return block_writer_room(t->w, at, t->span_max);
}

/* A short text without quotes is one load of the whole value, and one store. */
static inline uint8_t *write_text(const struct target *t, uint8_t *at, const struct text_value *v)
{
    if (v->length <= TEXT_INLINE_MAX) {
        bytes16 text = text_of_whole(load_bytes((const char *)v));
        if (v->length == 0 || any(special_of(text)))
            return write_quoted(at, v->inlined, v->length);
        memcpy(at, &text, sizeof text);
        return at + v->length;
    }
    if (v->length > LONG_TEXT)
        return write_long_text(t, at, v->outside.pointer, v->length);
    at = block_writer_room(t->w, at, 2 * (size_t)v->length + t->span_max);
    if (!at)
        return NULL;
    switch (copy_and_look(at, v->outside.pointer, v->length)) {
    case PLAIN:
        return at + v->length;
    case QUOTES:
        memmove(at + 1, at, v->length); /* still in the first cache */
        at[0] = at[v->length + 1] = '"';
        return at + v->length + 2;
    case DOUBLED_QUOTES:
        break;
    }
    return write_quoted(at, v->outside.pointer, v->length);
}

/* The most bytes of a value; texts that are longer make room themselves. */
static const uint8_t value_max[VALUE_TYPES] = {
#define TYPED_MAX(kind, ctype, max, text) [VALUE_##kind] = max,
    [VALUE_TEXT] = 2 * TEXT_INLINE_MAX + 2,
    TYPED_VALUES(TYPED_MAX)
};

/* What is known before the first row. */
struct plan {
    const struct file_form *form;
    struct encoder_columns columns;
};

/* Behind what it returns SLACK bytes may be overwritten. NULL: out of memory. */
static inline uint8_t *write_value(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    char *to = (char *)at;
    switch (c->is.type) {
#define TYPED_CASE(kind, ctype, max, text)                                                                           \
    case VALUE_##kind: {                                                                                             \
        const ctype v = ((const ctype *)c->values)[row];                                                             \
        return (uint8_t *)text;                                                                                      \
    }
        TYPED_VALUES(TYPED_CASE)
    case VALUE_TEXT:
        return write_text(t, at, (const struct text_value *)c->values + row);
    case VALUE_TYPES:
        break;
    }
    __builtin_unreachable();
}

static void *csv_prepare(const struct file_form *form, const struct encoder_columns *columns, struct error *e)
{
    struct plan *p = malloc(sizeof *p);
    if (p)
        *p = (struct plan){.form = form, .columns = *columns};
    else
        error_set(e, ERROR_MEMORY, "out of memory");
    return p;
}

static bool csv_begin(const void *plan, struct block_writer *w)
{
    const struct plan *p = plan;
    const char *const *names = p->columns.names;
    for (size_t i = 0; i < p->columns.count; i++) {
        size_t length = strlen(names[i]);
        uint8_t *at = block_writer_room(w, w->at, 2 * length + SLACK);
        if (!at)
            return false;
        if (csv_needs_quotes(names[i], length)) {
            at = write_quoted(at, names[i], length);
        } else {
            memcpy(at, names[i], length);
            at += length;
        }
        *at++ = i + 1 < p->columns.count ? ',' : '\n';
        w->at = at;
    }
    return true;
}

static size_t span_max(const struct chunk *chunk)
{
    size_t most = 0;
    for (size_t i = 0, span = 0; i < chunk->column_count; i++) {
        span = (i % SPAN_COLUMNS ? span : 0) + value_max[chunk->columns[i].is.type] + 1;
        most = span > most ? span : most;
    }
    return most + SLACK;
}

static bool csv_chunk(const void *plan, struct block_writer *w, const struct chunk *chunk)
{
    (void)plan;
    const struct column *end = chunk->columns + chunk->column_count;
    struct target t = {.w = w, .span_max = span_max(chunk)};
    uint8_t *at = w->at;
    for (size_t row = 0; row < chunk->rows; row++) {
        for (const struct column *c = chunk->columns; c < end;) {
            const struct column *span_end = end - c > SPAN_COLUMNS ? c + SPAN_COLUMNS : end;
            at = block_writer_room(w, at, t.span_max);
            if (!at)
                return false;
            for (; c < span_end; c++) {
                if (!column_is_null(c, row)) {
                    at = write_value(&t, at, c, row);
                    if (!at)
                        return false;
                }
                *at++ = ',';
            }
        }
        at[-1] = '\n';
        block_writer_end_row(w, at);
    }
    w->at = at;
    return true;
}

static bool csv_end(const void *plan, struct block_writer *w)
{
    (void)plan;
    (void)w;
    return true;
}

const struct encoder csv_encoder = {.prepare = csv_prepare, .begin = csv_begin, .chunk = csv_chunk, .end = csv_end};
