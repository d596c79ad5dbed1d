#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/drain_rate.h"

#define NOW INT64_C(5000000)
#define ask(r, org, places) drain_rate_retry_after_s(r, NOW, org, places)

static int make(void **state)
{
    *state = drain_rate_new();
    return *state ? 0 : -1;
}

static int end(void **state)
{
    drain_rate_free(*state);
    return 0;
}

/* Ends every `gap_ms`, the last of them just now. */
static void note_many(struct drain_rate *r, const char *org, unsigned count, int64_t gap_ms)
{
    for (unsigned i = count; i-- > 0;)
        drain_rate_note(r, NOW - i * gap_ms, org);
}

static void without_an_end_nothing_is_known(void **state)
{
    assert_int_equal(ask(*state, NULL, 1), 10);
    assert_int_equal(ask(*state, "acme", 1000), 10);
}

static void places_come_free_at_the_measured_rate(void **state)
{
    note_many(*state, "acme", 11, 2000); /* one in 2 s */
    assert_int_equal(ask(*state, NULL, 1), 2);
    assert_int_equal(ask(*state, NULL, 10), 20);
    assert_int_equal(ask(*state, NULL, 1000), 300);
    assert_int_equal(ask(*state, NULL, UINT64_MAX), 300);
    assert_int_equal(ask(*state, NULL, 0), 1);
}

static void seconds_are_rounded_up(void **state)
{
    note_many(*state, "acme", 21, 300);
    assert_int_equal(ask(*state, NULL, 1), 1);
    assert_int_equal(ask(*state, NULL, 11), 4); /* 3.3 */
}

static void a_queue_that_stands_is_seen(void **state)
{
    for (unsigned i = 0; i < 11; i++)
        drain_rate_note(*state, NOW - 40000 + 100 * i, "acme"); /* ten a second, then nothing for 39 s */
    assert_int_equal(ask(*state, NULL, 1), 4);
}

static void what_is_older_than_a_minute_counts_no_more(void **state)
{
    drain_rate_note(*state, NOW - 60001, "acme");
    assert_int_equal(ask(*state, NULL, 1), 10);
    drain_rate_note(*state, NOW - 60000, "acme");
    assert_int_equal(ask(*state, NULL, 1), 60); /* a single one: no sooner than its own age */
}

static void a_single_end_is_no_rate(void **state)
{
    drain_rate_note(*state, NOW, "acme");
    assert_int_equal(ask(*state, NULL, 1), 10);
    assert_int_equal(ask(*state, NULL, 5), 50);
    assert_int_equal(ask(*state, "acme", 5), 50);
}

static void an_organisation_has_its_own_rate(void **state)
{
    for (int64_t t = NOW - 50000; t <= NOW; t += 1000)
        drain_rate_note(*state, t, t % 10000 == 0 ? "small" : "large");
    assert_int_equal(ask(*state, "small", 2), 20);
    assert_int_equal(ask(*state, NULL, 2), 2);
    assert_int_equal(ask(*state, "nobody", 2), 2); /* it had none: that of all */
}

static void the_ring_keeps_the_newest(void **state)
{
    drain_rate_note(*state, NOW - 59000, "rare");
    assert_int_equal(ask(*state, "rare", 1), 59);
    note_many(*state, "acme", DRAIN_RATE_ENDS, 10); /* 100 a second for ten seconds */
    assert_int_equal(ask(*state, NULL, 1000), 10);
    assert_int_equal(ask(*state, "rare", 1000), 10); /* pushed out */
    note_many(*state, "acme", 3 * DRAIN_RATE_ENDS, 1);
    assert_int_equal(ask(*state, NULL, 2000), 2);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, end)
    const struct CMUnitTest tests[] = {
        CASE(without_an_end_nothing_is_known), CASE(places_come_free_at_the_measured_rate),
        CASE(seconds_are_rounded_up),          CASE(a_queue_that_stands_is_seen),
        CASE(what_is_older_than_a_minute_counts_no_more), CASE(a_single_end_is_no_rate),
        CASE(an_organisation_has_its_own_rate), CASE(the_ring_keeps_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
