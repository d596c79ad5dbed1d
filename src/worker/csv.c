#include "worker/csv.h"

#include <stdlib.h>
#include <string.h>

#include "worker/csv_text.h"
#include "worker/encoder.h"
#include "worker/typed_values.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NEVER_INLINE __attribute__((noinline))

/* What is known before the first row. */
struct plan {
    const struct file_form *form;
    struct encoder_columns columns;
    size_t null_length;
    bool general;         /* with options that ask for a look at every value */
    bool typed_may_quote; /* values that are not text can need quotes */
    bool guarded[];       /* of each column: its values may look like formulas, and shall not */
};

/* Where the values of a chunk go. Ahead of every SPAN_COLUMNS columns of a row there is room for them, as far as their
 * texts are short: were it a row's, few rows of thousands of columns would fill a block. */
#define SPAN_COLUMNS 128

struct target {
    const struct plan *plan;
    struct block_writer *w;
    bytes16 delimiter;
    size_t span_max; /* bytes of such columns, CSV_SLACK included */
};

/* Longer texts are written in pieces, so that blocks are filled to their ends; else memory would be kept for what a
 * text might need, twice its length, and a chunk may have two thousand of them. */
#define LONG_TEXT ((size_t)8 << 10)
#define PIECE_MIN ((size_t)1 << 10)

/* The most bytes around a text that is guarded: two quotes and the apostrophe. */
#define AROUND_MAX 3

/* Ahead of `at` there is room for two bytes and CSV_SLACK, and so there is in the end for a span. `least`: what it
 * needs, were nothing in it. */
