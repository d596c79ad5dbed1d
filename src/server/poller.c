#include "server/poller.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/event_text.h"
#include "server/timer.h"

#define INTERVAL_MS 500

struct poller {
    struct poller_options options;
    struct event *timer;
    bool stopped, failing;

    /* One at a time of each: the timer runs again when it is answered. */
    struct event *renewal_timer;
    struct store_task renewal;
    bool renewal_fails; /* said once */
    struct store_task step;
    struct job_poll poll;
    char (*running)[UUID_SIZE]; /* sorted */
    size_t running_count;
    struct job_watch *watched;
    size_t watched_room;
    bool full; /* out of memory for the watched: asked for again with the next round */
    struct job_poll_result result;
};

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void watch(void *context, const char *id, struct hub_told *told)
{
    struct poller *p = context;
    if (p->full || bsearch(id, p->running, p->running_count, UUID_SIZE, compare_ids))
        return;
    if (p->poll.watched_count == p->watched_room) {
        size_t room = p->watched_room ? 2 * p->watched_room : 64;
        struct job_watch *watched = reallocarray(p->watched, room, sizeof *watched);
        if (!watched) {
            p->full = true;
            return;
        }
        p->watched = watched;
        p->watched_room = room;
    }
    struct job_watch *w = &p->watched[p->poll.watched_count++];
    *w = (struct job_watch){.version = told->version, .rows = told->rows, .bytes = told->bytes};
    snprintf(w->id, sizeof w->id, "%s", id);
}

static bool call_poll(struct job_store *s, struct store_task *t, struct error *e)
{
    struct poller *p = CONTAINER_OF(t, struct poller, step);
    return s->api->poll(s, &p->poll, &p->result, e);
}

static void publish_status(struct poller *p, const struct job *j, int64_t version, const char *message)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_status(&text, j->id, version, message);
    hub_publish(p->options.hub, j->id, HUB_STATE, version, &text);
}

/* The stages of a job that runs elsewhere, from `stage` on, as the contract's clients know them. */
static void publish_stages(struct poller *p, const struct job *j, unsigned stage, unsigned reached)
{
    static const char *const messages[] = {"Processing query...", "Streaming data to storage...",
                                           "Generating secure download link..."};
    for (; stage < reached; stage++)
        publish_status(p, j, stage == 0 && j->status == JOB_PROCESSING ? j->version : 0, messages[stage]);
}

static void publish_progress(struct poller *p, const struct job *j)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    int percent = j->percent < 0 ? -1 : j->percent > 99 ? 99 : (int)j->percent;
    event_text_progress(&text, j->id, percent, j->rows, j->bytes);
    hub_publish(p->options.hub, j->id, HUB_PROGRESS, 0, &text);
}

static void publish_retry(struct poller *p, const struct job *j)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_retry(&text, j);
    hub_publish(p->options.hub, j->id, HUB_STATE, j->version, &text);
}

static void publish_last(struct poller *p, const struct job *j)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_last(&text, j);
    hub_publish(p->options.hub, j->id, HUB_FINAL, j->version, &text);
}

/* What was told is noted first: the last subscriber may leave while it is told. */
static void publish_change(struct poller *p, const struct job *j)
{
    struct hub_told *told = hub_told(p->options.hub, j->id);
    if (!told) /* left meanwhile */
        return;
    bool running = j->status == JOB_PROCESSING;
    unsigned stage = running && j->version > told->version ? 0 : told->stage; /* another attempt begins anew */
    unsigned reached = running ? (j->rows > 0 || j->bytes > 0 ? 2 : 1) : j->status == JOB_COMPLETED ? 3 : 0;
    bool failed = j->failures > told->failures;
    bool progress = running && (j->rows != told->rows || j->bytes != told->bytes);
    *told = (struct hub_told){told->version, j->failures, j->rows, j->bytes, stage > reached ? stage : reached};
    publish_stages(p, j, stage, reached);
    if (j->status == JOB_PENDING && failed)
        publish_retry(p, j);
    else if (progress)
        publish_progress(p, j);
    else if (!running && j->status != JOB_PENDING)
        publish_last(p, j);
}

