#include "server/dispatcher.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/event_text.h"

#define CLAIM_MAX 64 /* jobs in one claim */
#define RETRY_MS 1000 /* after trouble with the store */
#define PROGRESS_MS 1000 /* between two writes of progress */

/* A job that runs here, from its claim until the store knows its end and its process is gone. */
struct running {
    LIST_ENTRY(running) link;
    struct dispatcher *d;
    struct job job; /* as claimed; after its end as the store has it */
    char *key;
    struct attempt *attempt; /* NULL: ended, or never started */
    bool removed;      /* its record is gone: nobody is to be told, nothing to be written */
    bool handing_over; /* stopped by a shutdown: to be put back */

    struct job_progress progress;
    bool progress_changed;
    int percent_shown; /* never falls; -1: not known yet */

    /* The end, on its way into the store. */
    bool settling; /* a step is under way or waits for another try */
    bool step_fails; /* said once */
    struct store_task step;
    struct event *retry;
    struct error error;
    struct attempt_result result;
    char *link_url;
    int64_t link_expires_at;
    struct job ended_job;

    char *upload_id; /* of the attempt's multipart upload, once it has begun */
    struct store_task note;
    struct event *note_retry;
    bool noting;
    bool asked; /* the store has been asked whether the job is ours */
};

struct claim {
    struct store_task step;
    size_t limit;
    struct job_list jobs;
};

struct progress_write {
    struct store_task step;
    struct job_progress *items;
    size_t count;
};

struct dispatcher {
    struct dispatcher_options options;
    char owner[UUID_SIZE];
    LIST_HEAD(, running) running;
    unsigned running_count;
    struct claim claim;
    bool claiming, kicked;
    struct event *retry, *progress_timer;
    struct progress_write progress;
    bool writing_progress;
    bool claims_fail, progress_fails; /* said once, until it is well again */

    bool started, draining;
    struct event *grace_timer, *drained_event;
    void (*drained)(void *context);
    void *drained_context;
};

static void set_timer(struct event *timer, uint64_t ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
    event_add(timer, &tv);
}

static struct job_attempt fence(const struct running *r)
{
    return (struct job_attempt){.id = r->job.id, .attempt = r->job.attempt, .owner = r->d->owner};
}

static void publish_last(struct running *r)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_last(&text, &r->job);
    hub_publish(r->d->options.hub, r->job.id, HUB_FINAL, r->job.version, &text);
}

static void publish_status(struct running *r, int64_t version, const char *message)
{
    if (r->removed || !hub_has_subscribers(r->d->options.hub, r->job.id))
        return;
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_status(&text, r->job.id, version, message);
    hub_publish(r->d->options.hub, r->job.id, HUB_STATE, version, &text);
}

static void drained_if_idle(struct dispatcher *d)
{
    if (d->draining && d->running_count == 0 && !d->claiming && !d->writing_progress)
        event_active(d->drained_event, EV_TIMEOUT, 0);
}

/* Lets go of the job when neither its attempt nor its end is under way. */
static void release_if_over(struct running *r)
{
    if (r->attempt || r->settling || r->noting)
        return;
    struct dispatcher *d = r->d;
    LIST_REMOVE(r, link);
    d->running_count--;
    event_free(r->retry);
    event_free(r->note_retry);
    job_release(&r->job);
    free(r->upload_id);
    free(r->key);
    free(r->link_url);
    free(r);
    dispatcher_kick(d);
    drained_if_idle(d);
}

/* --- the end of a job: one step in the store, tried until the store answers --- */

static void submit_step(struct running *r)
{
    store_threads_write(r->d->options.store, &r->step);
}

static void on_step_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    submit_step(arg);
}

