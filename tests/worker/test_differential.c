/* The worker's files against the engine's own: random tables (random_table.h) in a DuckDB file, `COPY (query)
 * TO ...` here for what is expected, and the same query through a real worker in its box. Every byte of CSV must be
 * equal; of Parquet the schema, and every row in its order, read back.
 *
 *     test_differential [--seed N] [--count N] [--format csv|parquet]
 *
 * Without --seed the time gives one; it is printed, and gives the same tables again. */
#include <duckdb.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "base/buf.h"
#include "base/clock.h"
#include "play_server.h"
#include "random_table.h"

#define BATCH 50 /* tables in one file: opening it costs more than a table */
#define SQL_MAX (64 << 20)

/* The sanitizers' shadow memory does not go with a limit of memory. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MODE SANDBOX_OFF
#else
#define MODE SANDBOX_REQUIRED
#endif

struct test {
    char directory[64];
    char source[96];
    char worker[4096];
    bool parquet;
    duckdb_connection reader; /* of Parquet files; has no data */
    uint64_t schemas, bytes, different, refused;
};

struct schema {
    char *definition, *query;
};

/* What the worker must write, and how far it has. */
struct comparison {
    const uint8_t *expected;
    size_t size, at;
    bool differs;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "?");
    exit(2);
}

static void run(duckdb_connection c, const char *sql)
{
    duckdb_result result;
    if (duckdb_query(c, sql, &result) != DuckDBSuccess) {
        fprintf(stderr, "%s\n", sql);
        die("the generator's SQL fails", duckdb_result_error(&result));
    }
    duckdb_destroy_result(&result);
}

static duckdb_database open_source(const char *path, const char *access_mode, duckdb_connection *ret)
{
    duckdb_config config;
    duckdb_database database;
    char *why = NULL;
    duckdb_create_config(&config);
    duckdb_set_config(config, "access_mode", access_mode);
    duckdb_set_config(config, "storage_compatibility_version", "latest"); /* for the newest types */
    if (duckdb_open_ext(path, &database, config, &why) != DuckDBSuccess ||
        duckdb_connect(database, ret) != DuckDBSuccess)
        die(path, why);
    duckdb_destroy_config(&config);
    run(*ret, "SET TimeZone='UTC'");
    return database;
}

static void expected_path(const struct test *t, size_t index, char *out, size_t size)
{
    snprintf(out, size, "%s/%zu.csv", t->directory, index);
}

/* Parquet refuses some values (negative intervals): then there is no file. */
static void copy_out(const struct test *t, duckdb_connection c, size_t index, const char *query)
{
    char path[128];
    duckdb_result result;
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, SQL_MAX);
    expected_path(t, index, path, sizeof path);
    buf_printf(&sql, "COPY (%s\n) TO '%s' (%s)", query, path, t->parquet ? "FORMAT parquet" : "FORMAT csv, HEADER");
    if (!t->parquet) {
        run(c, sql.data);
        return;
    }
    if (duckdb_query(c, sql.data, &result) != DuckDBSuccess)
        unlink(path);
    duckdb_destroy_result(&result);
}

static void make_tables(struct test *t, struct random_source *r, struct schema *schemas, size_t count)
{
    duckdb_connection c;
    duckdb_database database = open_source(t->source, "READ_WRITE", &c);
    for (size_t i = 0; i < count; i++) {
        char name[32];
        uint32_t columns;
        struct buf sql, query;
        buf_init(&sql, SQL_MAX);
        buf_init(&query, SQL_MAX);
        snprintf(name, sizeof name, "t%zu", i);
        random_table(r, name, &sql, &columns);
        random_query(r, name, columns, &query);
        schemas[i] = (struct schema){.definition = buf_take(&sql), .query = buf_take(&query)};
        if (!schemas[i].definition || !schemas[i].query)
            die("random_table", "too large");
        run(c, schemas[i].definition);
    }
    run(c, "CHECKPOINT");
    duckdb_disconnect(&c);
    duckdb_close(&database);
}

