/* What an attempt believes of its worker. The worker, its process and the object store are stand-ins: the worker says what the
 * test wants it to say. */
#include <event2/event.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "server/attempt.h"

#define ID "0b4c2c1e-3f0e-4b7a-9a51-000000000001"
#define KEY "org/" ID ".csv.gz"
#define DEADLINE_MS 20000
#define TOKEN "a-token-of-sixteen-bytes-and-more"

/* --- the stand-ins --- */

struct worker_process {
    struct worker_process_options options;
    struct job_spec spec; /* as it was begun with */
    bool killed, begun;
};
static struct worker_process worker;

struct worker_process *worker_process_start(const struct worker_process_options *options, struct error *e)
{
    (void)e;
    worker = (struct worker_process){.options = *options};
    return &worker;
}

void worker_process_begin(struct worker_process *w, int spec_fd, int parts_fd)
{
    struct error e;
    (void)parts_fd;
    assert_true(job_spec_read(spec_fd, &w->spec, &e));
    w->begun = true;
}

void worker_process_send(struct worker_process *w, enum link_type type, uint32_t buffer)
{
    (void)w, (void)type, (void)buffer;
}

void worker_process_grow(struct worker_process *w, const struct parts *grown)
{
    (void)w, (void)grown;
}

void worker_process_kill(struct worker_process *w)
{
    w->killed = true;
}

void worker_process_hand_over(struct worker_process *w, const char *job, const struct worker_process_events *events, void *context)
{
    (void)w, (void)job, (void)events, (void)context;
    fail();
}

bool worker_pool_take(struct worker_pool *p, struct pooled_worker *ret)
{
    (void)p, (void)ret;
    return false;
}

struct worker_process *worker_template_fork(struct worker_template *t, const struct source_look *look, const char *directory,
                                            const struct worker_process_options *options)
{
    (void)t, (void)look, (void)directory, (void)options;
    return NULL;
}

struct source_look source_look_at(const char *path)
{
    (void)path;
    return (struct source_look){0};
}

/* Of the object store: one upload, whose bytes nobody looks at. */
struct object_upload {
    struct object_upload_options options;
    char content_type[128];
    bool finished, aborted;
};
static struct object_upload upload;

static struct object_upload *upload_begin(struct object_store *s, const struct object_upload_options *o, struct error *e)
{
    (void)s, (void)e;
    assert_string_equal(o->key, KEY);
    upload.options = *o;
    snprintf(upload.content_type, sizeof upload.content_type, "%s", o->content_type);
    return &upload;
}

static void upload_part(struct object_upload *u, uint32_t buffer, const void *data, size_t length, const uint8_t *sha256)
{
    (void)u, (void)buffer, (void)data, (void)length, (void)sha256;
}

static void upload_finish(struct object_upload *u, uint64_t total)
{
    (void)total;
    u->finished = true;
}

static void upload_abort(struct object_upload *u)
{
    u->aborted = true;
}

static const struct object_store_api objects_api = {
    .begin = upload_begin, .part = upload_part, .finish = upload_finish, .abort = upload_abort};
static struct object_store objects = {.api = &objects_api, .part_size = 4096, .parts_a_job = 2};

/* --- one attempt --- */

static char spill_root[64];
static struct mailbox *mailbox;
static struct attempt_environment env;
static struct attempt *attempt;
static struct attempt_result result;
static char *result_columns;
static struct error error;
static bool succeeded, failed, ended;

static void on_nothing(void *context)
{
    (void)context;
}

static void on_progress(void *context, uint64_t rows, uint64_t bytes, double percent)
{
    (void)context, (void)rows, (void)bytes, (void)percent;
}

static void on_succeeded(void *context, const struct attempt_result *r)
{
    (void)context;
    succeeded = true;
    result = *r;
    result_columns = strdup(r->columns);
}

static void on_failed(void *context, const struct error *why)
{
    (void)context;
    failed = true;
    error = *why;
}

static void on_ended(void *context)
{
    (void)context;
    ended = true;
}

static const struct attempt_events events = {.streaming = on_nothing,
                                             .progress = on_progress,
                                             .finishing = on_nothing,
                                             .succeeded = on_succeeded,
                                             .failed = on_failed,
                                             .ended = on_ended};

