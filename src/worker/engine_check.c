#include <string.h>

#include "worker/engine_internal.h"

/* The functions that a query names, as the engine parsed it. What the parser cannot give as JSON (SHOW,
 * PIVOT) is not looked at: the box and the engine's lock are the defence, this is the courtesy of a reason.
 */
static bool check_functions(struct engine *g, const char *sql, size_t length, struct error *e)
{
    _cleanup_prepared_ duckdb_prepared_statement statement = NULL;
    _cleanup_result_ duckdb_result result = {0};
    if (duckdb_prepare(g->connection, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR", &statement) !=
        DuckDBSuccess)
        return engine_fail(e, ERROR_INTERNAL, duckdb_prepare_error(statement));
    if (duckdb_bind_varchar_length(statement, 1, sql, length) != DuckDBSuccess ||
        duckdb_execute_prepared(statement, &result) != DuckDBSuccess)
        return engine_fail(e, ERROR_INTERNAL, duckdb_result_error(&result));
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    if (!chunk || duckdb_data_chunk_get_size(chunk) != 1) {
        duckdb_destroy_data_chunk(&chunk);
        return error_set(e, ERROR_INTERNAL, "the engine cannot show the parsed query");
    }
    duckdb_string_t *json = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const char *name = sql_text_refused_function(duckdb_string_t_data(json), duckdb_string_t_length(*json), g->remote);
    duckdb_destroy_data_chunk(&chunk);
    return !name || error_set(e, ERROR_SQL, "the function %s cannot be used in a download", name);
}

static bool refuse_statement(const char *what, struct error *e)
{
    return error_set(e, ERROR_SQL, "only statements that return rows can be downloaded: this is %s", what);
}

/* What a word at the start does not tell: WITH ... INSERT. */
static const char *statement_name(duckdb_statement_type type)
{
    switch (type) {
    case DUCKDB_STATEMENT_TYPE_INSERT:
        return "an INSERT";
    case DUCKDB_STATEMENT_TYPE_UPDATE:
        return "an UPDATE";
    case DUCKDB_STATEMENT_TYPE_DELETE:
        return "a DELETE";
    default:
        return "another one";
    }
}

bool engine_check_statement(struct engine *g, const char *sql, const struct sql_text *text, struct error *e)
{
    _cleanup_statements_ duckdb_extracted_statements statements = NULL;
    _cleanup_prepared_ duckdb_prepared_statement statement = NULL;
    idx_t count = duckdb_extract_statements(g->connection, sql, &statements);
    if (count == 0) {
        const char *why = duckdb_extract_statements_error(statements);
        return why && *why ? engine_fail(e, ERROR_QUERY, why)
                           : error_set(e, ERROR_SQL, "there is no statement in the SQL");
    }
    if (text->statements > 1)
        return error_set(e, ERROR_SQL, "only one statement can be downloaded: there are %zu",
                         text->statements);
    const char *other = sql_text_other_statement(sql + text->begin, text->keyword_length);
    if (other)
        return refuse_statement(other, e);
    if (count >
        1) /* what the engine makes of one text: it would first create a type of the values it finds */
        return error_set(e, ERROR_SQL, "a PIVOT must list its values: PIVOT ... ON column IN (...)");
    if (!check_functions(g, sql + text->begin, text->end - text->begin, e))
        return false;
    if (duckdb_prepare_extracted_statement(g->connection, statements, 0, &statement) != DuckDBSuccess)
        return engine_fail(e, ERROR_QUERY, duckdb_prepare_error(statement));
    duckdb_statement_type type = duckdb_prepared_statement_type(statement);
    if (type != DUCKDB_STATEMENT_TYPE_SELECT)
        return refuse_statement(statement_name(type), e);
    if (duckdb_nparams(statement) > 0)
        return error_set(e, ERROR_SQL, "the statement has parameters (?, $1), for which there are no values");
    return true;
}
