/* The poller and the dispatcher's answer to it, on the threads of a job store that is a stand-in: it owes its owner a job
 * whose claim was answered by nobody, and answers a poll when the test wants it to. */
#include <event2/event.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/clock.h"
#include "job/store_thread.h"
#include "server/poller.h"

#define ID "0b4c2c1e-3f0e-4b7a-9a51-000000000001"
#define ATTEMPT 3
#define DEADLINE_MS 20000

static atomic_int polls, put_back, claims_of_one; /* that have begun */
static sem_t answer;               /* one for each poll */

static bool well(struct job_store *s, struct error *e)
{
    (void)s, (void)e;
    return true;
}

static void nothing(struct job_store *s)
{
    (void)s;
}

static bool poll_store(struct job_store *s, const struct job_poll *p, struct job_poll_result *ret, struct error *e)
{
    (void)s, (void)p, (void)e;
    struct job_poll_result r = {.owned.count = 1};
    polls++;
    sem_wait(&answer);
    r.owned.ids = calloc(1, UUID_SIZE);
    r.owned_attempts = calloc(1, sizeof *r.owned_attempts);
    memcpy(r.owned.ids[0], ID, sizeof ID);
    r.owned_attempts[0] = ATTEMPT;
    *ret = r;
    return true;
}

static bool requeue(struct job_store *s, const struct job_attempt *a, const struct error *why, uint64_t delay_ms,
                    struct job *ret, struct error *e)
{
    (void)s, (void)e, (void)delay_ms;
    assert_null(why);
    if (strcmp(a->id, ID) == 0 && a->attempt == ATTEMPT)
        put_back++;
    *ret = (struct job){.status = JOB_PENDING};
    return true;
}

/* As one whose answer is too long for the time that it has. */
static bool claim(struct job_store *s, const char *owner, size_t limit, struct job_list *ret, int64_t *ret_next_ms,
                  struct error *e)
{
    (void)s, (void)owner;
    if (limit > 1)
        return error_set(e, ERROR_UNAVAILABLE, "the job store does not answer");
    claims_of_one++;
    *ret = (struct job_list){0};
    *ret_next_ms = -1;
    return true;
}

static bool renew(struct job_store *s, const char *owner, struct error *e)
{
    (void)s, (void)owner, (void)e;
    return true;
}

static const struct job_store_api api = {.name = "stand-in",
                                         .close = nothing,
                                         .begin = well,
                                         .begin_one = well,
                                         .savepoint = well,
                                         .release = well,
                                         .rollback_to = nothing,
                                         .commit = well,
                                         .rollback = nothing,
                                         .claim = claim,
                                         .requeue = requeue,
                                         .renew = renew,
                                         .poll = poll_store};
static struct job_store store = {.api = &api};

static struct job_store *open_store(void *context, bool for_control, struct error *e)
{
    (void)context, (void)for_control, (void)e;
    return &store;
}

struct world {
    struct event_base *base;
    struct mailbox *mailbox;
    struct store_threads *jobs;
    struct hub *hub;
    struct dispatcher *dispatcher;
    struct poller *poller;
};

static int set_up(void **state)
{
    static struct world w;
    struct error e;
    polls = put_back = claims_of_one = 0;
    sem_init(&answer, 0, 0);
    w.base = event_base_new();
    w.mailbox = mailbox_new(&e);
    w.jobs = store_threads_new(&(struct store_threads_options){.open = open_store, .done = w.mailbox}, &e);
    w.hub = hub_new(w.base, &e);
    w.dispatcher = dispatcher_new(
        &(struct dispatcher_options){.base = w.base, .store = w.jobs, .hub = w.hub, .workers = 2}, &e);
    w.poller = poller_new(&(struct poller_options){.base = w.base,
                                                   .store = w.jobs,
                                                   .hub = w.hub,
                                                   .dispatcher = w.dispatcher,
                                                   .workers = 2,
                                                   .renewal_ms = 5000},
                          &e);
    *state = &w;
    return w.poller ? 0 : -1;
}

/* The order of a server that ends (serve.c). */
static int tear_down(void **state)
{
    struct world *w = *state;
    poller_stop(w->poller);
    sem_post(&answer);
    store_threads_free(w->jobs);
    mailbox_drain(w->mailbox);
    poller_free(w->poller);
    dispatcher_free(w->dispatcher);
    hub_free(w->hub);
    mailbox_free(w->mailbox);
    event_base_free(w->base);
    sem_destroy(&answer);
    return 0;
}

static void turn_until(struct world *w, const atomic_int *number, int wanted)
{
    for (int64_t start = clock_monotonic_ms(); *number < wanted;) {
        assert_true(clock_monotonic_ms() - start < DEADLINE_MS);
        event_base_loop(w->base, EVLOOP_NONBLOCK);
        mailbox_drain(w->mailbox);
    }
}

static void a_claim_that_nobody_heard_of_is_put_back(void **state)
{
    struct world *w = *state;
    sem_post(&answer);
    turn_until(w, &put_back, 1);
    assert_int_equal(polls, 1);
}

/* The store's threads are gone by then: nothing may be begun. */
static void an_answer_behind_the_end_begins_nothing(void **state)
{
    turn_until(*state, &polls, 1);
    assert_int_equal(tear_down(state), 0);
    assert_int_equal(put_back, 0);
}

static void a_claim_that_is_too_large_becomes_smaller(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < DEADLINE_MS / 100; i++) /* polls are not to be in the way: they have the same thread */
        sem_post(&answer);
    dispatcher_start(w->dispatcher);
    turn_until(w, &claims_of_one, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_claim_that_nobody_heard_of_is_put_back, set_up, tear_down),
        cmocka_unit_test_setup(an_answer_behind_the_end_begins_nothing, set_up),
        cmocka_unit_test_setup_teardown(a_claim_that_is_too_large_becomes_smaller, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("poller", tests, NULL, NULL);
}
