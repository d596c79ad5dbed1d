#include "job_store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void what_waits_is_limited(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0}, claimed = {0};
    for (int i = 0; i < 3; i++) {
        assert_true(try_create(s, "org", "user", 3, &j, &e));
        job_release(&j);
    }
    assert_false(try_create(s, "org", "user", 3, &j, &e));
    assert_int_equal(e.code, ERROR_QUEUE_FULL);
    assert_false(try_create(s, "other", "user", 3, &j, &e)); /* for all organisations together */

    /* What runs has left the waiting room; what is put back or removed counts again as it should. */
    assert_true(claim_job(s, &claimed));
    assert_true(try_create(s, "org", "user", 3, &j, &e));
    struct job_attempt a = attempt_of(&claimed);
    struct job back = {0};
    assert_true(CALL(s, &e, s->api->requeue(s, &a, NULL, 0, &back, &e)));
    job_release(&back);
    struct job unused = {0};
    assert_false(try_create(s, "org", "user", 4, &unused, &e));
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", j.id, &found, &e)));
    assert_true(found);
    assert_false(try_create(s, "org", "user", 3, &unused, &e));
    job_release(&j);
    assert_true(try_create(s, "org", "user", 4, &j, &e));
    job_release(&j);

    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->list(s, "org", "user", 100, 0, &list, &e)));
    assert_int_equal(list.count, 4); /* the refused left nothing */
    job_list_release(&list);
    job_release(&claimed);
}

static void organisations_take_turns(void **state)
{
    struct job_store *s = *state;
    char big[100][UUID_SIZE], small[2][UUID_SIZE];
    for (size_t i = 0; i < ARRAY_SIZE(big); i++)
        create_job(s, "big", "user", big[i]);
    for (size_t i = 0; i < ARRAY_SIZE(small); i++)
        create_job(s, "small", "user", small[i]);
    const char *expected[] = {big[0], small[0], big[1], small[1], big[2], big[3]};
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        struct job j = {0};
        assert_true(claim_job(s, &j));
        assert_string_equal(j.id, expected[i]);
        job_release(&j);
    }
    /* Four of the big one run and 96 wait: a newcomer is behind at most one of these. */
    char late[UUID_SIZE];
    create_job(s, "late", "user", late);
    struct error e = {0};
    struct job_list list = {0};
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 2, &list, &next_ms, &e)));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.jobs[0].id, big[4]);
    assert_string_equal(list.jobs[1].id, late);
    job_list_release(&list);
}

static void a_claimed_job_is_processing(void **state)
{
    struct job_store *s = *state;
    struct job j = {0}, none = {0};
    char id[UUID_SIZE];
    assert_false(claim_job(s, &none));
    create_job(s, "org", "user", id);
    assert_true(claim_job(s, &j));
    assert_string_equal(j.id, id);
    assert_int_equal(j.status, JOB_PROCESSING);
    assert_int_equal(j.attempt, 1);
    assert_int_equal(j.version, 2);
    assert_status(s, id, JOB_PROCESSING, 2);
    assert_false(claim_job(s, &none));
    assert_int_equal(count_leftovers(s, true), 0); /* it runs */
    job_release(&j);
}

static void attempts_are_fenced(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job first = {0}, second = {0}, back = {0};
    char id[UUID_SIZE];
    create_job(s, "org", "user", id);
    assert_stale(s, &(struct job_attempt){.id = id, .attempt = 0, .owner = OWNER}); /* it waits */
    assert_true(claim_job(s, &first));
    struct job_attempt a = attempt_of(&first);
    assert_stale(s, &(struct job_attempt){.id = id, .attempt = 1, .owner = "boot-2"});
    assert_stale(s, &(struct job_attempt){.id = id, .attempt = 2, .owner = OWNER});
    assert_stale(
        s, &(struct job_attempt){.id = "00000000-0000-4000-8000-000000000000", .attempt = 1, .owner = OWNER});
    assert_status(s, id, JOB_PROCESSING, 2);

    assert_true(CALL(s, &e, s->api->requeue(s, &a, NULL, 0, &back, &e)));
    assert_over(s, &a, JOB_PENDING);
    assert_status(s, id, JOB_PENDING, 3);
    assert_true(claim_job(s, &second));
    assert_int_equal(second.attempt, 2);
    assert_stale(s, &a);
    assert_status(s, id, JOB_PROCESSING, 4);
    assert_true(publish_job(s, &second, FAR_AWAY, &e));
    struct job_attempt b = attempt_of(&second);
    assert_over(s, &b, JOB_COMPLETED);
    assert_status(s, id, JOB_COMPLETED, 5);
    job_release(&first);
    job_release(&second);
    job_release(&back);
}

