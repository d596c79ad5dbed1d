#include "object_store_suite.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/digest.h"

#define KEY "acme/0b4c2c1e-3f0e-4b7a-9a51-000000000001.csv"
#define OBJECT_MAX (64 * 1024 * 1024)
#define DEADLINE_MS 20000

static const struct object_store_backend *backend;
static struct mailbox *mailbox;
static struct object_store *store;

/* For every test */

static void on_part_done(void *context, uint32_t buffer)
{
    struct watched *w = context;
    assert_false(w->failed || w->finished || w->aborted);
    assert_false(w->done_buffers >> buffer & 1);
    w->done_buffers |= UINT64_C(1) << buffer;
    w->parts_done++;
}

static void on_finished(void *context)
{
    struct watched *w = context;
    assert_false(w->failed || w->finished || w->aborted);
    w->finished = true;
    w->upload = NULL;
}

static void on_failed(void *context, const struct error *e)
{
    struct watched *w = context;
    assert_false(w->failed || w->finished || w->aborted);
    w->failed = true;
    w->error = *e;
}

static void on_aborted(void *context)
{
    struct watched *w = context;
    assert_false(w->finished || w->aborted);
    w->aborted = true;
    w->upload = NULL;
}

static const struct object_upload_events events = {on_part_done, on_finished, on_failed, on_aborted};

void watched_begin(struct watched *w, struct object_store *s, const char *key)
{
    struct error e;
    *w = (struct watched){0};
    w->upload = s->api->begin(
        s,
        &(struct object_upload_options){
            .key = key, .content_type = "text/csv; charset=utf-8", .events = &events, .context = w},
        &e);
    if (!w->upload)
        fail_msg("begin: %s", e.message);
}

void send_part(struct object_store *s, struct object_upload *u, uint32_t buffer, const void *data, size_t length)
{
    uint8_t sha256[SHA256_BYTES];
    assert_true(sha256_of(data, length, sha256));
    s->api->part(u, buffer, data, length, sha256);
}

/* One round of the loop. */
static void turn(struct mailbox *m, int64_t deadline)
{
    int64_t left = deadline - clock_monotonic_ms();
    struct pollfd readable = {.fd = mailbox_fd(m), .events = POLLIN};
    if (left <= 0 || poll(&readable, 1, (int)left) != 1)
        fail_msg("no answer within %d ms", DEADLINE_MS);
    mailbox_drain(m);
}

void wait_for(struct mailbox *m, const bool *flag)
{
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    while (!*flag)
        turn(m, deadline);
}

void put_object(struct object_store *s, struct mailbox *m, const char *key, const char *text)
{
    struct watched w;
    watched_begin(&w, s, key);
    send_part(s, w.upload, 0, text, strlen(text));
    s->api->finish(w.upload, strlen(text));
    wait_for(m, &w.finished);
    assert_int_equal(w.parts_done, 1);
}

struct removed {
    bool done, ok;
};

static void on_removed(void *context, const struct error *e_or_null)
{
    struct removed *r = context;
    assert_false(r->done);
    r->done = true;
    r->ok = !e_or_null;
}

void remove_object(struct object_store *s, struct mailbox *m, const char *key)
{
    struct removed r = {0};
    s->api->remove(s, key, NULL, on_removed, &r);
    wait_for(m, &r.done);
    assert_true(r.ok);
}

static int open_store(void **state)
{
    (void)state;
    struct error e;
    mailbox = mailbox_new(&e);
    assert_non_null(mailbox);
    store = backend->open(mailbox);
    assert_non_null(store);
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
    backend->closed();
    return 0;
}

static void assert_object(const char *key, const char *data, size_t length)
{
    _cleanup_buf_ struct buf b;
    buf_init(&b, OBJECT_MAX);
    assert_true(backend->fetch(key, &b));
    assert_int_equal(b.len, length);
    if (length > 0)
        assert_memory_equal(b.data, data, length);
}

static void assert_no_object(const char *key)
{
    _cleanup_buf_ struct buf b;
    buf_init(&b, OBJECT_MAX);
    assert_false(backend->fetch(key, &b));
}

static void assert_nothing_left(void)
{
    assert_no_object(KEY);
    assert_int_equal(backend->unfinished(), 0);
}

/* The suite */

