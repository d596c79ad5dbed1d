#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <cmocka.h>
#include <sqlite3.h>

#include "base/clock.h"
#include "job/sqlite_schema.h"
#include "job/sqlite_statements.h"
#include "job/store_thread.h"
#include "job_store_suite.h"

static char directory[64], path[80], wal[96];

static struct job_store *open_again(void)
{
    struct error e = {0};
    struct job_store *s = job_store_sqlite_open(path, &e);
    if (!s)
        fprintf(stderr, "%s\n", e.message);
    return s;
}

static struct job_store *open_empty(void)
{
    snprintf(directory, sizeof directory, "/tmp/job-store-XXXXXX");
    if (!mkdtemp(directory))
        return NULL;
    snprintf(path, sizeof path, "%s/jobs.sqlite", directory);
    snprintf(wal, sizeof wal, "%s-wal", path);
    return open_again();
}

static void remove_directory(void)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_SIZE(suffixes); i++) {
        char file[128];
        snprintf(file, sizeof file, "%s%s", path, suffixes[i]);
        unlink(file);
    }
    rmdir(directory);
}

static int open_store(void **state)
{
    *state = open_empty();
    return *state ? 0 : -1;
}

static int close_store(void **state)
{
    struct job_store *s = *state;
    if (s)
        s->api->close(s);
    remove_directory();
    return 0;
}

/* The file as another program sees it. */
static sqlite3 *open_beside(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    return db;
}

