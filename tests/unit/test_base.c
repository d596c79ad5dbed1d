#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <poll.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/task_queue.h"

static void buf_stops_at_its_ceiling(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 5);
    buf_append_text(&b, "abc");
    buf_printf(&b, "%d", 42);
    assert_true(buf_ok(&b));
    assert_string_equal(b.data, "abc42");
    buf_append(&b, "x", 1);
    assert_false(buf_ok(&b));
    assert_null(buf_take(&b));
}

static void a_long_error_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    char text[2 * ERROR_MESSAGE_MAX];
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xC3\xA4", 3);
    for (int shift = 0; shift < 2; shift++) {
        struct error e;
        assert_false(error_set(&e, ERROR_QUERY, "%.*s%s", shift, "x", text));
        size_t length = strlen(e.message);
        assert_in_range(length, ERROR_MESSAGE_MAX - 3, ERROR_MESSAGE_MAX - 1);
        assert_string_equal(e.message + length - 3, "...");
        assert_int_equal((length - 3 - (size_t)shift) % 2, 0);
    }
}

static void times_are_rfc3339(void **state)
{
    (void)state;
    char text[CLOCK_RFC3339_SIZE];
    clock_format_rfc3339(1709210096789012, text);
    assert_string_equal(text, "2024-02-29T12:34:56.789012Z");
    clock_format_rfc3339(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999Z");
}

static void digests_are_those_of_the_standards(void **state)
{
    (void)state;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_SIZE];
    struct sha256 *h = sha256_new();
    assert_non_null(h);
    sha256_update(h, "a", 1);
    sha256_final(h, digest); /* a look half-way changes nothing */
    sha256_update(h, "bc", 2);
    sha256_final(h, digest);
    sha256_free(h);
    hex_encode(digest, sizeof digest, hex);
    /* FIPS 180-2, appendix B.1 */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_true(hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, digest));
    hex_encode(digest, sizeof digest, hex);
    /* RFC 4231, test case 2 */
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void uuids_are_checked(void **state)
{
    (void)state;
    struct error e;
    char a[UUID_SIZE], b[UUID_SIZE];
    assert_true(uuid_random(a, &e));
    assert_true(uuid_parse(a, b));
    assert_string_equal(a, b);
    assert_true(uuid_parse("ABCDEF00-1111-2222-3333-444444444444", b));
    assert_string_equal(b, "abcdef00-1111-2222-3333-444444444444");
    assert_false(uuid_parse("abcdef00-1111-2222-3333-44444444444", b));
    assert_false(uuid_parse("abcdef00-1111-2222-3333-4444444444444", b));
    assert_false(uuid_parse("abcdef00x1111-2222-3333-444444444444", b));
    assert_false(uuid_parse("../../etc/passwd", b));
    assert_false(uuid_parse("", b));
}

struct addition {
    struct task task;
    int *total; /* of the loop */
    int value;  /* set by the thread */
};

static void add_work(struct task *t, void *context)
{
    CONTAINER_OF(t, struct addition, task)->value = *(int *)context;
}

static void add_done(struct task *t)
{
    struct addition *a = CONTAINER_OF(t, struct addition, task);
    *a->total += a->value;
}

static void a_mailbox_hands_out_some_and_stays_readable(void **state)
{
    (void)state;
    struct error e;
    int total = 0;
    struct mailbox *m = mailbox_new(&e);
    assert_non_null(m);
    struct addition all[5];
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        all[i] = (struct addition){.task = {.done = add_done}, .total = &total, .value = 1 << i};
        mailbox_post(m, &all[i].task);
    }
    struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
    mailbox_drain_some(m, 2);
    assert_int_equal(total, 1 + 2); /* in the order of posting */
    assert_int_equal(poll(&p, 1, 0), 1);
    mailbox_drain_some(m, 2);
    assert_int_equal(poll(&p, 1, 0), 1);
    mailbox_drain_some(m, 2);
    assert_int_equal(total, 31);
    assert_int_equal(poll(&p, 1, 0), 0);
    mailbox_post(m, &all[0].task);
    assert_int_equal(poll(&p, 1, 0), 1);
    mailbox_drain_some(m, 1);
    assert_int_equal(total, 32);
    assert_int_equal(poll(&p, 1, 0), 0);
    mailbox_free(m);
}

static void tasks_come_back_through_the_mailbox(void **state)
{
    (void)state;
    struct error e;
    int seven = 7, total = 0;
    struct mailbox *m = mailbox_new(&e);
    assert_non_null(m);
    struct task_queue_options options = {.name = "test", .threads = 3, .done = m, .context = &seven};
    struct task_queue *q = task_queue_new(&options, &e);
    assert_non_null(q);
    struct addition all[100];
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        all[i] = (struct addition){.task = {.work = add_work, .done = add_done}, .total = &total};
        task_queue_submit(q, &all[i].task);
    }
    struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
    while (total < 700) {
        assert_int_equal(poll(&p, 1, 10000), 1);
        mailbox_drain(m);
    }
    assert_int_equal(total, 700);
    task_queue_free(q);
    mailbox_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_stops_at_its_ceiling),
        cmocka_unit_test(a_long_error_is_cut_at_a_whole_character),
        cmocka_unit_test(times_are_rfc3339),
        cmocka_unit_test(digests_are_those_of_the_standards),
        cmocka_unit_test(uuids_are_checked),
        cmocka_unit_test(tasks_come_back_through_the_mailbox),
        cmocka_unit_test(a_mailbox_hands_out_some_and_stays_readable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
