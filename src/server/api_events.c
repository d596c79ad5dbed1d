/* GET /downloads/:id/events: joining a download's events at any time.
 *
 * The subscriber joins the hub before the record is read, so that nothing falls between the two; was something published meanwhile, the
 * record is read again. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/api.h"
#include "server/event_text.h"

struct joining {
    struct store_task step;
    struct api *api;
    struct http_request *request;
    struct subscriber *subscriber;
    char *org;
    char id[UUID_SIZE];
    int64_t last_id; /* what the client has; 0: nothing */
    struct job job;
};

static void joining_free(struct joining *j)
{
    free(j->org);
    job_release(&j->job);
    free(j);
}

static bool call_get(struct job_store *s, struct store_task *t, struct error *e)
{
    struct joining *j = CONTAINER_OF(t, struct joining, step);
    return s->api->get(s, j->org, j->id, &j->job, e);
}

/* The download is over: its last event, unless the client has it already. */
static void reply_finished(struct joining *j)
{
    hub_drop(j->subscriber);
    if (j->last_id >= j->job.version) {
        http_reply(j->request, 204, NULL, NULL, 0);
        return;
    }
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    hub_stream_headers(j->request);
    const struct http_stream_options options = {.status = 200, .content_type = "text/event-stream", .length = -1};
    struct http_stream *s = http_stream_begin(j->request, &options);
    event_text_snapshot(&text, &j->job, 0);
    http_stream_write(s, text.data, text.len);
    buf_clear(&text);
    event_text_last(&text, &j->job);
    http_stream_write(s, text.data, text.len);
    http_stream_end(s);
}

static void follow(struct joining *j)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    if (j->last_id >= j->job.version)
        event_text_heartbeat(&text); /* it knows the record; the headers go out with this */
    else
        event_text_snapshot(&text, &j->job, j->job.version);
    hub_open(j->subscriber, j->request, &text, j->job.version, j->job.failures);
}

static void got(struct store_task *t)
{
    struct joining *j = CONTAINER_OF(t, struct joining, step);
    bool draining = j->api->draining; /* then the store may be gone */
    if (t->ok && !draining && hub_missed(j->subscriber)) {
        job_release(&j->job);
        store_threads_read(j->api->store, &j->step);
        return;
    }
    if (!t->ok || draining) {
        hub_drop(j->subscriber);
        struct error e = t->error;
        if (t->ok)
            error_set(&e, ERROR_UNAVAILABLE, "the server is shutting down");
        api_reply_error(j->request, &e);
    } else if (j->job.status == JOB_PENDING || j->job.status == JOB_PROCESSING) {
        follow(j);
    } else {
        reply_finished(j);
    }
    joining_free(j);
}

/* Last-Event-ID: a version. Anything else is no id of ours, and the client is told all. */
static int64_t last_event_id(struct http_request *r)
{
    const char *text = http_request_header(r, "Last-Event-ID");
    if (!text || !*text)
        text = http_request_query(r, "last_event_id");
    if (!text || !*text || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text))
        return 0;
    return strtoll(text, NULL, 10);
}

void api_events_follow(struct api *a, struct http_request *r, const char *id)
{
    struct api_identity who;
    if (!api_identify(a, r, &who))
        return;
    struct joining *j = calloc(1, sizeof *j);
    if (j) {
        j->org = strdup(who.org);
        j->subscriber = hub_join(a->hub, id, false);
    }
    if (!j || !j->org || !j->subscriber) {
        struct error e;
        error_set(&e, ERROR_INTERNAL, "out of memory");
        if (j && j->subscriber)
            hub_drop(j->subscriber);
        if (j)
            joining_free(j);
        http_reply_error(r, &e);
        return;
    }
    j->api = a;
    j->request = r;
    memcpy(j->id, id, sizeof j->id);
    j->last_id = last_event_id(r);
    j->step.call = call_get;
    j->step.done = got;
    store_threads_read(a->store, &j->step);
}
