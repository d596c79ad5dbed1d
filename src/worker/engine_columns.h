/* DuckDB's types and vectors as an encoder gets them (chunk.h). */
#ifndef WORKER_ENGINE_COLUMNS_H
#define WORKER_ENGINE_COLUMNS_H

#include "worker/engine_internal.h"

/* The types of the columns of a chunk. Counted, since the engine copies what it is bound to. */
struct column_set {
    atomic_uint uses;
    size_t count;
    struct column_type types[];
};

/* All columns are text at first. NULL: out of memory. */
struct column_set *column_set_new(size_t count);
struct column_set *column_set_ref(struct column_set *s);
void column_set_unref(struct column_set *s);

/* Column `i` is of that type. false: no encoder knows it as it lies there; then it is to be cast to text. An ENUM is
 * among these: the C API gives its names as C strings, cut at a NUL. */
bool column_set_type(struct column_set *s, size_t i, duckdb_logical_type type);

/* `columns` has room for s->count. */
void columns_of_chunk(const struct column_set *s, duckdb_data_chunk chunk, struct column *columns);

#endif
