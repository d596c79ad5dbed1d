/* Many HTTP requests at once on one thread, over libcurl's multi interface: one that stalls delays no other.
 *
 * All calls are made by the thread that owns the transfers, http_transfers_wake() apart. As in http_client.h
 * only http and https are spoken (HTTP/1.1: a connection each), certificates are checked, redirects are
 * answers like any other, environment proxies are ignored. Connections are kept and used again; one that
 * turns out to be dead before anything came back on it is replaced without a word, and the request sent once
 * more, unless it is `once`. PUTs of a MiB and more have connections of their own (http_upload.h): their bodies are
 * not copied on the way to the kernel. */
#ifndef BASE_HTTP_TRANSFERS_H
#define BASE_HTTP_TRANSFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/http_client.h"

struct http_transfers;
struct http_transfer; /* one request under way */

#define HTTP_CONNECTIONS_MIN 2

struct http_transfers_options {
    const char *ca_file;      /* PEM; NULL: the system's; copied */
    unsigned connections_max; /* more wait for one that becomes free; HTTP_CONNECTIONS_MIN at least */
};

struct http_transfers *http_transfers_new(const struct http_transfers_options *o, struct error *e);

/* Drops what is under way: no `done` is called. NULL is fine. */
void http_transfers_free(struct http_transfers *ts);

struct http_transfer_options {
    const char *method;         /* GET, HEAD, PUT, POST, DELETE */
    const char *url;            /* sent as it is; copied */
    const char *const *headers; /* "Name: value", NULL at the end; copied */
    const void *body;           /* PUT and POST; stays valid until `done` or the cancel */
    size_t body_len;
    bool once;           /* never sent twice: always on a new connection */
    int64_t connect_ms;  /* name, connection and TLS */
    int64_t deadline_ms; /* of the whole request */
    int64_t
        silence_s; /* broken off after so many seconds below 1 KiB/s, by libcurl's average of the last six */
    size_t answer_max; /* bytes of an answer's body; a longer one is HTTP_STOPPED */

    /* From within http_transfers_run(). The transfer is freed when it returns. `e` holds a general reason
     * (ERROR_UNAVAILABLE; ERROR_CONFIG: the certificate is not trusted) that names no host, unless the
     * outcome is HTTP_ANSWERED or HTTP_STOPPED. */
    void (*done)(void *context, struct http_transfer *t, enum http_outcome outcome, const struct error *e);
    void *context;
};

/* NULL: `e` says why (ERROR_INVALID: a control character in a header). */
struct http_transfer *http_transfer_start(struct http_transfers *ts, const struct http_transfer_options *o,
                                          struct error *e);

/* Breaks it off and frees it, without `done`. Its body is not read any more. Not from within `done` of the
 * same. */
void http_transfer_cancel(struct http_transfer *t);

/* Of an answer, while `done` runs. A header that is absent is NULL. */
int http_transfer_status(const struct http_transfer *t);
const char *http_transfer_header(const struct http_transfer *t, const char *name);
const char *http_transfer_body(const struct http_transfer *t,
                               size_t *ret_len); /* NUL behind it; never NULL */

/* libcurl's own words about a failure; may name the host: for operators only. */
const char *http_transfer_detail(const struct http_transfer *t);

/* Waits up to `wait_ms` for something to happen, moves bytes, and calls `done` of what has ended. False:
 * libcurl does not work any more. */
MUST_CHECK bool http_transfers_run(struct http_transfers *ts, int64_t wait_ms, struct error *e);

/* Ends the wait of http_transfers_run(). Any thread. */
void http_transfers_wake(struct http_transfers *ts);

/* Seconds since 1970 of an HTTP date (RFC 9110, 5.6.7), -1 if it is none. Pure. */
int64_t http_date_parse(const char *text);

#endif
