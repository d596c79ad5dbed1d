/* The types that the C API cannot name (VARIANT and GEOMETRY, as of DuckDB 1.5.5), by the engine's own DESCRIBE. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "worker/engine_types.h"

static bool has_unknown(const struct engine *g)
{
    for (size_t i = 0; i < g->column_count; i++)
        if (strstr(g->types[i], ENGINE_TYPE_UNKNOWN)) /* or a name that looks so, which costs time only */
            return true;
    return false;
}

static bool take_texts(struct engine *g, duckdb_data_chunk chunk, size_t *row, struct error *e)
{
    duckdb_string_t *texts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk) && *row < g->column_count; i++, ++*row) {
        if (!strstr(g->types[*row], ENGINE_TYPE_UNKNOWN))
            continue;
        g->described[*row] = engine_type_text_cut(duckdb_string_t_data(&texts[i]), duckdb_string_t_length(texts[i]));
        if (!g->described[*row])
            return error_set(e, ERROR_MEMORY, "out of memory");
    }
    return true;
}

bool engine_describe_types(struct engine *g, struct error *e)
{
    if (!has_unknown(g))
        return true;
    _cleanup_buf_ struct buf query;
    _cleanup_result_ duckdb_result result = {0};
    buf_init(&query, QUERY_MAX);
    buf_append_text(&query, "DESCRIBE SELECT * FROM (\n");
    buf_append(&query, g->sql, g->sql_length);
    buf_append_text(&query, "\n)");
    if (!buf_ok(&query))
        return error_set(e, ERROR_MEMORY, "out of memory");
    if (duckdb_query(g->connection, query.data, &result) != DuckDBSuccess)
        return engine_fail_wrapped(e, duckdb_result_error(&result));
    bool ok = true;
    size_t row = 0;
    for (duckdb_data_chunk chunk; ok && (chunk = duckdb_fetch_chunk(result)); duckdb_destroy_data_chunk(&chunk))
        ok = take_texts(g, chunk, &row, e);
    return ok;
}