/* --- leases --- */

static bool call_renew(struct job_store *s, struct store_task *t, struct error *e)
{
    struct poller *p = CONTAINER_OF(t, struct poller, renewal);
    return s->api->renew(s, dispatcher_owner(p->options.dispatcher), e);
}

static void renewed(struct store_task *t)
{
    struct poller *p = CONTAINER_OF(t, struct poller, renewal);
    if (!t->ok && !p->renewal_fails)
        log_warn("cannot renew the leases of the jobs that run here, trying again: %s", t->error.message);
    p->renewal_fails = !t->ok;
    if (!p->stopped)
        timer_set(p->renewal_timer, t->ok || p->options.renewal_ms < INTERVAL_MS ? p->options.renewal_ms : INTERVAL_MS);
}

static void on_renewal_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct poller *p = arg;
    p->renewal.call = call_renew;
    p->renewal.done = renewed;
    store_threads_write(p->options.store, &p->renewal);
}

/* --- news --- */

static void schedule(struct poller *p)
{
    if (!p->stopped)
        timer_set(p->timer, INTERVAL_MS);
}

static void polled(struct store_task *t)
{
    struct poller *p = CONTAINER_OF(t, struct poller, step);
    if (p->stopped) { /* what the answer would begin, nobody would end */
        job_poll_result_release(&p->result);
        return;
    }
    if (!t->ok) {
        if (!p->failing)
            log_warn("cannot ask the job store for news, trying again: %s", t->error.message);
        p->failing = true;
    } else {
        if (p->failing)
            log_info("the job store answers again");
        p->failing = false;
        dispatcher_keep(p->options.dispatcher, &p->result.owned, p->result.owned_attempts);
        for (size_t i = 0; i < p->result.changed.count; i++)
            publish_change(p, &p->result.changed.jobs[i]);
        for (size_t i = 0; i < p->result.gone.count; i++)
            hub_publish_deleted(p->options.hub, p->result.gone.ids[i]);
        if (p->result.claimable)
            dispatcher_kick(p->options.dispatcher);
    }
    job_poll_result_release(&p->result);
    schedule(p);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct poller *p = arg;
    p->poll.owner = dispatcher_owner(p->options.dispatcher);
    p->running_count = dispatcher_running_ids(p->options.dispatcher, p->running);
    qsort(p->running, p->running_count, UUID_SIZE, compare_ids);
    p->poll.watched_count = 0;
    p->full = false;
    hub_each(p->options.hub, watch, p);
    p->poll.watched = p->watched;
    p->step.call = call_poll;
    p->step.done = polled;
    store_threads_look(p->options.store, &p->step);
}

struct poller *poller_new(const struct poller_options *options, struct error *e)
{
    struct poller *p = calloc(1, sizeof *p);
    if (p) {
        p->options = *options;
        p->running = calloc(options->workers, sizeof *p->running);
        p->timer = event_new(options->base, -1, 0, on_timer, p);
        p->renewal_timer = event_new(options->base, -1, 0, on_renewal_timer, p);
    }
    if (!p || !p->running || !p->timer || !p->renewal_timer) {
        poller_free(p);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    schedule(p);
    timer_set(p->renewal_timer, 0);
    return p;
}

void poller_stop(struct poller *p)
{
    p->stopped = true;
    event_del(p->timer);
    event_del(p->renewal_timer);
}

void poller_free(struct poller *p)
{
    if (!p)
        return;
    if (p->timer)
        event_free(p->timer);
    if (p->renewal_timer)
        event_free(p->renewal_timer);
    free(p->running);
    free(p->watched);
    job_poll_result_release(&p->result);
    free(p);
}
