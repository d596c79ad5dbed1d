/* What the engine's files share: the only includer of duckdb.h. engine.c opens and configures, engine_check.c says
 * which statements may run, engine_stream.c runs one, engine_parquet.c has the engine write Parquet. */
#ifndef WORKER_ENGINE_INTERNAL_H
#define WORKER_ENGINE_INTERNAL_H

#include <duckdb.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "format/file_form.h"
#include "link/job_spec.h"
#include "worker/engine.h"
#include "worker/sql_text.h"

/* The text of a query with its wrapping: "#1600::VARCHAR, " a column. */
#define QUERY_MAX (JOB_SPEC_SQL_MAX + (16 << 20))

#define ENGINE_MAX_HELPERS 64
#define ENGINE_FUNCTION_NAME_SIZE 33

#define ENGINE_PIPE_PATH "/dev/fd/200" /* ENGINE_PIPE_FD */

struct engine {
    duckdb_database database;
    duckdb_connection connection;
    bool remote; /* MotherDuck */
    bool rehearses;
    uint32_t threads;
    uint64_t memory_limit;
    struct engine_query query;
    const char *sql; /* the query's, as far as the statement goes */
    size_t sql_length;
    struct engine_sink sink;
    char function[ENGINE_FUNCTION_NAME_SIZE]; /* the sink as a function in SQL */
    duckdb_prepared_statement names_statement;
    size_t column_count;
    const char **names;
    char **types;
    char **described; /* what to tell of types instead, where it is not NULL */
    bool *free_text;
    struct column_set *columns; /* as the sink gets them */
    struct parquet_writer *parquet;
    duckdb_result result;
    bool has_result;
    duckdb_data_chunk chunk;
    size_t chunk_row; /* of `chunk`, as far as its blocks were given out */
    uint64_t rows;
    duckdb_task_state helpers_state;
    pthread_t helpers[ENGINE_MAX_HELPERS];
    uint32_t helper_count;
    atomic_bool threads_settled; /* helpers may start */
    atomic_bool sink_failed;
};

static inline void destroy_statements(duckdb_extracted_statements *s)
{
    duckdb_destroy_extracted(s);
}
#define _cleanup_config_ _cleanup_(duckdb_destroy_config)
#define _cleanup_statements_ _cleanup_(destroy_statements)
#define _cleanup_prepared_ _cleanup_(duckdb_destroy_prepare)
#define _cleanup_pending_ _cleanup_(duckdb_destroy_pending)
#define _cleanup_result_ _cleanup_(duckdb_destroy_result)
#define _cleanup_type_ _cleanup_(duckdb_destroy_logical_type)

/* The engine's words as an error. `text` may be NULL: the engine does not always have any. Returns false. */
bool engine_fail(struct error *e, enum error_code code, const char *text);

/* The same for a query that was wrapped: its own text begins on the second line. */
bool engine_fail_wrapped(struct error *e, const char *text);

/* What the query may reach, its time zone, and then no more settings. */
MUST_CHECK bool engine_lock(struct engine *g, const char *timezone, struct error *e);

/* So few threads from now on; more than there are is no change. Not with MotherDuck. */
MUST_CHECK bool engine_use_threads(struct engine *g, uint32_t threads, struct error *e);

/* One statement, that yields rows, without parameters. */
MUST_CHECK bool engine_check_statement(struct engine *g, const char *sql, const struct sql_text *text,
                                       struct error *e);

/* What comes before a query runs: settings are shut, the statement is checked, its names and types are the sink's. */
MUST_CHECK bool engine_begin(struct engine *g, const struct engine_query *query, const struct engine_sink *sink,
                             struct error *e);

/* g->result of a prepared query. */
MUST_CHECK bool engine_stream(struct engine *g, duckdb_prepared_statement statement, struct error *e);

/* The next chunk with rows as g->chunk, or none: the end. */
MUST_CHECK bool engine_fetch(struct engine *g, struct error *e);

/* A list per row, of BIGINTs, of which only the first row's has elements, `number` the first of them: so many that the
 * engine counts what it would of `held` bytes of waiting rows (engine_stream.c). */
MUST_CHECK bool engine_put_held(duckdb_vector result, idx_t rows, int64_t number, size_t held);

/* A name that nobody can foresee, for a function that a query must not call. */
MUST_CHECK bool engine_function_name(char name[ENGINE_FUNCTION_NAME_SIZE], struct error *e);

/* Half of engine_free(). */
void engine_release_query(struct engine *g);
void engine_release_parquet(struct engine *g);

/* A second instance in this process, without data and without temporary files; its one thread is the caller's. It
 * may open ENGINE_PIPE_PATH, and nothing else; its settings are shut. NULL: `e` says why. */
struct engine *engine_open_private(uint64_t memory_limit, struct error *e);

/* Of our own: an error is ERROR_INTERNAL, unless it is a want of memory. */
MUST_CHECK bool engine_run(duckdb_connection connection, const char *sql, struct error *e);

#endif
