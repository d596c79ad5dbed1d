#include "base/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>

struct mailbox {
    int fd;
    struct {
        pthread_mutex_t lock;
        struct task_list tasks;
    } shared;
};

void task_list_append(struct task_list *l, struct task *t)
{
    t->next = NULL;
    if (l->last)
        l->last->next = t;
    else
        l->first = t;
    l->last = t;
}

struct task *task_list_take(struct task_list *l)
{
    struct task *t = l->first;
    if (t) {
        l->first = t->next;
        if (!l->first)
            l->last = NULL;
        t->next = NULL;
    }
    return t;
}

struct mailbox *mailbox_new(struct error *e)
{
    struct mailbox *m = calloc(1, sizeof *m);
    if (!m) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    m->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->fd < 0) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make an event descriptor");
        free(m);
        return NULL;
    }
    pthread_mutex_init(&m->shared.lock, NULL);
    return m;
}

void mailbox_free(struct mailbox *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->shared.lock);
    close(m->fd);
    free(m);
}

int mailbox_fd(const struct mailbox *m)
{
    return m->fd;
}

void mailbox_post(struct mailbox *m, struct task *t)
{
    pthread_mutex_lock(&m->shared.lock);
    bool wake = !m->shared.tasks.first;
    task_list_append(&m->shared.tasks, t);
    pthread_mutex_unlock(&m->shared.lock);
    if (wake)
        eventfd_write(m->fd, 1); /* cannot fail: the counter is far from its end */
}

void mailbox_drain_some(struct mailbox *m, size_t limit)
{
    struct task_list tasks = {0};
    eventfd_t count;
    eventfd_read(m->fd, &count);
    pthread_mutex_lock(&m->shared.lock);
    for (size_t i = 0; i < limit && m->shared.tasks.first; i++)
        task_list_append(&tasks, task_list_take(&m->shared.tasks));
    bool more = m->shared.tasks.first;
    pthread_mutex_unlock(&m->shared.lock);
    if (more)
        eventfd_write(m->fd, 1);
    for (struct task *t; (t = task_list_take(&tasks));)
        t->done(t);
}

void mailbox_drain(struct mailbox *m)
{
    mailbox_drain_some(m, SIZE_MAX);
}
