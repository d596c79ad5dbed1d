#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#include "job/fair_tag.h"
#include "job/job.h"
#include "job/retry.h"
#include "job/store_thread.h"

static void tags_are_fair(void **state)
{
    (void)state;
    assert_int_equal(fair_tag(0, 0), 1); /* the first of all */
    assert_int_equal(fair_tag(1, 1), 2); /* one's own next */
    assert_int_equal(fair_tag(1000, 17), 1001);
    assert_int_equal(fair_tag(0, 17), 17); /* a newcomer is not sent behind a long queue, */
    assert_int_equal(fair_tag(3, 17), 17); /* nor does one that was idle get turns for that */
}

static void retries_back_off(void **state)
{
    (void)state;
    static const struct {
        uint32_t failures;
        uint64_t base, whole;
    } cases[] = {{0, 2000, 2000},   {1, 2000, 8000},   {2, 2000, 32000},     {3, 2000, 60000},     {99, 2000, 60000}, {UINT32_MAX, 1, 60000},
                 {0, 60000, 60000}, {1, 16000, 60000}, {0, 3600000, 60000}, {0, UINT64_MAX, 60000}, {0, 1, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t whole = cases[i].whole, half = whole - whole / 2, least = UINT64_MAX, most = 0;
        for (uint64_t random = UINT64_MAX; random > UINT64_MAX - 70000; random--) {
            uint64_t delay = retry_delay_ms(cases[i].failures, cases[i].base, random);
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        assert_int_equal(least, half); /* every one between them may come, none beyond */
        assert_int_equal(most, whole);
    }
    assert_int_equal(retry_delay_ms(0, 0, 7), 0);
    assert_int_equal(retry_delay_ms(UINT32_MAX, 0, 7), 0);
}

static void only_these_steps_are_there(void **state)
{
    (void)state;
    static const bool may[5][5] = {
        [JOB_PENDING] = {[JOB_PROCESSING] = true, [JOB_FAILED] = true},
        [JOB_PROCESSING] = {[JOB_COMPLETED] = true, [JOB_FAILED] = true, [JOB_PENDING] = true},
        [JOB_COMPLETED] = {[JOB_EXPIRED] = true},
    };
    for (int from = JOB_PENDING; from <= JOB_EXPIRED; from++)
        for (int to = JOB_PENDING; to <= JOB_EXPIRED; to++)
            assert_int_equal(job_may_become((enum job_status)from, (enum job_status)to), may[from][to]);
}

static void names_are_the_contracts(void **state)
{
    (void)state;
    static const char *const names[] = {"pending", "processing", "completed", "failed", "expired"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        enum job_status status;
        assert_string_equal(job_status_name((enum job_status)i), names[i]);
        assert_true(job_status_parse(names[i], &status));
        assert_int_equal(status, i);
    }
    enum job_status status;
    assert_false(job_status_parse("Pending", &status));
    assert_false(job_status_parse("", &status));
    for (int code = 0; code < ERROR_CODE_COUNT; code++)
        assert_int_equal(job_error_code_parse(error_code_name((enum error_code)code)), code);
    assert_int_equal(job_error_code_parse("of a later version"), ERROR_INTERNAL);
}

#define ID "3d3c9ba4-6b2f-4f52-8f5e-0d8a1c9d7e11"

static struct job small_job(void)
{
    return (struct job){.id = ID,
                        .user_id = (char *)"u",
                        .org_id = (char *)"o",
                        .dataset_id = (char *)"d",
                        .sql = (char *)"SELECT 1",
                        .format = (char *)"csv",
                        .created_at = 1709210096789012,
                        .updated_at = 1709210096789012,
                        .percent = -1,
                        .version = 1};
}

static void keys_are_of_the_attempt(void **state)
{
    (void)state;
    struct job j = small_job();
    _cleanup_free_ char *first = job_object_key(&j, 1), *third = job_object_key(&j, 3);
    assert_string_equal(first, "o/" ID ".csv");
    assert_string_equal(third, "o/" ID "-3.csv");
    j.suffix = (char *)"ndjson.zst";
    _cleanup_free_ char *with_suffix = job_object_key(&j, 1), *later = job_object_key(&j, UINT32_MAX);
    assert_string_equal(with_suffix, "o/" ID ".ndjson.zst");
    assert_string_equal(later, "o/" ID "-4294967295.ndjson.zst");
}

static void assert_json(const struct job *j, const char *expected)
{
    _cleanup_buf_ struct buf out;
    buf_init(&out, 1 << 20);
    job_append_json(&out, j, 0);
    assert_true(buf_ok(&out));
    assert_string_equal(out.data, expected);
}

static void a_record_is_the_contracts_json(void **state)
{
    (void)state;
    struct job j = small_job();
    assert_json(&j, "{\"id\":\"" ID "\",\"sql\":\"SELECT 1\",\"dataset_id\":\"d\",\"status\":\"pending\","
                    "\"format\":\"csv\",\"created_at\":\"2024-02-29T12:34:56.789012Z\","
                    "\"updated_at\":\"2024-02-29T12:34:56.789012Z\",\"user_id\":\"u\",\"org_id\":\"o\","
                    "\"version\":1}");

    j.status = JOB_PROCESSING;
    j.version = 2;
    j.attempt = 1;
    j.rows = 5;
    j.percent = 12.34;
    assert_json(&j, "{\"id\":\"" ID "\",\"sql\":\"SELECT 1\",\"dataset_id\":\"d\",\"status\":\"processing\","
                    "\"format\":\"csv\",\"created_at\":\"2024-02-29T12:34:56.789012Z\","
                    "\"updated_at\":\"2024-02-29T12:34:56.789012Z\",\"user_id\":\"u\",\"org_id\":\"o\","
                    "\"version\":2,\"attempt\":1,\"failures\":0,\"rows\":5,\"bytes\":0,\"percent\":12.3}");

    j.status = JOB_COMPLETED;
    j.version = 3;
    j.rows = 0; /* an empty result is one too */
    j.bytes = 7;
    j.expires_at = j.completed_at = 1709210097000000;
    j.link = (char *)"http://h/f?a=1&b=2";
    snprintf(j.sha256, sizeof j.sha256, "abc");
    assert_json(
        &j, "{\"id\":\"" ID "\",\"sql\":\"SELECT 1\",\"dataset_id\":\"d\",\"status\":\"completed\","
            "\"format\":\"csv\",\"pre_signed_url\":\"http://h/f?a=1&b=2\","
            "\"created_at\":\"2024-02-29T12:34:56.789012Z\",\"updated_at\":\"2024-02-29T12:34:56.789012Z\","
            "\"expires_at\":\"2024-02-29T12:34:57.000000Z\",\"completed_at\":\"2024-02-29T12:34:57.000000Z\","
            "\"user_id\":\"u\",\"org_id\":\"o\",\"version\":3,\"attempt\":1,\"failures\":0,\"rows\":0,\"bytes\":7,"
            "\"sha256\":\"abc\"}");

    j = small_job();
    j.status = JOB_FAILED;
    j.error_message = (char *)"no \"x\"";
    j.error_code = ERROR_QUERY;
    j.completed_at = 1709210097000000;
    assert_json(
        &j, "{\"id\":\"" ID "\",\"sql\":\"SELECT 1\",\"dataset_id\":\"d\",\"status\":\"failed\","
            "\"format\":\"csv\",\"error_message\":\"no \\\"x\\\"\","
            "\"created_at\":\"2024-02-29T12:34:56.789012Z\",\"updated_at\":\"2024-02-29T12:34:56.789012Z\","
            "\"completed_at\":\"2024-02-29T12:34:57.000000Z\",\"user_id\":\"u\",\"org_id\":\"o\","
            "\"version\":1,\"error_code\":\"query_failed\"}");
}

#define HEAD "{\"id\":\"" ID "\",\"sql\":\"SELECT 1\",\"dataset_id\":\"d\",\"status\":\"%s\",\"format\":\"csv\""
#define TIMES \
    ",\"created_at\":\"2024-02-29T12:34:56.789012Z\",\"updated_at\":\"2024-02-29T12:34:56.789012Z\",\"user_id\":\"u\",\"org_id\":\"o\"," \
    "\"version\":1"
#define FORM_MEMBERS ",\"compression\":\"gzip\",\"options\":{\"null\":\"\\u0001\"},\"row_limit\":9007199254740993,\"byte_limit\":7"
#define COLUMNS "[{\"name\":\"a\\u0001\",\"type\":\"INTEGER\"}]"

static struct job job_with_form(enum job_status status)
{
    struct job j = small_job();
    j.status = status;
    j.form = (char *)"{\"format\":\"csv\"" FORM_MEMBERS "}";
    j.suffix = (char *)"csv.gz";
    return j;
}

static struct job job_with_result(enum job_status status)
{
    struct job j = job_with_form(status);
    j.columns = (char *)COLUMNS;
    j.details = (char *)"{\"truncated\":true,\"duration_ms\":1234,\"guarded_cells\":5}";
    return j;
}

static void a_record_says_what_its_file_is_like(void **state)
{
    (void)state;
    char expected[1024];
    struct job j = job_with_form(JOB_PENDING);
    snprintf(expected, sizeof expected, HEAD FORM_MEMBERS TIMES "}", "pending");
    assert_json(&j, expected);
    j.form = (char *)"{\"format\":\"csv\"}";
    snprintf(expected, sizeof expected, HEAD TIMES "}", "pending");
    assert_json(&j, expected);
    j.form = (char *)"not ours"; /* in a row that others changed by hand */
    assert_json(&j, expected);

    static const enum job_status over[] = {JOB_COMPLETED, JOB_EXPIRED};
    for (size_t i = 0; i < ARRAY_SIZE(over); i++) {
        j = job_with_result(over[i]);
        snprintf(expected, sizeof expected,
                 HEAD FORM_MEMBERS TIMES ",\"rows\":0,\"bytes\":0,\"content_type\":\"application/gzip\",\"filename\":\"" ID
                 ".csv.gz\",\"truncated\":true,\"duration_ms\":1234,\"guarded_cells\":5,\"columns\":" COLUMNS "}",
                 job_status_name(over[i]));
        assert_json(&j, expected);
    }

    /* Of a list: nothing is said of the columns. A job that was made before there were forms. */
    j = job_with_result(JOB_COMPLETED);
    j.columns = j.form = j.suffix = NULL;
    snprintf(expected, sizeof expected,
             HEAD TIMES ",\"rows\":0,\"bytes\":0,\"content_type\":\"text/csv; charset=utf-8\",\"filename\":\"" ID
             ".csv\",\"truncated\":true,\"duration_ms\":1234,\"guarded_cells\":5}", "completed");
    assert_json(&j, expected);
}

/* Reads the line back with a strict parser. */
static json_t *parse(const struct buf *out)
{
    json_error_t e;
    json_t *record = json_loadb(out->data, out->len, JSON_REJECT_DUPLICATES, &e);
    if (!record)
        fail_msg("%s", e.text);
    assert_null(memchr(out->data, '\n', out->len));
    return record;
}

static void every_character_survives(void **state)
{
    (void)state;
    char sql[256];
    size_t length = 0;
    for (int c = 1; c < 0x80; c++)
        sql[length++] = (char)c;
    snprintf(sql + length, sizeof sql - length, "äöü€\U0001F600\u2028");
    struct job j = small_job();
    j.sql = sql;
    _cleanup_buf_ struct buf out;
    buf_init(&out, 1 << 20);
    job_append_json(&out, &j, 0);
    json_t *record = parse(&out);
    assert_string_equal(json_string_value(json_object_get(record, "sql")), sql);
    json_decref(record);
}

/* 4 MiB of a pattern, cut under 32 KiB: the longest line of whole characters that fits. */
static void check_cut(const char *pattern, size_t longest_character)
{
    const size_t length = 4 << 20, max = 32 << 10;
    _cleanup_free_ char *sql = calloc(1, length + 1);
    assert_non_null(sql);
    size_t step = strlen(pattern);
    for (size_t i = 0; i + step <= length; i += step)
        memcpy(sql + i, pattern, step);
    struct job j = small_job();
    j.sql = sql;
    for (size_t shift = 0; shift < 8; shift++) { /* the cut falls on each byte of a character */
        _cleanup_buf_ struct buf out;
        buf_init(&out, 1 << 20);
        job_append_json(&out, &j, max - shift);
        assert_true(buf_ok(&out));
        assert_true(out.len <= max - shift);
        assert_true(out.len + longest_character > max - shift);
        json_t *record = parse(&out); /* refuses half a character */
        assert_true(json_is_true(json_object_get(record, "sql_truncated")));
        const char *kept = json_string_value(json_object_get(record, "sql"));
        assert_memory_equal(kept, sql, strlen(kept));
        assert_string_equal(json_string_value(json_object_get(record, "org_id")), "o");
        json_decref(record);
    }
}

static void long_sql_is_cut(void **state)
{
    (void)state;
    check_cut("x", 1);
    check_cut("ä", 2);
    check_cut("a€", 3);
    check_cut("\U0001F600", 4);
    check_cut("\n", 2);
    check_cut("\"\\", 2);
    check_cut("\x01", 6);
    check_cut("x\x01ä\U0001F600\t", 6);
}

/* First the columns go, then the end of `sql`; each only where it must. */
static void columns_give_way_before_sql(void **state)
{
    (void)state;
    struct job j = job_with_result(JOB_COMPLETED);
    _cleanup_buf_ struct buf whole, line;
    buf_init(&whole, 1 << 20);
    buf_init(&line, 1 << 20);
    job_append_json(&whole, &j, 0);
    job_append_json(&line, &j, whole.len);
    assert_string_equal(line.data, whole.data);

    static const char mark[] = ",\"columns_truncated\":true";
    size_t without = whole.len - strlen(",\"columns\":" COLUMNS) + strlen(mark);
    for (size_t max = whole.len - 1; max >= without; max--) {
        buf_clear(&line);
        job_append_json(&line, &j, max);
        assert_int_equal(line.len, without);
        json_t *record = parse(&line);
        assert_null(json_object_get(record, "columns"));
        assert_true(json_is_true(json_object_get(record, "columns_truncated")));
        assert_string_equal(json_string_value(json_object_get(record, "sql")), "SELECT 1");
        assert_null(json_object_get(record, "sql_truncated"));
        json_decref(record);
    }
    buf_clear(&line);
    job_append_json(&line, &j, without - 1);
    json_t *record = parse(&line);
    assert_true(json_is_true(json_object_get(record, "columns_truncated")));
    assert_true(json_is_true(json_object_get(record, "sql_truncated")));
    json_decref(record);

    /* Said once, also where the worker had left some out itself; and where they were not read at all. */
    j.details = (char *)"{\"truncated\":false,\"columns_truncated\":true,\"duration_ms\":1}";
    for (int i = 0; i < 3; i++) {
        buf_clear(&line);
        job_append_json(&line, &j, i == 0 ? 0 : i == 1 ? without - 40 : 4096);
        record = parse(&line);
        assert_int_equal(json_object_get(record, "columns") != NULL, i == 0);
        assert_true(json_is_true(json_object_get(record, "columns_truncated")));
        json_decref(record);
        if (i == 1)
            j.columns = NULL;
    }
}

static void a_result_has_its_columns_where_there_is_room(void **state)
{
    (void)state;
    static const char rest[] = ",\"content_type\":\"application/gzip\",\"filename\":\"" ID
                               ".csv.gz\",\"truncated\":true,\"duration_ms\":1234,\"guarded_cells\":5";
    struct job j = job_with_result(JOB_COMPLETED);
    size_t length = strlen(rest) + strlen(",\"columns\":" COLUMNS);
    _cleanup_buf_ struct buf out;
    buf_init(&out, 4096);
    buf_append_text(&out, "{");
    job_append_result(&out, &j, length);
    assert_int_equal(out.len, length + 1);
    assert_non_null(strstr(out.data, rest));
    assert_non_null(strstr(out.data, ",\"columns\":" COLUMNS));
    for (size_t max = 0; max < length; max += length - 1) {
        buf_clear(&out);
        job_append_result(&out, &j, max);
        assert_memory_equal(out.data, rest, strlen(rest));
        assert_string_equal(out.data + strlen(rest), ",\"columns_truncated\":true");
    }
    buf_clear(&out);
    j.details = NULL;
    job_append_result(&out, &j, 4096);
    assert_int_equal(out.len, 0);
}

static void what_fits_is_not_cut(void **state)
{
    (void)state;
    struct job j = small_job();
    _cleanup_buf_ struct buf whole, limited, tight;
    buf_init(&whole, 1 << 20);
    buf_init(&limited, 1 << 20);
    buf_init(&tight, 1 << 20);
    job_append_json(&whole, &j, 0);
    job_append_json(&limited, &j, whole.len);
    assert_string_equal(limited.data, whole.data);
    job_append_json(&tight, &j, 10); /* nothing but sql gives way */
    json_t *record = parse(&tight);
    assert_string_equal(json_string_value(json_object_get(record, "sql")), "");
    assert_true(json_is_true(json_object_get(record, "sql_truncated")));
    json_decref(record);

    struct buf small;
    buf_init(&small, 100);
    job_append_json(&small, &j, 0);
    assert_false(buf_ok(&small));
    buf_release(&small);
}

/* A store that keeps a diary of its transactions, and fails where it is told to. Its calls are those of the
 * tasks below. */
struct diary {
    struct job_store store;
    struct buf text; /* the control thread's, and the test's when that has answered */
    bool fail_begin, fail_begin_one, fail_release, fail_commit;
};
static struct diary diary;

static bool note(const char *what, bool fail, struct error *e)
{
    buf_printf(&diary.text, "%s ", what);
    return !fail || error_set(e, ERROR_UNAVAILABLE, "%s fails", what);
}

static bool diary_begin(struct job_store *s, struct error *e)
{
    (void)s;
    return note("begin", diary.fail_begin, e);
}

static bool diary_begin_one(struct job_store *s, struct error *e)
{
    (void)s;
    return note("begin_one", diary.fail_begin_one, e);
}

static bool diary_savepoint(struct job_store *s, struct error *e)
{
    (void)s;
    return note("savepoint", false, e);
}

static bool diary_release(struct job_store *s, struct error *e)
{
    (void)s;
    return note("release", diary.fail_release, e);
}

static void diary_rollback_to(struct job_store *s)
{
    (void)s;
    (void)note("rollback_to", false, NULL);
}

static bool diary_commit(struct job_store *s, struct error *e)
{
    (void)s;
    return note("commit", diary.fail_commit, e);
}

static void diary_rollback(struct job_store *s)
{
    (void)s;
    (void)note("rollback", false, NULL);
}

static void diary_close(struct job_store *s)
{
    (void)s;
}

static const struct job_store_api diary_api = {.name = "diary",
                                               .close = diary_close,
                                               .begin = diary_begin,
                                               .begin_one = diary_begin_one,
                                               .savepoint = diary_savepoint,
                                               .release = diary_release,
                                               .rollback_to = diary_rollback_to,
                                               .commit = diary_commit,
                                               .rollback = diary_rollback};

static struct job_store *diary_open(void *lost, bool for_control, struct error *e)
{
    (void)for_control;
    if (lost) {
        error_set(e, ERROR_UNAVAILABLE, "no such diary");
        return NULL;
    }
    diary.store.api = &diary_api;
    return &diary.store;
}

struct noted_task {
    struct store_task task;
    const char *name;
    bool fails;
    int started, held; /* where not 0: says that it runs, and waits until it may go on */
    unsigned *waiting;
};

static bool call_noted(struct job_store *s, struct store_task *t, struct error *e)
{
    struct noted_task *n = CONTAINER_OF(t, struct noted_task, task);
    char byte;
    assert_ptr_equal(s, &diary.store);
    if (n->held && (write(n->started, "", 1) != 1 || read(n->held, &byte, 1) != 1))
        return error_set(e, ERROR_INTERNAL, "nobody let go");
    return note(n->name, n->fails, e);
}

static void noted_done(struct store_task *t)
{
    (*CONTAINER_OF(t, struct noted_task, task)->waiting)--;
}

static void wait_for(struct mailbox *m, const unsigned *waiting)
{
    while (*waiting > 0) {
        struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 30000), 1);
        mailbox_drain(m);
    }
}