static void run_beside(const char *sql)
{
    sqlite3 *db = open_beside();
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void make_due(void)
{
    run_beside("UPDATE downloads_attempts SET due_at = 0 WHERE due_at < 9223372036854775807");
}

static void make_due_in_a_minute(void)
{
    run_beside("UPDATE downloads_attempts SET due_at = due_at - 61000000 WHERE due_at < 9223372036854775807");
}

static void no_statement_scans_a_table(void **state)
{
    (void)state;
    static const struct {
        const char *name, *sql;
    } statements[] = {
#define ROW(name, sql) {#name, sql},
        SQLITE_STATEMENTS(ROW)
#undef ROW
    };
    sqlite3 *db = open_beside();
    for (size_t i = 0; i < ARRAY_SIZE(statements); i++) {
        sqlite3_stmt *plan;
        _cleanup_free_ char *explain = NULL;
        if (strcmp(statements[i].name, "HOLD") == 0 || strcmp(statements[i].name, "NEXT_HELD_ORG") == 0)
            continue; /* once, at the start, over all that waits */
        assert_true(asprintf(&explain, "EXPLAIN QUERY PLAN %s", statements[i].sql) > 0);
        assert_int_equal(sqlite3_prepare_v2(db, explain, -1, &plan, NULL), SQLITE_OK);
        while (sqlite3_step(plan) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(plan, 3);
            /* The first of an index that holds just what is looked for is not a scan, whatever it is called;
             * a sort is one of all that was found. */
            bool first_of_index =
                strstr(detail, "SCAN downloads_queue USING") && strstr(statements[i].sql, "LIMIT 1");
            bool one_row = strcmp(detail, "SCAN downloads_queue_length") == 0;
            bool subquery = strncmp(detail, "SCALAR SUBQUERY", 15) == 0 || strstr(detail, "SCAN (subquery");
            if ((strstr(detail, "SCAN") && !first_of_index && !one_row && !subquery) ||
                strstr(detail, "B-TREE"))
                fail_msg("%s: %s", statements[i].name, detail);
        }
        sqlite3_finalize(plan);
    }
    sqlite3_close(db);
}

static void records_outlive_the_process(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    char id[UUID_SIZE];
    create_job(s, "org", "user", id);
    s->api->close(s);
    *state = s = open_again();
    assert_non_null(s);
    assert_true(s->api->get(s, "org", id, &j, &e));
    job_release(&j);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_newer_schema_is_refused(void **state)
{
    (void)state;
    struct error e = {0};
    sqlite3 *db = open_beside();
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_null(job_store_sqlite_open(path, &e));
    assert_int_equal(e.code, ERROR_CONFIG);
}

/* As the version that had so many steps left it, with a job that waits. */
static void write_older(size_t steps)
{
    char version[64];
    unlink(path);
    unlink(wal);
    for (size_t i = 0; i < steps; i++)
        run_beside(sqlite_schema[i]);
    snprintf(version, sizeof version, "PRAGMA user_version = %zu", steps);
    run_beside(version);
    run_beside("INSERT INTO downloads (id, sql, dataset_id, format, created_at, updated_at, user_id, org_id)"
               " VALUES ('0b4c2c1e-3f0e-4b7a-9a51-000000000001', 'SELECT 1', 'd', 'csv', 5, 5, 'user', 'org')");
    run_beside("INSERT INTO downloads_jobs (id, version, attempt, rows, bytes)"
               " VALUES ('0b4c2c1e-3f0e-4b7a-9a51-000000000001', 1, 0, 0, 0)");
    run_beside("INSERT INTO downloads_queue (id, org_id, tag) VALUES ('0b4c2c1e-3f0e-4b7a-9a51-000000000001', 'org', 1)");
}

static void an_older_database_is_brought_up(void **state)
{
    struct job_store *s = *state;
    for (size_t steps = 1; steps < ARRAY_SIZE(sqlite_schema); steps++) {
        struct error e = {0};
        struct job j = {0};
        s->api->close(s);
        write_older(steps);
        *state = s = open_again();
        assert_non_null(s);
        assert_true(claim_job(s, &j));
        assert_null(j.form);
        assert_null(j.suffix);
        _cleanup_free_ char *key = job_object_key(&j, 1);
        assert_string_equal(key, "org/0b4c2c1e-3f0e-4b7a-9a51-000000000001.csv");
        assert_true(publish_job(s, &j, FAR_AWAY, &e));
        assert_status(s, j.id, JOB_COMPLETED, 3);
        job_release(&j);
    }
}

static void what_is_no_database_is_refused(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    s->api->close(s);
    *state = NULL;
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++)
        fputs("no database ", f);
    assert_int_equal(fclose(f), 0);
    assert_null(job_store_sqlite_open(path, &e));
    assert_int_equal(e.code, ERROR_UNAVAILABLE);
    assert_string_equal(e.message, "the job store is damaged");
    assert_null(job_store_sqlite_open("/nowhere/jobs.sqlite", &e));
    assert_int_equal(e.code, ERROR_UNAVAILABLE);
}

static void a_lock_of_another_is_waited_for_a_while(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    sqlite3 *db = open_beside();
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    int64_t start = clock_monotonic_ms();
    assert_false(s->api->begin(s, &e));
    assert_true(clock_monotonic_ms() - start >= 1000);
    assert_int_equal(e.code, ERROR_UNAVAILABLE);
    struct job_list list = {0};
    assert_true(s->api->list(s, "org", "user", 10, 0, &list, &e)); /* reading goes on */
    job_list_release(&list);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    create_job(s, "org", "user", NULL);
    sqlite3_close(db);
}

/* A task that creates a job (or, without `sql`, asks for one that does not exist). */
struct create_task {
    struct store_task task;
    const char *sql;
    struct job job;
    int *ended; /* counts down */
};

static bool call_create(struct job_store *s, struct store_task *t, struct error *e)
{
    struct create_task *c = CONTAINER_OF(t, struct create_task, task);
    if (!c->sql)
        return s->api->get(s, "org", "unknown", &c->job, e);
    struct job_request r = {
        .user_id = "user", .org_id = "org", .dataset_id = "d", .sql = c->sql, .format = "csv"};
    return s->api->create(bound_queue(s, 1000), &r, &c->job, e);
}

static void create_done(struct store_task *t)
{
    struct create_task *c = CONTAINER_OF(t, struct create_task, task);
    job_release(&c->job);
    (*c->ended)--;
}

/* Submits the tasks so that they are one batch, and waits for them: the thread is held at a first one
 * meanwhile. */
struct held_task {
    struct store_task task;
    int started, held;
};

static bool call_held(struct job_store *s, struct store_task *t, struct error *e)
{
    (void)s;
    const struct held_task *h = CONTAINER_OF(t, struct held_task, task);
    char byte;
    if (write(h->started, "", 1) != 1 || read(h->held, &byte, 1) != 1)
        return error_set(e, ERROR_INTERNAL, "nobody let go");
    return true;
}

static void held_done(struct store_task *t)
{
    assert_true(t->ok);
}

static void run_as_one(struct store_threads *threads, struct mailbox *m, struct create_task *tasks, int count)
{
    struct held_task first = {.task = {.call = call_held, .done = held_done}};
    int waiting = count;
    int started[2], held[2];
    char byte;
    assert_int_equal(pipe(started), 0);
    assert_int_equal(pipe(held), 0);
    first.started = started[1];
    first.held = held[0];
    store_threads_write(threads, &first.task);
    assert_int_equal(read(started[0], &byte, 1), 1);
    for (int i = 0; i < count; i++) {
        tasks[i].task.call = call_create;
        tasks[i].task.done = create_done;
        tasks[i].ended = &waiting;
        store_threads_write(threads, &tasks[i].task);
    }
    assert_int_equal(write(held[1], "", 1), 1);
    while (waiting > 0) {
        struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 30000), 1);
        mailbox_drain(m);
    }
    for (int i = 0; i < 2; i++) {
        close(started[i]);
        close(held[i]);
    }
}

