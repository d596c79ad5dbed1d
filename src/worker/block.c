#include "worker/block.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Blocks are made several at a time, in memory of one huge page (of x86-64, and mostly of arm64): 512 page faults
 * less. Not the first ones: a small job would clear more memory than it writes. */
#define SLAB_SIZE ((size_t)2 << 20)
#define SLAB_BLOCKS (SLAB_SIZE / sizeof(struct whole_block))
#define SINGLE_BLOCKS 32

struct whole_block {
    struct block block;
    uint8_t data[BLOCK_SIZE - sizeof(struct block)];
};

_Static_assert(sizeof(struct whole_block) == BLOCK_SIZE, "blocks fill a slab");

/* What was allocated, to be freed. */
struct memory {
    struct memory *next;
    struct whole_block *blocks;
    bool single; /* of malloc(), not a slab */
};

struct block_pool {
    struct {
        pthread_mutex_t lock;
        struct block *free; /* the last one given back comes first: it is in some cache */
        struct memory *memory;
        size_t made; /* allocations for blocks of the usual size */
    } synced;
};

struct block_pool *block_pool_new(void)
{
    struct block_pool *p = calloc(1, sizeof *p);
    if (p)
        pthread_mutex_init(&p->synced.lock, NULL);
    return p;
}

/* aligned_alloc() would keep what lies before the slab and behind it, as much again, and all counts for RLIMIT_DATA. */
static struct whole_block *map_slab(void)
{
    uint8_t *begin = mmap(NULL, 2 * SLAB_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (begin == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)begin % SLAB_SIZE;
    if (before > 0)
        munmap(begin, before);
    munmap(begin + before + SLAB_SIZE, SLAB_SIZE - before);
    madvise(begin + before, SLAB_SIZE, MADV_HUGEPAGE); /* without huge pages it is only slower */
    return (struct whole_block *)(begin + before);
}

static void release_blocks(struct whole_block *blocks, bool single)
{
    if (single)
        free(blocks);
    else if (blocks)
        munmap(blocks, SLAB_SIZE);
}

void block_pool_free(struct block_pool *p)
{
    if (!p)
        return;
    for (struct memory *m = p->synced.memory, *next; m; m = next) {
        next = m->next;
        release_blocks(m->blocks, m->single);
        free(m);
    }
    pthread_mutex_destroy(&p->synced.lock);
    free(p);
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
    free(b->row_ends);
    if (b->capacity > BLOCK_CAPACITY)
        free(b);
    else
        make_free_locked(p, b);
    return next;
}

void block_pool_give_back(struct block_pool *p, struct block *list)
{
    pthread_mutex_lock(&p->synced.lock);
    while (list)
        list = put_back_locked(p, list);
    pthread_mutex_unlock(&p->synced.lock);
}

/* Blocks of the usual size, one of them for the caller. */
static struct block *make_blocks_locked(struct block_pool *p)
{
    bool single = p->synced.made < SINGLE_BLOCKS;
    struct memory *m = malloc(sizeof *m);
    struct whole_block *blocks = single ? malloc(sizeof *blocks) : map_slab();
    if (!m || !blocks) {
        free(m);
        release_blocks(blocks, single);
        return NULL;
    }
    *m = (struct memory){.next = p->synced.memory, .blocks = blocks, .single = single};
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

static struct block *take(struct block_pool *p, size_t capacity)
{
    struct block *b;
    if (capacity > BLOCK_CAPACITY) {
        b = malloc(sizeof *b + capacity);
    } else {
        pthread_mutex_lock(&p->synced.lock);
        b = take_usual_locked(p);
        pthread_mutex_unlock(&p->synced.lock);
    }
    if (b)
        *b = (struct block){.capacity = capacity};
    return b;
}

bool block_writer_begin(struct block_writer *w, struct block_pool *p, size_t mark_rows)
{
    struct block *b = take(p, BLOCK_CAPACITY);
    if (b && mark_rows > 0 && !(b->row_ends = malloc(mark_rows * sizeof *b->row_ends))) {
        block_pool_give_back(p, b);
        return false;
    }
    if (!b)
        return false;
    *w = (struct block_writer){.at = b->data,
                               .end = b->data + b->capacity,
                               .pool = p,
                               .first = b,
                               .last = b,
                               .held = b->capacity + mark_rows * sizeof *b->row_ends,
                               .row_ends = b->row_ends};
    return true;
}

uint8_t *block_writer_more(struct block_writer *w, uint8_t *at, size_t need)
{
    struct block *b = take(w->pool, need > BLOCK_CAPACITY ? need : BLOCK_CAPACITY);
    if (!b)
        return NULL;
    w->last->length = (size_t)(at - w->last->data);
    w->before += w->last->length;
    w->last->next = b;
    w->last = b;
    w->held += b->capacity;
    w->at = b->data;
    w->end = b->data + b->capacity;
    return w->at;
}

struct block *block_writer_end(struct block_writer *w, size_t rows)
{
    w->last->length = (size_t)(w->at - w->last->data);
    w->first->rows = rows;
    w->first->held = w->held;
    w->first->altered = w->altered;
    return w->first;
}

void block_list_cut(struct block *list, size_t rows)
{
    const struct row_end end = rows > 0 ? list->row_ends[rows - 1] : (struct row_end){0};
    uint64_t bytes = end.bytes;
    list->rows = rows;
    list->altered = end.altered;
    for (struct block *b = list; b; b = b->next) {
        if (b->length > bytes)
            b->length = (size_t)bytes;
        bytes -= b->length;
    }
}

void block_writer_discard(struct block_writer *w)
{
    block_pool_give_back(w->pool, w->first);
    w->first = NULL;
}
