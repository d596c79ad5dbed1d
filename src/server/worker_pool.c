#include "server/worker_pool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/spill.h"
#include "server/timer.h"

#define BACKOFF_MIN_MS 5000
#define BACKOFF_MAX_MS 300000

struct spare {
    LIST_ENTRY(spare) link;
    struct worker_pool *pool;
    struct worker_process *process; /* NULL: ended */
    char *spill_dir;
    bool ready, ended_by_us;
    struct event *deadline;
    struct task removal;
};

struct worker_pool {
    struct worker_pool_options options;
    LIST_HEAD(, spare) spares; /* also those that end */
    struct event *refill, *idle;
    uint32_t serial;    /* of the spill directories */
    bool running;       /* false: before the start, when idle, after the stop */
    bool stopped;
    uint64_t backoff_ms; /* 0: the last one signed in */
    int64_t not_before;  /* clock_monotonic_ms() */
};

static void free_spare(struct spare *s)
{
    if (s->deadline)
        event_free(s->deadline);
    free(s->spill_dir);
    free(s);
}

static void plan_refill(struct worker_pool *p)
{
    int64_t wait = p->not_before - clock_monotonic_ms();
    if (p->running)
        timer_set(p->refill, wait > 0 ? (uint64_t)wait : 0);
}

/* Of several that fail together the first counts. */
static void back_off(struct worker_pool *p, const char *why)
{
    if (clock_monotonic_ms() < p->not_before)
        return;
    p->backoff_ms = p->backoff_ms == 0 ? BACKOFF_MIN_MS : 2 * p->backoff_ms;
    if (p->backoff_ms > BACKOFF_MAX_MS)
        p->backoff_ms = BACKOFF_MAX_MS;
    p->not_before = clock_monotonic_ms() + (int64_t)p->backoff_ms;
    log_warn("no spare worker, the next try is in %" PRIu64 " s: %s", p->backoff_ms / 1000, why);
}

static void end(struct spare *s)
{
    s->ended_by_us = true;
    worker_process_kill(s->process);
}

static void on_message(void *context, const struct link_message *m)
{
    struct spare *s = context;
    if (s->ended_by_us)
        return;
    if (m->type == LINK_READY && !s->ready) {
        s->ready = true;
        s->pool->backoff_ms = 0;
        event_del(s->deadline);
        plan_refill(s->pool); /* it may have gone ahead of others */
        log_debug("a spare worker is ready");
    } else {
        back_off(s->pool, m->type == LINK_FAILED ? m->text : "it broke the protocol");
        end(s);
    }
}

static void remove_spill(struct task *task, void *context)
{
    (void)context;
    struct error e;
    if (!spill_remove(CONTAINER_OF(task, struct spare, removal)->spill_dir, &e))
        log_warn("%s", e.message);
}

static void spill_removed(struct task *task)
{
    struct spare *s = CONTAINER_OF(task, struct spare, removal);
    LIST_REMOVE(s, link);
    free_spare(s);
}

static void on_exited(void *context, const char *how)
{
    struct spare *s = context;
    s->process = NULL;
    event_del(s->deadline);
    if (!s->ended_by_us)
        back_off(s->pool, how);
    s->removal.work = remove_spill;
    s->removal.done = spill_removed;
    task_queue_submit(s->pool->options.housekeeping, &s->removal);
    plan_refill(s->pool);
}

static const struct worker_process_events spare_events = {.message = on_message, .exited = on_exited};

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct spare *s = arg;
    back_off(s->pool, "signing in took too long");
    end(s);
}