/* From the file as the worker finds it: a checkpoint may change what is stored (0.0 and -0.0 in one FLOAT
 * column may become one of the two). */
static void copy_all(struct test *t, const struct schema *schemas, size_t count)
{
    duckdb_connection c;
    duckdb_database database = open_source(t->source, "READ_ONLY", &c);
    for (size_t i = 0; i < count; i++)
        copy_out(t, c, i, schemas[i].query);
    duckdb_disconnect(&c);
    duckdb_close(&database);
}

static bool compare(void *context, const uint8_t *data, size_t length)
{
    struct comparison *c = context;
    if (c->differs)
        return true;
    for (size_t i = 0; i < length; i++, c->at++)
        if (c->at == c->size || c->expected[c->at] != data[i]) {
            c->differs = true;
            return true;
        }
    return true;
}

static void report(const struct schema *s, const struct comparison *c, const struct play_result *r)
{
    size_t from = c->at > 60 ? c->at - 60 : 0, to = c->at + 60 < c->size ? c->at + 60 : c->size;
    printf("DIFFERENT at offset %zu of %zu (done %d, error \"%s\", broken \"%s\")\n%s%s\nexpected around it: "
           "<<%.*s>>\n",
           c->at, c->size, r->done, r->error.message, r->broken, s->definition, s->query, (int)(to - from),
           (const char *)c->expected + from);
}