static int set_up(void **state)
{
    (void)state;
    struct error e;
    snprintf(spill_root, sizeof spill_root, "/tmp/test_attempt.XXXXXX");
    assert_non_null(mkdtemp(spill_root));
    mailbox = mailbox_new(&e);
    const struct task_queue_options housekeeping = {.name = "housekeeping", .threads = 1, .done = mailbox};
    env = (struct attempt_environment){.base = event_base_new(),
                                       .objects = &objects,
                                       .housekeeping = task_queue_new(&housekeeping, &e),
                                       .worker_program = "worker",
                                       .spill_root = spill_root,
                                       .worker = {.source_path = (char *)"", .database = (char *)"", .token = (char *)"",
                                                  .extension_dir = (char *)"", .spill_limit = 1 << 20},
                                       .secrets = secret_patterns_new(TOKEN, &e),
                                       .job_timeout_ms = 3600000,
                                       .stall_timeout_ms = 3600000};
    assert_true(mailbox && env.base && env.housekeeping && env.secrets);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    task_queue_free(env.housekeeping);
    mailbox_free(mailbox);
    event_base_free(env.base);
    secret_patterns_free((struct secret_patterns *)env.secrets);
    return rmdir(spill_root);
}

static bool try_begin(const char *format, const char *form)
{
    const struct job job = {
        .id = ID, .org_id = (char *)"org", .sql = (char *)"SELECT 1", .format = (char *)format, .form = (char *)form, .attempt = 1};
    upload = (struct object_upload){0};
    succeeded = failed = ended = false;
    attempt = attempt_start(&env, &job, KEY, &events, NULL, &error);
    return attempt;
}

static void say(struct link_message m)
{
    worker.options.events->message(worker.options.context, &m);
}

/* It has its job, and runs. */
static void begin(const char *form)
{
    assert_true(try_begin("csv", form));
    say((struct link_message){.type = LINK_READY});
    assert_true(worker.begun);
}

/* The process ends, what the attempt had is put away. */
static void end(void)
{
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    worker.options.events->exited(worker.options.context, "exit status 0");
    if (upload.aborted)
        upload.options.events->aborted(upload.options.context);
    while (!ended) {
        struct pollfd readable = {.fd = mailbox_fd(mailbox), .events = POLLIN};
        assert_true(clock_monotonic_ms() < deadline);
        if (poll(&readable, 1, 1000) == 1)
            mailbox_drain(mailbox);
    }
    assert_int_not_equal(succeeded, failed);
    job_spec_release(&worker.spec);
    free(result_columns);
    result_columns = NULL;
}

static void say_columns(const char *json)
{
    struct link_message m = {.type = LINK_COLUMNS, .text_length = (uint32_t)strlen(json)};
    memcpy(m.text, json, m.text_length + 1);
    say(m);
}

static void say_part(void)
{
    say((struct link_message){.type = LINK_PART, .buffer = 0, .length = 10});
}

/* --- the tests --- */

#define COLUMNS "{\"columns\":[{\"name\":\"a\",\"type\":\"INTEGER\"}]}"
#define LIST "[{\"name\":\"a\",\"type\":\"INTEGER\"}]"
#define REFUSED "the worker broke the protocol"

static void assert_succeeds(void)
{
    assert_false(worker.killed || failed);
    assert_true(upload.finished);
    upload.options.events->finished(upload.options.context);
    assert_true(succeeded);
}

static void assert_fails(enum error_code code, const char *message)
{
    assert_false(upload.finished);
    end();
    assert_true(failed);
    assert_int_equal(error.code, code);
    assert_string_equal(error.message, message);
}

static void columns_come_in_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= strlen(COLUMNS); piece++) {
        begin("{\"format\":\"csv\"}");
        for (size_t at = 0; at < strlen(COLUMNS); at += piece) {
            char text[sizeof COLUMNS];
            snprintf(text, piece + 1, "%s", COLUMNS + at);
            say_columns(text);
        }
        say((struct link_message){.type = LINK_STREAMING});
        say_part();
        say((struct link_message){.type = LINK_DONE, .rows = 3, .bytes = 10});
        assert_succeeds();
        assert_string_equal(result_columns, LIST);
        assert_false(result.truncated || result.columns_truncated || result.altered_name);
        assert_int_equal(result.rows, 3);
        end();
    }
}

static void what_is_left_out_is_told(void **state)
{
    (void)state;
    begin("{\"format\":\"csv\",\"compression\":\"gzip\",\"options\":{\"excel_safe\":true},\"row_limit\":3}");
    assert_int_equal(worker.spec.form.compression, COMPRESSION_GZIP); /* the worker has the form that the job has */
    assert_int_equal(worker.spec.form.row_limit, 3);
    say_columns("{\"columns\":[],\"columns_truncated\":true}");
    say((struct link_message){.type = LINK_DONE, .rows = 3, .truncated = 1, .altered = 7});
    assert_succeeds();
    assert_string_equal(upload.content_type, "application/gzip");
    assert_string_equal(result_columns, "[]");
    assert_true(result.truncated && result.columns_truncated);
    assert_int_equal(result.altered, 7);
    assert_string_equal(result.altered_name, "guarded_cells");
    end();

    begin("{\"format\":\"xlsx\",\"options\":{\"long_text\":\"cut\"},\"byte_limit\":1}");
    say_columns(COLUMNS);
    say((struct link_message){.type = LINK_DONE, .rows = 3, .truncated = 1});
    assert_succeeds();
    assert_int_equal(result.altered, 0);
    assert_string_equal(result.altered_name, "cut_cells");
    end();
}

