/* What the engine hands to an encoder: some rows, by column, typed as the engine keeps them.
 *
 * Plain records over memory that the engine owns, valid while the encoder is called. The layout of values is
 * DuckDB's own (engine_stream.c checks it against duckdb.h), so that nothing is copied on the way; encoders see
 * this header and never duckdb.h. */
#ifndef WORKER_CHUNK_H
#define WORKER_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the values of a column lie in memory, and what they mean. Types that are not here come as the text that
 * the engine casts them to; lists and their like as well, unless the encoder wants them nested. */
enum value_type {
    VALUE_TEXT, /* struct text_value */
    VALUE_BOOL, /* uint8_t, 0 or 1 */
    VALUE_INT8,
    VALUE_INT16,
    VALUE_INT32,
    VALUE_INT64,
    VALUE_INT128, /* struct value128 */
    VALUE_UINT8,
    VALUE_UINT16,
    VALUE_UINT32,
    VALUE_UINT64,
    VALUE_UINT128, /* struct value128, the upper half without a sign */
    VALUE_FLOAT,
    VALUE_DOUBLE,
    VALUE_DECIMAL16, /* int16_t, int32_t, int64_t, struct value128: times ten to the power of `scale` */
    VALUE_DECIMAL32,
    VALUE_DECIMAL64,
    VALUE_DECIMAL128,
    VALUE_DATE,         /* int32_t, days since 1970-01-01 */
    VALUE_TIME,         /* int64_t, microseconds since midnight */
    VALUE_TIME_NS,      /* int64_t, nanoseconds since midnight */
    VALUE_TIME_TZ,      /* uint64_t, DuckDB's bits */
    VALUE_TIMESTAMP,    /* int64_t since 1970-01-01: microseconds, */
    VALUE_TIMESTAMP_S,  /* seconds, */
    VALUE_TIMESTAMP_MS, /* milliseconds, */
    VALUE_TIMESTAMP_NS, /* nanoseconds; */
    VALUE_TIMESTAMP_TZ, /* microseconds, to be shown in UTC */
    VALUE_INTERVAL,     /* struct value_interval */
    VALUE_UUID,         /* struct value128, the highest bit flipped */
    VALUE_TYPES /* how many there are */
};

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

struct value128 {
    uint64_t lower;
    int64_t upper;
};

struct value_interval {
    int32_t months, days;
    int64_t micros;
};

/* What a text is, to an encoder that asks for nested values; to others all are TEXT_PLAIN. */
enum text_kind {
    TEXT_PLAIN,
    TEXT_JSON,  /* of the type JSON: one JSON value, but nobody has looked whether it is */
    TEXT_NUMBER /* a BIGNUM: digits, perhaps a sign in front */
};

/* Columns of columns. A row of a LIST, ARRAY or MAP is some rows of its children, a row of a STRUCT or UNION the same row
 * of theirs. */
enum column_shape {
    SHAPE_VALUE,  /* none: `type` says what it is */
    SHAPE_LIST,   /* values: struct list_place; one child */
    SHAPE_ARRAY,  /* `array_size` rows of its one child each */
    SHAPE_MAP,    /* values: struct list_place; two children, keys (texts) and values */
    SHAPE_STRUCT, /* a child a field */
    SHAPE_UNION   /* the first child is an UINT8, which of the others the row has; they follow */
};

#define COLUMN_DEPTH_MAX 100 /* shapes within shapes */

/* What is known of a column before its first row. */
struct column_type {
    enum value_type type;
    uint8_t width, scale; /* of decimals */
    enum text_kind text;
    enum column_shape shape;
    uint32_t array_size;
    uint32_t child_count;
    const struct column_type *children;
    struct text_value name; /* as a field or member */
};

struct list_place {
    uint64_t first, count; /* rows of the children */
};

struct column {
    struct column_type is;
    const void *values;
    const uint64_t *validity; /* a bit per row, 1: there is a value; NULL: no row is NULL */
    const struct column *children; /* is.child_count */
};

struct chunk {
    size_t rows;
    size_t column_count;
    const struct column *columns;
};

static inline bool column_is_null(const struct column *c, size_t row)
{
    return c->validity && !(c->validity[row / 64] >> (row % 64) & 1);
}

static inline const char *text_value_data(const struct text_value *v)
{
    return v->length <= TEXT_INLINE_MAX ? v->inlined : v->outside.pointer;
}

#endif
