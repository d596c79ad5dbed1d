/* HTTP requests, one at a time, over libcurl (http_curl.h). For many at once: http_transfers.h.
 *
 * A client makes one request at a time and blocks in it; it keeps connections alive between requests. It
 * belongs to one thread. Only http and https are spoken, certificates are checked, redirects are answers like
 * any other (a signed link must not leak to another host), environment proxies are ignored, and bodies arrive
 * as sent. */
#ifndef BASE_HTTP_CLIENT_H
#define BASE_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct http_client;

struct http_client *http_client_new(struct error *e); /* NULL on failure */
void http_client_free(struct http_client *c);         /* NULL is fine */

enum http_outcome {
    HTTP_ANSWERED,    /* a whole answer; http_client_status() says which */
    HTTP_UNREACHABLE, /* no connection: the server has not seen the request */
    HTTP_BROKEN,      /* the exchange broke off or fell silent: the server may have acted */
    HTTP_IMPOSSIBLE,  /* another try cannot help: a bad URL, an untrusted certificate, no memory */
    HTTP_STOPPED      /* a callback said so */
};

/* How often `tick` is called while nothing arrives, at the least. */
#define HTTP_CLIENT_TICK_MS 100

struct http_request {
    const char *url; /* http://... or https://... */
    const char *const
        *headers;     /* "Name: value" lines, NULL at the end; NULL for none. No control characters. */
    const void *body; /* NULL: GET; else POST with these bytes, which stay the caller's */
    size_t body_len;
    int64_t connect_ms; /* name, connection and TLS */
    int64_t silence_ms; /* HTTP_BROKEN when no byte moves for so long */

    /* Each returns false to stop the request. `body_bytes` is called with what arrives, whatever the status,
     * which http_client_status() tells then, as http_client_header() tells the headers. `tick` may be NULL.
     */
    bool (*body_bytes)(void *context, const void *data, size_t len);
    bool (*tick)(void *context);
    void *context;
};

/* Fills `e` unless the outcome is HTTP_ANSWERED or HTTP_STOPPED. */
MUST_CHECK enum http_outcome http_client_perform(struct http_client *c, const struct http_request *r,
                                                 struct error *e);

/* Of the last answer: its status (0: none began), and a header's value, which lives until the next request
 * (NULL: absent). */
int http_client_status(const struct http_client *c);
const char *http_client_header(const struct http_client *c, const char *name);

#endif
