/* One job from its claim to its end in the store. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "job/retry.h"
#include "server/dispatcher_internal.h"
#include "server/event_text.h"

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

static void publish_retry(struct running *r)
{
    if (!hub_has_subscribers(r->d->options.hub, r->job.id))
        return;
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_retry(&text, &r->job);
    hub_publish(r->d->options.hub, r->job.id, HUB_STATE, r->job.version, &text);
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

typedef bool step_call(struct job_store *s, struct store_task *t, struct error *e);
static void take_step(struct running *r, step_call *call);

/* It may have written after others cleared away what it left. */
static bool call_left(struct job_store *s, struct store_task *t, struct error *e)
{
    struct running *r = CONTAINER_OF(t, struct running, step);
    struct job_leftover l = {.attempt = r->job.attempt, .object_key = r->key, .upload_id = r->upload_id};
    memcpy(l.id, r->job.id, sizeof l.id);
    return s->api->left(s, &l, e);
}

/* Lets go of the job when neither its attempt nor its end is under way. */
static void release_if_over(struct running *r)
{
    if (r->attempt || r->settling || r->noting)
        return;
    if (r->removed && !r->left_noted && r->key) {
        r->left_noted = true;
        take_step(r, call_left);
        return;
    }
    struct dispatcher *d = r->d;
    LIST_REMOVE(r, link);
    d->running_count--;
    event_free(r->retry);
    event_free(r->note_retry);
    job_release(&r->job);
    free(r->upload_id);
    free(r->key);
    free(r->link_url);
    free(r->columns);
    free(r->details);
    free(r);
    dispatcher_kick_at_end(d);
    dispatcher_drained_if_idle(d);
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
        timer_set(r->retry, RETRY_MS);
        return;
    }
    r->settling = false;
    if (r->left_noted) {
        release_if_over(r);
        return;
    }
    if (t->ok) {
        job_release(&r->job);
        r->job = r->ended_job;
        r->ended_job = (struct job){0};
        if (r->job.status != JOB_PENDING) {
            drain_rate_note(r->d->options.drain_rate, clock_monotonic_ms(), r->job.org_id);
            publish_last(r);
        } else if (r->retrying) {
            log_job(LOG_LEVEL_INFO, r->job.id, "waits %.1f s for its next attempt", (double)r->retry_delay_ms / 1000);
            publish_retry(r);
            dispatcher_kick_in(r->d, r->retry_delay_ms);
        } else {
            log_job(LOG_LEVEL_INFO, r->job.id, "put back into the queue");
        }
    } else {
        log_job(LOG_LEVEL_INFO, r->job.id, "the attempt is no longer the job's: its result is dropped");
        r->removed = true;
    }
    release_if_over(r);
}

static void take_step(struct running *r, step_call *call)
{
    r->settling = true;
    r->step.call = call;
    r->step.done = step_done;
    submit_step(r);
}

static void settle(struct running *r, step_call *call)
{
    if (!r->removed)
        take_step(r, call);
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
                                      .sha256 = r->result.sha256,
                                      .columns = r->columns,
                                      .details = r->details};
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
    return s->api->requeue(s, &a, r->retrying ? &r->error : NULL, r->retry_delay_ms, &r->ended_job, e);
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
        if (!r->note_fails)
            log_job(LOG_LEVEL_ERROR, r->job.id, "cannot note the upload, trying again: %s", t->error.message);
        r->note_fails = true;
        timer_set(r->note_retry, RETRY_MS);
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

/* bench/ reads the line. */
static void log_result(const struct running *r)
{
    const struct attempt_result *result = &r->result;
    const uint64_t *cpu = result->cpu_us;
    log_job(LOG_LEVEL_INFO, r->job.id,
            "%s: %" PRIu64 " rows, %" PRIu64 " bytes%s; worker's CPU ms: query %.1f, encode %.1f, compress %.1f, hash %.1f",
            job_suffix(&r->job), result->rows, result->bytes, result->truncated ? ", truncated at a limit" : "",
            (double)cpu[LINK_QUERY] / 1000, (double)cpu[LINK_ENCODE] / 1000,
            (double)cpu[LINK_PACK] / 1000, (double)cpu[LINK_HASH] / 1000);
}

/* NULL: out of memory. */
static char *describe_result(const struct running *r)
{
    const struct attempt_result *result = &r->result;
    json_t *o = json_pack("{s:b, s:I}", "truncated", (int)result->truncated, "duration_ms",
                          (json_int_t)(clock_monotonic_ms() - r->started_at));
    bool ok = o != NULL;
    if (ok && result->columns_truncated)
        ok = json_object_set_new(o, "columns_truncated", json_true()) == 0;
    if (ok && result->altered_name)
        ok = json_object_set_new(o, result->altered_name, json_integer((json_int_t)result->altered)) == 0;
    char *text = ok ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return text;
}

/* What the record will say of it. */
static bool prepare_result(struct running *r, const struct attempt_result *result, struct error *e)
{
    struct object_store *objects = r->d->options.objects;
    char name[UUID_SIZE + FILE_SUFFIX_MAX];
    snprintf(name, sizeof name, "%s.%s", r->job.id, job_suffix(&r->job));
    int64_t expires_at = clock_wall_us() + (int64_t)r->d->options.link_lifetime_ms * 1000;
    r->result = *result;
    r->result.columns = NULL;
    r->columns = strdup(result->columns);
    r->details = describe_result(r);
    if (!r->columns || !r->details)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    r->link_url = objects->api->link(objects, r->key, name, file_media_type(name), expires_at, &r->link_expires_at, e);
    return r->link_url != NULL;
}

static void on_succeeded(void *context, const struct attempt_result *result)
{
    struct running *r = context;
    bool ok = prepare_result(r, result, &r->error);
    if (ok)
        log_result(r);
    settle(r, ok ? call_publish : call_fail);
}

/* What kills its instance each time would do so for ever. */
static bool is_lost_too_often(const struct running *r)
{
    return r->job.rescues > r->d->options.max_rescues;
}

/* A shutdown is no failure. */
static bool is_to_be_tried_again(const struct running *r)
{
    return !r->handing_over && error_code_retryable(r->error.code) && !is_lost_too_often(r) &&
           r->job.failures + 1 < r->d->options.max_attempts;
}

/* Without a random number the whole delay. */
static uint64_t random_number(void)
{
    uint64_t n;
    return getrandom(&n, sizeof n, GRND_NONBLOCK) == sizeof n ? n : UINT64_MAX;
}

static void on_failed(void *context, const struct error *why)
{
    struct running *r = context;
    r->error = *why;
    r->retrying = is_to_be_tried_again(r);
    if (r->retrying)
        r->retry_delay_ms = retry_delay_ms(r->job.failures, r->d->options.retry_delay_ms, random_number());
    log_job(LOG_LEVEL_INFO, r->job.id, "%s: %s: %s", r->handing_over ? "stopped" : "failed",
            error_code_name(why->code), why->message);
    settle(r, r->handing_over || r->retrying ? call_requeue : call_fail);
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

/* --- the start --- */

void dispatcher_job_start(struct dispatcher *d, struct job *job)
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
    r->started_at = clock_monotonic_ms();
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
    else if (is_lost_too_often(r))
        error_set(&r->error, ERROR_WORKER, "the server that ran it was lost %u times", r->job.rescues);
    else if (r->key)
        r->attempt = attempt_start(d->options.attempts, &r->job, r->key, &attempt_events, r, &r->error);
    else
        error_set(&r->error, ERROR_INTERNAL, "out of memory");
    if (!r->attempt) {
        struct error why = r->error;
        on_failed(r, &why);
    }
}
