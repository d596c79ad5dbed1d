/* What the engine hands to an encoder: some rows, every value as text, by column.
 *
 * Plain records over memory that the engine owns; valid until the next call of engine_next(). Read by the job
 * thread only. The layout of a value is DuckDB's own VARCHAR (engine.c checks it against duckdb.h), so that
 * nothing is copied on the way; encoders see this header and never duckdb.h. */
#ifndef WORKER_TEXT_CHUNK_H
#define WORKER_TEXT_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_INLINE_MAX 12

struct text_value {
    uint32_t length;
    union {
        char inlined[TEXT_INLINE_MAX]; /* up to TEXT_INLINE_MAX bytes; those behind `length` are zero */
        struct {
            char prefix[4];
            const char *pointer;
        } __attribute__((packed)) outside; /* longer ones; not NUL-terminated */
    };
};

_Static_assert(sizeof(struct text_value) == 16, "a value has 16 bytes");

struct text_column {
    const struct text_value *values;
    const uint64_t *validity; /* a bit per row, 1: there is a value; NULL: no row is NULL */
};

struct text_chunk {
    size_t rows;
    size_t column_count;
    const struct text_column *columns;
};

static inline bool text_column_is_null(const struct text_column *c, size_t row)
{
    return c->validity && !(c->validity[row / 64] >> (row % 64) & 1);
}

static inline const char *text_value_data(const struct text_value *v)
{
    return v->length <= TEXT_INLINE_MAX ? v->inlined : v->outside.pointer;
}

#endif
