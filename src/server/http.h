/* HTTP/1.1 as the rest of the server sees it: behind it only http.c and
 * http_request.c know evhttp.
 *
 * All calls are made on the event loop. The gate (http_gate.h) has refused what must not reach a handler.
 * Requests of one connection are handled one after the other. A handler gets a `struct http_request` and
 * answers it exactly once, now or later: with http_reply*(), or with a stream of http_stream_begin().
 * Answering a client that has gone is fine and does nothing. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HTTP_BODY_MAX (4 * 1024 * 1024)
#define HTTP_HEADERS_MAX (16 * 1024)

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_OTHER
};

struct http_server;
struct http_request;
struct http_stream;
struct http_chunk;

typedef void (*http_handler)(struct http_request *r, void *context);

struct http_server_options {
    struct event_base *base;
    const char *host;         /* name or address; "" or "*": every address */
    uint16_t port;            /* 0: any free one */
    unsigned max_connections; /* accepting pauses at this many */
    unsigned timeout_s; /* 0: 60. A connection on which nothing arrives, or is taken, for so long is closed */
    http_handler handler;
    void *context;
};

/* Listens; ignores SIGPIPE from now on. NULL: `e` says why. */
struct http_server *http_server_new(const struct http_server_options *options, struct error *e);

/* "127.0.0.1:8000": where it listens. */
const char *http_server_address(const struct http_server *s);
uint16_t http_server_port(const struct http_server *s);
unsigned http_server_connections(const struct http_server *s);

/* No new connections; those there are go on. */
void http_server_stop_accepting(struct http_server *s);

/* Closes all connections. Streams and requests must have been answered. NULL is fine. */
void http_server_free(struct http_server *s);

/* The request. Texts live until it is answered. */
enum http_method http_request_method(const struct http_request *r);
const char *http_request_path(const struct http_request *r); /* as sent: percent-encoded, without the query */
const char *http_request_header(const struct http_request *r, const char *name); /* NULL: none */
/* decoded; NULL: none, or more than one of that name: which of them is meant would be a guess */
const char *http_request_query(const struct http_request *r, const char *name);
const char *http_request_body(const struct http_request *r, size_t *ret_length); /* not NUL-terminated */
/* for the log: random, or the client's own X-Request-Id */
const char *http_request_id(const struct http_request *r);

/* A header of the answer; before it is sent. Line breaks in a value are an assertion failure. */
void http_response_header(struct http_request *r, const char *name, const char *value);

/* The whole answer; `body` is copied. To HEAD only the headers go. */
void http_reply(struct http_request *r, int status, const char *content_type, const void *body,
                size_t length);
/* The same without the copy: `body` is there as long as the program runs. */
void http_reply_constant(struct http_request *r, int status, const char *content_type, const void *body,
                         size_t length);
/* {"error":"<message>"} with the code's status */
void http_reply_error(struct http_request *r, const struct error *e);

/* An answer in chunks. With `length` >= 0 it has that Content-Length and is not chunked. `closed` (may be
 * NULL) is called at most once, when the client has gone, and never from inside a call of these functions;
 * the stream is freed then. `drained` (may be NULL) is called when all that was written has left for the
 * socket.
 *
 * A client that takes nothing for `timeout_s` while something waits for it is dropped. A chunked stream sees
 * at once that its client closes (also one that closes only its sending side); one with a length goes on
 * until it cannot write. */
struct http_stream_options {
    int status;
    const char *content_type;
    int64_t length; /* -1: chunked */
    void (*closed)(void *context);
    void (*drained)(void *context);
    void *context;
};

/* The request is answered by it and must not be used again, nor its texts. Never NULL. `closed` and `drained`
 * are not called from within. To HEAD only the headers go, with the `length` that GET would have: end the
 * stream at once, that is its whole answer. So with 204 and 304. */
struct http_stream *http_stream_begin(struct http_request *r, const struct http_stream_options *o);

/* One chunk, one write; copied. */
void http_stream_write(struct http_stream *s, const void *data, size_t length);

/* The same for many streams without a length: made, framed and kept once, however many get it, also where it
 * has to wait. A reference of the caller's, until http_chunk_release(). NULL: out of memory, or `length` is
 * 0. */
struct http_chunk *http_chunk_new(const void *data, size_t length);
void http_chunk_release(struct http_chunk *c); /* NULL is fine */
size_t http_chunk_length(const struct http_chunk *c); /* without the frame */
void http_stream_write_chunk(struct http_stream *s, struct http_chunk *c);

/* Bytes written and not yet taken by the socket. */
size_t http_stream_pending(const struct http_stream *s);

/* The end. A stream with a length that was not reached, or `http_stream_abort`, closes the connection, so
 * that the client can tell. Frees the stream; `closed` is not called. */
void http_stream_end(struct http_stream *s);
void http_stream_abort(struct http_stream *s);

#endif
