#include "server/attempt_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "link/parts.h"
#include "server/column_list.h"
#include "server/spill.h"
#include "server/supervisor.h"
#include "server/timer.h"

#define STOP_GRACE_MS 500 /* from the interrupt to the kill: with the half second until another instance hears of it below 1.5 s */
#define STALL_GRACE_MS 3000 /* nobody waits for it, and whether the engine answers is what is asked */
#define LATE_LOOK_MS 2000 /* a look at a stall that comes so late says that this process was not there itself */
#define EXIT_GRACE_MS 2000 /* from a worker's last message to the kill */
#define GROWN_BUFFERS 2 /* each is large: one is filled while the other is on its way */

void attempt_free(struct attempt *a)
{
    struct event *timers[] = {a->open_timer, a->kill_timer, a->timeout_timer, a->stall_timer, a->spill_timer};
    for (size_t i = 0; i < ARRAY_SIZE(timers); i++)
        if (timers[i])
            event_free(timers[i]);
    parts_free(a->buffers.first);
    parts_free(a->buffers.grown);
    cleanup_close(&a->spec_fd);
    buf_release(&a->columns);
    free(a->result.columns);
    free(a->key);
    free(a->spill_dir);
    free(a);
}

void attempt_fail(struct attempt *a, const struct error *why)
{
    if (a->phase == SUCCEEDED || a->phase == FAILING)
        return;
    a->phase = FAILING;
    a->error = *why;
    event_del(a->open_timer);
    event_del(a->stall_timer);
    if (a->worker) {
        worker_process_send(a->worker, LINK_CANCEL, 0);
        timer_set(a->kill_timer, why->code == ERROR_STALLED ? STALL_GRACE_MS : STOP_GRACE_MS);
    }
    if (a->upload)
        a->env->objects->api->abort(a->upload);
    attempt_conclude(a);
}

static void fail_with(struct attempt *a, enum error_code code, const char *message)
{
    struct error e;
    error_set(&e, code, "%s", message);
    attempt_fail(a, &e);
}

/* The worker lies or is broken: nothing more of it is wanted. */
static void refuse(struct attempt *a, const char *what)
{
    log_job(LOG_LEVEL_ERROR, a->id, "the worker broke the protocol: %s", what);
    worker_process_kill(a->worker);
    fail_with(a, ERROR_WORKER, "the worker broke the protocol");
}

void attempt_stop(struct attempt *a, enum error_code code, const char *message)
{
    if (a->phase == FAILING && a->error.code == ERROR_STALLED) { /* there was time for it; now somebody waits */
        error_set(&a->error, code, "%s", message);
        if (a->worker)
            timer_set(a->kill_timer, STOP_GRACE_MS);
    }
    fail_with(a, code, message);
}

/* --- stalls: a sign of life costs a look at the clock, and one timer asks how long the last one is ago --- */

static void sign_of_life(struct attempt *a)
{
    a->alive_at = clock_monotonic_ms();
}

static void look_in(struct attempt *a, uint64_t ms)
{
    a->look_at = clock_monotonic_ms() + (int64_t)ms;
    timer_set(a->stall_timer, ms);
}

/* All buffers that the worker fills now are the store's. */
static bool waits_for_store(const struct attempt *a)
{
    const struct part_buffers *b = &a->buffers;
    uint64_t filled = b->grown ? UINT64_MAX >> (64 - b->grown->count) << b->first->count : UINT64_MAX >> (64 - b->first->count);
    return (a->held & filled) == filled;
}

static void on_stall_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct attempt *a = arg;
    int64_t now = clock_monotonic_ms();
    if (waits_for_store(a) || now - a->look_at > LATE_LOOK_MS)
        a->alive_at = now;
    uint64_t silence = (uint64_t)(now - a->alive_at), limit = a->env->stall_timeout_ms;
    if (silence < limit) {
        look_in(a, limit - silence);
        return;
    }
    struct error e;
    error_set(&e, ERROR_STALLED, "no row and no byte for %g seconds", (double)limit / 1000);
    log_job(LOG_LEVEL_WARN, a->id, "stalled: the engine is interrupted");
    attempt_fail(a, &e);
}

