#include "server/http_internal.h"

#include <assert.h>
#include <errno.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <search.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"

#define TIMEOUT_DEFAULT_S 60
#define BACKLOG 4096
#define DESCRIPTORS_FROM 512 /* connections */
#define DESCRIPTORS_AT_ONCE 1024
#define TRIM_AFTER 1000 /* connections that went; and so much later: */
#define TRIM_S 3
#define ACCEPTS_AT_ONCE 64 /* then the loop's other work has its turn */
#define LINGER_MAX (16 * 1024 * 1024)
#define LINGER_MS 5000
#define LINGER_IDLE_S 2
#define ACCEPT_PAUSE_S 1

/* evhttp's listener callbacks know only the evhttp that they belong to. */
static LIST_HEAD(, http_server) servers = LIST_HEAD_INITIALIZER(servers);

/* Connections */

static int compare_connections(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct http_connection *)a)->bev,
              y = (uintptr_t)((const struct http_connection *)b)->bev;
    return x < y ? -1 : x > y;
}

struct http_connection *http_connection_find(const struct http_server *s, struct bufferevent *bev)
{
    const struct http_connection key = {.bev = bev};
    struct http_connection **found = tfind(&key, &s->connections, compare_connections);
    return found ? *found : NULL;
}

static void update_accepting(struct http_server *s)
{
    bool accepting = s->connection_count < s->options.max_connections && !evtimer_pending(s->resume, NULL);
    if (accepting == s->accepting)
        return;
    s->accepting = accepting;
    for (size_t i = 0; i < s->socket_count; i++) {
        struct evconnlistener *listener = evhttp_bound_socket_get_listener(s->sockets[i]);
        if (accepting)
            evconnlistener_enable(listener);
        else
            evconnlistener_disable(listener);
    }
}

void http_connection_make_due(struct http_connection *c)
{
    struct http_server *s = c->server;
    if (c->is_due)
        return;
    c->is_due = true;
    TAILQ_INSERT_TAIL(&s->due, c, due);
    event_active(s->settle, 0, 0);
}

static void connection_free(struct http_connection *c)
{
    if (c->is_due)
        TAILQ_REMOVE(&c->server->due, c, due);
    if (c->request)
        c->request->connection = NULL;
    bufferevent_free(c->bev);
    free(c);
}

