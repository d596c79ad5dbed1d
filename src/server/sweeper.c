#include "server/sweeper.h"

#include <stdlib.h>

#include "base/log.h"

#define SWEEP_S 10 /* an idle instance asks the job store for little */
#define BATCH 100 /* of expired records and of leftovers in one round */

struct removal {
    struct sweeper *s;
    size_t index; /* in leftovers */
};

struct sweeper {
    struct store_threads *store;
    struct object_store *objects;
    struct event *timer;
    bool stopped; /* nothing is begun any more: the store may be gone */

    /* One round: look, remove, report. */
    struct store_task step;
    size_t expired;
    struct job_leftover_list leftovers;
    struct removal removals[BATCH];
    bool removed[BATCH];
    size_t pending;
};

/* This round is over. */
static void next_round_in(struct sweeper *s, time_t seconds)
{
    job_leftover_list_release(&s->leftovers);
    if (!s->stopped)
        event_add(s->timer, &(struct timeval){.tv_sec = seconds});
}

static bool call_report(struct job_store *store, struct store_task *t, struct error *e)
{
    struct sweeper *s = CONTAINER_OF(t, struct sweeper, step);
    for (size_t i = 0; i < s->leftovers.count; i++) {
        const struct job_leftover *l = &s->leftovers.items[i];
        if (!(s->removed[i] ? store->api->cleaned : store->api->not_cleaned)(store, l, e))
            return false;
    }
    return true;
}

static void reported(struct store_task *t)
{
    struct sweeper *s = CONTAINER_OF(t, struct sweeper, step);
    if (!t->ok)
        log_warn("cannot note what was cleared away: %s", t->error.message);
    next_round_in(s, t->ok && s->leftovers.count == BATCH ? 0 : SWEEP_S);
}

/* One answer fewer to wait for; after the last the store is told. */
static void count_down(struct sweeper *s)
{
    if (--s->pending > 0)
        return;
    if (s->stopped) { /* the next start clears away again what is gone already */
        next_round_in(s, SWEEP_S);
        return;
    }
    s->step.call = call_report;
    s->step.done = reported;
    store_threads_write(s->store, &s->step);
}

static void removed_one(void *context, const struct error *e)
{
    struct removal *r = context;
    struct sweeper *s = r->s;
    s->removed[r->index] = !e;
    if (e)
        log_job(LOG_LEVEL_WARN, s->leftovers.items[r->index].id, "cannot clear away what an attempt left: %s", e->message);
    count_down(s);
}

static bool call_look(struct job_store *store, struct store_task *t, struct error *e)
{
    struct sweeper *s = CONTAINER_OF(t, struct sweeper, step);
    return store->api->expire(store, BATCH, &s->expired, e) &&
           store->api->leftovers(store, BATCH, s->objects->api->removes_expired, &s->leftovers, e);
}

static void looked(struct store_task *t)
{
    struct sweeper *s = CONTAINER_OF(t, struct sweeper, step);
    if (!t->ok)
        log_warn("cannot look for what is over: %s", t->error.message);
    else if (s->expired > 0)
        log_info("%zu links are over", s->expired);
    if (!t->ok || s->leftovers.count == 0 || s->stopped) {
        next_round_in(s, t->ok && s->expired == BATCH ? 0 : SWEEP_S);
        return;
    }
    /* One more than there are, so that the last answer cannot come before the last removal has begun. */
    s->pending = s->leftovers.count + 1;
    for (size_t i = 0; i < s->leftovers.count; i++) {
        s->removals[i] = (struct removal){s, i};
        const struct job_leftover *l = &s->leftovers.items[i];
        s->objects->api->remove(s->objects, l->object_key, l->upload_id, removed_one, &s->removals[i]);
    }
    count_down(s);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct sweeper *s = arg;
    s->step.call = call_look;
    s->step.done = looked;
    store_threads_write(s->store, &s->step);
}

struct sweeper *sweeper_new(struct event_base *base, struct store_threads *store, struct object_store *objects,
                            struct error *e)
{
    struct sweeper *s = calloc(1, sizeof *s);
    if (s)
        s->timer = event_new(base, -1, 0, on_timer, s);
    if (!s || !s->timer) {
        free(s);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    s->store = store;
    s->objects = objects;
    next_round_in(s, 0);
    return s;
}

void sweeper_stop(struct sweeper *s)
{
    s->stopped = true;
    event_del(s->timer);
}

void sweeper_free(struct sweeper *s)
{
    if (!s)
        return;
    event_free(s->timer);
    job_leftover_list_release(&s->leftovers);
    free(s);
}
