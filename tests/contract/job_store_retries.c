/* What is tried again, what an organisation may have waiting and running, and the place in the queue. */
#include "job_store_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"

#define PATIENCE_MS 10000

static void bound_running(struct job_store *s, uint64_t org_max_running)
{
    struct error e = {0};
    s->bounds.org_max_running = org_max_running;
    assert_true(CALL(s, &e, s->api->settle(s, &e)));
}

static void put_back(struct job_store *s, const struct job *j, const struct error *why, uint64_t delay_ms,
                     struct job *ret)
{
    struct error e = {0};
    struct job_attempt a = attempt_of(j);
    assert_true(CALL(s, &e, s->api->requeue(s, &a, why, delay_ms, ret, &e)));
}

static void fail_job(struct job_store *s, const struct job *j)
{
    struct error e = {0}, why = {.code = ERROR_QUERY, .message = "no such table"};
    struct job_attempt a = attempt_of(j);
    struct job ended = {0};
    assert_true(CALL(s, &e, (s->api->fail)(s, &a, &why, &ended, &e)));
    job_release(&ended);
}

static void publish(struct job_store *s, const struct job *j)
{
    struct error e = {0};
    if (!publish_job(s, j, FAR_AWAY, &e))
        fail_msg("%s", e.message);
}

static void delete_job(struct job_store *s, const char *org, const char *id)
{
    struct error e = {0};
    bool found = false;
    assert_true(CALL(s, &e, s->api->remove(s, org, id, &found, &e)));
    assert_true(found);
}

static struct job_attempt_list attempts_of(struct job_store *s, const char *id)
{
    struct error e = {0};
    struct job_attempt_list l = {0};
    if (!s->api->attempts(s, id, &l, &e))
        fail_msg("%s", e.message);
    return l;
}

/* Claims up to 10: the organisations of what it got, a letter each, in their order. The jobs are `ret`'s. */
static const char *claim_orgs(struct job_store *s, struct job_list *ret)
{
    static char orgs[16];
    struct error e = {0};
    job_list_release(ret);
    assert_true(CALL(s, &e, s->api->claim(s, OWNER, 10, ret, &next_ms, &e)));
    for (size_t i = 0; i < ret->count; i++)
        orgs[i] = ret->jobs[i].org_id[0];
    orgs[ret->count] = '\0';
    return orgs;
}

static void create_in(struct job_store *s, const char *org, unsigned count)
{
    while (count-- > 0)
        create_job(s, org, "user", NULL);
}

/* --- what is tried again --- */

static void a_failure_waits_for_its_delay_and_counts(void **state)
{
    struct job_store *s = *state;
    struct error why = {.code = ERROR_WORKER, .message = "the worker died"};
    struct job j = {0}, back = {0}, again = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    assert_int_equal(j.failures, 0);
    int64_t start = clock_monotonic_ms();
    put_back(s, &j, &why, 300, &back);
    assert_int_equal(back.status, JOB_PENDING);
    assert_int_equal(back.version, 3);
    assert_int_equal(back.failures, 1);
    assert_string_equal(back.last_error, "the worker died");
    assert_int_equal(back.last_error_code, ERROR_WORKER);
    assert_null(back.error_message); /* the contract's is of a job that is over */
    struct job waiting = get_job(s, "org", j.id);
    assert_true(waiting.retry_at > waiting.updated_at);
    assert_int_equal(waiting.failures, 1);

    assert_false(claim_job(s, &again));
    assert_true(next_ms == -1 || (next_ms > 0 && next_ms <= 300));
    while (!claim_job(s, &again))
        assert_true(clock_monotonic_ms() - start < PATIENCE_MS);
    assert_true(clock_monotonic_ms() - start >= 299);
    assert_int_equal(again.attempt, 2);
    assert_int_equal(again.failures, 1);
    publish(s, &again);

    struct job done = get_job(s, "org", j.id);
    assert_int_equal(done.status, JOB_COMPLETED);
    assert_int_equal(done.retry_at, 0);
    assert_int_equal(done.queue_position, 0);
    assert_string_equal(done.last_error, "the worker died");
    struct job_attempt_list l = attempts_of(s, j.id);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.items[0].attempt, 1);
    assert_string_equal(l.items[0].outcome, "failed");
    assert_string_equal(l.items[0].error, "the worker died");
    assert_int_equal(l.items[0].error_code, ERROR_WORKER);
    assert_string_equal(l.items[0].owner, OWNER);
    assert_true(l.items[0].started_at > 0 && l.items[0].ended_at >= l.items[0].started_at);
    assert_string_equal(l.items[1].outcome, "published");
    assert_null(l.items[1].error);
    job_attempt_list_release(&l);
    struct job *all[] = {&j, &back, &waiting, &again, &done};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        job_release(all[i]);
}

