#include "job/store_thread.h"

#include <stdlib.h>

#include "base/task_queue.h"

struct store_threads {
    struct job_store *control_store, *api_store; /* each its own thread's while that runs */
    struct task_queue *control, *api;
};

static struct store_task *of_task(struct task *t)
{
    return CONTAINER_OF(t, struct store_task, task);
}

static void finish(struct task *t)
{
    struct store_task *st = of_task(t);
    st->done(st);
}

static void run_read(struct task *t, void *context)
{
    struct store_task *st = of_task(t);
    st->ok = st->call(context, st, &st->error);
}

static bool call_in_savepoint(struct job_store *s, struct store_task *t, struct error *e)
{
    if (!s->api->savepoint(s, e))
        return false;
    if (t->call(s, t, e) && s->api->release(s, e))
        return true;
    s->api->rollback_to(s);
    return false;
}

static void fail_task(struct store_task *t, const struct error *why)
{
    t->ok = false;
    t->error = *why;
}

/* Takes those out of the list that are to run outside of a transaction, and runs them. */
static void look_first(struct task_list *tasks, struct job_store *s)
{
    struct task_list rest = {0};
    for (struct task *t; (t = task_list_take(tasks));) {
        struct store_task *st = of_task(t);
        if (!st->outside) {
            task_list_append(&rest, t);
            continue;
        }
        st->ok = st->call(s, st, &st->error);
        mailbox_post(t->reply_to, t);
    }
    *tasks = rest;
}

static bool call_alone(struct job_store *s, struct store_task *t, struct error *e)
{
    if (s->api->begin_one(s, e) && t->call(s, t, e) && s->api->commit(s, e))
        return true;
    s->api->rollback(s);
    return false;
}

/* Postgres keeps a lock for each savepoint until the commit, of some thousands that it has for all. */
#define TOGETHER_MAX 100

static void call_together(struct job_store *s, struct task_list *tasks)
{
    struct error why;
    bool begun = s->api->begin(s, &why);
    for (struct task *t = tasks->first; t; t = t->next) {
        struct store_task *st = of_task(t);
        if (begun)
            st->ok = call_in_savepoint(s, st, &st->error);
        else
            fail_task(st, &why);
    }
    if (begun && !s->api->commit(s, &why)) {
        s->api->rollback(s);
        for (struct task *t = tasks->first; t; t = t->next)
            if (of_task(t)->ok)
                fail_task(of_task(t), &why);
    }
}

static void run_writes(struct task_list *tasks, void *context)
{
    struct job_store *s = context;
    look_first(tasks, s);
    while (tasks->first) {
        struct task_list some = {0};
        for (int i = 0; i < TOGETHER_MAX && tasks->first; i++)
            task_list_append(&some, task_list_take(tasks));
        struct store_task *first = of_task(some.first);
        if (some.first != some.last)
            call_together(s, &some);
        else
            first->ok = call_alone(s, first, &first->error);
        for (struct task *t; (t = task_list_take(&some));)
            mailbox_post(t->reply_to, t);
    }
}

struct store_threads *store_threads_new(const struct store_threads_options *options, struct error *e)
{
    struct store_threads *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    if (!(s->control_store = options->open(options->context, true, e)) ||
        !(s->api_store = options->open(options->context, false, e)) ||
        !(s->control = task_queue_new(&(struct task_queue_options){.name = "store-control",
                                                                   .threads = 1,
                                                                   .done = options->done,
                                                                   .context = s->control_store,
                                                                   .work_batch = run_writes},
                                      e)) ||
        !(s->api = task_queue_new(
              &(struct task_queue_options){
                  .name = "store-api", .threads = 1, .done = options->done, .context = s->api_store},
              e))) {
        store_threads_free(s);
        return NULL;
    }
    return s;
}

const struct job_store_api *store_threads_api(const struct store_threads *s)
{
    return s->control_store->api;
}

static void submit_to_control(struct store_threads *s, struct store_task *t, bool outside)
{
    t->outside = outside;
    t->task.done = finish;
    task_queue_submit(s->control, &t->task);
}

void store_threads_write(struct store_threads *s, struct store_task *t)
{
    submit_to_control(s, t, false);
}

void store_threads_look(struct store_threads *s, struct store_task *t)
{
    submit_to_control(s, t, true);
}

void store_threads_read(struct store_threads *s, struct store_task *t)
{
    t->task.work = run_read;
    t->task.done = finish;
    task_queue_submit(s->api, &t->task);
}

void store_threads_free(struct store_threads *s)
{
    if (!s)
        return;
    task_queue_free(s->control);
    task_queue_free(s->api);
    if (s->control_store)
        s->control_store->api->close(s->control_store);
    if (s->api_store)
        s->api_store->api->close(s->api_store);
    free(s);
}
