/* The suite for S3, and what only that has. Run by tests/s3/test_object_store_s3.py, which starts a real S3
 * server and says by S3_* variables where it is; LOOK_URL is where it tells, by another client (boto3), what
 * is in the bucket. */
#include "object_store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/http_client.h"
#include "base/mailbox.h"
#include "object/s3.h"

#define KEY "acme/0b4c2c1e-3f0e-4b7a-9a51-000000000001.csv"
#define SECOND INT64_C(1000000)

enum { PART = 5 * 1024 * 1024 };

static struct mailbox *mailbox;
static struct object_store *store;

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static struct object_s3_options options_of_environment(struct mailbox *done)
{
    return (struct object_s3_options){
        .endpoint = variable("S3_ENDPOINT"),
        .public_endpoint = variable("S3_PUBLIC_ENDPOINT"),
        .addressing =
            strcmp(variable("S3_ADDRESSING"), "virtual") == 0 ? S3_ADDRESSING_VIRTUAL : S3_ADDRESSING_PATH,
        .region = variable("S3_REGION"),
        .bucket = variable("S3_BUCKET"),
        .access_key = variable("S3_ACCESS_KEY"),
        .secret_key = variable("S3_SECRET_KEY"),
        .session_token = variable("S3_SESSION_TOKEN"),
        .ca_file = variable("S3_CA_FILE"),
        .part_size = PART,
        .timeout_ms = 20000,
        .done = done,
    };
}

static struct object_store *open_with(const struct object_s3_options *o)
{
    struct error e;
    struct object_store *s = object_store_s3_open(o, &e);
    if (!s)
        fail_msg("open: %s", e.message);
    return s;
}

static struct object_store *open_here(struct mailbox *done)
{
    const struct object_s3_options o = options_of_environment(done);
    return open_with(&o);
}

/* Looking by another client */

static bool on_bytes(void *context, const void *data, size_t len)
{
    buf_append(context, data, len);
    return buf_ok(context);
}

/* The status; the body in `ret`. */
static int http_get(const char *url, const char *header, struct buf *ret)
{
    struct error e;
    struct http_client *c = http_client_new(&e);
    assert_non_null(c);
    const char *headers[] = {header, NULL};
    const struct http_request r = {.url = url,
                                   .headers = header ? headers : NULL,
                                   .connect_ms = 10000,
                                   .silence_ms = 20000,
                                   .body_bytes = on_bytes,
                                   .context = ret};
    if (http_client_perform(c, &r, &e) != HTTP_ANSWERED)
        fail_msg("%s", e.message);
    int status = http_client_status(c);
    http_client_free(c);
    return status;
}

/* The key goes in a header: no escaping of ours decides what is looked at. */
static int look(const char *what, const char *key, struct buf *ret)
{
    char url[256], header[16 * 1024];
    snprintf(url, sizeof url, "%s/%s", variable("LOOK_URL"), what);
    snprintf(header, sizeof header, "X-Key: %s", key ? key : "");
    return http_get(url, header, ret);
}

static bool fetch(const char *key, struct buf *ret)
{
    return look("object", key, ret) == 200;
}

static unsigned look_for_number(const char *what)
{
    _cleanup_buf_ struct buf b;
    buf_init(&b, 64);
    assert_int_equal(look(what, NULL, &b), 200);
    return (unsigned)strtoul(b.data, NULL, 10);
}

static unsigned unfinished(void)
{
    return look_for_number("unfinished");
}

static void clear(void)
{
    _cleanup_buf_ struct buf b;
    buf_init(&b, 1024);
    assert_int_equal(look("clear", NULL, &b), 200);
}

/* Tests of S3 alone */

static int open_store(void **state)
{
    (void)state;
    struct error e;
    mailbox = mailbox_new(&e);
    assert_non_null(mailbox);
    store = open_here(mailbox);
    return 0;
}

static int close_store(void **state)
{
    (void)state;
    if (store)
        store->api->close(store);
    store = NULL;
    mailbox_drain(mailbox);
    mailbox_free(mailbox);
    clear();
    return 0;
}

/* An owner that notes the upload id before the first byte, as the server does. */
struct noting {
    struct object_upload *upload;
    char upload_id[2048];
    bool begun, part_done, finished, failed, aborted;
    struct error error;
};

static void note_part_done(void *context, uint32_t buffer)
{
    (void)buffer;
    struct noting *n = context;
    n->part_done = true;
}

static void note_finished(void *context)
{
    ((struct noting *)context)->finished = true;
}

static void note_failed(void *context, const struct error *e)
{
    struct noting *n = context;
    n->failed = true;
    n->error = *e;
}

static void note_aborted(void *context)
{
    ((struct noting *)context)->aborted = true;
}

