#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "object/s3_internal.h"

/* A page of a listing has at most 1,000 uploads; each has a few hundred bytes, and a key twice. */
#define LIST_MAX ((size_t)2 << 20)

/* More uploads of one key are left to the next time. */
#define UPLOADS_MAX 1000
#define PAGES_MAX 20

struct s3_sweep {
    struct s3 *s3;
    struct s3_sweep *next, **link; /* in s3->sweeps */
    char *key;
    bool list, object;
    int64_t timeout_ms;
    void (*done)(void *context, const struct error *e_or_null);
    void *context;

    char *ids[UPLOADS_MAX]; /* to be aborted */
    unsigned id_count, ids_before_page, pages;
    struct s3_uploads_page page;
    struct s3_call *call;
    struct s3_call *first_call; /* made beforehand: s3_sweep_start() can still say that memory is out */
    int64_t stop_at;
    bool failed;
    struct error error;
};

static void sweep_next(struct s3_sweep *w);

static void sweep_free(struct s3_sweep *w)
{
    while (w->id_count > 0)
        free(w->ids[--w->id_count]);
    free(w->key);
    free(w);
}

static void sweep_over(struct s3_sweep *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->done(w->context, w->failed ? &w->error : NULL);
    sweep_free(w);
}

static void keep_error(struct s3_sweep *w, const struct error *e)
{
    if (!w->failed)
        w->error = *e;
    w->failed = true;
}

static void keep_error_of(struct s3_sweep *w, const struct s3_call *c)
{
    struct error e = c->error;
    if (c->passing)
        e.code = ERROR_UNAVAILABLE;
    keep_error(w, &e);
}

static bool is_absent(const struct s3_call *c)
{
    return c->status == 404 && strcmp(c->code, "NoSuchBucket") != 0;
}

static void on_upload_listed(void *context, const char *key, const char *upload_id)
{
    struct s3_sweep *w = context;
    if (strcmp(key, w->key) != 0 || w->id_count == UPLOADS_MAX)
        return;
    for (size_t i = 0; i < w->id_count; i++)
        if (strcmp(w->ids[i], upload_id) == 0)
            return; /* the one that was asked for by its id */
    char *id = strdup(upload_id);
    if (id)
        w->ids[w->id_count++] = id;
}

static void on_list(struct s3_sweep *w, const struct s3_call *c)
{
    w->list = false;
    if (!c->ok) {
        keep_error_of(w, c);
        return;
    }
    if (!s3_xml_uploads(c->answer.data ? c->answer.data : "", c->answer.len, on_upload_listed, w, &w->page)) {
        struct error e;
        error_set(&e, ERROR_STORAGE, "the S3 store lists its uploads in a way that is not understood");
        keep_error(w, &e);
        return;
    }
    w->list = w->page.more && w->page.next_key[0] && ++w->pages < PAGES_MAX;
}

enum step { STEP_LIST, STEP_ABORT, STEP_DELETE };

static enum step step_of(const struct s3_sweep *w)
{
    return w->list ? STEP_LIST : w->id_count > 0 ? STEP_ABORT : STEP_DELETE;
}

static void on_call(struct s3_call *c)
{
    struct s3_sweep *w = c->context;
    w->call = NULL;
    switch (step_of(w)) {
    case STEP_LIST:
        on_list(w, c);
        break;
    case STEP_ABORT:
        if (!c->ok && !is_absent(c))
            keep_error_of(w, c);
        free(w->ids[--w->id_count]);
        break;
    case STEP_DELETE:
        if (!c->ok && !is_absent(c))
            keep_error_of(w, c);
        w->object = false;
        break;
    }
    s3_call_free(c);
    sweep_next(w);
}

static void stop_call_in_time(struct s3_sweep *w)
{
    int64_t now = clock_monotonic_ms();
    if (w->call && w->stop_at < INT64_MAX)
        transfer_stop(w->s3->transfer, w->call, w->stop_at > now ? w->stop_at - now : 0);
}

/* One request at a time. */
static void sweep_next(struct s3_sweep *w)
{
    bool more = w->list || w->id_count > 0 || w->object;
    if (more && w->s3->closing) {
        error_set(&w->error, ERROR_UNAVAILABLE, "the store is being closed");
        w->failed = true;
        more = false;
    }
    struct s3_call *c = !more ? NULL : w->first_call ? TAKE_PTR(w->first_call) : s3_call_new();
    if (more && !c) {
        error_set(&w->error, ERROR_INTERNAL, "out of memory");
        w->failed = true;
    }
    if (!c) {
        sweep_over(w);
        return;
    }
    c->done = on_call;
    c->context = w;
    c->timeout_ms = w->timeout_ms;
    struct s3_ask *ask = &c->ask;
    switch (step_of(w)) {
    case STEP_LIST:
        ask->method = "GET";
        ask->query[ask->query_count++] = (struct sigv4_pair){"uploads", ""};
        ask->query[ask->query_count++] = (struct sigv4_pair){"prefix", w->key};
        if (w->page.more) {
            ask->query[ask->query_count++] = (struct sigv4_pair){"key-marker", w->page.next_key};
            ask->query[ask->query_count++] = (struct sigv4_pair){"upload-id-marker", w->page.next_upload_id};
        }
        c->answer_max = LIST_MAX;
        break;
    case STEP_ABORT:
        ask->method = "DELETE";
        ask->key = w->key;
        ask->query[ask->query_count++] = (struct sigv4_pair){"uploadId", w->ids[w->id_count - 1]};
        break;
    case STEP_DELETE:
        ask->method = "DELETE";
        ask->key = w->key;
        break;
    }
    w->call = c;
    transfer_submit(w->s3->transfer, c);
    stop_call_in_time(w);
}

struct s3_sweep *s3_sweep_start(struct s3 *s3, const struct s3_sweep_options *o)
{
    struct s3_sweep *w = calloc(1, sizeof *w);
    struct s3_call *first_call = s3_call_new();
    char *key = strdup(o->key), *id = o->upload_id ? strdup(o->upload_id) : NULL;
    assert((o->list || o->upload_id || o->object) && !s3->closing);
    if (!w || !first_call || !key || (o->upload_id && !id)) {
        free(w);
        s3_call_free(first_call);
        free(key);
        free(id);
        return NULL;
    }
    w->s3 = s3;
    w->first_call = first_call;
    w->key = key;
    w->list = o->list;
    w->object = o->object;
    w->timeout_ms = o->timeout_ms;
    w->done = o->done;
    w->context = o->context;
    w->stop_at = INT64_MAX;
    if (id)
        w->ids[w->id_count++] = id;
    w->next = s3->sweeps;
    w->link = &s3->sweeps;
    if (w->next)
        w->next->link = &w->next;
    s3->sweeps = w;
    sweep_next(w);
    return w;
}

void s3_sweep_stop(struct s3_sweep *w, int64_t in_ms)
{
    int64_t at = clock_monotonic_ms() + in_ms;
    if (at < w->stop_at)
        w->stop_at = at;
    stop_call_in_time(w);
}

struct s3_sweep *s3_sweep_next(struct s3_sweep *w)
{
    return w->next;
}
