#include "worker/engine_scan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "worker/engine_widths.h"

/* A text has these always, and its bytes where it is longer than twelve. */
#define TEXT_HEAD sizeof(duckdb_string_t)

/* `before` #1, #2 ... of those columns `behind` FROM (the query). */
static bool ask(struct engine *g, const char *before, const char *behind, bool each, duckdb_result *ret)
{
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, QUERY_MAX);
    buf_append_text(&sql, before);
    for (size_t i = 0, found = 0; each && i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        if (engine_fixed_width(type) == 0)
            buf_printf(&sql, "%sstats(#%zu)", found++ ? ", " : "", i + 1);
    }
    buf_append_text(&sql, " FROM (\n");
    buf_append(&sql, g->sql, g->sql_length);
    buf_append_text(&sql, "\n)");
    buf_append_text(&sql, behind);
    return buf_ok(&sql) && duckdb_query(g->connection, sql.data, ret) == DuckDBSuccess;
}

/* A chain of projections over one table's scan without a condition, so that the first row is there at once. */
static bool is_scan(const json_t *node)
{
    const json_t *children = json_object_get(node, "children");
    const char *name = json_string_value(json_object_get(node, "name"));
    while (name && strcmp(name, "PROJECTION") == 0 && json_array_size(children) == 1) {
        node = json_array_get(children, 0);
        children = json_object_get(node, "children");
        name = json_string_value(json_object_get(node, "name"));
    }
    const json_t *info = json_object_get(node, "extra_info");
    return name && strcmp(name, "SEQ_SCAN") == 0 && json_array_size(children) == 0 && json_object_get(info, "Table") &&
           !json_object_get(info, "Filters") && !json_object_get(info, "Dynamic Filters");
}

static duckdb_string_t *first_text(duckdb_data_chunk chunk, size_t column)
{
    return &((duckdb_string_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, column)))[0];
}

static bool plan_is_scan(struct engine *g)
{
    _cleanup_result_ duckdb_result result = {0};
    if (!ask(g, "EXPLAIN (FORMAT JSON) SELECT *", "", false, &result) || duckdb_column_count(&result) != 2)
        return false;
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    json_t *plan = NULL;
    if (chunk && duckdb_data_chunk_get_size(chunk) == 1) {
        duckdb_string_t *text = first_text(chunk, 1);
        plan = json_loadb(duckdb_string_t_data(text), duckdb_string_t_length(*text), 0, NULL);
    }
    bool scan = json_array_size(plan) == 1 && is_scan(json_array_get(plan, 0));
    json_decref(plan);
    duckdb_destroy_data_chunk(&chunk);
    return scan;
}

/* What stats() says of a text column: "[Min: ..., Max: ..., Max String Length: 43][Has Null: ...". Before these words
 * there may be values. 0: it has no bound, or it is no text. */
static uint64_t longest_text(duckdb_string_t *stats)
{
    static const char words[] = "Max String Length: ";
    const char *text = duckdb_string_t_data(stats), *end = text + duckdb_string_t_length(*stats), *last = NULL;
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), words, sizeof words - 1)); at++)
        last = at + sizeof words - 1;
    uint64_t length = 0;
    for (; last && last < end && *last >= '0' && *last <= '9' && length < UINT32_MAX; last++)
        length = 10 * length + (uint64_t)(*last - '0');
    return last && last < end && *last == ']' ? TEXT_HEAD + length : 0;
}

/* Of all columns without a fixed width. 0: one of them has no bound, or there is no row. */
static uint64_t texts_width(struct engine *g)
{
    _cleanup_result_ duckdb_result result = {0};
    if (!ask(g, "SELECT ", " LIMIT 1", true, &result))
        return 0;
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    uint64_t width = 0, one = chunk && duckdb_data_chunk_get_size(chunk) == 1;
    for (idx_t i = 0; one && i < duckdb_column_count(&result); i++) {
        one = longest_text(first_text(chunk, i));
        width += one;
    }
    duckdb_destroy_data_chunk(&chunk);
    return one ? width : 0;
}

uint64_t engine_scan_width(struct engine *g)
{
    uint64_t width = 0, texts = 0;
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        duckdb_type id = duckdb_get_type_id(type);
        width += engine_fixed_width(type);
        texts += id == DUCKDB_TYPE_VARCHAR || id == DUCKDB_TYPE_BLOB;
        if (engine_fixed_width(type) == 0 && id != DUCKDB_TYPE_VARCHAR && id != DUCKDB_TYPE_BLOB)
            return 0;
    }
    if (!plan_is_scan(g))
        return 0;
    uint64_t longest = texts > 0 ? texts_width(g) : 0;
    return texts == 0 || longest > 0 ? width + longest : 0;
}