static void what_a_file_cannot_be_like_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *form;
        struct link_message done;
    } cases[] = {
        {"{\"format\":\"csv\"}", {.type = LINK_DONE, .rows = 3, .bytes = 1}},
        {"{\"format\":\"csv\"}", {.type = LINK_DONE, .rows = 3, .truncated = 1}},
        {"{\"format\":\"csv\"}", {.type = LINK_DONE, .rows = 3, .altered = 1}},
        {"{\"format\":\"json\"}", {.type = LINK_DONE, .rows = 3, .altered = 1}},
        {"{\"format\":\"xlsx\"}", {.type = LINK_DONE, .rows = 3, .altered = 1}},
        {"{\"format\":\"csv\",\"row_limit\":2}", {.type = LINK_DONE, .rows = 3, .truncated = 1}},
        {"{\"format\":\"csv\",\"row_limit\":2}", {.type = LINK_DONE, .rows = 2, .truncated = 2}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        begin(cases[i].form);
        say_columns(COLUMNS);
        say(cases[i].done);
        assert_true(worker.killed);
        assert_fails(ERROR_WORKER, REFUSED);
    }
}

static void columns_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"", "{}", "x", "{\"columns\":[]}", COLUMNS COLUMNS};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        begin(NULL);
        if (*cases[i])
            say_columns(cases[i]);
        say((struct link_message){.type = LINK_DONE});
        assert_true(worker.killed);
        assert_fails(ERROR_WORKER, REFUSED);
    }
}

static void columns_behind_a_part_are_refused(void **state)
{
    (void)state;
    begin(NULL);
    say_part();
    say_columns(COLUMNS);
    assert_true(worker.killed);
    assert_fails(ERROR_WORKER, REFUSED);
}

static void columns_have_a_ceiling(void **state)
{
    (void)state;
    struct link_message m = {.type = LINK_COLUMNS, .text_length = ERROR_MESSAGE_MAX - 1};
    memset(m.text, ' ', m.text_length);
    begin(NULL);
    for (size_t told = m.text_length; told <= LINK_COLUMNS_MAX; told += m.text_length) {
        say(m);
        assert_false(worker.killed);
    }
    say(m);
    assert_true(worker.killed);
    assert_fails(ERROR_WORKER, REFUSED);
}

/* Neither in pieces nor in escapes does it pass. */
static void a_column_may_not_be_the_sources_token(void **state)
{
    (void)state;
    for (int escaped = 0; escaped < 2; escaped++) {
        begin(NULL);
        say_columns("{\"columns\":[{\"type\":\"T\",\"name\":\"");
        for (const char *c = TOKEN; *c; c++) {
            char piece[8];
            snprintf(piece, sizeof piece, escaped ? "\\u%04x" : "%c", (unsigned char)*c);
            say_columns(piece);
        }
        say_columns("\"}]}");
        say((struct link_message){.type = LINK_DONE});
        assert_fails(ERROR_SECRET, "the result contains the access token of the data source");
    }
}

static void jobs_of_older_versions_run(void **state)
{
    (void)state;
    assert_true(try_begin("csv", NULL));
    say((struct link_message){.type = LINK_READY});
    json_t *form = file_form_json(&worker.spec.form), *usual = json_pack("{s:s}", "format", "csv");
    assert_true(json_equal(form, usual));
    json_decref(form);
    json_decref(usual);
    say_columns(COLUMNS);
    say((struct link_message){.type = LINK_DONE});
    assert_succeeds();
    end();
}

static void jobs_of_newer_versions_are_refused(void **state)
{
    (void)state;
    static const char *const forms[] = {"{\"format\":\"arrow\"}", "{\"format\":\"csv\",\"options\":{\"new\":1}}", "[]", "not JSON"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
        assert_false(try_begin("csv", forms[i]));
        assert_int_equal(error.code, ERROR_NOT_IMPLEMENTED);
        assert_non_null(strstr(error.message, "this version does not know what the file is to look like: "));
    }
    assert_false(try_begin("arrow", NULL));
    assert_int_equal(error.code, ERROR_NOT_IMPLEMENTED);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(columns_come_in_pieces),
        TEST(what_is_left_out_is_told),
        TEST(what_a_file_cannot_be_like_is_refused),
        TEST(columns_that_are_none_are_refused),
        TEST(columns_behind_a_part_are_refused),
        TEST(columns_have_a_ceiling),
        TEST(a_column_may_not_be_the_sources_token),
        TEST(jobs_of_older_versions_run),
        TEST(jobs_of_newer_versions_are_refused),
    };
    return cmocka_run_group_tests_name("attempt", tests, NULL, NULL);
}