static bool start_process(struct spare *s, struct error *e)
{
    const struct worker_pool_options *o = &s->pool->options;
    struct worker_spec spec = *o->spec;
    s->deadline = event_new(o->base, -1, 0, on_deadline, s);
    if (!s->deadline)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    s->spill_dir = spill_make(o->spill_root, "spare", ++s->pool->serial, spec.uid, spec.gid, e);
    if (!s->spill_dir)
        return false;
    spec.spill_dir = s->spill_dir;
    _cleanup_close_ int spec_fd = worker_spec_seal(&spec, e);
    const struct worker_process_options options = {.base = o->base,
                                                   .program = o->program,
                                                   .job = "",
                                                   .spec_fd = spec_fd,
                                                   .secrets = o->secrets,
                                                   .events = &spare_events,
                                                   .context = s};
    s->process = spec_fd < 0 ? NULL : worker_process_start(&options, e);
    struct error ignored;
    if (!s->process && !spill_remove(s->spill_dir, &ignored))
        log_warn("%s", ignored.message);
    return s->process != NULL;
}

static bool start_spare(struct worker_pool *p)
{
    struct error e = {.message = "out of memory"};
    struct spare *s = calloc(1, sizeof *s);
    if (s)
        s->pool = p;
    if (!s || !start_process(s, &e)) {
        if (s)
            free_spare(s);
        back_off(p, e.message);
        return false;
    }
    timer_set(s->deadline, p->options.open_timeout_ms);
    LIST_INSERT_HEAD(&p->spares, s, link);
    return true;
}

static void on_refill(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker_pool *p = arg;
    unsigned alive = 0;
    struct spare *s;
    LIST_FOREACH (s, &p->spares, link)
        alive += s->process && !s->ended_by_us;
    if (!p->running || clock_monotonic_ms() < p->not_before) {
        plan_refill(p);
        return;
    }
    /* After a failure one goes ahead. */
    unsigned wanted = p->backoff_ms > 0 ? 1 : p->options.spares;
    while (alive < wanted && start_spare(p))
        alive++;
    if (alive < wanted)
        plan_refill(p);
}

static void end_all(struct worker_pool *p)
{
    struct spare *s;
    p->running = false;
    event_del(p->refill);
    event_del(p->idle);
    LIST_FOREACH (s, &p->spares, link)
        if (s->process && !s->ended_by_us)
            end(s);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    log_debug("no download for a while: no spare workers");
    end_all(arg);
}

struct worker_pool *worker_pool_new(const struct worker_pool_options *options, struct error *e)
{
    struct worker_pool *p = calloc(1, sizeof *p);
    if (p) {
        p->options = *options;
        LIST_INIT(&p->spares);
        p->refill = event_new(options->base, -1, 0, on_refill, p);
        p->idle = event_new(options->base, -1, 0, on_idle, p);
    }
    if (!p || !p->refill || !p->idle) {
        worker_pool_free(p);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    return p;
}

void worker_pool_free(struct worker_pool *p)
{
    if (!p)
        return;
    struct spare *s;
    while ((s = LIST_FIRST(&p->spares))) {
        LIST_REMOVE(s, link);
        worker_process_free(s->process);
        struct error e;
        if (!spill_remove(s->spill_dir, &e))
            log_warn("%s", e.message);
        free_spare(s);
    }
    if (p->refill)
        event_free(p->refill);
    if (p->idle)
        event_free(p->idle);
    free(p);
}

/* An attempt came, or the server started: there may be more. */
static void wake(struct worker_pool *p)
{
    if (p->stopped)
        return;
    p->running = true;
    timer_set(p->idle, p->options.idle_ms);
    plan_refill(p);
}

void worker_pool_start(struct worker_pool *p)
{
    wake(p);
}

bool worker_pool_take(struct worker_pool *p, struct pooled_worker *ret)
{
    struct spare *s, *best = NULL;
    LIST_FOREACH (s, &p->spares, link)
        if (s->process && !s->ended_by_us && (!best || s->ready))
            best = s;
    wake(p);
    if (!best)
        return false;
    *ret = (struct pooled_worker){.process = best->process, .spill_dir = best->spill_dir, .ready = best->ready};
    best->spill_dir = NULL;
    LIST_REMOVE(best, link);
    free_spare(best);
    return true;
}

void worker_pool_stop(struct worker_pool *p)
{
    p->stopped = true;
    end_all(p);
}
