/* /files over a stand-in for http.h that keeps what is answered; the store, the threads and the timer are the
 * real ones. */
#include <dirent.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "object/file_link.h"
#include "server/api_files.h"

#define ID "0b4c2c1e-3f0e-4b7a-9a51-000000000001"
#define KEY "acme/" ID "-2.csv"
#define SIZE (3 * 256 * 1024 + 17) /* a few chunks */
#define STALL_MS 50
#define DEADLINE_MS 20000

/* The stand-in */

struct http_request {
    enum http_method method;
    char path[512], expires[32], signature[128];
    const char *range, *if_range, *if_none_match;
    char headers[2048]; /* of the answer: "Name: value\n" */
    int status;         /* 0: not answered */
    struct buf body;
    bool ended, aborted;
};

struct http_stream {
    struct http_request *request;
    struct http_stream_options options;
    size_t pending;
};

static struct http_stream stream; /* one at a time */

enum http_method http_request_method(const struct http_request *r)
{
    return r->method;
}

const char *http_request_path(const struct http_request *r)
{
    return r->path;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
    if (strcmp(name, "Range") == 0)
        return r->range;
    if (strcmp(name, "If-Range") == 0)
        return r->if_range;
    assert_string_equal(name, "If-None-Match");
    return r->if_none_match;
}

const char *http_request_query(const struct http_request *r, const char *name)
{
    const char *value = strcmp(name, "expires") == 0 ? r->expires : r->signature;
    return *value ? value : NULL;
}

void http_response_header(struct http_request *r, const char *name, const char *value)
{
    size_t length = strlen(r->headers);
    snprintf(r->headers + length, sizeof r->headers - length, "%s: %s\n", name, value);
}

void http_reply(struct http_request *r, int status, const char *content_type, const void *body, size_t length)
{
    assert_int_equal(r->status, 0);
    assert_non_null(content_type);
    r->status = status;
    r->ended = true;
    buf_append(&r->body, body, length);
}

void http_reply_error(struct http_request *r, const struct error *e)
{
    http_reply(r, error_code_http_status(e->code), "application/json", e->message, strlen(e->message));
}

struct http_stream *http_stream_begin(struct http_request *r, const struct http_stream_options *o)
{
    assert_int_equal(r->status, 0);
    assert_null(stream.request);
    r->status = o->status;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)o->length);
    http_response_header(r, "Content-Length", text);
    http_response_header(r, "Content-Type", o->content_type);
    stream = (struct http_stream){.request = r, .options = *o};
    return &stream;
}

void http_stream_write(struct http_stream *s, const void *data, size_t length)
{
    assert_int_equal(s->pending, 0); /* never more than a chunk */
    s->pending = length;
    buf_append(&s->request->body, data, length);
}

size_t http_stream_pending(const struct http_stream *s)
{
    return s->pending;
}

void http_stream_end(struct http_stream *s)
{
    assert_int_equal(s->pending, 0);
    s->request->ended = true;
    s->request = NULL;
}

void http_stream_abort(struct http_stream *s)
{
    s->request->ended = s->request->aborted = true;
    s->request = NULL;
}

/* A store with one file */

static char directory[64], content[SIZE];
static struct event_base *base;
static struct mailbox *mailbox;
static struct object_store *store;
static struct api_files *files;
static struct http_request request;

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    _cleanup_closedir_ DIR *entries = opendir("/proc/self/fd");
    while (readdir(entries))
        count++;
    return count;
}

