#include "worker/deflate_pool.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* Larger ones gain 0.4 % of the file and cost memory; smaller ones begin with an empty window too often
 * (docs/decisions/compression.md). */
#define PIECE_SIZE ((size_t)256 << 10)

/* What the library cannot compress it stores, in blocks of up to 64 KiB with 5 bytes each; it has room for more. */
#define PIECE_OUT_SIZE (PIECE_SIZE + PIECE_SIZE / 16 + 1024)

/* Behind the input: the library's vectors may look, but take nothing from there. */
#define SLACK 64

#define LEVEL 2
#define LEVEL_BUFFER_SIZE ISAL_DEF_LVL2_DEFAULT

/* More would outrun the thread that takes the results; and each takes memory that the engine does not know of. */
#define THREADS_MAX 16

/* The library's needs are on the heap. The usual 8 MiB each would count as memory of the process. */
#define STACK_SIZE ((size_t)256 << 10)

struct piece {
    size_t in_length, out_length;
    int status; /* the library's: 0 is success */
    bool done;  /* under the lock */
    uint8_t in[PIECE_SIZE + SLACK], out[PIECE_OUT_SIZE];
};

struct helper {
    struct deflate_pool *pool;
    pthread_t thread;
    struct isal_zstream stream;
    uint8_t level_buffer[LEVEL_BUFFER_SIZE];
};

struct deflate_pool {
    deflate_take_fn *take;
    void *context;
    uint32_t threads; /* at most */

    /* A ring: piece number n, counted over all streams, lies in n % piece_count. The caller's thread fills the one
     * numbered `submitted`, and has taken those before `taken`. */
    struct piece **pieces;
    uint32_t piece_count;
    uint64_t taken;

    struct deflate_sums sums; /* of this stream */

    struct helper *helpers[THREADS_MAX];
    uint32_t helper_count;

    struct {
        pthread_mutex_t lock;
        pthread_cond_t work, done; /* for the helpers; for the caller's thread */
        uint64_t submitted;        /* pieces that a helper may take; only the caller's thread changes it */
        uint64_t started;          /* that one took */
        uint64_t cpu_ns;
        bool stopping;
    } synced;
};

/* --- the helpers --- */

static void compress_piece(struct helper *h, struct piece *p)
{
    struct isal_zstream *z = &h->stream;
    /* What the library finds in its own memory decides, now and then, between matches of equal worth. */
    memset(z, 0, sizeof *z);
    memset(h->level_buffer, 0, sizeof h->level_buffer);
    memset(p->in + p->in_length, 0, SLACK);
    isal_deflate_stateless_init(z);
    z->level = LEVEL;
    z->level_buf = h->level_buffer;
    z->level_buf_size = sizeof h->level_buffer;
    z->flush = FULL_FLUSH; /* ends at a whole byte, and nothing behind refers to it */
    z->next_in = p->in;
    z->avail_in = (uint32_t)p->in_length;
    z->next_out = p->out;
    z->avail_out = sizeof p->out;
    p->status = isal_deflate_stateless(z);
    if (p->status == COMP_OK && z->avail_in > 0)
        p->status = STATELESS_OVERFLOW;
    p->out_length = z->total_out;
}

static void *help(void *context)
{
    struct helper *h = context;
    struct deflate_pool *d = h->pool;
    int64_t cpu_ns = 0;
    pthread_mutex_lock(&d->synced.lock);
    for (;;) {
        while (!d->synced.stopping && d->synced.started == d->synced.submitted)
            pthread_cond_wait(&d->synced.work, &d->synced.lock);
        if (d->synced.stopping)
            break;
        struct piece *p = d->pieces[d->synced.started++ % d->piece_count];
        pthread_mutex_unlock(&d->synced.lock);
        compress_piece(h, p);
        int64_t now = clock_thread_cpu_ns();
        pthread_mutex_lock(&d->synced.lock);
        d->synced.cpu_ns += (uint64_t)(now - cpu_ns);
        cpu_ns = now;
        p->done = true;
        pthread_cond_signal(&d->synced.done);
    }
    pthread_mutex_unlock(&d->synced.lock);
    return NULL;
}

static bool start_thread(pthread_t *ret_thread, void *(*run)(void *), void *context, struct error *e)
{
    pthread_attr_t attributes;
    int status = pthread_attr_init(&attributes);
    if (status == 0) {
        status = pthread_attr_setstacksize(&attributes, STACK_SIZE);
        if (status == 0)
            status = pthread_create(ret_thread, &attributes, run, context);
        pthread_attr_destroy(&attributes);
    }
    return status == 0 || error_set(e, ERROR_MEMORY, "out of memory: no thread can be had");
}

static bool add_helper(struct deflate_pool *d, struct error *e)
{
    struct helper *h = malloc(sizeof *h);
    if (!h)
        return error_set(e, ERROR_MEMORY, "out of memory");
    h->pool = d;
    if (!start_thread(&h->thread, help, h, e)) {
        free(h);
        return false;
    }
    d->helpers[d->helper_count++] = h;
    return true;
}

/* --- the caller's thread --- */

static struct piece *current(struct deflate_pool *d)
{
    return d->pieces[d->synced.submitted % d->piece_count];
}

