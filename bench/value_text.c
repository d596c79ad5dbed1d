/* What the text of a value costs: nanoseconds of CPU for a value of each type, by worker/value_text.h and by the
 * engine's own cast (with the scan of its table, about one nanosecond).
 *
 *     build/tools/bench_value_text */
#include <duckdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "worker/value_text.h"

#define VALUES 1000000
#define ROUNDS 5 /* the fastest counts */
#define BUFFER (256u << 10)

static char buffer[BUFFER + VALUE_TEXT_MAX];

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "?");
    exit(1);
}

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Writes all values, one behind the other as a row has them. */
#define LOOP(name, type, call)                                                                               \
    static void name(const void *values, size_t count)                                                       \
    {                                                                                                        \
        const type *v = values;                                                                              \
        char *to = buffer;                                                                                   \
        for (size_t i = 0; i < count; i++) {                                                                 \
            to = call;                                                                                       \
            *to++ = ',';                                                                                     \
            if (to > buffer + BUFFER - VALUE_TEXT_MAX)                                                       \
                to = buffer;                                                                                 \
        }                                                                                                    \
    }

LOOP(booleans, bool, text_of_bool(to, v[i]))
LOOP(integers, int32_t, text_of_int32(to, v[i]))
LOOP(bigints, int64_t, text_of_int64(to, v[i]))
LOOP(hugeints, duckdb_hugeint, text_of_int128(to, v[i].upper, v[i].lower))
LOOP(decimals_9_2, int32_t, text_of_decimal(to, v[i], 9, 2))
LOOP(decimals_18_2, int64_t, text_of_decimal(to, v[i], 18, 2))
LOOP(decimals_18_10, int64_t, text_of_decimal(to, v[i], 18, 10))
LOOP(decimals_38_2, duckdb_hugeint, text_of_decimal128(to, v[i].upper, v[i].lower, 38, 2))
LOOP(floats, float, text_of_float(to, v[i]))
LOOP(doubles, double, text_of_double(to, v[i]))
LOOP(dates, int32_t, text_of_date(to, v[i]))
LOOP(times, int64_t, text_of_time(to, v[i]))
LOOP(timestamps, int64_t, text_of_timestamp(to, v[i]))
LOOP(timestamps_ns, int64_t, text_of_timestamp_ns(to, v[i]))
LOOP(timestamps_tz, int64_t, text_of_timestamp_tz(to, v[i]))
LOOP(intervals, duckdb_interval, text_of_interval(to, v[i].months, v[i].days, v[i].micros))
LOOP(uuids, duckdb_hugeint, text_of_uuid(to, v[i].upper, v[i].lower))