/* Runs the tasks as one batch: they are submitted while the thread is held in a batch before. Leaves their
 * diary. */
static void run_batch(struct store_threads *threads, struct mailbox *m, struct noted_task *tasks,
                      unsigned count)
{
    unsigned waiting = count + 1;
    struct noted_task first = {.name = "first", .waiting = &waiting};
    first.task.call = call_noted;
    first.task.done = noted_done;
    int started[2], held[2];
    char byte;
    assert_int_equal(pipe(started), 0);
    assert_int_equal(pipe(held), 0);
    first.started = started[1];
    first.held = held[0];
    store_threads_write(threads, &first.task);
    assert_int_equal(read(started[0], &byte, 1), 1);
    for (unsigned i = 0; i < count; i++) {
        tasks[i].task.call = call_noted;
        tasks[i].task.done = noted_done;
        tasks[i].waiting = &waiting;
        store_threads_write(threads, &tasks[i].task);
    }
    assert_int_equal(write(held[1], "", 1), 1);
    wait_for(m, &waiting);
    for (int i = 0; i < 2; i++) {
        close(started[i]);
        close(held[i]);
    }
}

struct fixture {
    struct mailbox *mailbox;
    struct store_threads *threads;
};
static struct fixture fixture;

static int start_threads(void **state)
{
    struct error e = {0};
    diary = (struct diary){0};
    buf_init(&diary.text, 1 << 16);
    fixture.mailbox = mailbox_new(&e);
    fixture.threads = store_threads_new(
        &(struct store_threads_options){.open = diary_open, .done = fixture.mailbox}, &e);
    *state = &fixture;
    return fixture.threads ? 0 : -1;
}

