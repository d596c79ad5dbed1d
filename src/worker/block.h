/* Encoded rows on their way from the engine's threads to the output: blocks of memory that are used again.
 *
 * Several threads encode at once, each a chunk of rows into a list of blocks of its own; the job thread takes the
 * lists in the order of the rows, and gives them back. How many lie between is the engine's to bound
 * (engine_stream.c): it is told what each list holds. */
#ifndef WORKER_BLOCK_H
#define WORKER_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define BLOCK_SIZE ((size_t)64 << 10) /* with its head, and more only where one value needs it: stays in a core's cache */
#define BLOCK_CAPACITY (BLOCK_SIZE - sizeof(struct block))

/* The list as far as a row goes. */
struct row_end {
    uint64_t bytes, altered;
};

struct block {
    struct block *next;
    size_t capacity, length; /* bytes of `data`: there are, are used */
    /* Of the whole list, in its first block: */
    size_t rows, held;  /* rows, bytes of memory */
    uint64_t altered;   /* cells that were guarded or cut */
    struct row_end *row_ends; /* of each row; NULL: nobody asked */
    uint8_t data[];
};

struct block_pool;

/* NULL: out of memory. */
struct block_pool *block_pool_new(void);

/* Not while a thread writes. Frees what was given back; lists that are out leave with the process. */
void block_pool_free(struct block_pool *p);

/* The list's first `rows` rows stay. It has their ends. */
void block_list_cut(struct block *list, size_t rows);

/* A list that block_writer_end() gave. Any thread. */
void block_pool_give_back(struct block_pool *p, struct block *list);

/* One thread's, for one chunk. */
struct block_writer {
    uint8_t *at;  /* the next free byte; the encoder moves it */
    uint8_t *end; /* behind the last one */
    struct block_pool *pool;
    struct block *first, *last;
    size_t held; /* bytes of memory in the list */

    /* What an encoder tells beside bytes. */
    uint64_t altered;            /* cells that are not as they were: guarded, cut */
    const struct error *refused; /* where an encoder fails because of a value; NULL: out of memory */

    uint64_t before;    /* bytes of the blocks before the last */
    struct row_end *row_ends; /* NULL: not wanted */
    size_t row_count;
};

/* Takes the first block. With `mark_rows` > 0 the ends of so many rows are noted. false: out of memory. */
bool block_writer_begin(struct block_writer *w, struct block_pool *p, size_t mark_rows);

/* Every encoder, behind each row: it ends at `at`. */
static inline void block_writer_end_row(struct block_writer *w, const uint8_t *at)
{
    if (w->row_ends)
        w->row_ends[w->row_count++] = (struct row_end){w->before + (uint64_t)(at - w->last->data), w->altered};
}

/* A further block with room for `need` bytes; what was written up to `at` stays in the one before. Returns its
 * first byte, which is w->at from then on; NULL: out of memory. */
uint8_t *block_writer_more(struct block_writer *w, uint8_t *at, size_t need);

/* `need` bytes in one piece at `at` or in a further block; NULL: out of memory. */
static inline uint8_t *block_writer_room(struct block_writer *w, uint8_t *at, size_t need)
{
    return (size_t)(w->end - at) >= need ? at : block_writer_more(w, at, need);
}

/* The list, whose bytes end at w->at. */
struct block *block_writer_end(struct block_writer *w, size_t rows);

/* After a failure: everything goes back. */
void block_writer_discard(struct block_writer *w);

#endif
