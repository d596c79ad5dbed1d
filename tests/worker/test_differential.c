/* The worker's CSV, JSON, NDJSON and Parquet against the engine's own: random tables (random_table.h) in a DuckDB file, `COPY
 * (query) TO ...` here for what is expected, and the same query through a real worker in its box; every other one with
 * random options that COPY has too, and a time zone. Every byte must be equal; of JSON, where the engine's is none, after
 * what json.c says is otherwise was put right; of Parquet the schema, and every row at its place, read back.
 *
 *     test_differential [--seed N] [--count N] [--format csv|json|ndjson|parquet]
 *
 * Without --seed the time gives one; it is printed, and gives the same tables again. */
#include <duckdb.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "play_server.h"
#include "random_table.h"

#define BATCH 50 /* tables in one file: opening it costs more than a table */
#define SQL_MAX (64 << 20)
#define EXPECTED_MAX (1 << 30)

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
    enum file_format format;
    duckdb_connection reader; /* of Parquet files; has no data */
    uint64_t schemas, bytes, different, refused;
};

struct schema {
    char *definition, *query;
    struct file_form form;
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

static void choose(struct random_source *r, char *to, size_t size, const char *const *from, size_t count)
{
    snprintf(to, size, "%s", from[random_below(r, count)]);
}

/* Every other time the default. Null texts are those that values may be equal to. */
static struct file_form random_csv_form(struct random_source *r)
{
    static const char delimiters[] = ",;|\t:~^!*$%&\x01\x1f ";
    static const char *const nulls[] = {"",   "",    "NULL", "\\N", "0",          "-1",  "1",    "true",
                                        "a",  "nan", "x",    "é",   "1970-01-01", "[]",  "{}",   "0.0",
                                        "-",  "inf", "0.00", "'",   "00:00:00",   "''",  "#",
                                        "a text of more than 16"};
    static const char *const zones[] = {"UTC", "Asia/Kolkata", "America/St_Johns", "Europe/Amsterdam", "Pacific/Apia"};
    struct file_form form = file_form_default(random_below(r, 4) ? FILE_CSV : FILE_TSV);
    if (random_below(r, 2))
        return file_form_default(FILE_CSV);
    if (random_below(r, 2))
        form.delimiter = delimiters[random_below(r, sizeof delimiters - 1)];
    do
        choose(r, form.null_text, sizeof form.null_text, nulls, ARRAY_SIZE(nulls));
    while (strchr(form.null_text, form.delimiter));
    choose(r, form.timezone, sizeof form.timezone, zones, ARRAY_SIZE(zones));
    form.header = random_below(r, 4) > 0;
    form.quote_all = random_below(r, 4) == 0;
    return form;
}

/* With limits that nothing reaches, or without: the writer has two ways. */
static struct file_form random_parquet_form(struct random_source *r)
{
    struct file_form form = file_form_default(FILE_PARQUET);
    form.row_limit = random_below(r, 2) ? 1000000000 : 0;
    form.byte_limit = random_below(r, 3) ? 0 : 1000000000000;
    form.row_group_size = random_below(r, 2) ? FILE_ROW_GROUP_MIN : 0;
    return form;
}

static struct file_form random_form(const struct test *t, struct random_source *r)
{
    struct file_form form = random_csv_form(r);
    if (t->format == FILE_CSV)
        return form;
    if (t->format == FILE_PARQUET)
        return random_parquet_form(r);
    struct file_form json = file_form_default(t->format);
    memcpy(json.timezone, form.timezone, sizeof json.timezone);
    json.non_finite_as_text = random_below(r, 2);
    return json;
}

/* As a string in SQL: ' twice. */
static void append_string(struct buf *sql, const char *text)
{
    buf_append_text(sql, "'");
    for (; *text; text++)
        buf_append(sql, *text == '\'' ? "''" : text, *text == '\'' ? 2 : 1);
    buf_append_text(sql, "'");
}

static void append_options(struct buf *sql, const struct file_form *form)
{
    if (form->format == FILE_PARQUET) {
        buf_append_text(sql, "FORMAT parquet");
        return;
    }
    if (form->format == FILE_JSON || form->format == FILE_NDJSON) {
        buf_printf(sql, "FORMAT json, ARRAY %s", form->format == FILE_JSON ? "true" : "false");
        return;
    }
    buf_append_text(sql, "FORMAT csv, DELIMITER ");
    append_string(sql, (const char[]){form->delimiter, '\0'});
    buf_append_text(sql, ", NULLSTR ");
    append_string(sql, form->null_text);
    buf_printf(sql, ", HEADER %s%s", form->header ? "true" : "false", form->quote_all ? ", FORCE_QUOTE *" : "");
}

/* Parquet refuses some values, negative intervals: then there is no file. */
static void copy_if_it_can(duckdb_connection c, const char *sql, const char *path)
{
    duckdb_result result;
    if (duckdb_query(c, sql, &result) != DuckDBSuccess)
        unlink(path);
    duckdb_destroy_result(&result);
}

static void copy_out(const struct test *t, duckdb_connection c, size_t index, const struct schema *s)
{
    char path[128], zone[128];
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, SQL_MAX);
    expected_path(t, index, path, sizeof path);
    snprintf(zone, sizeof zone, "SET TimeZone='%s'", s->form.timezone);
    run(c, zone);
    /* with equal names COPY makes no JSON; a subquery makes them different */
    buf_printf(&sql, t->format == FILE_CSV ? "COPY (%s\n) TO '%s' (" : "COPY (SELECT * FROM (%s\n)) TO '%s' (", s->query, path);
    append_options(&sql, &s->form);
    buf_append_text(&sql, ")");
    if (t->format == FILE_PARQUET)
        copy_if_it_can(c, sql.data, path);
    else
        run(c, sql.data);
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
        schemas[i] = (struct schema){
            .definition = buf_take(&sql), .query = buf_take(&query), .form = random_form(t, r)};
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
        copy_out(t, c, i, &schemas[i]);
    duckdb_disconnect(&c);
    duckdb_close(&database);
}

