#include "worker/output.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NO_BUFFER UINT32_MAX

struct output_state {
    struct part_buffers buffers; /* `grown` is set under the lock, before the first of them is free */
    output_send_fn send;
    void *context;
    struct sha256 *hash;
    bool hash_parts;
    struct secret_scan scan;
    uint32_t current;   /* the buffer being filled, or NO_BUFFER */
    uint8_t *data;      /* its bytes */
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

bool output_init(struct output *o, struct parts *parts, bool hash_parts, output_send_fn send,
                 void *context, struct error *e)
{
    struct output_state *s = calloc(1, sizeof *s);
    struct sha256 *hash = sha256_new();
    if (!s || !hash) {
        free(s);
        sha256_free(hash);
        return error_set(e, ERROR_MEMORY, "out of memory");
    }
    s->buffers.first = parts;
    s->send = send;
    s->context = context;
    s->hash = hash;
    s->hash_parts = hash_parts;
    s->current = NO_BUFFER;
    pthread_mutex_init(&s->synced.lock, NULL);
    pthread_cond_init(&s->synced.changed, NULL);
    s->synced.free = s->synced.usable = UINT64_MAX >> (64 - parts->count);
    *o = (struct output){.state = s};
    return true;
}

void output_release(struct output *o)
{
    struct output_state *s = o->state;
    if (!s)
        return;
    pthread_cond_destroy(&s->synced.changed);
    pthread_mutex_destroy(&s->synced.lock);
    sha256_free(s->hash);
    free(s);
    *o = (struct output){0};
}

void output_watch(struct output *o, const struct secret_patterns *secrets)
{
    secret_scan_init(&o->state->scan, secrets);
}

static size_t filled(const struct output *o)
{
    return o->state->current == NO_BUFFER ? 0 : (size_t)(o->at - o->state->data);
}

/* Announces the current buffer; it is the server's from then on. */
static bool hand_over(struct output *o, struct error *e)
{
    struct output_state *s = o->state;
    size_t length = filled(o);
    uint32_t index = s->current;
    const uint8_t *data = s->data;
    uint8_t digest[SHA256_BYTES];
    if (secret_scan_feed(&s->scan, data, length))
        return error_set(e, ERROR_SECRET, "the result contains the access token of the data source");
    sha256_update(s->hash, data, length);
    if (s->hash_parts && !sha256_of(data, length, digest))
        return error_set(e, ERROR_MEMORY, "out of memory");

    /* Marked first: the answer may be there before send() returns. */
    pthread_mutex_lock(&s->synced.lock);
    s->synced.away |= 1ull << index;
    pthread_mutex_unlock(&s->synced.lock);
    s->current = NO_BUFFER;
    s->announced += length;
    o->at = o->end = NULL;
    return s->send(s->context, index, length, s->hash_parts ? digest : NULL, e);
}

/* Takes a free buffer, and waits for one. */
static bool take_buffer(struct output *o, struct error *e)
{
    struct output_state *s = o->state;
    pthread_mutex_lock(&s->synced.lock);
    while (!s->synced.free && !s->synced.cancelled)
        pthread_cond_wait(&s->synced.changed, &s->synced.lock);
    bool cancelled = s->synced.cancelled;
    const struct parts *parts = NULL;
    uint32_t place = 0;
    if (!cancelled) {
        s->current = (uint32_t)__builtin_ctzll(s->synced.free);
        s->synced.free &= ~(1ull << s->current);
        parts = part_buffers_find(&s->buffers, s->current, &place);
    }
    pthread_mutex_unlock(&s->synced.lock);
    if (cancelled)
        return error_set(e, ERROR_CANCELLED, "the download was cancelled");
    s->data = parts_buffer(parts, place);
    o->at = s->data;
    o->end = o->at + parts->size;
    return true;
}

bool output_write_slowly(struct output *o, const void *data, size_t length, struct error *e)
{
    const char *from = data;
    while (length > 0) {
        if (o->at == o->end) {
            if (o->state->current != NO_BUFFER && !hand_over(o, e))
                return false;
            if (!take_buffer(o, e))
                return false;
        }
        size_t n = (size_t)(o->end - o->at);
        if (n > length)
            n = length;
        memcpy(o->at, from, n);
        o->at += n;
        from += n;
        length -= n;
    }
    return true;
}

bool output_finish(struct output *o, uint8_t ret_digest[SHA256_BYTES], struct error *e)
{
    if (filled(o) > 0 && !hand_over(o, e))
        return false;
    sha256_final(o->state->hash, ret_digest);
    return true;
}

uint64_t output_bytes(const struct output *o)
{
    return o->state->announced + filled(o);
}

bool output_free_buffer(struct output *o, uint32_t index)
{
    struct output_state *s = o->state;
    if (index >= PARTS_MAX_BUFFERS)
        return false;
    uint64_t bit = 1ull << index;
    pthread_mutex_lock(&s->synced.lock);
    bool was_away = s->synced.away & bit;
    if (was_away) {
        s->synced.away &= ~bit;
        s->synced.free |= bit & s->synced.usable;
        pthread_cond_signal(&s->synced.changed);
    }
    pthread_mutex_unlock(&s->synced.lock);
    return was_away;
}

bool output_grow(struct output *o, struct parts *grown)
{
    struct output_state *s = o->state;
    uint32_t first = s->buffers.first->count;
    if (s->buffers.grown || first + grown->count > PARTS_MAX_BUFFERS)
        return false;
    pthread_mutex_lock(&s->synced.lock);
    s->buffers.grown = grown;
    s->synced.usable = (UINT64_MAX >> (64 - grown->count)) << first;
    s->synced.free = s->synced.usable;
    pthread_cond_signal(&s->synced.changed);
    pthread_mutex_unlock(&s->synced.lock);
    return true;
}

void output_cancel(struct output *o)
{
    struct output_state *s = o->state;
    pthread_mutex_lock(&s->synced.lock);
    s->synced.cancelled = true;
    pthread_cond_signal(&s->synced.changed);
    pthread_mutex_unlock(&s->synced.lock);
}
