#include "server/hub.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/digest.h"
#include "server/event_text.h"

/* The wheel of heartbeats: a subscriber hears one each time its slot comes by. */
#define SLOTS 60
#define SLOT_MS (HUB_HEARTBEAT_S * 1000 / SLOTS)

struct event_told {
    STAILQ_ENTRY(event_told) next;
    uint64_t number; /* counts up in its topic */
    enum hub_kind kind;
    int64_t version;
    struct http_chunk *text;
};

struct topic {
    char id[UUID_SIZE]; /* the key of hub.topics */
    /* Who has heard least comes first: an event's reader goes to the end. */
    TAILQ_HEAD(, subscriber) subscribers;
    STAILQ_HEAD(, event_told) events; /* that not all have heard */
    size_t event_count;
    uint64_t last; /* number of the newest event */
    TAILQ_ENTRY(topic) in_hub;
    bool is_busy; /* in hub.busy: `events` is not empty */
    struct hub_told told;
};

struct subscriber {
    TAILQ_ENTRY(subscriber) in_topic;
    LIST_ENTRY(subscriber) in_slot;
    struct hub *hub;
    struct topic *topic;
    struct http_stream *stream; /* NULL: not open */
    uint64_t heard;             /* number of the newest event that it need not be told */
    int64_t version;            /* of the newest record that it was told */
    bool is_poster, missed;
};

struct hub {
    void *topics; /* tree of <search.h>, by id */
    TAILQ_HEAD(, topic) busy;
    struct event *go_on; /* pending while `busy` is not empty */
    LIST_HEAD(, subscriber) slots[SLOTS];
    unsigned slot, next_slot; /* the one that was told last; the one for the next subscriber */
    size_t count;
    struct event *heartbeat; /* pending while there are subscribers */
    struct http_chunk *heartbeat_text;
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
    TAILQ_INIT(&t->subscribers);
    STAILQ_INIT(&t->events);
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
    s->heard = t->last;
    s->is_poster = is_poster;
    TAILQ_INSERT_TAIL(&t->subscribers, s, in_topic);
    LIST_INSERT_HEAD(&h->slots[h->next_slot], s, in_slot);
    h->next_slot = (h->next_slot + 1) % SLOTS;
    if (h->count++ == 0)
        event_add(h->heartbeat, &(struct timeval){.tv_usec = SLOT_MS * 1000});
    return s;
}

static void forget_first_event(struct topic *t)
{
    struct event_told *e = STAILQ_FIRST(&t->events);
    STAILQ_REMOVE_HEAD(&t->events, next);
    t->event_count--;
    http_chunk_release(e->text);
    free(e);
}

/* What all have heard goes. */
static void settle(struct hub *h, struct topic *t)
{
    const struct subscriber *first = TAILQ_FIRST(&t->subscribers);
    while (!STAILQ_EMPTY(&t->events) && (!first || STAILQ_FIRST(&t->events)->number <= first->heard))
        forget_first_event(t);
    if (STAILQ_EMPTY(&t->events) && t->is_busy) {
        TAILQ_REMOVE(&h->busy, t, in_hub);
        t->is_busy = false;
    }
}

void hub_drop(struct subscriber *s)
{
    struct hub *h = s->hub;
    struct topic *t = s->topic;
    TAILQ_REMOVE(&t->subscribers, s, in_topic);
    LIST_REMOVE(s, in_slot);
    free(s);
    if (--h->count == 0)
        event_del(h->heartbeat);
    settle(h, t);
    if (TAILQ_EMPTY(&t->subscribers)) {
        tdelete(t, &h->topics, compare);
        free(t);
    }
}