/* Many that came and went leave the heap full of holes, which the C library keeps. */
static void on_trim(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct http_server *s = context;
    s->peak = s->connection_count;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

static void connection_release(struct http_connection *c)
{
    struct http_server *s = c->server;
    tdelete(c, &s->connections, compare_connections);
    s->connection_count--;
    connection_free(c);
    update_accepting(s);
    if (s->peak - s->connection_count >= TRIM_AFTER && !evtimer_pending(s->trim, NULL))
        event_add(s->trim, &(struct timeval){.tv_sec = TRIM_S});
}

static void on_linger_event(struct bufferevent *bev, short what, void *context)
{
    (void)bev, (void)what;
    connection_release(context);
}

static void on_linger_read(struct bufferevent *bev, void *context)
{
    struct http_connection *c = context;
    struct evbuffer *input = bufferevent_get_input(bev);
    c->linger_bytes += evbuffer_get_length(input);
    evbuffer_drain(input, evbuffer_get_length(input));
    if (c->linger_bytes > LINGER_MAX || clock_monotonic_ms() > c->linger_until)
        connection_release(c);
}

/* evhttp is done with it and has shut down our side: wait a little for the client to do the same. Closing
 * while it sends would reset the connection, and the answer could be lost with it. */
static void connection_linger(struct http_connection *c)
{
    char byte;
    if (recv(bufferevent_getfd(c->bev), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
        connection_release(c); /* it did already */
        return;
    }
    const struct timeval idle = {.tv_sec = LINGER_IDLE_S};
    c->linger_until = clock_monotonic_ms() + LINGER_MS;
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    bufferevent_setwatermark(c->bev, EV_READ, 0, 0);
    bufferevent_set_timeouts(c->bev, &idle, NULL);
    bufferevent_setcb(c->bev, on_linger_read, NULL, on_linger_event, c);
    struct evbuffer *input = bufferevent_get_input(c->bev);
    evbuffer_drain(input, evbuffer_get_length(input));
    bufferevent_enable(c->bev, EV_READ);
}

/* From evhttp, while it frees the connection. What is to be told is told later: we may be inside a call of
 * ours. */
static void on_connection_closed(struct evhttp_connection *evcon, void *context)
{
    (void)evcon;
    struct http_connection *c = context;
    struct http_request *r = c->request;
    if (r) {
        r->gone = true;
        if (r->ev && evhttp_request_get_connection(r->ev))
            r->ev = NULL;
    }
    http_connection_make_due(c);
}

static void connection_settle(struct http_connection *c)
{
    assert(c->linger_until == 0);
    bufferevent_event_cb event_cb;
    void *evcon;
    bufferevent_getcb(c->bev, NULL, NULL, &event_cb, &evcon);
    if (event_cb) { /* evhttp still has it */
        evhttp_connection_set_closecb(evcon, on_connection_closed, c);
        if (c->drop)
            evhttp_connection_free(evcon);
        return;
    }
    struct http_request *r = c->request;
    if (r && !r->is_stream)
        return; /* its answer makes it due again */
    if (r)
        http_stream_tell_closed(r);
    connection_linger(c);
}

static void on_nothing(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what, (void)context;
}

/* libevent keeps 16 bytes for each descriptor number that it ever saw, for good. Made when a connection
 * comes, each holds a page of what that connection had beside it, long after it has gone: 24 MiB of 10,000.
 * So where many come they are made ahead, side by side. */
static void show_descriptors(struct http_server *s)
{
    unsigned end = s->descriptors_shown + DESCRIPTORS_AT_ONCE;
    if (s->connection_count < DESCRIPTORS_FROM || s->descriptors_shown > s->options.max_connections ||
        s->socket_count == 0)
        return;
    for (; s->descriptors_shown < end; s->descriptors_shown++) {
        int copy = fcntl(evhttp_bound_socket_get_fd(s->sockets[0]), F_DUPFD_CLOEXEC, (int)s->descriptors_shown);
        struct event *e =
            copy == (int)s->descriptors_shown ? event_new(s->options.base, copy, EV_READ, on_nothing, NULL) : NULL;
        if (e) {
            event_add(e, NULL);
            event_free(e);
        }
        if (copy < 0) {
            s->descriptors_shown = UINT_MAX; /* at the limit: there are no more */
            return;
        }
        close(copy);
    }
}

static void on_settle(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct http_server *s = context;
    struct http_connection *c;
    s->accepted = 0; /* each makes its connection due: the listener has returned */
    while ((c = TAILQ_FIRST(&s->due))) {
        TAILQ_REMOVE(&s->due, c, due);
        c->is_due = false;
        connection_settle(c);
    }
    show_descriptors(s);
}

/* From evhttp for each accepted connection. With NULL it makes a bufferevent of its own, which serves as well
 * but is not counted; http_request_arrived() then refuses. */
static struct bufferevent *on_accept(struct event_base *base, void *context)
{
    struct http_server *s = context;
    _cleanup_free_ struct http_connection *c = calloc(1, sizeof *c);
    struct bufferevent *bev = c ? bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (!bev)
        return NULL;
    c->bev = bev;
    c->server = s;
    if (!tsearch(c, &s->connections, compare_connections)) {
        bufferevent_free(bev);
        return NULL;
    }
    bufferevent_incref(bev);
    bufferevent_set_max_single_read(bev, HTTP_IO_MAX);
    bufferevent_set_max_single_write(bev, HTTP_IO_MAX);
    if (++s->connection_count > s->peak)
        s->peak = s->connection_count;
    if (++s->accepted >= ACCEPTS_AT_ONCE)
        event_add(s->resume, &(struct timeval){0});
    update_accepting(s);
    http_connection_make_due(TAKE_PTR(c)); /* evhttp's connection does not exist yet */
    return bev;
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    update_accepting(context);
}

/* No descriptor left, or no memory: accept would fail again at once, and for ever. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    (void)listener;
    int errnum = errno;
    const struct timeval pause = {.tv_sec = ACCEPT_PAUSE_S};
    struct http_server *s;
    LIST_FOREACH (s, &servers, next) {
        if (s->http != context)
            continue;
        char text[128];
        log_warn("accepting connections pauses for %d s: %s", ACCEPT_PAUSE_S,
                 strerror_r(errnum, text, sizeof text));
        event_add(s->resume, &pause);
        update_accepting(s);
    }
}

/* The server */

static bool add_socket(struct http_server *s, int fd, struct error *e)
{
    const unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC;
    struct evconnlistener *listener = evconnlistener_new(s->options.base, NULL, NULL, flags, BACKLOG, fd);
    if (!listener) {
        int errnum = errno;
        close(fd);
        return error_set_errno(e, ERROR_CONFIG, errnum, "cannot listen on %s", s->options.host);
    }
    struct evhttp_bound_socket *bound = evhttp_bind_listener(s->http, listener);
    if (!bound) {
        evconnlistener_free(listener);
        return error_set(e, ERROR_INTERNAL, "out of memory");
    }
    evconnlistener_set_error_cb(listener, on_accept_error);
    s->sockets[s->socket_count++] = bound;
    return true;
}

static bool listen_on_all(struct http_server *s, struct error *e)
{
    int fds[HTTP_LISTEN_MAX];
    size_t count;
    if (!http_listen_bind(s->options.host, s->options.port, fds, &count, e))
        return false;
    s->port = http_listen_address(fds[0], s->address);
    for (size_t i = 0; i < count; i++) {
        if (!add_socket(s, fds[i], e)) {
            while (++i < count)
                close(fds[i]);
            return false;
        }
    }
    return true;
}

struct http_server *http_server_new(const struct http_server_options *options, struct error *e)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    s->options = *options;
    s->timeout.tv_sec = options->timeout_s ? options->timeout_s : TIMEOUT_DEFAULT_S;
    s->accepting = true;
    TAILQ_INIT(&s->due);
    LIST_INSERT_HEAD(&servers, s, next);
    s->http = evhttp_new(options->base);
    s->settle = event_new(options->base, -1, 0, on_settle, s);
    s->resume = evtimer_new(options->base, on_resume, s);
    s->trim = evtimer_new(options->base, on_trim, s);
    if (!s->http || !s->settle || !s->resume || !s->trim) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        http_server_free(s);
        return NULL;
    }
    signal(SIGPIPE, SIG_IGN); /* a client that has gone is an error of write(2), not the end of the server */
    evhttp_set_allowed_methods(s->http, UINT16_MAX); /* what is not known is the router's */
    evhttp_set_default_content_type(s->http, NULL);
    evhttp_set_max_headers_size(s->http, HTTP_HEADERS_MAX);
    evhttp_set_max_body_size(s->http, HTTP_BODY_MAX);
    evhttp_set_timeout_tv(s->http, &s->timeout);
    evhttp_set_bevcb(s->http, on_accept, s);
    evhttp_set_gencb(s->http, http_request_arrived, s);
    if (!listen_on_all(s, e)) {
        http_server_free(s);
        return NULL;
    }
    s->options.host = NULL; /* the caller's, and no longer needed */
    return s;
}

const char *http_server_address(const struct http_server *s)
{
    return s->address;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

unsigned http_server_connections(const struct http_server *s)
{
    return s->connection_count;
}

void http_server_stop_accepting(struct http_server *s)
{
    while (s->socket_count > 0)
        evhttp_del_accept_socket(s->http, s->sockets[--s->socket_count]);
}

static void free_node(void *connection)
{
    connection_free(connection);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    LIST_REMOVE(s, next);
    if (s->http)
        evhttp_free(s->http);
    tdestroy(s->connections, free_node);
    if (s->settle)
        event_free(s->settle);
    if (s->resume)
        event_free(s->resume);
    if (s->trim)
        event_free(s->trim);
    free(s);
}
