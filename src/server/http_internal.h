/* Between http.c (the server and its connections) and http_request.c (requests and answers), the two files
 * that know evhttp; and what of its ways (2.1.12) they rely on:
 *
 * - Every connection's bufferevent is made by us and carries a reference of ours. When evhttp lets go of a
 *   connection it has shut down the sending side; the descriptor closes with our reference. So connections
 *   are counted exactly, and a client that is still sending can be drained for a moment, so that it reads
 *   its answer and not a reset.
 * - evhttp passes its connection as the argument of its bufferevent callbacks, and sets them to NULL when it
 *   frees it.
 * - A client that goes while its request is under way: evhttp cuts the request loose (no connection), and it
 *   is ours to free. A request that is still tied to a connection is freed together with it.
 * - Its error pages come from evhttp_send_error(), which libevent calls by its public name: ours is called
 *   instead. */
#ifndef SERVER_HTTP_INTERNAL_H
#define SERVER_HTTP_INTERNAL_H

#include <sys/queue.h> /* first: libevent's headers then leave its macros alone */

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>

#include "server/http.h"
#include "server/http_listen.h"
#include "server/http_query.h"

#define HTTP_IO_MAX (256 * 1024) /* bytes of one read or write: an event leaves in one piece */
#define HTTP_REQUEST_ID_MAX 64

struct http_connection {
    struct bufferevent *bev; /* first: the key of the tree. A reference of our own */
    struct http_server *server;
    struct http_request *request; /* under way; NULL: none */
    TAILQ_ENTRY(http_connection) due;
    bool is_due;
    bool drop; /* to be closed when it is settled */
    int64_t linger_until;
    size_t linger_bytes;
};

struct http_server {
    LIST_ENTRY(http_server) next;
    struct http_server_options options;
    struct evhttp *http;
    struct evhttp_bound_socket *sockets[HTTP_LISTEN_MAX];
    size_t socket_count;
    char address[HTTP_ADDRESS_SIZE];
    uint16_t port;
    struct timeval timeout;

    void *connections; /* tree of struct http_connection */
    unsigned connection_count, peak; /* the most since memory was given back */
    struct event *trim;
    unsigned descriptors_shown;      /* to libevent: below this it has made what it keeps */
    TAILQ_HEAD(, http_connection) due; /* to be settled when the call that is under way has returned */
    struct event *settle;

    bool accepting;
    unsigned accepted;    /* in one go */
    struct event *resume; /* pending: accepting pauses, after an error or so many */
};

struct http_stream {
    struct http_stream_options options;
    int64_t left;     /* of options.length */
    bool drained_set; /* evhttp knows `drained` */
};

struct http_request {
    struct http_connection *connection; /* NULL: the server is being freed */
    struct evhttp_request *ev;          /* NULL: it went with its connection */
    bool gone;                          /* the client has */
    bool has_body;                      /* the answer has */
    bool is_stream;
    char id[HTTP_REQUEST_ID_MAX + 1];
    char *path;
    struct http_query *query;
    struct http_stream stream;
};

/* http.c */

/* NULL: not counted, for want of memory. */
struct http_connection *http_connection_find(const struct http_server *s, struct bufferevent *bev);

/* Has it settled once what is under way has returned: whether evhttp still has it, whom that concerns. */
void http_connection_make_due(struct http_connection *c);

/* http_request.c */

/* evhttp's callback for a request that has arrived whole; the context is the server. */
void http_request_arrived(struct evhttp_request *ev, void *server);

/* The client of a stream has gone: tells its owner, and frees it. */
void http_stream_tell_closed(struct http_request *r);

#endif