/* Beside strings there are words that JSON does not have, and decimals that begin with a point. */
static void put_right(const char *text, size_t length, bool non_finite_as_text, struct buf *out)
{
    static const char *const words[] = {"-Infinity", "Infinity", "NaN"};
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        const char *word = NULL;
        for (size_t k = 0; k < ARRAY_SIZE(words) && !in_string; k++)
            if (!word && strncmp(text + i, words[k], strlen(words[k])) == 0)
                word = words[k];
        if (word) {
            buf_printf(out, non_finite_as_text ? "\"%s\"" : "null", word);
            i += strlen(word) - 1;
            continue;
        }
        if (!in_string && text[i] == '.' && (text[i - 1] < '0' || text[i - 1] > '9'))
            buf_append_text(out, "0");
        buf_append(out, text + i, 1);
        if (in_string && text[i] == '\\')
            buf_append(out, text + ++i, 1);
        else if (text[i] == '"')
            in_string = !in_string;
    }
}

static void read_expected(const char *path, const struct file_form *form, struct buf *out)
{
    _cleanup_buf_ struct buf file;
    char chunk[65536];
    FILE *f = fopen(path, "rb");
    buf_init(&file, EXPECTED_MAX);
    for (size_t n; f && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_append(&file, chunk, n);
    if (!f || ferror(f))
        die(path, strerror(errno));
    fclose(f);
    if (form->format == FILE_JSON || form->format == FILE_NDJSON)
        put_right(file.data, file.len, form->non_finite_as_text, out);
    else
        buf_append(out, file.data, file.len);
    if (!buf_ok(&file) || !buf_ok(out))
        die(path, "too large");
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
    _cleanup_buf_ struct buf options;
    buf_init(&options, SQL_MAX);
    append_options(&options, &s->form);
    size_t from = c->at > 60 ? c->at - 60 : 0, to = c->at + 60 < c->size ? c->at + 60 : c->size;
    printf("DIFFERENT at offset %zu of %zu (done %d, error \"%s\", broken \"%s\")\n%s%s\n(%s, %s)\nexpected around it: "
           "<<%.*s>>\n",
           c->at, c->size, r->done, r->error.message, r->broken, s->definition, s->query, options.data, s->form.timezone,
           (int)(to - from),
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
                 .form = s->form,
                 .part_count = 2 + (uint32_t)random_below(r, 3),
                 .part_size = 1000 + random_below(r, 100000)},
        .cancel_after = UINT64_MAX,
        .kill_after = UINT64_MAX,
        .deadline_ms = 60000,
    };
    if (t->format == FILE_PARQUET) {
        check_parquet(t, s, path, &o);
        return;
    }
    _cleanup_buf_ struct buf expected;
    buf_init(&expected, EXPECTED_MAX);
    read_expected(path, &s->form, &expected);
    struct comparison c = {.expected = (const uint8_t *)expected.data, .size = expected.len};
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
    struct test t = {.directory = "/tmp/differential.XXXXXX"};
    uint64_t seed = (uint64_t)clock_wall_us(), count = 100;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (option == 'c')
            count = strtoull(optarg, NULL, 10);
        else if (option == 'f')
            t.format = strcmp(optarg, "json") == 0      ? FILE_JSON
                       : strcmp(optarg, "ndjson") == 0  ? FILE_NDJSON
                       : strcmp(optarg, "parquet") == 0 ? FILE_PARQUET
                                                        : FILE_CSV;
        else
            return 2;
    }
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
    for (uint64_t left = count; left > 0;) {
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