static void step_done(struct store_task *t)
{
    struct running *r = CONTAINER_OF(t, struct running, step);
    bool gone = !t->ok && (t->error.code == ERROR_STALE || t->error.code == ERROR_NOT_FOUND);
    if (!t->ok)
        job_release(&r->ended_job); /* filled, where only the commit failed */
    if (!t->ok && !gone) {
        if (!r->step_fails)
            log_job(LOG_LEVEL_ERROR, r->job.id, "cannot store the end of the job, trying again: %s", t->error.message);
        r->step_fails = true;
        set_timer(r->retry, RETRY_MS);
        return;
    }
    r->settling = false;
    if (t->ok) {
        job_release(&r->job);
        r->job = r->ended_job;
        r->ended_job = (struct job){0};
        if (r->job.status == JOB_PENDING)
            log_job(LOG_LEVEL_INFO, r->job.id, "put back into the queue");
        else
            publish_last(r);
    } else {
        log_job(LOG_LEVEL_INFO, r->job.id, "the attempt is no longer the job's: its result is dropped");
    }
    release_if_over(r);
}

static void settle(struct running *r, bool (*call)(struct job_store *, struct store_task *, struct error *))
{
    if (r->removed)
        return;
    r->settling = true;
    r->step.call = call;
    r->step.done = step_done;
    submit_step(r);
}

static bool call_publish(struct job_store *s, struct store_task *t, struct error *e)
{
    struct running *r = CONTAINER_OF(t, struct running, step);
    const struct job_attempt a = fence(r);
    const struct job_result result = {.object_key = r->key,
                                      .link = r->link_url,
                                      .expires_at = r->link_expires_at,
                                      .rows = r->result.rows,
                                      .bytes = r->result.bytes,
                                      .sha256 = r->result.sha256};
    return s->api->publish(s, &a, &result, &r->ended_job, e);
}

static bool call_fail(struct job_store *s, struct store_task *t, struct error *e)
{
    struct running *r = CONTAINER_OF(t, struct running, step);
    const struct job_attempt a = fence(r);
    return s->api->fail(s, &a, &r->error, &r->ended_job, e);
}

static bool call_requeue(struct job_store *s, struct store_task *t, struct error *e)
{
    struct running *r = CONTAINER_OF(t, struct running, step);
    const struct job_attempt a = fence(r);
    return s->api->requeue(s, &a, &r->ended_job, e);
}

/* --- what an attempt tells --- */

static void on_streaming(void *context)
{
    publish_status(context, 0, "Streaming data to storage...");
}

static bool call_note(struct job_store *s, struct store_task *t, struct error *e)
{
    struct running *r = CONTAINER_OF(t, struct running, note);
    const struct job_attempt a = fence(r);
    return s->api->note_upload(s, &a, r->upload_id, e);
}

static void note_done(struct store_task *t)
{
    struct running *r = CONTAINER_OF(t, struct running, note);
    r->noting = false;
    if (!r->attempt)
        release_if_over(r);
    else if (t->ok)
        attempt_noted(r->attempt);
    else if (t->error.code == ERROR_STALE)
        attempt_stop(r->attempt, ERROR_STALE, t->error.message);
    else {
        log_job(LOG_LEVEL_ERROR, r->job.id, "cannot note the upload, trying again: %s", t->error.message);
        set_timer(r->note_retry, RETRY_MS);
    }
}

static void submit_note(struct running *r)
{
    r->noting = true;
    r->note.call = call_note;
    r->note.done = note_done;
    store_threads_write(r->d->options.store, &r->note);
}

static void on_note_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    submit_note(arg);
}

static void on_begun(void *context, const char *upload_id)
{
    struct running *r = context;
    r->upload_id = strdup(upload_id);
    if (r->upload_id)
        submit_note(r);
    else
        attempt_stop(r->attempt, ERROR_INTERNAL, "out of memory");
}

static void on_progress(void *context, uint64_t rows, uint64_t bytes, double percent)
{
    struct running *r = context;
    struct hub *hub = r->d->options.hub;
    r->progress.rows = rows;
    r->progress.bytes = bytes;
    r->progress.percent = percent;
    r->progress_changed = true;
    /* 100 is what `complete` says. */
    int whole = percent < 0 ? -1 : percent > 99 ? 99 : (int)percent;
    if (whole > r->percent_shown)
        r->percent_shown = whole;
    if (r->removed || !hub_has_subscribers(hub, r->job.id))
        return;
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_progress(&text, r->job.id, r->percent_shown, rows, bytes);
    hub_publish(hub, r->job.id, HUB_PROGRESS, 0, &text);
}

static void on_finishing(void *context)
{
    publish_status(context, 0, "Generating secure download link...");
}