static void the_store_is_there(void **state)
{
    (void)state;
    struct error e;
    assert_true(store->api->check(store, &e));
    assert_int_equal(backend->unfinished(), 0);
}

static void an_empty_object_is_an_object(void **state)
{
    (void)state;
    struct watched w;
    watched_begin(&w, store, KEY);
    store->api->finish(w.upload, 0);
    wait_for(mailbox, &w.finished);
    assert_object(KEY, "", 0);
    assert_int_equal(backend->unfinished(), 0);
}

static void one_part(void **state)
{
    (void)state;
    put_object(store, mailbox, KEY, "id,name\n1,a\n");
    assert_object(KEY, "id,name\n1,a\n", 12);
    assert_int_equal(backend->unfinished(), 0);
}

enum { PART = 5 * 1024 * 1024, PARTS = 9, LAST_PART = 100003 }; /* S3's smallest part, and a short last one */

static void many_parts_follow_each_other(void **state)
{
    (void)state;
    size_t total = (size_t)(PARTS - 1) * PART + LAST_PART;
    _cleanup_free_ char *data = malloc(total);
    assert_non_null(data);
    uint32_t x = 1;
    for (size_t i = 0; i < total; i++)
        data[i] = (char)((x = x * 1664525 + 1013904223) >> 24);

    struct watched w;
    watched_begin(&w, store, KEY);
    for (uint32_t i = 0; i < PARTS; i++)
        send_part(store, w.upload, i, data + (size_t)i * PART, i == PARTS - 1 ? LAST_PART : PART);
    assert_no_object(KEY);
    store->api->finish(w.upload, total);
    wait_for(mailbox, &w.finished);
    assert_int_equal(w.parts_done, PARTS);
    assert_object(KEY, data, total);
    assert_int_equal(backend->unfinished(), 0);
}

static void uploads_run_beside_each_other(void **state)
{
    (void)state;
    enum { UPLOADS = 12 };
    struct watched w[UPLOADS];
    char key[UPLOADS][64], text[UPLOADS][64];
    for (int i = 0; i < UPLOADS; i++) {
        snprintf(key[i], sizeof key[i], "org-%d/file-%d.csv", i % 3, i);
        snprintf(text[i], sizeof text[i], "object %d\n", i);
        watched_begin(&w[i], store, key[i]);
        send_part(store, w[i].upload, 0, text[i], strlen(text[i]));
    }
    for (int i = UPLOADS; i-- > 0;)
        store->api->finish(w[i].upload, strlen(text[i]));
    for (int i = 0; i < UPLOADS; i++) {
        wait_for(mailbox, &w[i].finished);
        assert_object(key[i], text[i], strlen(text[i]));
    }
    assert_int_equal(backend->unfinished(), 0);
}

static void abort_before_the_first_part(void **state)
{
    (void)state;
    struct watched w;
    watched_begin(&w, store, KEY);
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_nothing_left();
}

static void abort_with_parts_under_way(void **state)
{
    (void)state;
    static char part[PART];
    struct watched w;
    watched_begin(&w, store, KEY);
    for (uint32_t i = 0; i < 3; i++)
        send_part(store, w.upload, i, part, sizeof part);
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_int_equal(w.parts_done, 0);
    assert_nothing_left();
}

static void abort_after_a_part(void **state)
{
    (void)state;
    static char part[PART];
    struct watched w;
    watched_begin(&w, store, KEY);
    /* Two: a store may hold the first back until it knows that it is not the last. */
    for (uint32_t i = 0; i < 2; i++)
        send_part(store, w.upload, i, part, sizeof part);
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    while (w.parts_done == 0)
        turn(mailbox, deadline);
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_nothing_left();
}

static void abort_while_finishing(void **state)
{
    (void)state;
    static char part[PART];
    struct watched w;
    watched_begin(&w, store, KEY);
    send_part(store, w.upload, 0, part, sizeof part);
    send_part(store, w.upload, 1, part, 1);
    int64_t deadline = clock_monotonic_ms() + DEADLINE_MS;
    while (w.parts_done < 2)
        turn(mailbox, deadline);
    store->api->finish(w.upload, sizeof part + 1);
    /* The object may stand by the time that this is seen, but its owner has not heard of it. */
    struct pollfd readable = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    poll(&readable, 1, DEADLINE_MS);
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_false(w.finished);
    assert_nothing_left();
}