static void note_begun(void *context, const char *upload_id)
{
    struct noting *n = context;
    assert_false(n->begun || n->part_done);
    n->begun = true;
    snprintf(n->upload_id, sizeof n->upload_id, "%s", upload_id);
}

static const struct object_upload_events noting_events = {note_part_done, note_finished, note_failed,
                                                          note_aborted, note_begun};

static void noting_begin(struct noting *n, const char *key)
{
    struct error e;
    *n = (struct noting){0};
    n->upload = store->api->begin(
        store,
        &(struct object_upload_options){
            .key = key, .content_type = "text/csv; charset=utf-8", .events = &noting_events, .context = n},
        &e);
    assert_non_null(n->upload);
}

static char two_parts[PART + 7];

static void send_two_parts(struct object_upload *u)
{
    memset(two_parts, 'x', sizeof two_parts);
    two_parts[sizeof two_parts - 1] = '!';
    send_part(store, u, 0, two_parts, PART);
    send_part(store, u, 1, two_parts + PART, 7);
}

static void no_byte_is_sent_before_the_upload_is_noted(void **state)
{
    (void)state;
    struct noting n;
    noting_begin(&n, KEY);
    send_two_parts(n.upload);
    store->api->finish(n.upload, sizeof two_parts);
    wait_for(mailbox, &n.begun);
    assert_int_equal(unfinished(), 1);
    assert_int_equal(look_for_number("parts"), 0);
    store->api->noted(n.upload);
    wait_for(mailbox, &n.finished);
    _cleanup_buf_ struct buf b;
    buf_init(&b, sizeof two_parts);
    assert_true(fetch(KEY, &b));
    assert_int_equal(b.len, sizeof two_parts);
    assert_memory_equal(b.data, two_parts, sizeof two_parts);
    assert_int_equal(unfinished(), 0);
}

static void abort_instead_of_noting(void **state)
{
    (void)state;
    struct noting n;
    noting_begin(&n, KEY);
    send_two_parts(n.upload);
    wait_for(mailbox, &n.begun);
    store->api->abort(n.upload);
    wait_for(mailbox, &n.aborted);
    assert_int_equal(unfinished(), 0);
    assert_false(n.part_done || n.failed);
}

static void a_small_object_is_one_put(void **state)
{
    (void)state;
    struct noting n;
    noting_begin(&n, KEY);
    send_part(store, n.upload, 0, "abc", 3);
    store->api->finish(n.upload, 3);
    wait_for(mailbox, &n.finished);
    assert_false(n.begun);
}

/* What a process leaves that is killed in mid-upload. */
static void leave_an_upload(const char *key, struct noting *n)
{
    noting_begin(n, key);
    send_two_parts(n->upload);
    wait_for(mailbox, &n->begun);
}

struct removed {
    bool done, ok;
    struct error error;
};

static void on_removed(void *context, const struct error *e_or_null)
{
    struct removed *r = context;
    r->done = true;
    r->ok = !e_or_null;
    if (e_or_null)
        r->error = *e_or_null;
}

static void remove_with(const char *key, const char *upload_id)
{
    struct removed r = {0};
    store->api->remove(store, key, upload_id, on_removed, &r);
    wait_for(mailbox, &r.done);
    if (!r.ok)
        fail_msg("%s", r.error.message);
}

static void remove_aborts_what_was_left(void **state)
{
    (void)state;
    struct noting by_id, unnoted, by_key, longer, other;
    leave_an_upload(KEY, &unnoted); /* as a Create leaves that is sent again, since its answer was lost */
    leave_an_upload(KEY, &by_id);
    leave_an_upload("acme/b.csv", &by_key);
    leave_an_upload("acme/b.csv.more", &longer);
    leave_an_upload("beta/b.csv", &other);
    assert_int_equal(unfinished(), 5);
    remove_with(KEY, by_id.upload_id);
    assert_int_equal(unfinished(), 3);
    remove_with(KEY, by_id.upload_id); /* absent is a success */
    remove_with("acme/b.csv", NULL);
    assert_int_equal(unfinished(), 2);
    store->api->noted(longer.upload);
    store->api->finish(longer.upload, sizeof two_parts);
    wait_for(mailbox, &longer.finished);
    store->api->abort(unnoted.upload);
    wait_for(mailbox, &unnoted.aborted);
    store->api->abort(by_id.upload);
    wait_for(mailbox, &by_id.aborted);
    store->api->abort(by_key.upload);
    wait_for(mailbox, &by_key.aborted);
    store->api->abort(other.upload);
    wait_for(mailbox, &other.aborted);
    assert_int_equal(unfinished(), 0);
}