static int end_threads(void **state)
{
    (void)state;
    store_threads_free(fixture.threads);
    mailbox_free(fixture.mailbox);
    buf_release(&diary.text);
    return 0;
}

/* The diary behind the first task, which is alone and may fail like any other. */
static const char *diary_of_batch(void)
{
    const char *second = strstr(diary.text.data, "begin ");
    assert_non_null(second);
    return second;
}

static void what_waits_together_is_committed_together(void **state)
{
    struct fixture *f = *state;
    struct noted_task tasks[3] = {{.name = "a"}, {.name = "b", .fails = true}, {.name = "c"}};
    run_batch(f->threads, f->mailbox, tasks, 3);
    assert_string_equal(diary_of_batch(),
                        "begin savepoint a release savepoint b rollback_to savepoint c release "
                        "commit ");
    assert_true(tasks[0].task.ok);
    assert_false(tasks[1].task.ok);
    assert_string_equal(tasks[1].task.error.message, "b fails");
    assert_true(tasks[2].task.ok);
}

static void a_transaction_takes_a_hundred_at_most(void **state)
{
    struct fixture *f = *state;
    struct noted_task tasks[201] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(tasks); i++)
        tasks[i].name = "a";
    run_batch(f->threads, f->mailbox, tasks, ARRAY_SIZE(tasks));
    size_t calls = 0, commits = 0;
    for (const char *p = diary_of_batch(); *p; p = strchr(p, ' ') + 1) {
        calls += p[0] == 'a';
        if (strncmp(p, "commit ", 7) == 0)
            assert_int_equal(calls, ++commits < 3 ? 100 * commits : 201);
    }
    assert_int_equal(commits, 3);
    assert_non_null(strstr(diary.text.data, "commit begin_one a commit "));
}