static void a_wrong_total_fails(void **state)
{
    (void)state;
    struct watched w;
    watched_begin(&w, store, KEY);
    send_part(store, w.upload, 0, "abc", 3);
    store->api->finish(w.upload, 4);
    wait_for(mailbox, &w.failed);
    assert_int_equal(w.error.code, ERROR_STORAGE);
    assert_no_object(KEY);
    store->api->abort(w.upload);
    wait_for(mailbox, &w.aborted);
    assert_nothing_left();
}

static void remove_twice(void **state)
{
    (void)state;
    put_object(store, mailbox, KEY, "abc");
    put_object(store, mailbox, "acme/other.csv", "def");
    remove_object(store, mailbox, KEY);
    assert_no_object(KEY);
    remove_object(store, mailbox, KEY);
    remove_object(store, mailbox, "nobody/nothing.csv");
    assert_object("acme/other.csv", "def", 3);
    put_object(store, mailbox, KEY, "again");
    assert_object(KEY, "again", 5);
}

static void close_drops_what_is_under_way(void **state)
{
    (void)state;
    static char part[PART];
    struct watched idle, writing, finishing;
    watched_begin(&idle, store, "acme/idle.csv");
    watched_begin(&writing, store, "acme/writing.csv");
    watched_begin(&finishing, store, "acme/finishing.csv");
    send_part(store, writing.upload, 0, part, sizeof part);
    send_part(store, writing.upload, 1, part, sizeof part);
    store->api->finish(finishing.upload, 0);
    store->api->close(store);
    store = NULL;
    mailbox_drain(mailbox);
    assert_int_equal(writing.parts_done, 0);
    assert_false(finishing.finished || writing.aborted || idle.aborted);
    assert_no_object("acme/idle.csv");
    assert_no_object("acme/writing.csv");
    assert_no_object("acme/finishing.csv");
    assert_int_equal(backend->unfinished(), 0);
}

static void bad_keys_are_refused(void **state)
{
    (void)state;
    static char too_long[OBJECT_KEY_MAX + 2];
    memset(too_long, 'a', sizeof too_long - 1);
    too_long[4] = '/';
    const char *keys[] = {"",         "/",         "acme/",      "/a.csv",        "acme//a.csv",
                          "../a.csv", "acme/..",   "acme/.",     "acme/../a.csv", "acme/a/../../b",
                          "./a.csv",  "acme/a\nb", "acme/a\x01", too_long};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        struct error e = {0};
        struct watched w = {0};
        if (store->api->begin(
                store, &(struct object_upload_options){.key = keys[i], .events = &events, .context = &w}, &e))
            fail_msg("key %zu was taken: '%s'", i, keys[i]);
        assert_int_equal(e.code, ERROR_INVALID);
        int64_t expires_at;
        assert_null(store->api->link(store, keys[i], "a.csv", "text/csv", 0, &expires_at, &e));
        struct removed r = {0};
        store->api->remove(store, keys[i], NULL, on_removed, &r);
        wait_for(mailbox, &r.done);
        assert_false(r.ok);
    }
}

static void a_link_says_when_it_ends(void **state)
{
    (void)state;
    struct error e;
    int64_t asked = clock_wall_us() + 3600 * INT64_C(1000000), expires_at = 0;
    _cleanup_free_ char *link = store->api->link(store, KEY, "a.csv", "text/csv", asked, &expires_at, &e);
    assert_non_null(link);
    assert_non_null(strstr(link, KEY));
    assert_in_range(expires_at, asked - 1000000, asked);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)

int object_store_suite_run(const struct object_store_backend *b)
{
    backend = b;
    const struct CMUnitTest tests[] = {
        TEST(the_store_is_there),
        TEST(an_empty_object_is_an_object),
        TEST(one_part),
        TEST(many_parts_follow_each_other),
        TEST(uploads_run_beside_each_other),
        TEST(abort_before_the_first_part),
        TEST(abort_with_parts_under_way),
        TEST(abort_after_a_part),
        TEST(abort_while_finishing),
        TEST(a_wrong_total_fails),
        TEST(remove_twice),
        TEST(close_drops_what_is_under_way),
        TEST(bad_keys_are_refused),
        TEST(a_link_says_when_it_ends),
    };
    return cmocka_run_group_tests_name(b->name, tests, NULL, NULL);
}
