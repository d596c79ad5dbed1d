/* For the demonstration, tests and benchmarks: runs statements on a DuckDB file (made where it is not there).
 *
 *     duckdb_run [--hold] FILE SQL...
 *
 * With --hold it then says "ready" and keeps the file open for writing until its standard input ends. */
#include <duckdb.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "?");
    return 1;
}

int main(int argc, char **argv)
{
    bool hold = argc > 1 && strcmp(argv[1], "--hold") == 0;
    char **arguments = argv + (hold ? 2 : 1);
    if (argc < (hold ? 3 : 2))
        return fail("usage", "duckdb_run [--hold] FILE SQL...");
    duckdb_database database;
    duckdb_connection connection;
    char *why = NULL;
    if (duckdb_open_ext(arguments[0], &database, NULL, &why) != DuckDBSuccess ||
        duckdb_connect(database, &connection) != DuckDBSuccess)
        return fail(arguments[0], why);
    for (char **sql = arguments + 1; *sql; sql++) {
        duckdb_result result;
        if (duckdb_query(connection, *sql, &result) != DuckDBSuccess)
            return fail(*sql, duckdb_result_error(&result));
        duckdb_destroy_result(&result);
    }
    if (hold) {
        puts("ready");
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    duckdb_disconnect(&connection);
    duckdb_close(&database);
    return 0;
}