static void on_part_done(void *context, uint32_t buffer)
{
    struct attempt *a = context;
    a->held &= ~(UINT64_C(1) << buffer);
    sign_of_life(a);
    if (a->worker && a->phase == RUNNING)
        worker_process_send(a->worker, LINK_FREE, buffer);
}

static void on_upload_finished(void *context)
{
    struct attempt *a = context;
    a->upload = NULL;
    a->phase = SUCCEEDED;
    a->told = true;
    event_del(a->timeout_timer);
    a->events->succeeded(a->context, &a->result);
    if (a->worker)
        timer_set(a->kill_timer, EXIT_GRACE_MS);
    attempt_conclude(a);
}

static void on_upload_failed(void *context, const struct error *e)
{
    attempt_fail(context, e);
}

static void on_upload_aborted(void *context)
{
    struct attempt *a = context;
    a->upload = NULL;
    attempt_conclude(a);
}

static void on_upload_begun(void *context, const char *upload_id)
{
    struct attempt *a = context;
    a->events->begun(a->context, upload_id);
}

void attempt_noted(struct attempt *a)
{
    if (a->upload && a->phase != FAILING)
        a->env->objects->api->noted(a->upload);
}

static const struct object_upload_events upload_events = {.begun = on_upload_begun,
                                                          .part_done = on_part_done,
                                                          .finished = on_upload_finished,
                                                          .failed = on_upload_failed,
                                                          .aborted = on_upload_aborted};

/* The upload begins with the first bytes, so that a refused statement costs the store nothing. */
static bool begin_upload(struct attempt *a)
{
    if (a->upload)
        return true;
    struct error e;
    const struct object_upload_options options = {
        .key = a->key, .content_type = file_media_type(a->key), .events = &upload_events, .context = a};
    a->upload = a->env->objects->api->begin(a->env->objects, &options, &e);
    if (!a->upload)
        attempt_fail(a, &e);
    return a->upload != NULL;
}

/* The store wants larger parts from here on: a file has 10,000 at most. */
static void grow_buffers(struct attempt *a)
{
    struct error e;
    a->buffers.grown = parts_new(GROWN_BUFFERS, a->env->objects->grown_part_size, &e);
    if (!a->buffers.grown) {
        log_job(LOG_LEVEL_WARN, a->id, "parts stay small: %s", e.message);
        return;
    }
    worker_process_grow(a->worker, a->buffers.grown);
    parts_close_fd(a->buffers.grown);
}

static void on_part(struct attempt *a, const struct link_message *m)
{
    uint32_t place;
    const struct parts *parts = part_buffers_find(&a->buffers, m->buffer, &place);
    if (!parts || a->held >> m->buffer & 1)
        refuse(a, "a part in a buffer that is not its own");
    else if (m->length == 0 || m->length > parts->size)
        refuse(a, "a part of impossible length");
    else if (a->short_part)
        refuse(a, "a part behind the last one");
    else if (begin_upload(a)) {
        sign_of_life(a);
        a->short_part = m->length < parts->size;
        a->held |= UINT64_C(1) << m->buffer;
        a->bytes += m->length;
        a->env->objects->api->part(a->upload, m->buffer, parts_buffer(parts, place), m->length, m->digest);
        if (++a->part_count == a->env->objects->grow_at)
            grow_buffers(a);
    }
}

static void on_progress(struct attempt *a, const struct link_message *m)
{
    bool nearer = m->percent >= a->percent_told + 1;
    if (m->rows > a->rows_told || m->bytes > a->bytes_told || nearer)
        sign_of_life(a);
    a->rows_told = m->rows;
    a->bytes_told = m->bytes;
    if (nearer)
        a->percent_told = m->percent;
    a->events->progress(a->context, m->rows, m->bytes, m->percent);
}

static void on_columns(struct attempt *a, const struct link_message *m)
{
    if (a->part_count > 0) {
        refuse(a, "columns behind the first part");
        return;
    }
    buf_append(&a->columns, m->text, m->text_length);
    if (!buf_ok(&a->columns))
        refuse(a, "more about its columns than there is room for");
}

