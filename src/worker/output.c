#include "worker/output.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256_pair.h"

#define NO_BUFFER UINT32_MAX

struct output {
    struct part_buffers buffers; /* `grown` is set under the lock, before the first of them is free */
    output_send_fn send;
    void *context;
    struct sha256_pair *hashes;
    bool hash_parts;
    struct secret_scan scan, scan_before; /* of what is written; of what that was before */
    uint32_t current; /* the buffer being filled, or NO_BUFFER */
    uint8_t *data;    /* its bytes: */
    size_t filled, size;
    uint64_t announced; /* bytes of all parts sent */

    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed; /* a buffer became free, or cancelled */
        uint64_t free;          /* a bit per buffer that neither side uses; PARTS_MAX_BUFFERS is 64 */
        uint64_t away;          /* a bit per buffer that the server has */
        uint64_t usable;        /* a bit per buffer that may be filled (again) */
        bool cancelled;
    } synced;
};

struct output *output_new(struct parts *parts, bool hash_parts, output_send_fn send, void *context, struct error *e)
{
    struct output *o = calloc(1, sizeof *o);
    if (!o || !(o->hashes = sha256_pair_new(hash_parts))) {
        error_set(e, ERROR_MEMORY, "out of memory");
        output_free(o);
        return NULL;
    }
    o->hash_parts = hash_parts;
    o->buffers.first = parts;
    o->send = send;
    o->context = context;
    o->current = NO_BUFFER;
    pthread_mutex_init(&o->synced.lock, NULL);
    pthread_cond_init(&o->synced.changed, NULL);
    o->synced.free = o->synced.usable = UINT64_MAX >> (64 - parts->count);
    return o;
}

void output_free(struct output *o)
{
    if (!o)
        return;
    pthread_cond_destroy(&o->synced.changed);
    pthread_mutex_destroy(&o->synced.lock);
    sha256_pair_free(o->hashes);
    free(o);
}

void output_watch(struct output *o, const struct secret_patterns *secrets)
{
    secret_scan_init(&o->scan, secrets);
    secret_scan_init(&o->scan_before, secrets);
}

static bool fail_secret(struct error *e)
{
    return error_set(e, ERROR_SECRET, "the result contains the access token of the data source");
}

bool output_scan(struct output *o, const void *data, size_t length, struct error *e)
{
    return !secret_scan_feed(&o->scan_before, data, length) || fail_secret(e);
}

/* Announces the current buffer; it is the server's from then on. */
static bool hand_over(struct output *o, struct error *e)
{
    size_t length = o->filled;
    uint32_t index = o->current;
    uint8_t digest[SHA256_BYTES];
    if (secret_scan_feed(&o->scan, o->data, length))
        return fail_secret(e);
    if (o->hash_parts)
        sha256_pair_cut(o->hashes, digest);

    /* Marked first: the answer may be there before send() returns. */
    pthread_mutex_lock(&o->synced.lock);
    o->synced.away |= 1ull << index;
    pthread_mutex_unlock(&o->synced.lock);
    o->current = NO_BUFFER;
    o->announced += length;
    o->filled = o->size = 0;
    return o->send(o->context, index, length, o->hash_parts ? digest : NULL, e);
}

/* Takes a free buffer, and waits for one. */
static bool take_buffer(struct output *o, struct error *e)
{
    pthread_mutex_lock(&o->synced.lock);
    while (!o->synced.free && !o->synced.cancelled)
        pthread_cond_wait(&o->synced.changed, &o->synced.lock);
    bool cancelled = o->synced.cancelled;
    const struct parts *parts = NULL;
    uint32_t place = 0;
    if (!cancelled) {
        o->current = (uint32_t)__builtin_ctzll(o->synced.free);
        o->synced.free &= ~(1ull << o->current);
        parts = part_buffers_find(&o->buffers, o->current, &place);
    }
    pthread_mutex_unlock(&o->synced.lock);
    if (cancelled)
        return error_set(e, ERROR_CANCELLED, "the download was cancelled");
    o->data = parts_buffer(parts, place);
    o->filled = 0;
    o->size = parts->size;
    return true;
}

bool output_write(struct output *o, const void *data, size_t length, struct error *e)
{
    const uint8_t *from = data;
    while (length > 0) {
        if (o->filled == o->size && ((o->current != NO_BUFFER && !hand_over(o, e)) || !take_buffer(o, e)))
            return false;
        size_t n = o->size - o->filled;
        n = n < length ? n : length;
        sha256_pair_copy(o->hashes, o->data + o->filled, from, n);
        o->filled += n;
        from += n;
        length -= n;
    }
    return true;
}

bool output_finish(struct output *o, uint8_t ret_digest[SHA256_BYTES], struct error *e)
{
    if (o->filled > 0 && !hand_over(o, e))
        return false;
    sha256_pair_final(o->hashes, ret_digest);
    return true;
}

uint64_t output_bytes(const struct output *o)
{
    return o->announced + o->filled;
}

bool output_free_buffer(struct output *o, uint32_t index)
{
    if (index >= PARTS_MAX_BUFFERS)
        return false;
    uint64_t bit = 1ull << index;
    pthread_mutex_lock(&o->synced.lock);
    bool was_away = o->synced.away & bit;
    if (was_away) {
        o->synced.away &= ~bit;
        o->synced.free |= bit & o->synced.usable;
        pthread_cond_signal(&o->synced.changed);
    }
    pthread_mutex_unlock(&o->synced.lock);
    return was_away;
}

bool output_grow(struct output *o, struct parts *grown)
{
    uint32_t first = o->buffers.first->count;
    if (o->buffers.grown || first + grown->count > PARTS_MAX_BUFFERS)
        return false;
    pthread_mutex_lock(&o->synced.lock);
    o->buffers.grown = grown;
    o->synced.usable = (UINT64_MAX >> (64 - grown->count)) << first;
    o->synced.free = o->synced.usable;
    pthread_cond_signal(&o->synced.changed);
    pthread_mutex_unlock(&o->synced.lock);
    return true;
}

void output_cancel(struct output *o)
{
    pthread_mutex_lock(&o->synced.lock);
    o->synced.cancelled = true;
    pthread_cond_signal(&o->synced.changed);
    pthread_mutex_unlock(&o->synced.lock);
}