static void a_failed_commit_fails_the_batch(void **state)
{
    struct fixture *f = *state;
    struct noted_task tasks[3] = {{.name = "a"}, {.name = "b", .fails = true}, {.name = "c"}};
    diary.fail_commit = true;
    run_batch(f->threads, f->mailbox, tasks, 3);
    assert_string_equal(diary_of_batch(),
                        "begin savepoint a release savepoint b rollback_to savepoint c release "
                        "commit rollback ");
    assert_false(tasks[0].task.ok);
    assert_string_equal(tasks[0].task.error.message, "commit fails");
    assert_string_equal(tasks[1].task.error.message, "b fails");
    assert_string_equal(tasks[2].task.error.message, "commit fails");
}

static void without_a_transaction_nothing_is_called(void **state)
{
    struct fixture *f = *state;
    struct noted_task tasks[2] = {{.name = "a"}, {.name = "b"}};
    diary.fail_begin = true;
    run_batch(f->threads, f->mailbox, tasks, 2);
    assert_string_equal(diary.text.data, "begin_one first commit begin ");
    for (int i = 0; i < 2; i++) {
        assert_false(tasks[i].task.ok);
        assert_string_equal(tasks[i].task.error.message, "begin fails");
    }
}

static void a_savepoint_that_fails_fails_its_task(void **state)
{
    struct fixture *f = *state;
    struct noted_task tasks[2] = {{.name = "a"}, {.name = "b", .fails = true}};
    diary.fail_release = true;
    run_batch(f->threads, f->mailbox, tasks, 2);
    assert_string_equal(diary_of_batch(), "begin savepoint a release rollback_to savepoint b rollback_to commit ");
    assert_false(tasks[0].task.ok);
    assert_string_equal(tasks[0].task.error.message, "release fails");
}