static void on_closed(void *context)
{
    hub_drop(context);
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

/* False: it is gone. */
static bool tell(struct subscriber *s, enum hub_kind kind, int64_t version, struct http_chunk *text)
{
    if (!s->stream) {
        s->missed |= kind != HUB_PROGRESS;
        return true;
    }
    if (version > 0 && version <= s->version)
        return true;
    if (version > 0)
        s->version = version;
    size_t pending = http_stream_pending(s->stream);
    if (kind == HUB_PROGRESS && pending > HUB_SLOW_BYTES)
        return true;
    if (pending + http_chunk_length(text) > HUB_PENDING_MAX) {
        http_stream_abort(s->stream);
        hub_drop(s);
        return false;
    }
    http_stream_write_chunk(s->stream, text);
    if (kind != HUB_FINAL)
        return true;
    end_stream(s);
    return false;
}

/* Tells it all that it has not heard. False: it is gone, and maybe its topic. */
static bool catch_up(struct subscriber *s)
{
    struct topic *t = s->topic;
    uint64_t heard = s->heard;
    TAILQ_REMOVE(&t->subscribers, s, in_topic);
    TAILQ_INSERT_TAIL(&t->subscribers, s, in_topic);
    s->heard = t->last;
    struct event_told *e;
    STAILQ_FOREACH (e, &t->events, next) {
        const struct event_told *next = STAILQ_NEXT(e, next);
        bool is_overtaken = e->kind == HUB_PROGRESS && next && next->kind == HUB_PROGRESS;
        if (e->number > heard && !is_overtaken && !tell(s, e->kind, e->version, e->text))
            return false;
    }
    return true;
}

/* The next HUB_AT_ONCE. The topic may be gone then. */
static void go_on_with(struct hub *h, struct topic *t)
{
    /* A topic goes with its last subscriber: it is looked at again only while there is another. */
    for (unsigned i = 0; i < HUB_AT_ONCE; i++) {
        struct subscriber *s = TAILQ_FIRST(&t->subscribers);
        if (s->heard == t->last)
            break;
        bool is_last = !TAILQ_NEXT(s, in_topic);
        if (!catch_up(s) && is_last)
            return;
    }
    settle(h, t);
}

static void on_go_on(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct hub *h = arg;
    struct topic *t = TAILQ_FIRST(&h->busy);
    if (t) { /* each in its turn */
        TAILQ_REMOVE(&h->busy, t, in_hub);
        TAILQ_INSERT_TAIL(&h->busy, t, in_hub);
        go_on_with(h, t);
    }
    if (!TAILQ_EMPTY(&h->busy))
        event_add(h->go_on, &(struct timeval){0});
}

static bool add_event(struct topic *t, enum hub_kind kind, int64_t version, const struct buf *text)
{
    struct event_told *e = calloc(1, sizeof *e);
    if (e)
        e->text = http_chunk_new(text->data, text->len);
    if (!e || !e->text) {
        free(e);
        return false;
    }
    e->number = ++t->last;
    e->kind = kind;
    e->version = version;
    STAILQ_INSERT_TAIL(&t->events, e, next);
    t->event_count++;
    return true;
}

/* Out of memory: who would miss an event has to come back. */
static void abort_all(struct topic *t)
{
    for (struct subscriber *s = TAILQ_FIRST(&t->subscribers), *next; s; s = next) {
        next = TAILQ_NEXT(s, in_topic);
        s->missed = true;
        if (!s->stream)
            continue;
        http_stream_abort(s->stream);
        hub_drop(s);
    }
}

void hub_publish(struct hub *h, const char *id, enum hub_kind kind, int64_t version, const struct buf *text)
{
    struct topic *t = find_topic(h, id);
    if (!t || !buf_ok(text))
        return;
    know(t, version);
    while (t && t->event_count >= HUB_EVENTS_MAX) {
        go_on_with(h, t);
        t = find_topic(h, id);
    }
    if (!t)
        return;
    if (!add_event(t, kind, version, text)) {
        if (kind != HUB_PROGRESS)
            abort_all(t);
        return;
    }
    if (t->is_busy)
        return;
    TAILQ_INSERT_TAIL(&h->busy, t, in_hub);
    t->is_busy = true;
    go_on_with(h, t);
    if (!TAILQ_EMPTY(&h->busy))
        event_add(h->go_on, &(struct timeval){0});
}

bool hub_missed(struct subscriber *s)
{
    catch_up(s); /* it is not open, and stays */
    settle(s->hub, s->topic);
    bool missed = s->missed;
    s->missed = false;
    return missed;
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
    h->slot = (h->slot + 1) % SLOTS;
    for (struct subscriber *s = LIST_FIRST(&h->slots[h->slot]), *next; s; s = next) {
        next = LIST_NEXT(s, in_slot);
        if (s->stream)
            tell(s, HUB_PROGRESS, 0, h->heartbeat_text);
    }
}

static void say_goodbye(struct subscriber *s)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    if (s->is_poster)
        event_text_handed_over(&text, s->topic->id);
    else
        event_text_restart(&text);
    struct http_chunk *chunk = buf_ok(&text) ? http_chunk_new(text.data, text.len) : NULL;
    if (chunk)
        tell(s, HUB_FINAL, 0, chunk);
    else
        end_stream(s);
    http_chunk_release(chunk);
}

void hub_end_all(struct hub *h)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        for (struct subscriber *s = LIST_FIRST(&h->slots[i]), *next; s; s = next) {
            next = LIST_NEXT(s, in_slot);
            if (s->stream && catch_up(s))
                say_goodbye(s);
        }
    }
}

static struct http_chunk *make_heartbeat(void)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, EVENT_TEXT_MAX);
    event_text_heartbeat(&text);
    return buf_ok(&text) ? http_chunk_new(text.data, text.len) : NULL;
}

struct hub *hub_new(struct event_base *base, struct error *e)
{
    struct hub *h = calloc(1, sizeof *h);
    if (h) {
        TAILQ_INIT(&h->busy);
        for (unsigned i = 0; i < SLOTS; i++)
            LIST_INIT(&h->slots[i]);
        h->heartbeat = event_new(base, -1, EV_PERSIST, on_heartbeat, h);
        h->go_on = event_new(base, -1, 0, on_go_on, h);
        h->heartbeat_text = make_heartbeat();
    }
    if (!h || !h->heartbeat || !h->go_on || !h->heartbeat_text) {
        hub_free(h);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    return h;
}

void hub_free(struct hub *h)
{
    if (!h)
        return;
    if (h->heartbeat)
        event_free(h->heartbeat);
    if (h->go_on)
        event_free(h->go_on);
    http_chunk_release(h->heartbeat_text);
    free(h);
}