static void a_hand_over_is_no_failure(void **state)
{
    struct job_store *s = *state;
    struct job j = {0}, back = {0}, again = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    put_back(s, &j, NULL, 0, &back);
    struct job waiting = get_job(s, "org", j.id);
    assert_int_equal(waiting.retry_at, 0);
    job_release(&waiting);
    assert_int_equal(back.failures, 0);
    assert_null(back.last_error);
    assert_true(claim_job(s, &again));
    struct job_attempt_list l = attempts_of(s, j.id);
    assert_int_equal(l.count, 2);
    assert_string_equal(l.items[0].outcome, "handed_over");
    assert_string_equal(l.items[1].outcome, "running");
    assert_int_equal(l.items[1].ended_at, 0);
    job_attempt_list_release(&l);
    job_release(&j);
    job_release(&back);
    job_release(&again);
}

static void the_last_failure_is_final(void **state)
{
    struct job_store *s = *state;
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    fail_job(s, &j);
    struct job failed = get_job(s, "org", j.id);
    assert_int_equal(failed.status, JOB_FAILED);
    assert_int_equal(failed.failures, 1);
    assert_string_equal(failed.error_message, "no such table");
    struct job_attempt_list l = attempts_of(s, j.id);
    assert_int_equal(l.count, 1);
    assert_string_equal(l.items[0].outcome, "failed");
    assert_string_equal(l.items[0].error, "no such table");
    job_attempt_list_release(&l);
    job_release(&j);
    job_release(&failed);
}

/* An attempt that left nothing stays to be shown, for as long as the record does. */
static void history_lives_as_long_as_the_record(void **state)
{
    struct job_store *s = *state;
    struct job j = {0};
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    fail_job(s, &j);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(count_leftovers(s, false), 1);
        report_cleaned(s, j.id, i > 0);
        assert_int_equal(count_leftovers(s, false), 0);
        suite_backend->make_due();
    }
    assert_int_equal(count_leftovers(s, false), 0);
    struct job_attempt_list l = attempts_of(s, j.id);
    assert_int_equal(l.count, 1);
    job_attempt_list_release(&l);
    delete_job(s, "org", j.id);
    l = attempts_of(s, j.id);
    assert_int_equal(l.count, 0);
    job_attempt_list_release(&l);
    job_release(&j);
}

static void a_long_error_is_cut_at_a_whole_character(void **state)
{
    struct job_store *s = *state;
    struct error why = {.code = ERROR_STORAGE};
    struct job j = {0}, back = {0};
    for (size_t i = 1; i + 2 < sizeof why.message; i += 2)
        memcpy(why.message + i, "ä", 2);
    why.message[0] = '.';
    create_job(s, "org", "user", NULL);
    assert_true(claim_job(s, &j));
    put_back(s, &j, &why, 0, &back);
    assert_int_equal(strlen(back.last_error), JOB_ATTEMPT_ERROR_MAX - 1);
    assert_memory_equal(back.last_error, why.message, JOB_ATTEMPT_ERROR_MAX - 1);
    job_release(&j);
    job_release(&back);
}

/* --- organisations --- */

static void an_organisation_may_have_so_many_waiting(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    struct job_request r = {
        .user_id = "user", .org_id = "a", .dataset_id = "set", .sql = "SELECT 1", .format = "csv"};
    struct job made = {0}, j = {0};
    create_in(s, "a", 2);
    s->bounds = (struct job_bounds){.queue_size = 4, .org_max_queued = 2};
    assert_false(CALL(s, &e, s->api->create(s, &r, &made, &e)));
    assert_int_equal(e.code, ERROR_ORG_QUEUE_FULL);
    r.org_id = "b";
    assert_true(CALL(s, &e, s->api->create(s, &r, &made, &e)));
    job_release(&made);
    assert_true(claim_job(s, &j)); /* what runs does not wait */
    r.org_id = j.org_id;
    assert_true(CALL(s, &e, s->api->create(s, &r, &made, &e)));
    job_release(&made);
    job_release(&j);
}