static void on_succeeded(void *context, const struct attempt_result *result)
{
    struct running *r = context;
    struct object_store *objects = r->d->options.objects;
    r->result = *result;
    char name[UUID_SIZE + 16];
    snprintf(name, sizeof name, "%s.%s", r->job.id, r->job.format);
    int64_t expires_at = clock_wall_us() + (int64_t)r->d->options.link_lifetime_ms * 1000;
    r->link_url = objects->api->link(objects, r->key, name, "text/csv; charset=utf-8", expires_at, &r->link_expires_at,
                                     &r->error);
    if (r->link_url)
        log_job(LOG_LEVEL_INFO, r->job.id, "%llu rows, %llu bytes", (unsigned long long)result->rows,
                (unsigned long long)result->bytes);
    settle(r, r->link_url ? call_publish : call_fail);
}

static void on_failed(void *context, const struct error *why)
{
    struct running *r = context;
    r->error = *why;
    log_job(LOG_LEVEL_INFO, r->job.id, "%s: %s: %s", r->handing_over ? "stopped" : "failed",
            error_code_name(why->code), why->message);
    settle(r, r->handing_over ? call_requeue : call_fail);
}

static void on_ended(void *context)
{
    struct running *r = context;
    r->attempt = NULL;
    event_del(r->note_retry);
    release_if_over(r);
}

static const struct attempt_events attempt_events = {.begun = on_begun,
                                                     .streaming = on_streaming,
                                                     .progress = on_progress,
                                                     .finishing = on_finishing,
                                                     .succeeded = on_succeeded,
                                                     .failed = on_failed,
                                                     .ended = on_ended};

/* --- claims --- */

/* Takes `job` over. */
static void start(struct dispatcher *d, struct job *job)
{
    struct running *r = calloc(1, sizeof *r);
    if (r) {
        r->retry = event_new(d->options.base, -1, 0, on_step_retry, r);
        r->note_retry = event_new(d->options.base, -1, 0, on_note_retry, r);
    }
    if (!r || !r->retry || !r->note_retry) {
        /* The row stays `processing` until the next start of the server, or the end of its lease. */
        log_job(LOG_LEVEL_ERROR, job->id, "out of memory: the job waits to be taken up again");
        if (r && r->retry)
            event_free(r->retry);
        if (r && r->note_retry)
            event_free(r->note_retry);
        free(r);
        job_release(job);
        return;
    }
    r->d = d;
    r->job = *job;
    r->percent_shown = -1;
    memcpy(r->progress.id, job->id, sizeof r->progress.id);
    r->progress.attempt = job->attempt;
    r->progress.percent = -1;
    LIST_INSERT_HEAD(&d->running, r, link);
    d->running_count++;
    r->key = job_object_key(&r->job, r->job.attempt);
    log_job(LOG_LEVEL_INFO, r->job.id, "attempt %u", r->job.attempt);
    publish_status(r, r->job.version, "Processing query...");
    r->handing_over = d->draining; /* claimed while the shutdown began */
    if (r->handing_over)
        error_set(&r->error, ERROR_CANCELLED, "the server is shutting down");
    else if (r->key)
        r->attempt = attempt_start(d->options.attempts, &r->job, r->key, &attempt_events, r, &r->error);
    else
        error_set(&r->error, ERROR_INTERNAL, "out of memory");
    if (!r->attempt) {
        struct error why = r->error;
        on_failed(r, &why);
    }
}

static bool call_claim(struct job_store *s, struct store_task *t, struct error *e)
{
    struct claim *c = CONTAINER_OF(t, struct claim, step);
    struct dispatcher *d = CONTAINER_OF(c, struct dispatcher, claim);
    return s->api->claim(s, d->owner, c->limit, &c->jobs, e);
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
        set_timer(d->retry, RETRY_MS);
        drained_if_idle(d);
        return;
    }
    d->claims_fail = false;
    size_t count = c->jobs.count;
    for (size_t i = 0; i < count; i++)
        start(d, &c->jobs.jobs[i]);
    c->jobs.count = 0; /* the records have been taken over */
    job_list_release(&c->jobs);
    if (d->kicked || count == c->limit) {
        d->kicked = false;
        dispatcher_kick(d);
    }
    drained_if_idle(d);
}