static void a_job_put_back_keeps_its_place(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0}, back = {0}, again = {0};
    char id[UUID_SIZE];
    create_job(s, "org", "user", id);
    create_job(s, "org", "user", NULL);
    create_job(s, "other", "user", NULL);
    assert_true(claim_job(s, &j));
    assert_string_equal(j.id, id);
    struct job_progress p = {.attempt = j.attempt, .rows = 10, .bytes = 100, .percent = 50};
    memcpy(p.id, id, sizeof p.id);
    assert_true(CALL(s, &e, s->api->progress(s, &p, 1, &e)));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, s->api->requeue(s, &a, NULL, 0, &back, &e)));
    assert_int_equal(back.status, JOB_PENDING);
    assert_int_equal(back.version, 3);
    assert_int_equal(back.attempt, 1);
    assert_int_equal(back.rows, 0);
    assert_true(back.percent < 0);
    assert_null(back.error_message); /* not a failure */
    assert_int_equal(back.error_code, ERROR_NONE);
    assert_int_equal(back.completed_at, 0);
    assert_true(CALL(s, &e, s->api->progress(s, &p, 1, &e))); /* late: it waits */
    struct job waiting = get_job(s, "org", id);
    assert_int_equal(waiting.rows, 0);
    job_release(&waiting);

    assert_true(claim_job(s, &again));
    assert_string_equal(again.id, id);
    assert_int_equal(again.attempt, 2);

    /* The first attempt's object may be cleared away, and is not the second's. */
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    assert_int_equal(leftovers(s, false, &list), 1);
    assert_int_equal(list.items[0].attempt, 1);
    char key[128];
    snprintf(key, sizeof key, "org/%s.csv", id);
    assert_string_equal(list.items[0].object_key, key);
    job_release(&j);
    job_release(&back);
    job_release(&again);
}

static void what_ran_at_a_crash_waits_again(void **state)
{
    struct job_store *s = *state;
    if (!s->api->recover)
        skip(); /* leases do it there */
    struct error e = {0};
    char ids[3][UUID_SIZE];
    struct job j = {0};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        create_job(s, "org", "user", ids[i]);
    for (size_t i = 0; i < 2; i++) {
        assert_true(claim_job(s, &j));
        job_release(&j);
    }
    size_t count = 99;
    assert_true(CALL(s, &e, s->api->recover(s, &count, &e)));
    assert_int_equal(count, 2);
    assert_status(s, ids[0], JOB_PENDING, 3);
    assert_status(s, ids[2], JOB_PENDING, 1);
    assert_int_equal(count_leftovers(s, false), 2);
    assert_over(s, &(struct job_attempt){.id = ids[0], .attempt = 1, .owner = OWNER}, JOB_PENDING);
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        assert_true(claim_job(s, &j));
        assert_string_equal(j.id, ids[i]);
        assert_int_equal(j.attempt, i < 2 ? 2 : 1);
        job_release(&j);
    }
    assert_true(CALL(s, &e, s->api->recover(s, &count, &e)));
    assert_int_equal(count, 3);
    assert_true(CALL(s, &e, s->api->recover(s, &count, &e)));
    assert_int_equal(count, 0);
}

static void what_runs_is_never_cleaned(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    report_cleaned(s, j.id, false);
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", j.id, &found, &e)));
    assert_int_equal(count_leftovers(s, false), 1); /* so it was kept */
    report_cleaned(s, j.id, false);
    assert_int_equal(count_leftovers(s, false), 0);
    job_release(&j);
}

