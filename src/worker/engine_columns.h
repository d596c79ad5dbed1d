/* DuckDB's types and vectors as an encoder gets them (chunk.h). */
#ifndef WORKER_ENGINE_COLUMNS_H
#define WORKER_ENGINE_COLUMNS_H

#include "base/buf.h"
#include "worker/engine_internal.h"

/* The types of the columns of a chunk. Counted, since the engine copies what it is bound to. */
struct column_set {
    atomic_uint uses;
    size_t count;
    size_t nodes;        /* columns within columns, of all */
    size_t nested_count; /* columns that have any */
    struct column_type types[];
};

/* How an encoder wants them. */
struct column_rules {
    bool nested; /* see struct engine_query */
    bool utc;    /* TIMESTAMPTZ comes as such: what shows it in UTC is right. Else as its text */
};

enum column_fit {
    COLUMN_AS_IT_IS,
    COLUMN_CAST,      /* some of it is to be cast to text */
    COLUMN_TOO_DEEP,  /* more than COLUMN_DEPTH_MAX */
    COLUMN_NO_MEMORY,
};

/* All columns are text at first. NULL: out of memory. */
struct column_set *column_set_new(size_t count);
struct column_set *column_set_ref(struct column_set *s);
void column_set_unref(struct column_set *s);

/* Column `i`, once, is of that type, or of the one that it is to be cast to, which is appended to `ret_cast` as SQL:
 * what no encoder knows as it lies there is text, within lists and structs as well. An ENUM is among that: the C API
 * gives its names as C strings, cut at a NUL. */
MUST_CHECK enum column_fit column_set_type(struct column_set *s, size_t i, duckdb_logical_type type,
                                           const struct column_rules *rules, struct buf *ret_cast);

/* `s` are the types of what has come, after the casts: they keep the names and kinds of text of `plan`, which was made
 * from those before. false: they are not of the same shape, or out of memory. */
MUST_CHECK bool column_set_adopt(struct column_set *s, const struct column_set *plan);

/* A chunk's vectors by those types; s->count columns. */
struct column_view {
    struct column *columns;
    duckdb_vector *copies; /* what nested ones look at */
    size_t copy_count;
};

/* false: out of memory; to be released all the same. Where the engine throws for want of memory what is in it is lost:
 * the process ends soon. */
MUST_CHECK bool column_view_init(struct column_view *v, const struct column_set *s, duckdb_data_chunk chunk);
void column_view_release(struct column_view *v);

#endif
