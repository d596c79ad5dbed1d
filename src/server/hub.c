#include "server/hub.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/digest.h"
#include "server/event_text.h"

struct topic {
    char id[UUID_SIZE]; /* the key of hub.topics */
    LIST_HEAD(, subscriber) subscribers;
    struct hub_told told;
};

struct subscriber {
    LIST_ENTRY(subscriber) in_topic, in_hub;
    struct hub *hub;
    struct topic *topic;
    struct http_stream *stream; /* NULL: not open */
    int64_t version;            /* of the newest record that it was told */
    bool is_poster, missed;
};

struct hub {
    void *topics; /* tree of <search.h>, by id */
    LIST_HEAD(, subscriber) subscribers;
    size_t count;
    struct event *heartbeat;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct topic *)a)->id, ((const struct topic *)b)->id);
}

static struct topic *find_topic(const struct hub *h, const char *id)
{
    struct topic key;
    snprintf(key.id, sizeof key.id, "%s", id);
    struct topic **found = tfind(&key, &h->topics, compare);
    return found ? *found : NULL;
}

static struct topic *make_topic(struct hub *h, const char *id)
{
    struct topic *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    snprintf(t->id, sizeof t->id, "%s", id);
    LIST_INIT(&t->subscribers);
    if (!tsearch(t, &h->topics, compare)) {
        free(t);
        return NULL;
    }
    return t;
}

struct subscriber *hub_join(struct hub *h, const char *id, bool is_poster)
{
    struct subscriber *s = calloc(1, sizeof *s);
    struct topic *t = s ? find_topic(h, id) : NULL;
    if (s && !t)
        t = make_topic(h, id);
    if (!t) {
        free(s);
        return NULL;
    }
    s->hub = h;
    s->topic = t;
    s->is_poster = is_poster;
    LIST_INSERT_HEAD(&t->subscribers, s, in_topic);
    LIST_INSERT_HEAD(&h->subscribers, s, in_hub);
    h->count++;
    return s;
}

void hub_drop(struct subscriber *s)
{
    struct hub *h = s->hub;
    struct topic *t = s->topic;
    LIST_REMOVE(s, in_topic);
    LIST_REMOVE(s, in_hub);
    h->count--;
    free(s);
    if (LIST_EMPTY(&t->subscribers)) {
        tdelete(t, &h->topics, compare);
        free(t);
    }
}

static void on_closed(void *context)
{
    hub_drop(context);
}

bool hub_missed(struct subscriber *s)
{
    bool missed = s->missed;
    s->missed = false;
    return missed;
}

static void know(struct topic *t, int64_t version)
{
    if (version > t->told.version)
        t->told.version = version;
}

void hub_stream_headers(struct http_request *r)
{
    http_response_header(r, "Cache-Control", "no-cache");
    http_response_header(r, "X-Accel-Buffering", "no"); /* nginx would hold events back */
    http_response_header(r, "Connection", "close");
}

void hub_open(struct subscriber *s, struct http_request *r, const struct buf *first, int64_t version, uint32_t failures)
{
    hub_stream_headers(r);
    const struct http_stream_options options = {
        .status = 200, .content_type = "text/event-stream", .length = -1, .closed = on_closed, .context = s};
    s->stream = http_stream_begin(r, &options);
    s->version = version;
    know(s->topic, version);
    if (failures > s->topic->told.failures)
        s->topic->told.failures = failures;
    http_stream_write(s->stream, first->data, first->len);
}

bool hub_has_subscribers(const struct hub *h, const char *id)
{
    return find_topic(h, id) != NULL;
}

size_t hub_subscriber_count(const struct hub *h)
{
    return h->count;
}

static void end_stream(struct subscriber *s)
{
    http_stream_end(s->stream);
    hub_drop(s);
}

static void tell(struct subscriber *s, enum hub_kind kind, int64_t version, const struct buf *text)
{
    if (!s->stream) {
        s->missed |= kind != HUB_PROGRESS;
        return;
    }
    if (version > 0 && version <= s->version)
        return;
    if (version > 0)
        s->version = version;
    size_t pending = http_stream_pending(s->stream);
    if (kind == HUB_PROGRESS && pending > HUB_SLOW_BYTES)
        return;
    if (pending + text->len > HUB_PENDING_MAX) {
        http_stream_abort(s->stream);
        hub_drop(s);
        return;
    }
    http_stream_write(s->stream, text->data, text->len);
    if (kind == HUB_FINAL)
        end_stream(s);
}

void hub_publish(struct hub *h, const char *id, enum hub_kind kind, int64_t version, const struct buf *text)
{
    struct topic *t = find_topic(h, id);
    if (!t || !buf_ok(text))
        return;
    know(t, version);
    /* The topic goes with its last subscriber: `next` is taken first, and nothing of the topic is used behind the loop. */
    for (struct subscriber *s = LIST_FIRST(&t->subscribers), *next; s; s = next) {
        next = LIST_NEXT(s, in_topic);
        tell(s, kind, version, text);
    }
}

void hub_publish_deleted(struct hub *h, const char *id)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_error(&text, id, "cancelled");
    hub_publish(h, id, HUB_FINAL, 0, &text);
}

struct hub_told *hub_told(const struct hub *h, const char *id)
{
    struct topic *t = find_topic(h, id);
    return t ? &t->told : NULL;
}

struct visit {
    void (*call)(void *context, const char *id, struct hub_told *told);
    void *context;
};

static void visit_node(const void *node, VISIT order, void *arg)
{
    struct topic *t = *(struct topic *const *)node;
    const struct visit *v = arg;
    if (order == postorder || order == leaf)
        v->call(v->context, t->id, &t->told);
}

void hub_each(const struct hub *h, void (*visit)(void *context, const char *id, struct hub_told *told), void *context)
{
    twalk_r(h->topics, visit_node, &(struct visit){visit, context});
}

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct hub *h = arg;
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_heartbeat(&text);
    for (struct subscriber *s = LIST_FIRST(&h->subscribers), *next; s; s = next) {
        next = LIST_NEXT(s, in_hub);
        if (s->stream)
            tell(s, HUB_PROGRESS, 0, &text);
    }
}

void hub_end_all(struct hub *h)
{
    for (struct subscriber *s = LIST_FIRST(&h->subscribers), *next; s; s = next) {
        next = LIST_NEXT(s, in_hub);
        if (!s->stream)
            continue;
        _cleanup_buf_ struct buf text;
        buf_init(&text, EVENT_TEXT_MAX);
        if (s->is_poster)
            event_text_handed_over(&text, s->topic->id);
        else
            event_text_restart(&text);
        tell(s, HUB_FINAL, 0, &text);
    }
}

struct hub *hub_new(struct event_base *base, struct error *e)
{
    struct hub *h = calloc(1, sizeof *h);
    if (h) {
        LIST_INIT(&h->subscribers);
        h->heartbeat = event_new(base, -1, EV_PERSIST, on_heartbeat, h);
    }
    if (!h || !h->heartbeat) {
        free(h);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    event_add(h->heartbeat, &(struct timeval){.tv_sec = HUB_HEARTBEAT_S});
    return h;
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    event_free(h->heartbeat);
    free(h);
}