static uint8_t *write_long_text(const struct target *t, uint8_t *at, const char *data, size_t length, enum need least,
                                bool guard)
{
    enum need need = look(data, length, t->delimiter);
    need = need > least ? need : least;
    if (need != PLAIN)
        *at++ = '"';
    if (guard)
        *at++ = '\'';
    while (length > 0) {
        at = block_writer_room(t->w, at, 2 * PIECE_MIN + CSV_SLACK);
        if (!at)
            return NULL;
        size_t n = (size_t)(t->w->end - at) - CSV_SLACK;
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
static ALWAYS_INLINE uint8_t *write_text(const struct target *t, uint8_t *at, const struct text_value *v,
                                         bytes16 delimiter)
{
    if (v->length <= TEXT_INLINE_MAX) {
        bytes16 text = text_of_whole(load_bytes((const char *)v));
        if (v->length == 0 || any(special_of(text, delimiter)))
            return write_quoted(at, v->inlined, v->length);
        memcpy(at, &text, sizeof text);
        return at + v->length;
    }
    if (v->length > LONG_TEXT)
        return write_long_text(t, at, v->outside.pointer, v->length, PLAIN, false);
    at = block_writer_room(t->w, at, 2 * (size_t)v->length + t->span_max);
    if (!at)
        return NULL;
    switch (copy_and_look(at, v->outside.pointer, v->length, delimiter)) {
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

/* Behind what it returns CSV_SLACK bytes may be overwritten. NULL: out of memory. */
static ALWAYS_INLINE uint8_t *write_value(const struct target *t, uint8_t *at, const struct column *c, size_t row,
                                   bytes16 delimiter)
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
        return write_text(t, at, (const struct text_value *)c->values + row, delimiter);
    case VALUE_TYPES:
        break;
    }
    __builtin_unreachable();
}

/* --- with options that ask for a look at every value --- */

static bool is_null_text(const struct plan *p, const char *data, size_t length)
{
    return length == p->null_length && memcmp(data, p->form->null_text, length) == 0;
}

static uint8_t *write_any_text(const struct target *t, uint8_t *at, const struct text_value *v, bool guarded)
{
    const struct plan *p = t->plan;
    const char *data = text_value_data(v);
    bool guard = guarded && csv_is_formula(data, v->length);
    bool quotes = guard || p->form->quote_all || is_null_text(p, data, v->length);
    t->w->altered += guard;
    if (v->length > LONG_TEXT)
        return write_long_text(t, at, data, v->length, quotes ? QUOTES : PLAIN, guard);
    if (!quotes)
        return v->length == 0 ? at : write_text(t, at, v, t->delimiter);
    if (v->length > TEXT_INLINE_MAX && !(at = block_writer_room(t->w, at, 2 * (size_t)v->length + t->span_max)))
        return NULL;
    *at++ = '"';
    if (guard)
        *at++ = '\'';
    at = write_doubled(at, data, v->length);
    *at = '"';
    return at + 1;
}

/* Its text has no quotes, line ends and '#'. */
static uint8_t *write_any_typed(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    const struct plan *p = t->plan;
    uint8_t *end = write_value(t, at, c, row, t->delimiter);
    size_t length = (size_t)(end - at);
    if (!p->form->quote_all &&
        !(p->typed_may_quote && (is_null_text(p, (char *)at, length) || memchr(at, p->form->delimiter, length))))
        return end;
    memmove(at + 1, at, length);
    at[0] = at[length + 1] = '"';
    return at + length + 2;
}

static uint8_t *write_any(const struct target *t, uint8_t *at, const struct column *c, size_t row, bool guarded)
{
    const struct plan *p = t->plan;
    if (column_is_null(c, row))
        return (uint8_t *)memcpy(at, p->form->null_text, p->null_length) + p->null_length;
    return c->is.type == VALUE_TEXT ? write_any_text(t, at, (const struct text_value *)c->values + row, guarded)
                                    : write_any_typed(t, at, c, row);
}

/* --- the file --- */

static void *csv_prepare(const struct file_form *form, const struct encoder_columns *columns, struct error *e)
{
    struct plan *p = malloc(sizeof *p + columns->count * sizeof p->guarded[0]);
    if (!p) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    *p = (struct plan){.form = form, .columns = *columns, .null_length = strlen(form->null_text)};
    p->typed_may_quote = p->null_length > 0 || form->delimiter == ' ' || form->delimiter == ':';
    p->general = p->typed_may_quote || form->quote_all || form->excel_safe;
    for (size_t i = 0; i < columns->count; i++)
        p->guarded[i] = form->excel_safe && (!columns->free_text || columns->free_text[i]);
    return p;
}

static inline uint8_t *write_line_end(uint8_t *at, bool crlf)
{
    if (crlf)
        *at++ = '\r';
    *at = '\n';
    return at + 1;
}

static bool write_names(const struct plan *p, struct block_writer *w)
{
    for (size_t i = 0; i < p->columns.count; i++) {
        const char *name = p->columns.names[i];
        size_t length = strlen(name);
        uint8_t *at = block_writer_room(w, w->at, 2 * length + AROUND_MAX + CSV_SLACK);
        if (!at)
            return false;
        bool guard = p->form->excel_safe && csv_is_formula(name, length);
        bool quotes = guard || csv_needs_quotes(p->form, name, length);
        if (quotes)
            *at++ = '"';
        if (guard)
            *at++ = '\'';
        at = write_doubled(at, name, length);
        if (quotes)
            *at++ = '"';
        w->altered += guard;
        if (i + 1 < p->columns.count)
            *at++ = (uint8_t)p->form->delimiter;
        else
            at = write_line_end(at, p->form->crlf);
        w->at = at;
    }
    return true;
}

static bool csv_begin(const void *plan, struct block_writer *w)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    const struct plan *p = plan;
    if (p->form->bom) {
        w->at = block_writer_room(w, w->at, sizeof mark);
        if (!w->at)
            return false;
        memcpy(w->at, mark, sizeof mark);
        w->at += sizeof mark;
    }
    return !p->form->header || write_names(p, w);
}

static size_t span_max(const struct plan *p, const struct chunk *chunk)
{
    size_t most = 0, around = p->general ? AROUND_MAX : 0;
    for (size_t i = 0, span = 0; i < chunk->column_count; i++) {
        size_t value = value_max[chunk->columns[i].is.type] + around;
        span = (i % SPAN_COLUMNS ? span : 0) + (value > p->null_length ? value : p->null_length) + 1;
        most = span > most ? span : most;
    }
    return most + CSV_SLACK;
}

/* Twice in the program, each time without a question about `general`. */
static ALWAYS_INLINE bool write_rows(const struct plan *p, struct block_writer *w, const struct chunk *chunk,
                                     bool general)
{
    const struct column *end = chunk->columns + chunk->column_count;
    const uint8_t letter = (uint8_t)p->form->delimiter;
    const bool crlf = p->form->crlf;
    const bytes16 delimiter = spread(p->form->delimiter);
    const struct target t = {.plan = p, .w = w, .delimiter = delimiter, .span_max = span_max(p, chunk)};
    uint8_t *at = w->at;
    for (size_t row = 0; row < chunk->rows; row++) {
        for (const struct column *c = chunk->columns; c < end;) {
            const struct column *span_end = end - c > SPAN_COLUMNS ? c + SPAN_COLUMNS : end;
            at = block_writer_room(w, at, t.span_max);
            if (!at)
                return false;
            for (; c < span_end; c++) {
                if (general)
                    at = write_any(&t, at, c, row, p->guarded[c - chunk->columns]);
                else if (!column_is_null(c, row))
                    at = write_value(&t, at, c, row, delimiter);
                if (!at)
                    return false;
                *at++ = letter;
            }
        }
        at = write_line_end(at - 1, crlf);
        block_writer_end_row(w, at);
    }
    w->at = at;
    return true;
}

static NEVER_INLINE bool write_usual_rows(const struct plan *p, struct block_writer *w, const struct chunk *chunk)
{
    return write_rows(p, w, chunk, false);
}

static NEVER_INLINE bool write_any_rows(const struct plan *p, struct block_writer *w, const struct chunk *chunk)
{
    return write_rows(p, w, chunk, true);
}

static bool csv_chunk(const void *plan, struct block_writer *w, const struct chunk *chunk)
{
    const struct plan *p = plan;
    return p->general ? write_any_rows(p, w, chunk) : write_usual_rows(p, w, chunk);
}

static bool csv_end(const void *plan, struct block_writer *w)
{
    (void)plan;
    (void)w;
    return true;
}

const struct encoder csv_encoder = {.prepare = csv_prepare, .begin = csv_begin, .chunk = csv_chunk, .end = csv_end};