/* A Create whose answer was lost is sent again: the first upload's id was never known, and its server may have died. */
static void remove_aborts_an_unknown_upload_beside_the_known_one(void **state)
{
    (void)state;
    struct noting unknown, known;
    leave_an_upload(KEY, &unknown);
    leave_an_upload(KEY, &known);
    assert_int_equal(unfinished(), 2);
    remove_with(KEY, known.upload_id);
    assert_int_equal(unfinished(), 0);
    store->api->abort(known.upload);
    wait_for(mailbox, &known.aborted);
    store->api->abort(unknown.upload);
    wait_for(mailbox, &unknown.aborted);
}

static void keys_of_every_kind(void **state)
{
    (void)state;
    static const char *const keys[] = {"a b/c d.csv",
                                       "a+b/c+d.csv",
                                       "100%/%41%2F.csv",
                                       "~a/~b~.csv",
                                       "\xC3\xA4\xE6\x97\xA5/\xF0\x9F\xA6\x86.csv",
                                       "a/b/c/d/e.csv",
                                       "a&b=c?d#e/f.csv",
                                       "a'b\"c/(d)!*.csv",
                                       "$,;:@/[x]{y}|^`.csv",
                                       "back\\slash/x.csv",
                                       "...a/b..csv",
                                       "<x>/&amp;.csv"};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct error e;
        assert_true(store->api->organisation_ok(keys[i], &e));
        put_object(store, mailbox, keys[i], keys[i]);
        _cleanup_buf_ struct buf b, linked;
        buf_init(&b, 1024);
        if (!fetch(keys[i], &b) || strcmp(b.data, keys[i]) != 0)
            fail_msg("key '%s'", keys[i]);
        /* The link works as it is. */
        int64_t expires_at;
        _cleanup_free_ char *link = store->api->link(store, keys[i], "a.csv", "text/csv",
                                                     clock_wall_us() + 60 * SECOND, &expires_at, &e);
        buf_init(&linked, 4096);
        assert_int_equal(look("link", link, &linked), 200);
        assert_string_equal(linked.data, keys[i]);
        /* A multipart upload of that key is found by a listing. */
        struct noting n;
        if (i % 3 == 0) {
            leave_an_upload(keys[i], &n);
            remove_with(keys[i], NULL);
            assert_int_equal(unfinished(), 0);
            store->api->abort(n.upload);
            wait_for(mailbox, &n.aborted);
        }
        remove_object(store, mailbox, keys[i]);
        assert_false(fetch(keys[i], &b));
    }
}

static void parts_run_out(void **state)
{
    (void)state;
    store->api->close(store);
    struct object_s3_options o = options_of_environment(mailbox);
    o.parts_max = 3;
    o.grow_at = 2;
    store = open_with(&o);
    assert_int_equal(store->grow_at, 2);
    assert_int_equal(store->grown_part_size, 16 * PART);

    static char data[4 * PART];
    struct watched w;
    watched_begin(&w, store, KEY);
    for (uint32_t i = 0; i < 3; i++)
        send_part(store, w.upload, i, data + (size_t)i * PART, PART);
    assert_false(w.failed);
    send_part(store, w.upload, 3, data + (size_t)3 * PART, PART);
    wait_for(mailbox, &w.failed);
    assert_int_equal(w.error.code, ERROR_TOO_LARGE);
    assert_non_null(strstr(w.error.message, "more than 3 parts"));
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_int_equal(unfinished(), 0);

    /* Larger parts behind the first ones are as good. */
    static char grown[2 * PART];
    memset(grown, 'g', sizeof grown);
    watched_begin(&w, store, KEY);
    send_part(store, w.upload, 0, data, PART);
    send_part(store, w.upload, 1, data, PART);
    send_part(store, w.upload, 2, grown, sizeof grown);
    store->api->finish(w.upload, 4 * PART);
    wait_for(mailbox, &w.finished);
    _cleanup_buf_ struct buf b;
    buf_init(&b, 4 * PART);
    assert_true(fetch(KEY, &b));
    assert_int_equal(b.len, 4 * PART);
    assert_int_equal(b.data[2 * PART], 'g');
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

int main(void)
{
    static const struct object_store_backend s3 = {.name = "object store: s3",
                                                   .open = open_here,
                                                   .closed = clear,
                                                   .fetch = fetch,
                                                   .unfinished = unfinished};
    const struct CMUnitTest tests[] = {
        TEST(no_byte_is_sent_before_the_upload_is_noted),
        TEST(abort_instead_of_noting),
        TEST(a_small_object_is_one_put),
        TEST(remove_aborts_what_was_left),
        TEST(remove_aborts_an_unknown_upload_beside_the_known_one),
        TEST(keys_of_every_kind),
        TEST(parts_run_out),
    };
    int failed = object_store_suite_run(&s3);
    return failed + cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