static void limit_files_to(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static size_t count_jobs(struct job_store *s)
{
    struct error e = {0};
    struct job_list list = {0};
    assert_true(s->api->list(s, "org", "user", 100, 0, &list, &e));
    size_t count = list.count;
    job_list_release(&list);
    return count;
}

static struct job_store *open_for_threads(void *context, bool for_control, struct error *e)
{
    (void)context;
    (void)for_control;
    return job_store_sqlite_open(path, e);
}

static struct store_threads *start_threads(struct mailbox *m)
{
    struct error e = {0};
    struct store_threads *threads = store_threads_new(
        &(struct store_threads_options){.open = open_for_threads, .done = m}, &e);
    assert_non_null(threads);
    return threads;
}

/* As with a full disk: the file may not grow. */
static void a_failed_commit_fails_all_of_its_tasks(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct mailbox *m = mailbox_new(&e);
    struct store_threads *threads = start_threads(m);
    struct create_task tasks[3] = {{.sql = "a"}, {.sql = NULL}, {.sql = "c"}};
    run_as_one(threads, m, tasks, 3);
    assert_true(tasks[0].task.ok);
    assert_false(tasks[1].task.ok);
    assert_int_equal(tasks[1].task.error.code, ERROR_NOT_FOUND);
    assert_true(tasks[2].task.ok);
    assert_int_equal(count_jobs(s), 2);

    struct stat st;
    assert_int_equal(stat(wal, &st), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit_files_to((rlim_t)st.st_size + 1024);
    run_as_one(threads, m, tasks, 3);
    limit_files_to(RLIM_INFINITY);
    assert_false(tasks[0].task.ok);
    assert_int_equal(tasks[0].task.error.code, ERROR_UNAVAILABLE);
    assert_int_equal(tasks[1].task.error.code, ERROR_NOT_FOUND); /* its own reason */
    assert_false(tasks[2].task.ok);
    assert_int_equal(tasks[2].task.error.code, ERROR_UNAVAILABLE);
    assert_int_equal(count_jobs(s), 2);

    run_as_one(threads, m, tasks, 3);
    assert_true(tasks[0].task.ok);
    assert_true(tasks[2].task.ok);
    assert_int_equal(count_jobs(s), 4);
    store_threads_free(threads);
    mailbox_free(m);
}

/* A text larger than SQLite's cache goes to the disk before the commit: there the call itself fails. */
static void a_disk_that_fills_in_mid_way_stops_nothing_for_good(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct mailbox *m = mailbox_new(&e);
    struct store_threads *threads = start_threads(m);
    const size_t length = 16 << 20;
    _cleanup_free_ char *large = malloc(length + 1);
    assert_non_null(large);
    memset(large, 'x', length);
    large[length] = '\0';
    struct create_task tasks[3] = {{.sql = "a"}, {.sql = large}, {.sql = "c"}};
    signal(SIGXFSZ, SIG_IGN);
    limit_files_to(1 << 20);
    run_as_one(threads, m, tasks, 3);
    limit_files_to(RLIM_INFINITY);
    assert_false(tasks[1].task.ok);
    assert_int_equal(tasks[1].task.error.code, ERROR_UNAVAILABLE);
    /* What was told to be stored is stored, and nothing else. */
    assert_int_equal(count_jobs(s), (size_t)tasks[0].task.ok + tasks[2].task.ok);

    size_t before = count_jobs(s);
    run_as_one(threads, m, tasks, 3);
    for (int i = 0; i < 3; i++)
        assert_true(tasks[i].task.ok);
    assert_int_equal(count_jobs(s), before + 3);
    store_threads_free(threads);
    mailbox_free(m);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_store, close_store)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_statement_scans_a_table),
        TEST(records_outlive_the_process),
        TEST(an_older_database_is_brought_up),
        TEST(a_newer_schema_is_refused),
        TEST(what_is_no_database_is_refused),
        TEST(a_lock_of_another_is_waited_for_a_while),
        TEST(a_failed_commit_fails_all_of_its_tasks),
        TEST(a_disk_that_fills_in_mid_way_stops_nothing_for_good),
    };
    int failed = job_store_suite_run(&(struct job_store_backend){
        .name = "job store: sqlite", .open = open_empty, .closed = remove_directory, .make_due = make_due,
        .make_due_in_a_minute = make_due_in_a_minute});
    return failed + cmocka_run_group_tests_name("sqlite", tests, NULL, NULL);
}