/* Its diary; `task` is written alone. */
static const char *run_one(struct fixture *f, struct noted_task *task)
{
    unsigned waiting = 1;
    task->task.call = call_noted;
    task->task.done = noted_done;
    task->waiting = &waiting;
    buf_clear(&diary.text);
    store_threads_write(f->threads, &task->task);
    wait_for(f->mailbox, &waiting);
    return diary.text.data;
}

static void what_is_there_alone_has_no_savepoint(void **state)
{
    struct fixture *f = *state;
    struct noted_task well = {.name = "a"}, ill = {.name = "b", .fails = true};
    assert_string_equal(run_one(f, &well), "begin_one a commit ");
    assert_true(well.task.ok);
    assert_string_equal(run_one(f, &ill), "begin_one b rollback ");
    assert_false(ill.task.ok);
    assert_string_equal(ill.task.error.message, "b fails");
    diary.fail_commit = true;
    assert_string_equal(run_one(f, &well), "begin_one a commit rollback ");
    assert_false(well.task.ok);
    assert_string_equal(well.task.error.message, "commit fails");
    diary.fail_begin_one = true;
    assert_string_equal(run_one(f, &well), "begin_one rollback ");
    assert_false(well.task.ok);
    assert_string_equal(well.task.error.message, "begin_one fails");
}

