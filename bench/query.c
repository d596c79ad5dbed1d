/* An opponent for the benchmark: one statement on a DuckDB file with the library and the threads that our worker has.
 *
 *     query [--threads N] [--memory SIZE] [--extension FILE] [--setup SQL]... [--drain] FILE SQL
 *
 * With --drain the rows are fetched as the engine's own chunks, by its streaming result, and dropped: what a query
 * costs that nobody encodes. Otherwise it is run (a COPY). The file is opened read-only; --extension is loaded and
 * --setup is run before the clocks start.
 *
 * Standard output is one line of JSON: rows (drained, or as COPY counts them), and of the statement alone wall_us,
 * user_us and system_us. What the process costs as a whole is its parent's to see. */
#include <duckdb.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define SETUPS_MAX 16

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "query: %s: %s\n", what, why ? why : "?");
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static int64_t us(struct timeval t)
{
    return t.tv_sec * INT64_C(1000000) + t.tv_usec;
}

static void set(duckdb_config config, const char *name, const char *value)
{
    if (duckdb_set_config(config, name, value) != DuckDBSuccess)
        fail(name, "not taken");
}

/* The first number of the result, which a COPY's count is; 0 where there is none. */
static uint64_t run(duckdb_connection connection, const char *sql)
{
    duckdb_result result;
    if (duckdb_query(connection, sql, &result) != DuckDBSuccess)
        fail(sql, duckdb_result_error(&result));
    uint64_t count = 0;
    if (duckdb_column_count(&result) > 0 && duckdb_column_type(&result, 0) == DUCKDB_TYPE_BIGINT) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk && duckdb_data_chunk_get_size(chunk) > 0)
            count = ((uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
    return count;
}

static uint64_t drain(duckdb_connection connection, const char *sql)
{
    duckdb_prepared_statement statement;
    if (duckdb_prepare(connection, sql, &statement) != DuckDBSuccess)
        fail(sql, duckdb_prepare_error(statement));
    duckdb_result result;
    if (duckdb_execute_prepared_streaming(statement, &result) != DuckDBSuccess)
        fail(sql, duckdb_result_error(&result));
    uint64_t rows = 0;
    duckdb_data_chunk chunk;
    while ((chunk = duckdb_fetch_chunk(result))) {
        rows += duckdb_data_chunk_get_size(chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    /* An error in mid-stream looks like the end. */
    const char *error = duckdb_result_error(&result);
    if (error && *error)
        fail(sql, error);
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&statement);
    return rows;
}

int main(int argc, char **argv)
{
    const char *threads = "1", *memory = "1GB", *extension = NULL, *setups[SETUPS_MAX];
    int setup_count = 0;
    bool is_drain = false;
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--drain") == 0)
            is_drain = true;
        else if (at + 1 == argc)
            fail(argv[at], "needs a value");
        else if (strcmp(argv[at], "--threads") == 0)
            threads = argv[++at];
        else if (strcmp(argv[at], "--memory") == 0)
            memory = argv[++at];
        else if (strcmp(argv[at], "--extension") == 0)
            extension = argv[++at];
        else if (strcmp(argv[at], "--setup") == 0 && setup_count < SETUPS_MAX)
            setups[setup_count++] = argv[++at];
        else
            fail(argv[at], "unknown");
    }
    if (argc - at != 2)
        fail("usage", "query [OPTIONS] FILE SQL");

    duckdb_config config;
    if (duckdb_create_config(&config) != DuckDBSuccess)
        fail("configuration", "no memory");
    set(config, "access_mode", "READ_ONLY");
    set(config, "threads", threads);
    set(config, "memory_limit", memory);
    set(config, "autoinstall_known_extensions", "false");
    set(config, "autoload_known_extensions", "false");
    set(config, "allow_persistent_secrets", "false");
    duckdb_database database;
    duckdb_connection connection;
    char *why = NULL;
    if (duckdb_open_ext(argv[at], &database, config, &why) != DuckDBSuccess)
        fail(argv[at], why);
    if (duckdb_connect(database, &connection) != DuckDBSuccess)
        fail(argv[at], "no connection");
    run(connection, "SET TimeZone = 'UTC'");
    if (extension) {
        char load[4200];
        snprintf(load, sizeof load, "LOAD '%s'", extension);
        run(connection, load);
    }
    for (int i = 0; i < setup_count; i++)
        run(connection, setups[i]);

    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    int64_t begun = now_us();
    uint64_t rows = is_drain ? drain(connection, argv[at + 1]) : run(connection, argv[at + 1]);
    int64_t wall = now_us() - begun;
    getrusage(RUSAGE_SELF, &after);
    printf("{\"rows\":%" PRIu64 ",\"wall_us\":%" PRId64 ",\"user_us\":%" PRId64 ",\"system_us\":%" PRId64 "}\n", rows,
           wall, us(after.ru_utime) - us(before.ru_utime), us(after.ru_stime) - us(before.ru_stime));

    duckdb_disconnect(&connection);
    duckdb_close(&database);
    duckdb_destroy_config(&config);
    return 0;
}