static const struct {
    const char *name, *sql; /* of i, the row's number, and r, random from 0 to 1 */
    size_t size;
    void (*write)(const void *values, size_t count);
} measured[] = {
    {"BOOLEAN", "i % 3 = 0", 1, booleans},
    {"INTEGER, 3 digits", "(r * 1000)::INTEGER", 4, integers},
    {"INTEGER, row number", "i::INTEGER", 4, integers},
    {"INTEGER, any", "((r - 0.5) * 4e9)::INTEGER", 4, integers},
    {"BIGINT, any", "(hash(i) >> 1)::BIGINT", 8, bigints},
    {"HUGEINT, 12 digits", "(r * 1e12)::HUGEINT", 16, hugeints},
    {"HUGEINT, 30 digits", "(r * 1e30)::HUGEINT", 16, hugeints},
    {"DECIMAL(9,2)", "(r * 10000)::DECIMAL(9,2)", 4, decimals_9_2},
    {"DECIMAL(18,2)", "(r * 10000)::DECIMAL(18,2)", 8, decimals_18_2},
    {"DECIMAL(18,10)", "(r * 10000)::DECIMAL(18,10)", 8, decimals_18_10},
    {"DECIMAL(38,2)", "(r * 1000000)::DECIMAL(38,2)", 16, decimals_38_2},
    {"FLOAT, price", "round(r * 1000, 2)::FLOAT", 4, floats},
    {"FLOAT, any", "r::FLOAT", 4, floats},
    {"DOUBLE, price", "round(r * 1000, 2)", 8, doubles},
    {"DOUBLE, whole", "floor(r * 100000)", 8, doubles},
    {"DOUBLE, any", "r * 1000", 8, doubles},
    {"DOUBLE, exponent", "exp(r * 1000 - 500)", 8, doubles},
    {"DATE", "'1990-01-01'::DATE + (r * 15000)::INTEGER", 4, dates},
    {"TIME", "'00:00:00'::TIME + to_seconds((r * 86399)::INTEGER)", 8, times},
    {"TIMESTAMP, seconds", "make_timestamp((r * 2e9)::BIGINT * 1000000)", 8, timestamps},
    {"TIMESTAMP, micros", "make_timestamp((r * 2e15)::BIGINT)", 8, timestamps},
    {"TIMESTAMP_NS", "make_timestamp_ns((r * 2e18)::BIGINT)", 8, timestamps_ns},
    {"TIMESTAMPTZ", "make_timestamp((r * 2e9)::BIGINT * 1000000)::TIMESTAMPTZ", 8, timestamps_tz},
    {"INTERVAL", "to_days((r * 300)::INTEGER) + to_seconds((r * 86399)::INTEGER)", 16, intervals},
    {"UUID", "uuid()", 16, uuids},
};

static void query(duckdb_connection c, const char *sql, duckdb_result *ret)
{
    if (duckdb_query(c, sql, ret) != DuckDBSuccess)
        die(sql, duckdb_result_error(ret));
}

static void run(duckdb_connection c, const char *sql)
{
    duckdb_result result;
    query(c, sql, &result);
    duckdb_destroy_result(&result);
}

static void load(duckdb_connection c, char *to, size_t size)
{
    duckdb_result result;
    duckdb_data_chunk chunk;
    query(c, "FROM t", &result);
    while ((chunk = duckdb_fetch_chunk(result))) {
        size_t bytes = duckdb_data_chunk_get_size(chunk) * size;
        memcpy(to, duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)), bytes);
        to += bytes;
        duckdb_destroy_data_chunk(&chunk);
    }
    duckdb_destroy_result(&result);
}

int main(void)
{
    duckdb_database database;
    duckdb_connection c;
    char sql[512], *values = malloc((size_t)VALUES * 16);
    if (!values || duckdb_open(NULL, &database) != DuckDBSuccess || duckdb_connect(database, &c) != DuckDBSuccess)
        die("open", NULL);
    run(c, "SET threads = 1");
    run(c, "SET TimeZone = 'UTC'");
    run(c, "SELECT setseed(0.5)");
    printf("%-22s %8s %8s   ns of CPU for a value\n", "", "ours", "engine");
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++) {
        double ours = 1e18, theirs = 1e18;
        snprintf(sql, sizeof sql,
                 "CREATE OR REPLACE TABLE t AS SELECT %s AS v FROM (SELECT range AS i, random() AS r FROM range(%d))",
                 measured[i].sql, VALUES);
        run(c, sql);
        load(c, values, measured[i].size);
        for (int round = 0; round < ROUNDS; round++) {
            double begun = cpu_ns();
            measured[i].write(values, VALUES);
            double between = cpu_ns();
            run(c, "SELECT sum(strlen(v::VARCHAR)) FROM t");
            double ended = cpu_ns();
            ours = between - begun < ours ? between - begun : ours;
            theirs = ended - between < theirs ? ended - between : theirs;
        }
        printf("%-22s %8.1f %8.1f\n", measured[i].name, ours / VALUES, theirs / VALUES);
        fflush(stdout);
    }
    free(values);
    duckdb_disconnect(&c);
    duckdb_close(&database);
    return 0;
}