void dispatcher_kick(struct dispatcher *d)
{
    if (!d->started || d->draining || d->running_count >= d->options.workers)
        return;
    if (d->claiming) {
        d->kicked = true;
        return;
    }
    unsigned room = d->options.workers - d->running_count;
    d->claiming = true;
    d->claim.limit = room < CLAIM_MAX ? room : CLAIM_MAX;
    d->claim.step.call = call_claim;
    d->claim.step.done = claim_done;
    store_threads_write(d->options.store, &d->claim.step);
}

void dispatcher_start(struct dispatcher *d)
{
    d->started = true;
    dispatcher_kick(d);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    dispatcher_kick(arg);
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
    drained_if_idle(d);
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
    struct running *r;
    LIST_FOREACH (r, &d->running, link) {
        if (strcmp(r->job.id, id) != 0)
            continue;
        r->removed = true;
        if (r->attempt)
            attempt_stop(r->attempt, ERROR_CANCELLED, "cancelled");
        return;
    }
}

const char *dispatcher_owner(const struct dispatcher *d)
{
    return d->owner;
}

size_t dispatcher_running_ids(struct dispatcher *d, char (*ids)[UUID_SIZE])
{
    size_t count = 0;
    struct running *r;
    LIST_FOREACH (r, &d->running, link) {
        if (r->removed)
            continue;
        r->asked = true;
        memcpy(ids[count++], r->job.id, UUID_SIZE);
    }
    return count;
}

static bool listed(const struct job_id_list *l, const char *id)
{
    for (size_t i = 0; i < l->count; i++)
        if (!strcmp(l->ids[i], id))
            return true;
    return false;
}

static bool runs_here(const struct dispatcher *d, const char *id)
{
    const struct running *r;
    LIST_FOREACH (r, &d->running, link)
        if (!strcmp(r->job.id, id))
            return true;
    return false;
}

/* A job that is ours in the store alone. */
struct orphan {
    struct store_task step;
    struct dispatcher *d;
    char id[UUID_SIZE];
    uint32_t attempt;
    struct job job;
};

static bool call_put_back(struct job_store *s, struct store_task *t, struct error *e)
{
    struct orphan *o = CONTAINER_OF(t, struct orphan, step);
    const struct job_attempt a = {.id = o->id, .attempt = o->attempt, .owner = o->d->owner};
    return s->api->requeue(s, &a, &o->job, e);
}

static void put_back_done(struct store_task *t)
{
    struct orphan *o = CONTAINER_OF(t, struct orphan, step);
    if (t->ok) /* else the next poll finds it again, or somebody else has it */
        log_job(LOG_LEVEL_WARN, o->id, "was claimed, but the answer was lost: put back into the queue");
    job_release(&o->job);
    free(o);
}

static void put_back(struct dispatcher *d, const char *id, uint32_t attempt)
{
    struct orphan *o = calloc(1, sizeof *o);
    if (!o)
        return;
    o->d = d;
    o->attempt = attempt;
    memcpy(o->id, id, sizeof o->id);
    o->step.call = call_put_back;
    o->step.done = put_back_done;
    store_threads_write(d->options.store, &o->step);
}

void dispatcher_keep(struct dispatcher *d, const struct job_id_list *owned, const uint32_t *owned_attempts)
{
    struct running *r, *next;
    for (r = LIST_FIRST(&d->running); r; r = next) {
        next = LIST_NEXT(r, link);
        /* One that is settling finds out by itself; one claimed since the store was asked is asked for next. */
        if (r->removed || r->settling || !r->attempt || !r->asked || listed(owned, r->job.id))
            continue;
        log_job(LOG_LEVEL_WARN, r->job.id, "attempt %u is no longer this instance's: stopped", r->job.attempt);
        r->removed = true;
        attempt_stop(r->attempt, ERROR_STALE, "the attempt is no longer the job's current one");
    }
    for (size_t i = 0; i < owned->count; i++)
        if (!runs_here(d, owned->ids[i]))
            put_back(d, owned->ids[i], owned_attempts[i]);
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
    set_timer(d->grace_timer, grace_ms);
    drained_if_idle(d);
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
    set_timer(d->progress_timer, PROGRESS_MS);
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