static void reads_have_no_transaction(void **state)
{
    struct fixture *f = *state;
    unsigned waiting = 1;
    struct noted_task task = {.name = "read", .waiting = &waiting};
    task.task.call = call_noted;
    task.task.done = noted_done;
    store_threads_read(f->threads, &task.task);
    wait_for(f->mailbox, &waiting);
    assert_true(task.task.ok);
    assert_string_equal(diary.text.data, "read ");
}

static void a_store_that_does_not_open_starts_no_thread(void **state)
{
    (void)state;
    struct error e = {0};
    struct mailbox *m = mailbox_new(&e);
    assert_null(store_threads_new(
        &(struct store_threads_options){.open = diary_open, .context = m, .done = m}, &e));
    assert_string_equal(e.message, "no such diary");
    store_threads_free(NULL);
    mailbox_free(m);
}

#define THREADS(function) cmocka_unit_test_setup_teardown(function, start_threads, end_threads)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_are_fair),
        cmocka_unit_test(retries_back_off),
        cmocka_unit_test(only_these_steps_are_there),
        cmocka_unit_test(names_are_the_contracts),
        cmocka_unit_test(keys_are_of_the_attempt),
        cmocka_unit_test(a_record_is_the_contracts_json),
        cmocka_unit_test(a_record_says_what_its_file_is_like),
        cmocka_unit_test(columns_give_way_before_sql),
        cmocka_unit_test(a_result_has_its_columns_where_there_is_room),
        cmocka_unit_test(every_character_survives),
        cmocka_unit_test(long_sql_is_cut),
        cmocka_unit_test(what_fits_is_not_cut),
        THREADS(what_waits_together_is_committed_together),
        THREADS(a_transaction_takes_a_hundred_at_most),
        THREADS(a_failed_commit_fails_the_batch),
        THREADS(without_a_transaction_nothing_is_called),
        THREADS(a_savepoint_that_fails_fails_its_task),
        THREADS(what_is_there_alone_has_no_savepoint),
        THREADS(reads_have_no_transaction),
        cmocka_unit_test(a_store_that_does_not_open_starts_no_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