static void an_organisation_runs_so_many_at_once(void **state)
{
    struct job_store *s = *state;
    struct job_list list = {0}, next = {0};
    struct job back = {0};
    bound_running(s, 2);
    create_in(s, "a", 7);
    create_in(s, "b", 1);
    assert_string_equal(claim_orgs(s, &list), "aba");
    assert_string_equal(claim_orgs(s, &next), "");
    publish(s, &list.jobs[0]); /* each end lets one go, however it ends */
    assert_string_equal(claim_orgs(s, &next), "a");
    fail_job(s, &list.jobs[2]);
    publish(s, &list.jobs[1]); /* b has none that is held */
    job_list_release(&list);
    assert_string_equal(claim_orgs(s, &list), "a");
    delete_job(s, "a", list.jobs[0].id);
    assert_string_equal(claim_orgs(s, &list), "a");
    put_back(s, &list.jobs[0], NULL, 0, &back); /* is no end: it keeps its place */
    assert_string_equal(claim_orgs(s, &list), "a");
    assert_string_equal(list.jobs[0].id, back.id);
    job_release(&back);
    job_list_release(&list);
    job_list_release(&next);
}

static void a_held_job_that_is_deleted_lets_nobody_go(void **state)
{
    struct job_store *s = *state;
    struct job_list list = {0};
    char id[UUID_SIZE];
    bound_running(s, 1);
    create_in(s, "a", 1);
    create_job(s, "a", "user", id);
    create_in(s, "a", 1);
    assert_string_equal(claim_orgs(s, &list), "a");
    delete_job(s, "a", id);
    struct job_list none = {0};
    assert_string_equal(claim_orgs(s, &none), "");
    publish(s, &list.jobs[0]);
    assert_string_equal(claim_orgs(s, &list), "a");
    job_list_release(&list);
}

/* The jobs of one that runs as many as it may stand back behind those of others, not before them. */
static void what_is_let_go_is_fair_to_others(void **state)
{
    struct job_store *s = *state;
    struct job_list first = {0}, list = {0};
    bound_running(s, 2);
    create_in(s, "a", 6);
    assert_string_equal(claim_orgs(s, &first), "aa");
    create_in(s, "b", 2);
    publish(s, &first.jobs[0]);
    publish(s, &first.jobs[1]);
    const char *orgs = claim_orgs(s, &list);
    assert_true(strcmp(orgs, "abab") == 0 || strcmp(orgs, "baba") == 0 || strcmp(orgs, "baab") == 0 || strcmp(orgs, "abba") == 0);
    job_list_release(&first);
    job_list_release(&list);
}

/* Where a job stands back for its delay, the turn is not its: others that come do not go before those that wait. */
static void what_waits_for_its_delay_holds_no_turn(void **state)
{
    struct job_store *s = *state;
    struct error why = {.code = ERROR_WORKER, .message = "the worker died"};
    struct job j = {0}, back = {0};
    struct job_list list = {0};
    create_in(s, "a", 1);
    assert_true(claim_job(s, &j));
    put_back(s, &j, &why, 60000, &back);
    job_release(&j);
    job_release(&back);
    create_in(s, "b", 9);
    for (int i = 0; i < 5; i++) {
        assert_true(claim_job(s, &j));
        publish(s, &j);
        job_release(&j);
    }
    create_in(s, "c", 4);
    const char *orgs = claim_orgs(s, &list);
    for (int i = 0; i < 4; i++) /* turn by turn */
        assert_int_not_equal(orgs[2 * i], orgs[2 * i + 1]);
    job_list_release(&list);
}

