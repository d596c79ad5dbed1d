/* The API: which request goes where. Everything is on the event loop; what needs the store comes back as a task.
 *
 * GET /health, GET|POST /downloads, GET|DELETE /downloads/:id, GET /downloads/:id/events, GET|HEAD /files/... (local store only),
 * GET /swagger/... (the documentation).
 * Which rows and tables a query may read is decided by who sends it, gopie-server; we check who asks for which download. */
#ifndef SERVER_API_H
#define SERVER_API_H

#include "job/store_thread.h"
#include "server/api_files.h"
#include "server/cors.h"
#include "server/dispatcher.h"
#include "server/drain_rate.h"
#include "server/http.h"
#include "server/hub.h"

/* What the handlers share. Made by main.c. */
struct api {
    struct store_threads *store;
    struct object_store *objects;
    struct hub *hub;
    struct dispatcher *dispatcher;
    struct cors *cors;
    struct api_files *files; /* NULL: the object store is not ours to serve */
    const struct drain_rate *drain_rate;
    uint64_t queue_size, org_max_queued;
    uint64_t row_limit, byte_limit; /* of every file; 0: none */
    bool draining; /* a shutdown has begun: nothing new */
};

/* http_handler; the context is the struct api. */
void api_handle(struct http_request *r, void *api);

/* Who asks: from the headers that gopie-server sets. Texts live as long as the request. */
struct api_identity {
    const char *user, *org;
};

/* Answers the request itself (401, 400) where the headers will not do; false then. */
MUST_CHECK bool api_identify(const struct api *a, struct http_request *r, struct api_identity *ret);

/* An error with a `Retry-After` where the client may come back. */
void api_reply_error(struct http_request *r, const struct error *e);

/* No place in the queue (ERROR_QUEUE_FULL), or among the organisation's (ERROR_ORG_QUEUE_FULL): `Retry-After` is when a tenth
 * of the places should be free, so that a few of those who come back find one. */
void api_reply_full(const struct api *a, struct http_request *r, const char *org, const struct error *e);

/* api_downloads.c */
void api_downloads_create(struct api *a, struct http_request *r);
void api_downloads_list(struct api *a, struct http_request *r);
void api_downloads_get(struct api *a, struct http_request *r, const char *id);
void api_downloads_delete(struct api *a, struct http_request *r, const char *id);

/* api_events.c */
void api_events_follow(struct api *a, struct http_request *r, const char *id);

#endif
