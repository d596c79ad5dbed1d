/* Which jobs are this instance's, where others work on the same store. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/dispatcher_internal.h"

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

static bool listed(const struct job_id_list *l, const uint32_t *attempts, const struct job *j)
{
    for (size_t i = 0; i < l->count; i++)
        if (attempts[i] == j->attempt && !strcmp(l->ids[i], j->id))
            return true;
    return false;
}

static bool runs_here(const struct dispatcher *d, const char *id, uint32_t attempt)
{
    const struct running *r;
    LIST_FOREACH (r, &d->running, link)
        if (r->job.attempt == attempt && !strcmp(r->job.id, id))
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
    return s->api->requeue(s, &a, NULL, 0, &o->job, e);
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
        /* One that is settling finds out by itself, one that has settled waits for its process only; one claimed
         * since the store was asked is asked for next. */
        if (r->removed || r->settling || r->job.status != JOB_PROCESSING || !r->attempt || !r->asked ||
            listed(owned, owned_attempts, &r->job))
            continue;
        log_job(LOG_LEVEL_WARN, r->job.id, "attempt %u is no longer this instance's: stopped", r->job.attempt);
        r->removed = true;
        attempt_stop(r->attempt, ERROR_STALE, "the attempt is no longer the job's current one");
    }
    for (size_t i = 0; i < owned->count; i++)
        if (!runs_here(d, owned->ids[i], owned_attempts[i]))
            put_back(d, owned->ids[i], owned_attempts[i]);
}
