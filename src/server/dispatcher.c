#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/dispatcher_internal.h"

#define CLAIM_MAX 64 /* jobs in one claim */
#define PROGRESS_MS 1000 /* between two writes of progress */

void dispatcher_drained_if_idle(struct dispatcher *d)
{
    if (d->draining && d->running_count == 0 && !d->claiming && !d->writing_progress)
        event_active(d->drained_event, EV_TIMEOUT, 0);
}

/* --- claims --- */

static bool call_claim(struct job_store *s, struct store_task *t, struct error *e)
{
    struct claim *c = CONTAINER_OF(t, struct claim, step);
    struct dispatcher *d = CONTAINER_OF(c, struct dispatcher, claim);
    return s->api->claim(s, d->owner, c->limit, &c->jobs, &c->next_ms, e);
}

static void claim_done(struct store_task *t)
{
    struct claim *c = CONTAINER_OF(t, struct claim, step);
    struct dispatcher *d = CONTAINER_OF(c, struct dispatcher, claim);
    d->claiming = false;
    if (!t->ok) {
        if (!d->claims_fail)
            log_error("cannot claim waiting jobs, trying again: %s", t->error.message);
        d->claims_fail = true;
        job_list_release(&c->jobs);
        dispatcher_kick_in(d, RETRY_MS);
        dispatcher_drained_if_idle(d);
        return;
    }
    d->claims_fail = false;
    size_t count = c->jobs.count;
    for (size_t i = 0; i < count; i++)
        dispatcher_job_start(d, &c->jobs.jobs[i]);
    c->jobs.count = 0; /* the records have been taken over */
    job_list_release(&c->jobs);
    if (c->next_ms >= 0)
        dispatcher_kick_in(d, (uint64_t)c->next_ms);
    d->more = d->more || count == c->limit;
    if (d->more)
        dispatcher_kick(d);
    dispatcher_drained_if_idle(d);
}

void dispatcher_kick(struct dispatcher *d)
{
    d->more = true;
    if (!d->started || d->draining || d->claiming || d->running_count >= d->options.workers)
        return;
    d->more = false; /* what comes from now on sets it again */
    unsigned room = d->options.workers - d->running_count;
    d->claiming = true;
    /* After a failure one at a time: many long statements may not fit into the time of one answer. */
    d->claim.limit = d->claims_fail ? 1 : room < CLAIM_MAX ? room : CLAIM_MAX;
    d->claim.step.call = call_claim;
    d->claim.step.done = claim_done;
    store_threads_write(d->options.store, &d->claim.step);
}

void dispatcher_kick_at_end(struct dispatcher *d)
{
    if (d->more || d->options.claims_at_each_end)
        dispatcher_kick(d);
}

void dispatcher_start(struct dispatcher *d)
{
    d->started = true;
    dispatcher_kick(d);
}

void dispatcher_kick_in(struct dispatcher *d, uint64_t ms)
{
    int64_t at = clock_monotonic_ms() + (int64_t)ms;
    if (d->draining || (d->look_at && d->look_at <= at))
        return;
    d->look_at = at;
    timer_set(d->retry, ms);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct dispatcher *d = arg;
    d->look_at = 0;
    dispatcher_kick(d);
}

/* --- progress --- */

static bool call_progress(struct job_store *s, struct store_task *t, struct error *e)
{
    struct progress_write *p = CONTAINER_OF(t, struct progress_write, step);
    return s->api->progress(s, p->items, p->count, e);
}

static void progress_done(struct store_task *t)
{
    struct progress_write *p = CONTAINER_OF(t, struct progress_write, step);
    struct dispatcher *d = CONTAINER_OF(p, struct dispatcher, progress);
    if (!t->ok && !d->progress_fails)
        log_warn("cannot store progress: %s", t->error.message);
    d->progress_fails = !t->ok;
    free(p->items);
    p->items = NULL;
    d->writing_progress = false;
    dispatcher_drained_if_idle(d);
}

static void on_progress_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct dispatcher *d = arg;
    if (d->writing_progress || d->running_count == 0)
        return;
    struct job_progress *items = calloc(d->running_count, sizeof *items);
    size_t count = 0;
    struct running *r;
    LIST_FOREACH (r, &d->running, link) {
        if (items && r->progress_changed && r->attempt && !r->removed) {
            items[count++] = r->progress;
            r->progress_changed = false;
        }
    }
    if (count == 0) {
        free(items);
        return;
    }
    d->progress.items = items;
    d->progress.count = count;
    d->progress.step.call = call_progress;
    d->progress.step.done = progress_done;
    d->writing_progress = true;
    store_threads_write(d->options.store, &d->progress.step);
}

/* --- stopping --- */

void dispatcher_cancel(struct dispatcher *d, const char *id)
{
    struct running *r, *next;
    for (r = LIST_FIRST(&d->running); r; r = next) {
        next = LIST_NEXT(r, link);
        if (strcmp(r->job.id, id) != 0)
            continue; /* a lost attempt may still be on its way out beside a later one */
        r->removed = true;
        if (r->attempt)
            attempt_stop(r->attempt, ERROR_CANCELLED, "cancelled");
    }
}

static void on_grace_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct dispatcher *d = arg;
    struct running *r, *next;
    for (r = LIST_FIRST(&d->running); r; r = next) {
        next = LIST_NEXT(r, link);
        r->handing_over = true;
        if (r->attempt)
            attempt_stop(r->attempt, ERROR_CANCELLED, "the server is shutting down");
    }
}

static void on_drained(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct dispatcher *d = arg;
    d->drained(d->drained_context);
}

void dispatcher_drain(struct dispatcher *d, uint64_t grace_ms, void (*drained)(void *context), void *context)
{
    d->draining = true;
    d->drained = drained;
    d->drained_context = context;
    event_del(d->retry);
    timer_set(d->grace_timer, grace_ms);
    dispatcher_drained_if_idle(d);
}

unsigned dispatcher_running(const struct dispatcher *d)
{
    return d->running_count;
}

struct dispatcher *dispatcher_new(const struct dispatcher_options *options, struct error *e)
{
    struct dispatcher *d = calloc(1, sizeof *d);
    if (!d) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    d->options = *options;
    LIST_INIT(&d->running);
    d->retry = event_new(options->base, -1, 0, on_retry, d);
    d->progress_timer = event_new(options->base, -1, EV_PERSIST, on_progress_timer, d);
    d->grace_timer = event_new(options->base, -1, 0, on_grace_over, d);
    d->drained_event = event_new(options->base, -1, 0, on_drained, d);
    if (!d->retry || !d->progress_timer || !d->grace_timer || !d->drained_event) {
        dispatcher_free(d);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    if (!uuid_random(d->owner, e)) {
        dispatcher_free(d);
        return NULL;
    }
    timer_set(d->progress_timer, PROGRESS_MS);
    return d;
}

void dispatcher_free(struct dispatcher *d)
{
    if (!d)
        return;
    struct event *events[] = {d->retry, d->progress_timer, d->grace_timer, d->drained_event};
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (events[i])
            event_free(events[i]);
    free(d);
}
