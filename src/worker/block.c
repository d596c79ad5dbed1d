#include "worker/block.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* Blocks are made several at a time, in memory of one huge page (of x86-64, and mostly of arm64): 512 page faults
 * less. Not the first ones: a small job would clear more memory than it writes. */
#define SLAB_SIZE ((size_t)2 << 20)
#define SLAB_BLOCKS (SLAB_SIZE / sizeof(struct whole_block))
#define SINGLE_BLOCKS 8

struct whole_block {
    struct block block;
    uint8_t data[BLOCK_SIZE - sizeof(struct block)];
};

_Static_assert(sizeof(struct whole_block) == BLOCK_SIZE, "blocks fill a slab");

/* What was allocated, to be freed. */
struct memory {
    struct memory *next;
    void *blocks;
};

/* A thread beyond the limit may hold just what the job thread waits for. Mostly that is the thread whose rows came
 * last; where it is another one, it goes on after this time. */
#define HELD_BACK_NS 5000000

struct block_pool {
    uintptr_t job_thread;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct block *free; /* the last one given back comes first: it is in some cache */
        struct memory *memory;
        size_t made; /* allocations for blocks of the usual size */
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
    for (struct memory *m = p->synced.memory, *next; m; m = next) {
        next = m->next;
        free(m->blocks);
        free(m);
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

static void make_free_locked(struct block_pool *p, struct block *b)
{
    b->next = p->synced.free;
    p->synced.free = b;
}

/* Larger ones are not kept: they are rare, and would never be small again. Returns the next one. */
static struct block *put_back_locked(struct block_pool *p, struct block *b)
{
    struct block *next = b->next;
    p->synced.out -= b->capacity;
    if (b->capacity > BLOCK_CAPACITY)
        free(b);
    else
        make_free_locked(p, b);
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

/* Blocks of the usual size, one of them for the caller. */
static struct block *make_blocks_locked(struct block_pool *p)
{
    bool single = p->synced.made < SINGLE_BLOCKS;
    struct memory *m = malloc(sizeof *m);
    struct whole_block *blocks = single ? malloc(sizeof *blocks) : aligned_alloc(SLAB_SIZE, SLAB_SIZE);
    if (!m || !blocks) {
        free(m);
        free(blocks);
        return NULL;
    }
    if (!single)
        madvise(blocks, SLAB_SIZE, MADV_HUGEPAGE); /* without huge pages it is only slower */
    *m = (struct memory){.next = p->synced.memory, .blocks = blocks};
    p->synced.memory = m;
    p->synced.made++;
    for (size_t i = 1; i < (single ? 1 : SLAB_BLOCKS); i++)
        make_free_locked(p, &blocks[i].block);
    return &blocks[0].block;
}

static struct block *take_usual_locked(struct block_pool *p)
{
    struct block *b = p->synced.free;
    if (!b)
        return make_blocks_locked(p);
    p->synced.free = b->next;
    return b;
}

static struct block *take(struct block_pool *p, size_t capacity, bool may_wait)
{
    uintptr_t thread = this_thread();
    pthread_mutex_lock(&p->synced.lock);
    if (may_wait)
        wait_for_turn_locked(p, thread);
    struct block *b = capacity > BLOCK_CAPACITY ? malloc(sizeof *b + capacity) : take_usual_locked(p);
    if (b)
        p->synced.out += capacity;
    pthread_mutex_unlock(&p->synced.lock);
    if (b)
        *b = (struct block){.capacity = capacity, .thread = thread};
    return b;
}

bool block_writer_begin(struct block_writer *w, struct block_pool *p)
{
    struct block *b = take(p, BLOCK_CAPACITY, true);
    if (!b)
        return false;
    *w = (struct block_writer){.at = b->data, .end = b->data + b->capacity, .pool = p, .first = b, .last = b};
    return true;
}

uint8_t *block_writer_more(struct block_writer *w, uint8_t *at, size_t need)
{
    struct block *b = take(w->pool, need > BLOCK_CAPACITY ? need : BLOCK_CAPACITY, false);
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