static void write_object(const char *text, size_t length)
{
    char path[128];
    snprintf(path, sizeof path, "%s/files/acme", directory);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/files/" KEY, directory);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    (void)state;
    struct error e;
    char key_file[128];
    snprintf(directory, sizeof directory, "/tmp/test_api_files.XXXXXX");
    assert_non_null(mkdtemp(directory));
    snprintf(key_file, sizeof key_file, "%s/key", directory);
    base = event_base_new();
    mailbox = mailbox_new(&e);
    assert_true(base && mailbox);
    store = object_store_local_open(
        &(struct object_local_options){
            .directory = directory, .public_url = "", .key_file = key_file, .done = mailbox},
        &e);
    assert_non_null(store);
    files = api_files_new(
        &(struct api_files_options){.store = store, .done = mailbox, .base = base, .stall_ms = STALL_MS}, &e);
    assert_non_null(files);
    for (size_t i = 0; i < SIZE; i++)
        content[i] = (char)(i * 31 + i / 251);
    write_object(content, SIZE);

    int64_t expires_at;
    request = (struct http_request){.method = HTTP_GET};
    buf_init(&request.body, 2 * SIZE);
    stream = (struct http_stream){0};
    _cleanup_free_ char *link =
        store->api->link(store, KEY, "", "", clock_wall_us() + INT64_C(60000000), &expires_at, &e);
    assert_int_equal(sscanf(link, "%511[^?]?expires=%31[^&]&signature=%127s", request.path, request.expires,
                            request.signature),
                     3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    api_files_free(files);
    store->api->close(store);
    mailbox_drain(mailbox);
    mailbox_free(mailbox);
    event_base_free(base);
    buf_release(&request.body);
    return nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* Tasks and timers; false when nothing happens for a while that is far longer than any of them takes. */
static void turn(int64_t deadline)
{
    struct pollfd readable = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    assert_true(clock_monotonic_ms() < deadline);
    if (poll(&readable, 1, 5) == 1)
        mailbox_drain(mailbox);
    event_base_loop(base, EVLOOP_NONBLOCK);
}

/* A reader that takes all it is given, until the answer is over. */
static void get(void)
{
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    api_files_handle(files, &request);
    while (!request.ended) {
        turn(deadline);
        if (stream.request && stream.pending > 0) {
            stream.pending = 0;
            stream.options.drained(stream.options.context);
        }
    }
}

static void wait_for_first_chunk(void)
{
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    api_files_handle(files, &request);
    while (stream.pending == 0)
        turn(deadline);
}

static void wait_for_descriptors(unsigned count)
{
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    while (open_descriptors() != count)
        turn(deadline);
}

static bool has_header(const char *line)
{
    return strstr(request.headers, line) != NULL;
}

static void assert_body(size_t first, size_t length)
{
    assert_int_equal(request.body.len, length);
    if (length > 0)
        assert_memory_equal(request.body.data, content + first, length);
}

static void clear_answer(void)
{
    buf_clear(&request.body);
    request.headers[0] = '\0';
    request.status = 0;
    request.ended = request.aborted = false;
}

/* Tests */

static void a_whole_file(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    get();
    assert_int_equal(request.status, 200);
    assert_false(request.aborted);
    assert_body(0, SIZE);
    assert_true(has_header("Content-Length: 786449\n"));
    assert_true(has_header("Content-Type: text/csv; charset=utf-8\n"));
    assert_true(has_header("Content-Disposition: attachment; filename=\"" ID ".csv\"\n"));
    assert_true(has_header("Accept-Ranges: bytes\n"));
    assert_true(has_header("Cache-Control: private, no-store\n"));
    assert_true(has_header("X-Content-Type-Options: nosniff\n"));
    assert_true(has_header("ETag: \"") && has_header("Last-Modified: "));
    wait_for_descriptors(before);
}

static void head_has_no_body(void **state)
{
    (void)state;
    request.method = HTTP_HEAD;
    request.range = "bytes=0-0";
    get();
    assert_int_equal(request.status, 200);
    assert_true(has_header("Content-Length: 786449\n"));
    assert_body(0, 0);
}

static void an_empty_file(void **state)
{
    (void)state;
    write_object("", 0);
    get();
    assert_int_equal(request.status, 200);
    assert_true(has_header("Content-Length: 0\n"));
    assert_false(request.aborted);
}

static void a_part_of_it(void **state)
{
    (void)state;
    request.range = "bytes=262140-262150"; /* over the edge of a chunk */
    get();
    assert_int_equal(request.status, 206);
    assert_true(has_header("Content-Range: bytes 262140-262150/786449\n"));
    assert_true(has_header("Content-Length: 11\n"));
    assert_body(262140, 11);
    clear_answer();
    request.range = "bytes=-300000";
    get();
    assert_int_equal(request.status, 206);
    assert_body(SIZE - 300000, 300000);
    clear_answer();
    request.range = "bytes=786449-";
    get();
    assert_int_equal(request.status, 416);
    assert_true(has_header("Content-Range: bytes */786449\n"));
    clear_answer();
    request.range = "bytes=0-1,4-5";
    get();
    assert_int_equal(request.status, 200);
    assert_body(0, SIZE);
}

static void conditions(void **state)
{
    (void)state;
    char etag[64];
    get();
    const char *line = strstr(request.headers, "ETag: ");
    assert_int_equal(sscanf(line, "ETag: %63s", etag), 1);
    clear_answer();
    request.if_none_match = etag;
    get();
    assert_int_equal(request.status, 304);
    assert_body(0, 0);
    assert_true(has_header(etag));
    clear_answer();
    request.if_none_match = "\"other\"";
    request.range = "bytes=5-6";
    request.if_range = etag;
    get();
    assert_int_equal(request.status, 206);
    clear_answer();
    request.if_range = "\"other\"";
    get();
    assert_int_equal(request.status, 200);
    assert_body(0, SIZE);
}

static void who_has_no_link_gets_nothing(void **state)
{
    (void)state;
    struct http_request good = request;
    for (int i = 0; i < 6; i++) {
        request = good;
        if (i == 0)
            request.signature[0] = request.signature[0] == '0' ? '1' : '0';
        if (i == 1)
            request.signature[0] = '\0';
        if (i == 2)
            request.expires[0] = '\0';
        if (i == 3)
            request.expires[9] = request.expires[9] == '0' ? '1' : '0';
        if (i == 4)
            snprintf(request.path, sizeof request.path, "/files/acme/../acme/" ID "-2.csv");
        if (i == 5)
            snprintf(request.path, sizeof request.path, "/files/" KEY "%%00");
        api_files_handle(files, &request);
        assert_int_equal(request.status, 403);
        assert_true(has_header("Cache-Control: private, no-store\n"));
        buf_release(&request.body);
        buf_init(&request.body, 2 * SIZE);
        good.body = request.body;
    }
}

static void other_methods_are_refused(void **state)
{
    (void)state;
    request.method = HTTP_PUT;
    api_files_handle(files, &request);
    assert_int_equal(request.status, 405);
    assert_true(has_header("Allow: GET, HEAD, OPTIONS\n"));
}

static void a_file_that_is_gone(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/files/" KEY, directory);
    assert_int_equal(unlink(path), 0);
    get();
    assert_int_equal(request.status, 404);
}

static void a_file_that_shrinks_breaks_off(void **state)
{
    (void)state;
    char path[128];
    unsigned before = open_descriptors();
    wait_for_first_chunk();
    snprintf(path, sizeof path, "%s/files/" KEY, directory);
    assert_int_equal(truncate(path, 100), 0);
    stream.pending = 0;
    stream.options.drained(stream.options.context);
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    while (!request.ended)
        turn(deadline);
    assert_true(request.aborted);
    wait_for_descriptors(before);
}

static void a_reader_that_takes_nothing_is_dropped(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    int64_t start = clock_monotonic_ms(), deadline = start + DEADLINE_MS;
    wait_for_first_chunk();
    bool slow_but_alive = false;
    while (!request.ended) {
        turn(deadline);
        /* It takes a little in the first half of each of two terms, then stops. */
        if (!slow_but_alive && clock_monotonic_ms() - start > STALL_MS / 2) {
            stream.pending /= 2;
            slow_but_alive = true;
        }
    }
    assert_true(request.aborted);
    assert_true(clock_monotonic_ms() - start >= 2 * STALL_MS);
    wait_for_descriptors(before);
}

static void a_client_that_goes_is_forgotten(void **state)
{
    (void)state;
    unsigned before = open_descriptors();
    wait_for_first_chunk(); /* gone while the socket is full */
    stream.request = NULL;
    stream.options.closed(stream.options.context);
    wait_for_descriptors(before);

    buf_clear(&request.body);
    request.status = 0;
    stream.pending = 0;
    wait_for_first_chunk(); /* gone while the disk is read */
    stream.pending = 0;
    stream.options.drained(stream.options.context);
    stream.request = NULL;
    stream.options.closed(stream.options.context);
    wait_for_descriptors(before);
    assert_int_equal(stream.pending, 0);
}

static void an_ending_server_answers(void **state)
{
    (void)state;
    struct error e;
    api_files_handle(files, &request); /* the file is being opened */
    api_files_free(files);
    assert_int_equal(request.status, 503);
    mailbox_drain(mailbox);

    files = api_files_new(
        &(struct api_files_options){.store = store, .done = mailbox, .base = base, .stall_ms = STALL_MS}, &e);
    clear_answer();
    wait_for_first_chunk();
    api_files_free(files); /* a chunk is with the socket */
    assert_true(request.aborted);

    files = api_files_new(
        &(struct api_files_options){.store = store, .done = mailbox, .base = base, .stall_ms = STALL_MS}, &e);
    clear_answer();
    stream.pending = 0;
    wait_for_first_chunk();
    stream.pending = 0;
    stream.options.drained(stream.options.context);
    api_files_free(files); /* a chunk is being read */
    assert_true(request.aborted);
    files = NULL;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_file),
        TEST(head_has_no_body),
        TEST(an_empty_file),
        TEST(a_part_of_it),
        TEST(conditions),
        TEST(who_has_no_link_gets_nothing),
        TEST(other_methods_are_refused),
        TEST(a_file_that_is_gone),
        TEST(a_file_that_shrinks_breaks_off),
        TEST(a_reader_that_takes_nothing_is_dropped),
        TEST(a_client_that_goes_is_forgotten),
        TEST(an_ending_server_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