/* Two sweepers have the same item: the one that fails, or is late, is not to make an end of the hour. */
static void a_report_never_brings_the_second_clearing_forward(void **state)
{
    struct job_store *s = *state;
    struct job j = fail_new_job(s);
    report_cleaned(s, j.id, false);
    report_not_cleaned(s, j.id, false);
    suite_backend->make_due_in_a_minute();
    assert_int_equal(count_leftovers(s, true), 0);
    suite_backend->make_due();
    report_cleaned(s, j.id, false); /* of the first clearing, an hour late */
    suite_backend->make_due();
    assert_int_equal(count_leftovers(s, true), suite_backend->many_sweep);
    job_release(&j);
}

/* An owner that comes back late says that it may have written since. */
static void what_a_late_owner_left_is_cleared_anew(void **state)
{
    struct job_store *s = *state;
    struct error e = {0}, why = {.code = ERROR_QUERY};
    struct job j = {0}, failed = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    struct job_attempt a = attempt_of(&j);
    struct job_leftover late = {.attempt = 1, .object_key = (char *)"org/late.csv", .upload_id = (char *)"late"};
    memcpy(late.id, j.id, sizeof late.id);
    assert_true(CALL(s, &e, s->api->left(s, &late, &e)));
    assert_int_equal(count_leftovers(s, true), 0); /* it runs: no */
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, "org", j.id, &found, &e)));
    for (int times = 0; times < 2; times++) { /* also when nothing is known of it any more */
        for (int round = 0; round < 2; round++) {
            assert_int_equal(count_leftovers(s, true), 1);
            report_cleaned(s, j.id, round > 0);
            suite_backend->make_due();
        }
        assert_int_equal(count_leftovers(s, true), 0);
        _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
        assert_true(CALL(s, &e, s->api->left(s, &late, &e)));
        assert_int_equal(leftovers(s, true, &list), 1);
        assert_string_equal(list.items[0].object_key, "org/late.csv");
        assert_string_equal(list.items[0].upload_id, "late");
    }
    job_release(&j);
    job_release(&failed);

    create_job(s, "org", "user", NULL); /* published: never */
    assert_true(claim_job(s, &j));
    assert_true(publish_job(s, &j, FAR_AWAY, &e));
    memcpy(late.id, j.id, sizeof late.id);
    size_t before = count_leftovers(s, true);
    assert_true(CALL(s, &e, s->api->left(s, &late, &e)));
    assert_int_equal(count_leftovers(s, true), before);
    job_release(&j);
}

static void what_an_attempt_left_is_cleared_twice(void **state)
{
    struct job_store *s = *state;
    struct error e = {0}, why = {.code = ERROR_QUERY};
    struct job j = {0}, failed = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    struct job_attempt a = attempt_of(&j);
    assert_true(CALL(s, &e, s->api->note_upload(s, &a, "an upload/id+", &e)));
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &failed, &e)));
    for (int round = 0; round < 2; round++) {
        _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
        assert_int_equal(leftovers(s, false, &list), 1);
        assert_int_equal(list.items[0].attempt, 1);
        assert_string_equal(list.items[0].upload_id, "an upload/id+");
        /* One that cannot be cleared away now lets others go first, and stays. */
        assert_int_equal(list.items[0].again, round > 0);
        report_not_cleaned(s, j.id, round > 0);
        assert_int_equal(count_leftovers(s, true), 0);
        suite_backend->make_due();
        assert_int_equal(count_leftovers(s, true), 1);
        report_cleaned(s, j.id, round > 0);
        assert_int_equal(count_leftovers(s, true), 0);
        suite_backend->make_due();
    }
    assert_int_equal(count_leftovers(s, true), 0);
    job_release(&failed);
    job_release(&j);
}