static bool take_bytes(struct deflate_pool *d, const void *data, size_t length, struct error *e)
{
    d->sums.out += length;
    return d->take(d->context, data, length, e);
}

static bool is_done(struct deflate_pool *d, struct piece *p, bool wait)
{
    pthread_mutex_lock(&d->synced.lock);
    while (wait && !p->done)
        pthread_cond_wait(&d->synced.done, &d->synced.lock);
    bool done = p->done;
    pthread_mutex_unlock(&d->synced.lock);
    return done;
}

/* Takes what is done, in order, and waits for the pieces before number `until`. */
static bool take_done(struct deflate_pool *d, uint64_t until, struct error *e)
{
    while (d->taken < d->synced.submitted) {
        struct piece *p = d->pieces[d->taken % d->piece_count];
        if (!is_done(d, p, d->taken < until))
            return true;
        if (p->status != COMP_OK)
            return error_set(e, ERROR_INTERNAL, "cannot compress (%d)", p->status);
        d->taken++;
        if (!take_bytes(d, p->out, p->out_length, e))
            return false;
    }
    return true;
}

/* The current piece is complete. Then there is room for another one. */
static bool submit(struct deflate_pool *d, struct error *e)
{
    struct piece *p = current(d);
    d->sums.in += p->in_length;
    d->sums.crc32 = crc32_gzip_refl(d->sums.crc32, p->in, p->in_length);
    pthread_mutex_lock(&d->synced.lock);
    p->done = false;
    d->synced.submitted++;
    pthread_cond_signal(&d->synced.work);
    pthread_mutex_unlock(&d->synced.lock);
    uint64_t submitted = d->synced.submitted;
    if (!take_done(d, submitted < d->piece_count ? 0 : submitted - d->piece_count + 1, e))
        return false;
    struct error ignored; /* the first helper is there: without a further one it takes longer */
    if (submitted - d->taken > d->helper_count && d->helper_count < d->threads)
        (void)!add_helper(d, &ignored);
    current(d)->in_length = 0;
    return true;
}

static bool add_pieces(struct deflate_pool *d)
{
    uint32_t count = 2 * d->threads + 1; /* each helper has one, another waits for it; one is being filled */
    d->pieces = calloc(count, sizeof *d->pieces);
    for (; d->pieces && d->piece_count < count; d->piece_count++) {
        struct piece *p = malloc(sizeof *p);
        if (!p)
            return false;
        p->in_length = 0;
        d->pieces[d->piece_count] = p;
    }
    return d->pieces != NULL;
}

struct deflate_pool *deflate_pool_new(uint32_t threads, deflate_take_fn *take, void *context, struct error *e)
{
    struct deflate_pool *d = calloc(1, sizeof *d);
    if (!d) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    d->take = take;
    d->context = context;
    d->threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    pthread_mutex_init(&d->synced.lock, NULL);
    pthread_cond_init(&d->synced.work, NULL);
    pthread_cond_init(&d->synced.done, NULL);
    if (!add_pieces(d))
        error_set(e, ERROR_MEMORY, "out of memory");
    else if (add_helper(d, e))
        return d;
    deflate_pool_free(d);
    return NULL;
}

bool deflate_pool_write(struct deflate_pool *d, const void *data, size_t length, struct error *e)
{
    const uint8_t *from = data;
    while (length > 0) {
        struct piece *p = current(d);
        size_t n = PIECE_SIZE - p->in_length;
        n = n < length ? n : length;
        memcpy(p->in + p->in_length, from, n);
        p->in_length += n;
        from += n;
        length -= n;
        if (p->in_length == PIECE_SIZE && !submit(d, e))
            return false;
    }
    return true;
}

bool deflate_pool_finish(struct deflate_pool *d, struct deflate_sums *ret, struct error *e)
{
    static const uint8_t last_block[] = {0x03, 0x00}; /* BFINAL, fixed codes, end of block: RFC 1951, 3.2.3 and 3.2.6 */
    if ((current(d)->in_length > 0 && !submit(d, e)) || !take_done(d, d->synced.submitted, e) ||
        !take_bytes(d, last_block, sizeof last_block, e))
        return false;
    *ret = d->sums;
    d->sums = (struct deflate_sums){0};
    return true;
}

void deflate_pool_free(struct deflate_pool *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&d->synced.lock);
    d->synced.stopping = true;
    pthread_cond_broadcast(&d->synced.work);
    pthread_mutex_unlock(&d->synced.lock);
    for (uint32_t i = 0; i < d->helper_count; i++) {
        pthread_join(d->helpers[i]->thread, NULL);
        free(d->helpers[i]);
    }
    for (uint32_t i = 0; i < d->piece_count; i++)
        free(d->pieces[i]);
    free(d->pieces);
    pthread_cond_destroy(&d->synced.done);
    pthread_cond_destroy(&d->synced.work);
    pthread_mutex_destroy(&d->synced.lock);
    free(d);
}

uint64_t deflate_pool_cpu_ns(const struct deflate_pool *pool)
{
    struct deflate_pool *d = (struct deflate_pool *)pool;
    pthread_mutex_lock(&d->synced.lock);
    uint64_t cpu_ns = d->synced.cpu_ns;
    pthread_mutex_unlock(&d->synced.lock);
    return cpu_ns;
}