/* The pieces were looked at one by one, and may have been written in escapes. */
static bool take_columns(struct attempt *a, struct error *e)
{
    if (!column_list_read(a->columns.data ? a->columns.data : "", a->columns.len, &a->result.columns,
                          &a->result.columns_truncated, e))
        return false;
    buf_release(&a->columns);
    return !secret_in_text(a->env->secrets, a->result.columns, strlen(a->result.columns)) ||
           error_set(e, ERROR_SECRET, "the result contains the access token of the data source");
}

/* What a worker may say of the whole file; NULL, or what is wrong. */
static const char *find_contradiction(const struct attempt *a, const struct link_message *m)
{
    const struct file_form *f = &a->form;
    if (m->bytes != a->bytes)
        return "another number of bytes than came";
    if (m->truncated > 1 || (m->truncated && !f->row_limit && !f->byte_limit))
        return "a limit that the file does not have";
    if (f->row_limit && m->rows > f->row_limit)
        return "more rows than the file may have";
    if (m->altered && !file_form_altered_name(f))
        return "cells changed that nobody wants changed";
    return NULL;
}

static void on_done(struct attempt *a, const struct link_message *m)
{
    struct error e;
    const char *wrong = find_contradiction(a, m);
    if (wrong) {
        refuse(a, wrong);
        return;
    }
    if (!take_columns(a, &e)) {
        if (e.code == ERROR_WORKER)
            refuse(a, e.message);
        else
            attempt_fail(a, &e);
        return;
    }
    if (!begin_upload(a))
        return;
    a->phase = FINISHING;
    event_del(a->stall_timer);
    a->result.rows = m->rows;
    a->result.bytes = m->bytes;
    a->result.truncated = m->truncated;
    a->result.altered = m->altered;
    a->result.altered_name = file_form_altered_name(&a->form);
    hex_encode(m->digest, sizeof m->digest, a->result.sha256);
    memcpy(a->result.cpu_us, m->cpu_us, sizeof a->result.cpu_us);
    a->events->finishing(a->context);
    a->env->objects->api->finish(a->upload, a->bytes);
}

static void on_failed(struct attempt *a, const struct link_message *m)
{
    struct error e = {.code = m->code};
    memcpy(e.message, m->text, m->text_length + 1);
    utf8_scrub(e.message, strlen(e.message));
    attempt_fail(a, &e);
}

void attempt_begin_job(struct attempt *a)
{
    event_del(a->open_timer);
    a->phase = RUNNING;
    sign_of_life(a);
    look_in(a, a->env->stall_timeout_ms);
    worker_process_begin(a->worker, a->spec_fd, a->buffers.first->fd);
    close(TAKE_FD(a->spec_fd));
    parts_close_fd(a->buffers.first);
}

static void on_message(void *context, const struct link_message *m)
{
    struct attempt *a = context;
    if (a->phase == OPENING) {
        if (m->type == LINK_READY)
            attempt_begin_job(a);
        else if (m->type == LINK_FAILED)
            on_failed(a, m);
        else
            refuse(a, "a result before it has a job");
        return;
    }
    if (a->phase != RUNNING)
        return; /* crossed with our own decision */
    switch (m->type) {
    case LINK_STREAMING:
        if (!a->streaming)
            a->events->streaming(a->context);
        a->streaming = true;
        sign_of_life(a);
        break;
    case LINK_COLUMNS:
        on_columns(a, m);
        break;
    case LINK_PROGRESS:
        on_progress(a, m);
        break;
    case LINK_PART:
        on_part(a, m);
        break;
    case LINK_DONE:
        on_done(a, m);
        break;
    case LINK_FAILED:
        on_failed(a, m);
        break;
    default:
        refuse(a, "a message that only the server sends");
    }
}

static void on_exited(void *context, const char *how)
{
    struct attempt *a = context;
    a->worker = NULL;
    event_del(a->kill_timer);
    if (a->phase == OPENING || a->phase == RUNNING) {
        struct error e;
        error_set(&e, ERROR_WORKER, "the worker process died (%s), possibly out of memory", how);
        attempt_fail(a, &e);
    } else {
        attempt_conclude(a);
    }
}