static void progress_is_of_running_attempts(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job a = {0}, b = {0};
    create_job(s, "org", "user", NULL);
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &a));
    assert_true(claim_job(s, &b));
    struct job_progress p[3] = {{.attempt = 1, .rows = 10, .bytes = 100, .percent = 12.5},
                                {.attempt = 1, .rows = 20, .bytes = 200, .percent = -1},
                                {.attempt = 1, .rows = 30, .bytes = 300, .percent = 30}};
    memcpy(p[0].id, a.id, UUID_SIZE);
    memcpy(p[1].id, b.id, UUID_SIZE);
    memcpy(p[2].id, "00000000-0000-4000-8000-000000000000", UUID_SIZE);
    assert_true(CALL(s, &e, s->api->progress(s, p, 3, &e)));
    struct job j = get_job(s, "org", a.id);
    assert_int_equal(j.rows, 10);
    assert_int_equal(j.bytes, 100);
    assert_true(j.percent == 12.5);
    assert_int_equal(j.version, 2); /* not a change of state */
    job_release(&j);
    j = get_job(s, "org", b.id);
    assert_int_equal(j.rows, 20);
    assert_true(j.percent < 0);
    job_release(&j);

    /* Late for one that is done, and of an attempt that is not the current one. */
    assert_true(publish_job(s, &a, FAR_AWAY, &e));
    p[0].rows = 9;
    p[1].rows = 9;
    p[1].attempt = 2;
    assert_true(CALL(s, &e, s->api->progress(s, p, 2, &e)));
    j = get_job(s, "org", a.id);
    assert_int_equal(j.rows, 3);
    assert_true(j.percent < 0);
    job_release(&j);
    j = get_job(s, "org", b.id);
    assert_int_equal(j.rows, 20);
    job_release(&j);
    job_release(&a);
    job_release(&b);
}

static void calls_of_one_transaction_are_apart(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job_request r = {
        .user_id = "user", .org_id = "org", .dataset_id = "d", .sql = "s", .format = "csv"};
    struct job a = {0}, b = {0}, c = {0};
    assert_true(s->api->begin(s, &e));
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(bound_queue(s, 10), &r, &a, &e));
    assert_true(s->api->release(s, &e));
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(bound_queue(s, 10), &r, &b, &e));
    s->api->rollback_to(s); /* as after a failure behind the insert */
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(bound_queue(s, 2), &r, &c, &e)); /* the undone one does not count */
    assert_true(s->api->release(s, &e));
    assert_true(s->api->commit(s, &e));
    assert_status(s, a.id, JOB_PENDING, 1);
    assert_status(s, c.id, JOB_PENDING, 1);
    assert_int_equal(get_job_error(s, "org", b.id), ERROR_NOT_FOUND);
    job_release(&b);

    /* And all of it may be undone. */
    assert_true(s->api->begin(s, &e));
    assert_true(s->api->savepoint(s, &e));
    assert_true(s->api->create(bound_queue(s, 10), &r, &b, &e));
    assert_true(s->api->release(s, &e));
    s->api->rollback(s);
    s->api->rollback(s); /* does nothing */
    assert_int_equal(get_job_error(s, "org", b.id), ERROR_NOT_FOUND);
    create_job(s, "org", "user", NULL);
    job_release(&a);
    job_release(&b);
    job_release(&c);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, suite_open, suite_close)

int job_store_queue_run(const struct job_store_backend *b)
{
    suite_backend = b;
    const struct CMUnitTest tests[] = {
        TEST(what_waits_is_limited),
        TEST(organisations_take_turns),
        TEST(a_claimed_job_is_processing),
        TEST(attempts_are_fenced),
        TEST(a_job_put_back_keeps_its_place),
        TEST(what_ran_at_a_crash_waits_again),
        TEST(what_runs_is_never_cleaned),
        TEST(what_an_attempt_left_is_cleared_twice),
        TEST(a_report_never_brings_the_second_clearing_forward),
        TEST(what_a_late_owner_left_is_cleared_anew),
        TEST(progress_is_of_running_attempts),
        TEST(calls_of_one_transaction_are_apart),
    };
    return cmocka_run_group_tests_name(b->name, tests, NULL, NULL);
}
