#include "worker/block.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Larger blocks are not kept: they are rare, and would never be small again. */
#define KEPT_MAX (BLOCKS_LIMIT / BLOCK_SIZE)

/* A thread beyond the limit may hold just what the job thread waits for. Mostly that is the thread whose rows came
 * last; where it is another one, it goes on after this time. */
#define HELD_BACK_NS 5000000

struct block_pool {
    uintptr_t job_thread;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct block *free; /* the last one given back comes first: it is in some cache */
        size_t free_count;
        uint64_t out;    /* bytes of memory in blocks that are not free */
        uintptr_t ahead; /* the thread whose rows were taken last */
        bool waits;      /* the job thread waits for rows */
        bool open;
    } synced;
};

static uintptr_t this_thread(void)
{
    return (uintptr_t)pthread_self();
}

struct block_pool *block_pool_new(void)
{
    struct block_pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->job_thread = this_thread();
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&p->synced.lock, NULL);
    pthread_cond_init(&p->synced.changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return p;
}

void block_pool_free(struct block_pool *p)
{
    if (!p)
        return;
    for (struct block *b = p->synced.free, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    pthread_cond_destroy(&p->synced.changed);
    pthread_mutex_destroy(&p->synced.lock);
    free(p);
}

static void set_waits(struct block_pool *p, bool waits)
{
    pthread_mutex_lock(&p->synced.lock);
    p->synced.waits = waits;
    if (waits && p->synced.out > BLOCKS_LIMIT)
        pthread_cond_broadcast(&p->synced.changed);
    pthread_mutex_unlock(&p->synced.lock);
}

void block_pool_wait_begins(struct block_pool *p)
{
    set_waits(p, true);
}

void block_pool_wait_ends(struct block_pool *p)
{
    set_waits(p, false);
}

void block_pool_open(struct block_pool *p)
{
    pthread_mutex_lock(&p->synced.lock);
    p->synced.open = true;
    pthread_cond_broadcast(&p->synced.changed);
    pthread_mutex_unlock(&p->synced.lock);
}

static struct block *put_back_locked(struct block_pool *p, struct block *b)
{
    struct block *next = b->next;
    p->synced.out -= b->capacity;
    if (b->capacity > BLOCK_SIZE || p->synced.free_count >= KEPT_MAX) {
        free(b);
        return next;
    }
    b->next = p->synced.free;
    p->synced.free = b;
    p->synced.free_count++;
    return next;
}

static void put_all_back(struct block_pool *p, struct block *list, uintptr_t ahead)
{
    if (!list)
        return;
    pthread_mutex_lock(&p->synced.lock);
    bool was_full = p->synced.out > BLOCKS_LIMIT;
    while (list)
        list = put_back_locked(p, list);
    if (ahead)
        p->synced.ahead = ahead;
    if (was_full)
        pthread_cond_broadcast(&p->synced.changed);
    pthread_mutex_unlock(&p->synced.lock);
}

void block_pool_give_back(struct block_pool *p, struct block *list)
{
    put_all_back(p, list, list ? list->thread : 0);
}

/* Until this thread may begin another chunk. The job thread never waits: it is the one who takes. */
static void wait_for_turn_locked(struct block_pool *p, uintptr_t thread)
{
    bool waited = false;
    while (p->synced.out > BLOCKS_LIMIT && !p->synced.open && thread != p->job_thread &&
           !(p->synced.waits && (waited || p->synced.ahead == thread))) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += HELD_BACK_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        waited = pthread_cond_timedwait(&p->synced.changed, &p->synced.lock, &until) != 0;
    }
}

static struct block *take(struct block_pool *p, size_t capacity, bool may_wait)
{
    uintptr_t thread = this_thread();
    struct block *b = NULL;
    pthread_mutex_lock(&p->synced.lock);
    if (may_wait)
        wait_for_turn_locked(p, thread);
    p->synced.out += capacity;
    if (capacity == BLOCK_SIZE && p->synced.free) {
        b = p->synced.free;
        p->synced.free = b->next;
        p->synced.free_count--;
    }
    pthread_mutex_unlock(&p->synced.lock);
    if (!b)
        b = malloc(sizeof *b + capacity);
    if (!b) {
        pthread_mutex_lock(&p->synced.lock);
        p->synced.out -= capacity;
        pthread_mutex_unlock(&p->synced.lock);
        return NULL;
    }
    b->next = NULL;
    b->capacity = capacity;
    b->length = b->rows = 0;
    b->thread = thread;
    return b;
}

bool block_writer_begin(struct block_writer *w, struct block_pool *p)
{
    struct block *b = take(p, BLOCK_SIZE, true);
    if (!b)
        return false;
    *w = (struct block_writer){.at = b->data, .end = b->data + b->capacity, .pool = p, .first = b, .last = b};
    return true;
}

uint8_t *block_writer_more(struct block_writer *w, uint8_t *at, size_t need)
{
    struct block *b = take(w->pool, need > BLOCK_SIZE ? need : BLOCK_SIZE, false);
    if (!b)
        return NULL;
    w->last->length = (size_t)(at - w->last->data);
    w->last->next = b;
    w->last = b;
    w->at = b->data;
    w->end = b->data + b->capacity;
    return w->at;
}

struct block *block_writer_end(struct block_writer *w, size_t rows)
{
    w->last->length = (size_t)(w->at - w->last->data);
    w->first->rows = rows;
    return w->first;
}

void block_writer_discard(struct block_writer *w)
{
    put_all_back(w->pool, w->first, 0);
    w->first = NULL;
}