/* A newcomer is behind one at most of those that were let go before it came. */
static void a_newcomer_is_behind_one_of_those_let_go(void **state)
{
    struct job_store *s = *state;
    struct job_list list = {0};
    bound_running(s, 5);
    create_in(s, "a", 12);
    assert_string_equal(claim_orgs(s, &list), "aaaaa");
    for (size_t i = 0; i < list.count; i++)
        publish(s, &list.jobs[i]);
    create_in(s, "b", 1);
    const char *orgs = claim_orgs(s, &list);
    assert_int_equal(strlen(orgs), 6);
    assert_in_range(strchr(orgs, 'b') - orgs, 0, 1);
    bound_running(s, 0); /* and of those that another bound lets go */
    create_in(s, "c", 1);
    orgs = claim_orgs(s, &list);
    assert_int_equal(strlen(orgs), 3);
    assert_in_range(strchr(orgs, 'c') - orgs, 0, 1);
    job_list_release(&list);
}

static void a_thousand_jobs_delay_another_by_one(void **state)
{
    struct job_store *s = *state;
    struct job j = {0};
    create_in(s, "a", 60);
    for (int i = 0; i < 20; i++) {
        assert_true(claim_job(s, &j));
        assert_string_equal(j.org_id, "a");
        publish(s, &j);
        job_release(&j);
    }
    create_in(s, "b", 1);
    int before = 0;
    while (claim_job(s, &j) && j.org_id[0] == 'a') {
        before++;
        job_release(&j);
    }
    assert_string_equal(j.org_id, "b");
    assert_in_range(before, 0, 1);
    job_release(&j);
}

static void the_bound_may_be_changed(void **state)
{
    struct job_store *s = *state;
    struct job_list list = {0};
    create_in(s, "a", 3);
    bound_running(s, 1); /* what was free to go is held */
    assert_string_equal(claim_orgs(s, &list), "a");
    bound_running(s, 2);
    assert_string_equal(claim_orgs(s, &list), "a");
    bound_running(s, 0);
    assert_string_equal(claim_orgs(s, &list), "a");
    assert_string_equal(claim_orgs(s, &list), "");
    job_list_release(&list);
}

/* --- the place --- */

static void a_waiting_job_knows_its_place(void **state)
{
    struct job_store *s = *state;
    struct error e = {0};
    char ids[3][UUID_SIZE];
    struct job made = {0}, j = {0};
    for (int i = 0; i < 3; i++)
        create_job(s, "a", "user", ids[i]);
    assert_true(try_create(s, "b", "user", 1000, &made, &e)); /* before a's second, or behind its first */
    assert_in_range(made.queue_position, 1, 2);
    job_release(&made);
    for (int i = 0; i < 3; i++) {
        struct job waiting = get_job(s, "a", ids[i]);
        assert_in_range(waiting.queue_position, i + 1, i + 2);
        job_release(&waiting);
    }
    assert_true(claim_job(s, &j));
    job_release(&j);
    struct job running = get_job(s, "a", ids[0]);
    assert_int_equal(running.queue_position, 0);
    job_release(&running);
    struct job last = get_job(s, "a", ids[2]);
    assert_in_range(last.queue_position, 2, 3);
    job_release(&last);

    bound_running(s, 1); /* a held one is behind those of its organisation that are */
    struct job held = get_job(s, "a", ids[2]);
    assert_in_range(held.queue_position, 2, 3);
    job_release(&held);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, suite_open, suite_close)

int job_store_retries_run(const struct job_store_backend *backend)
{
    const struct CMUnitTest tests[] = {
        TEST(a_failure_waits_for_its_delay_and_counts),
        TEST(a_hand_over_is_no_failure),
        TEST(the_last_failure_is_final),
        TEST(history_lives_as_long_as_the_record),
        TEST(a_long_error_is_cut_at_a_whole_character),
        TEST(an_organisation_may_have_so_many_waiting),
        TEST(an_organisation_runs_so_many_at_once),
        TEST(a_held_job_that_is_deleted_lets_nobody_go),
        TEST(what_is_let_go_is_fair_to_others),
        TEST(what_waits_for_its_delay_holds_no_turn),
        TEST(a_newcomer_is_behind_one_of_those_let_go),
        TEST(a_thousand_jobs_delay_another_by_one),
        TEST(the_bound_may_be_changed),
        TEST(a_waiting_job_knows_its_place),
    };
    suite_backend = backend;
    return cmocka_run_group_tests_name("job store: retries and bounds", tests, NULL, NULL);
}
