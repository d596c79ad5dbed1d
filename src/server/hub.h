/* The event hub: who listens to which download, and how each is told.
 *
 * An event goes to HUB_AT_ONCE subscribers of its download when it is published; when there are more, the loop does other work before the next so
 * many. Each hears all events in order, but for progress that newer progress has overtaken. Heartbeats are spread over HUB_HEARTBEAT_S.
 *
 * A subscriber is one client's event stream. It joins its download's topic first and is opened when it is known what to tell it, so that
 * nothing published in between is lost: hub_missed() says that there was something. All on the event loop.
 *
 * A subscriber that reads slowly gets no progress while more than HUB_SLOW_BYTES wait for it, and is dropped beyond HUB_PENDING_MAX: it
 * never slows a job and never holds more memory than that. */
#ifndef SERVER_HUB_H
#define SERVER_HUB_H

#include <event2/event.h>

#include "base/buf.h"
#include "base/error.h"
#include "server/http.h"

#define HUB_SLOW_BYTES (64 * 1024)
#define HUB_PENDING_MAX (1024 * 1024)
#define HUB_HEARTBEAT_S 15
#define HUB_AT_ONCE 128
#define HUB_EVENTS_MAX 64 /* that a download's subscribers have yet to hear; beyond it the next waits until they have */

struct hub;
struct subscriber;

enum hub_kind {
    HUB_STATE,    /* the record changed, or a stage was reached */
    HUB_PROGRESS, /* the next one says all that it says */
    HUB_FINAL,    /* the last event: every stream of the download ends */
};

/* What the subscribers of a download have been told, for whoever looks for news (poller.h). */
struct hub_told {
    int64_t version; /* kept by the hub */
    uint32_t failures;
    uint64_t rows, bytes; /* these are the poller's */
    unsigned stage;
};

struct hub *hub_new(struct event_base *base, struct error *e);
void hub_free(struct hub *h); /* after hub_end_all(); NULL is fine */

/* Joins the topic of download `id`. `is_poster` decides what a shutdown says. NULL: out of memory. Until it is opened it is the caller's,
 * to be opened or dropped; from then on the hub's. */
struct subscriber *hub_join(struct hub *h, const char *id, bool is_poster);
void hub_drop(struct subscriber *s);

/* True if something but progress was published since the last look. For a subscriber that is not open. */
bool hub_missed(struct subscriber *s);

/* The headers of an event stream's answer; for those that answer one without the hub. */
void hub_stream_headers(struct http_request *r);

/* Answers the request with an event stream that begins with `first`. What is published with a version up to `version` it knows already,
 * and so many failures of the job. */
void hub_open(struct subscriber *s, struct http_request *r, const struct buf *first, int64_t version, uint32_t failures);

bool hub_has_subscribers(const struct hub *h, const char *id);
size_t hub_subscriber_count(const struct hub *h);

/* Tells all open subscribers of the download one event, some of them later (see above). `version` is the event's id, 0 where it has none. Out of
 * memory: progress is left out, and for anything else the streams are broken off, so that their clients come back. */
void hub_publish(struct hub *h, const char *id, enum hub_kind kind, int64_t version, const struct buf *text);

/* The record was deleted: every stream of the download ends with an error that says so. */
void hub_publish_deleted(struct hub *h, const char *id);

/* Visits the downloads that somebody listens to. Nothing may join, leave or be published meanwhile. */
void hub_each(const struct hub *h, void (*visit)(void *context, const char *id, struct hub_told *told), void *context);
struct hub_told *hub_told(const struct hub *h, const char *id); /* NULL: nobody listens */

/* The shutdown: tells all and ends their streams. Those not open yet stay with their owners. */
void hub_end_all(struct hub *h);

#endif
