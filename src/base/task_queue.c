#include "base/task_queue.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define MAX_THREADS 64

struct task_queue {
    struct task_queue_options options;
    pthread_t threads[MAX_THREADS];
    unsigned started;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct task_list tasks;
        bool ending;
    } shared;
};

/* Waits for work. False: the queue ends and nothing is left. */
static bool take(struct task_queue *q, struct task_list *ret_tasks)
{
    *ret_tasks = (struct task_list){0};
    pthread_mutex_lock(&q->shared.lock);
    while (!q->shared.tasks.first && !q->shared.ending)
        pthread_cond_wait(&q->shared.changed, &q->shared.lock);
    if (q->options.work_batch) {
        *ret_tasks = q->shared.tasks;
        q->shared.tasks = (struct task_list){0};
    } else {
        struct task *t = task_list_take(&q->shared.tasks);
        if (t)
            task_list_append(ret_tasks, t);
    }
    pthread_mutex_unlock(&q->shared.lock);
    return ret_tasks->first != NULL;
}

static void *run(void *arg)
{
    struct task_queue *q = arg;
    struct task_list tasks;
    while (take(q, &tasks)) {
        if (q->options.work_batch) {
            q->options.work_batch(&tasks, q->options.context);
            continue;
        }
        struct task *t = task_list_take(&tasks);
        t->work(t, q->options.context);
        mailbox_post(t->reply_to, t);
    }
    return NULL;
}

struct task_queue *task_queue_new(const struct task_queue_options *options, struct error *e)
{
    assert(options->threads >= 1 && options->threads <= MAX_THREADS);
    assert(!options->work_batch || options->threads == 1);
    struct task_queue *q = calloc(1, sizeof *q);
    if (!q) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    q->options = *options;
    pthread_mutex_init(&q->shared.lock, NULL);
    pthread_cond_init(&q->shared.changed, NULL);

    /* Signals belong to the loop. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = 0;
    while (q->started < options->threads && !failed) {
        failed = pthread_create(&q->threads[q->started], NULL, run, q);
        if (!failed)
            pthread_setname_np(q->threads[q->started++], options->name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        error_set_errno(e, ERROR_INTERNAL, failed, "cannot start a thread");
        task_queue_free(q);
        return NULL;
    }
    return q;
}

void task_queue_submit(struct task_queue *q, struct task *t)
{
    t->reply_to = q->options.done;
    pthread_mutex_lock(&q->shared.lock);
    task_list_append(&q->shared.tasks, t);
    pthread_cond_signal(&q->shared.changed);
    pthread_mutex_unlock(&q->shared.lock);
}

void task_queue_free(struct task_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->shared.lock);
    q->shared.ending = true;
    pthread_cond_broadcast(&q->shared.changed);
    pthread_mutex_unlock(&q->shared.lock);
    for (unsigned i = 0; i < q->started; i++)
        pthread_join(q->threads[i], NULL);
    pthread_cond_destroy(&q->shared.changed);
    pthread_mutex_destroy(&q->shared.lock);
    free(q);
}