const struct worker_process_events attempt_worker_events = {
    .message = on_message, .not_made = attempt_not_made, .exited = on_exited};

static void on_kill_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct attempt *a = arg;
    if (!a->worker)
        return;
    worker_process_kill(a->worker);
    if (a->phase == FAILING && a->error.code == ERROR_STALLED)
        error_set(&a->error, ERROR_WORKER, "no row and no byte for %g seconds, and the worker did not end when it was told to",
                  (double)a->env->stall_timeout_ms / 1000);
}

/* An interrupt does not stop an engine that opens its source. */
static void on_open_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct attempt *a = arg;
    struct error e;
    if (a->worker)
        worker_process_kill(a->worker);
    error_set(&e, ERROR_SOURCE, "%s took longer than %g seconds",
              a->env->worker.source == SOURCE_MOTHERDUCK ? "signing in to MotherDuck" : "opening the database",
              (double)attempt_open_limit_ms(a->env) / 1000);
    attempt_fail(a, &e);
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct attempt *a = arg;
    struct error e;
    error_set(&e, ERROR_TIMEOUT, "the download took longer than %" PRIu64 " seconds", a->env->job_timeout_ms / 1000);
    attempt_fail(a, &e);
}

/* --- the spill directory --- */

static void measure_spill(struct task *task, void *context)
{
    (void)context;
    struct attempt *a = CONTAINER_OF(CONTAINER_OF(task, struct chore, task), struct attempt, chore);
    a->chore.spill_bytes = spill_usage(a->spill_dir);
}

static void spill_measured(struct task *task)
{
    struct attempt *a = CONTAINER_OF(CONTAINER_OF(task, struct chore, task), struct attempt, chore);
    a->chore_busy = false;
    if (a->chore.spill_bytes > a->env->worker.spill_limit)
        fail_with(a, ERROR_SPILL, "the query needs more temporary disk space than it may have");
    attempt_conclude(a);
}

static void remove_spill(struct task *task, void *context)
{
    (void)context;
    struct attempt *a = CONTAINER_OF(CONTAINER_OF(task, struct chore, task), struct attempt, chore);
    a->chore.ok = !a->spill_dir || spill_remove(a->spill_dir, &a->chore.error);
}

static void spill_removed(struct task *task)
{
    struct attempt *a = CONTAINER_OF(CONTAINER_OF(task, struct chore, task), struct attempt, chore);
    if (!a->chore.ok)
        log_job(LOG_LEVEL_WARN, a->id, "%s", a->chore.error.message);
    a->events->ended(a->context);
    attempt_free(a);
}

void attempt_start_chore(struct attempt *a, struct task_queue *where, void (*work)(struct task *, void *),
                         void (*done)(struct task *))
{
    a->chore_busy = true;
    a->chore.task.work = work;
    a->chore.task.done = done;
    task_queue_submit(where, &a->chore.task);
}

static void on_spill_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct attempt *a = arg;
    if (!a->chore_busy && a->phase == RUNNING)
        attempt_start_chore(a, a->env->housekeeping, measure_spill, spill_measured);
}

void attempt_conclude(struct attempt *a)
{
    if (a->worker || a->upload || a->chore_busy || (a->phase != SUCCEEDED && a->phase != FAILING))
        return;
    if (!a->told) {
        a->told = true;
        a->events->failed(a->context, &a->error);
    }
    attempt_start_chore(a, a->env->housekeeping, remove_spill, spill_removed);
}

bool attempt_make_timers(struct attempt *a)
{
    a->open_timer = event_new(a->env->base, -1, 0, on_open_timer, a);
    a->kill_timer = event_new(a->env->base, -1, 0, on_kill_timer, a);
    a->timeout_timer = event_new(a->env->base, -1, 0, on_timeout, a);
    a->stall_timer = event_new(a->env->base, -1, 0, on_stall_timer, a);
    a->spill_timer = event_new(a->env->base, -1, EV_PERSIST, on_spill_timer, a);
    return a->open_timer && a->kill_timer && a->timeout_timer && a->stall_timer && a->spill_timer;
}