/* Of the engine's file, or of a query whose rows are to be none. */
static uint64_t count(struct test *t, const char *sql)
{
    duckdb_result result;
    if (duckdb_query(t->reader, sql, &result) != DuckDBSuccess) {
        fprintf(stderr, "%s\n", sql);
        die("the comparison fails", duckdb_result_error(&result));
    }
    duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
    uint64_t n = (uint64_t)*(int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    duckdb_destroy_data_chunk(&chunk);
    duckdb_destroy_result(&result);
    return n;
}

/* Rows of `a` that are not in `b` at their place, and parts of its schema. */
static uint64_t missing(struct test *t, const char *a, const char *b)
{
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_printf(&sql,
               "SELECT (SELECT count(*) FROM (SELECT * EXCLUDE file_name FROM parquet_schema('%s') EXCEPT ALL "
               "SELECT * EXCLUDE file_name FROM parquet_schema('%s'))) + "
               "(SELECT count(*) FROM (SELECT *, row_number() OVER () FROM read_parquet('%s', file_row_number = true) EXCEPT ALL "
               "SELECT *, row_number() OVER () FROM read_parquet('%s', file_row_number = true)))",
               a, b, a, b);
    return count(t, sql.data);
}

/* Both ways of the writer, by a limit or without one. */
static struct file_form random_form(const struct test *t, struct random_source *r)
{
    struct file_form form = file_form_default(t->parquet ? FILE_PARQUET : FILE_CSV);
    if (t->parquet && random_below(r, 2)) {
        form.row_limit = random_below(r, 2) ? 1000000000 : 0;
        form.byte_limit = random_below(r, 2) ? 1000000000000 : 0;
        form.row_group_size = random_below(r, 2) ? FILE_ROW_GROUP_MIN : 0;
    }
    return form;
}

static bool write_file(void *context, const uint8_t *data, size_t length)
{
    return fwrite(data, 1, length, context) == length;
}

static void check_parquet(struct test *t, const struct schema *s, const char *expected, struct play_options *o)
{
    char path[128];
    struct play_result result;
    struct error e = {0};
    snprintf(path, sizeof path, "%s/worker.parquet", t->directory);
    FILE *out = fopen(path, "wb");
    if (!out)
        die(path, strerror(errno));
    o->take = write_file;
    o->context = out;
    if (!play_server(o, &result, &e) || fclose(out) != 0)
        die("play_server", e.message);
    bool exists = access(expected, F_OK) == 0;
    uint64_t differ = 0;
    if (exists && result.done)
        differ = missing(t, path, expected) + missing(t, expected, path);
    if (result.broken[0] || result.done != exists || differ > 0) {
        printf("DIFFERENT in %llu rows (done %d, error \"%s\", broken \"%s\")\n%s%s\n", (unsigned long long)differ, result.done,
               result.error.message, result.broken, s->definition, s->query);
        t->different++;
    }
    t->schemas++;
    t->refused += !exists;
    t->bytes += result.bytes;
    unlink(path);
    unlink(expected);
}

static void check_one(struct test *t, struct random_source *r, const struct schema *s, size_t index)
{
    char path[128];
    expected_path(t, index, path, sizeof path);

    /* A trailing ';' is the client's right; parts of all sizes, so that values lie across them. */
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, SQL_MAX);
    buf_printf(&sql, "%s%s", s->query, random_below(r, 3) ? "" : "\n; -- end");
    struct play_options o = {
        .worker = t->worker,
        .worker_spec = {.source_path = t->source,
                        .memory_limit = 256ull << 20,
                        .spill_limit = 1ull << 30,
                        .threads = 1 + (uint32_t)random_below(r, 4),
                        .sandbox = MODE},
        .spec = {.sql = sql.data,
                 .form = random_form(t, r),
                 .part_count = 2 + (uint32_t)random_below(r, 3),
                 .part_size = 1000 + random_below(r, 100000)},
        .cancel_after = UINT64_MAX,
        .kill_after = UINT64_MAX,
        .deadline_ms = 60000,
    };
    if (t->parquet) {
        check_parquet(t, s, path, &o);
        return;
    }
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        die(path, strerror(errno));
    struct comparison c = {.size = (size_t)st.st_size};
    c.expected = mmap(NULL, c.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (c.expected == MAP_FAILED)
        die(path, strerror(errno));
    o.take = compare;
    o.context = &c;
    struct play_result result;
    struct error e = {0};
    if (!play_server(&o, &result, &e))
        die("play_server", e.message);
    if (!result.done || result.broken[0] || c.differs || c.at != c.size) {
        report(s, &c, &result);
        t->different++;
    }
    t->schemas++;
    t->bytes += c.size;
    munmap((void *)c.expected, c.size);
    unlink(path);
}

static void run_batch(struct test *t, struct random_source *r, size_t count)
{
    struct schema schemas[BATCH];
    make_tables(t, r, schemas, count);
    copy_all(t, schemas, count);
    for (size_t i = 0; i < count; i++) {
        check_one(t, r, &schemas[i], i);
        free(schemas[i].definition);
        free(schemas[i].query);
    }
    unlink(t->source);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"count", 1, NULL, 'c'}, {"format", 1, NULL, 'f'}, {NULL, 0, NULL, 0}};
    uint64_t seed = (uint64_t)clock_wall_us(), total = 100;
    bool parquet = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (option == 'c')
            total = strtoull(optarg, NULL, 10);
        else if (option == 'f' && (strcmp(optarg, "csv") == 0 || strcmp(optarg, "parquet") == 0))
            parquet = optarg[0] == 'p';
        else
            return 2;
    }
    struct test t = {.directory = "/tmp/differential.XXXXXX", .parquet = parquet};
    char self[4096] = "";
    if (!mkdtemp(t.directory) || readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        die("start", strerror(errno));
    snprintf(t.source, sizeof t.source, "%s/random.duckdb", t.directory);
    if (snprintf(t.worker, sizeof t.worker, "%.4000s/../downloads-worker", dirname(self)) < 0)
        return 2;
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    duckdb_database database = open_source(":memory:", "AUTOMATIC", &t.reader);
    struct random_source r = {.state = seed};
    for (uint64_t left = total; left > 0;) {
        size_t n = left < BATCH ? (size_t)left : BATCH;
        run_batch(&t, &r, n);
        left -= n;
    }
    rmdir(t.directory);
    duckdb_disconnect(&t.reader);
    duckdb_close(&database);
    printf("%" PRIu64 " schemas, %" PRIu64 " bytes, %" PRIu64 " different, %" PRIu64 " refused\n", t.schemas, t.bytes,
           t.different, t.refused);
    return t.different ? 1 : 0;
}
