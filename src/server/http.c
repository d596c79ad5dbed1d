/* How evhttp is used here, and what of its ways (2.1.12) this file relies on:
 *
 * - Every connection's bufferevent is made by us and carries a reference of ours. When evhttp lets go of a connection
 *   it has shut down the sending side; the descriptor closes with our reference. So connections are counted exactly,
 *   and a client that is still sending can be drained for a moment, so that it reads its answer and not a reset.
 * - evhttp passes its connection as the argument of its bufferevent callbacks, and sets them to NULL when it frees it.
 * - A client that goes while its request is under way: evhttp cuts the request loose (no connection), and it is ours
 *   to free. A request that is still tied to a connection is freed together with it.
 * - Its error pages come from evhttp_send_error(), which libevent calls by its public name: ours is called instead. */
#include <sys/queue.h> /* first: libevent's headers then leave its macros alone */

#include "server/http.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/listener.h>
#include <jansson.h>
#include <search.h>
#include <signal.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/utf8.h"
#include "server/http_gate.h"
#include "server/http_listen.h"
#include "server/http_query.h"

#define TIMEOUT_DEFAULT_S 60
#define BACKLOG 4096
#define IO_MAX (256 * 1024)        /* bytes of one read or write: an event leaves in one piece */
#define STREAM_READ_MAX (64 * 1024) /* what a client may push while it is being answered */
#define LINGER_MAX (16 * 1024 * 1024)
#define LINGER_MS 5000
#define LINGER_IDLE_S 2
#define ACCEPT_PAUSE_S 1
#define REQUEST_ID_MAX 64

struct connection {
    struct bufferevent *bev; /* first: the key of the tree. A reference of our own */
    struct http_server *server;
    struct http_request *request; /* under way; NULL: none */
    TAILQ_ENTRY(connection) due;
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

    void *connections; /* tree of struct connection */
    unsigned connection_count;
    TAILQ_HEAD(, connection) due; /* to be settled when the call that is under way has returned */
    struct event *settle;

    bool accepting;
    struct event *resume; /* pending: accepting pauses after an error */
};

struct http_stream {
    struct http_stream_options options;
    int64_t left;    /* of options.length */
    bool drained_set; /* evhttp knows `drained` */
};

struct http_request {
    struct connection *connection; /* NULL: the server is being freed */
    struct evhttp_request *ev;     /* NULL: it went with its connection */
    bool gone;                     /* the client has */
    bool has_body;                 /* the answer has */
    bool is_stream;
    char id[REQUEST_ID_MAX + 1];
    char *path;
    struct http_query *query;
    struct http_stream stream;
};

/* evhttp's listener callbacks know only the evhttp that they belong to. */
static LIST_HEAD(, http_server) servers = LIST_HEAD_INITIALIZER(servers);

/* Connections */

static int compare_connections(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const struct connection *)a)->bev, y = (uintptr_t)((const struct connection *)b)->bev;
    return x < y ? -1 : x > y;
}

static struct connection *connection_find(const struct http_server *s, struct bufferevent *bev)
{
    const struct connection key = {.bev = bev};
    struct connection **found = tfind(&key, &s->connections, compare_connections);
    return found ? *found : NULL;
}

static struct evhttp_connection *connection_of(const struct http_request *r)
{
    return evhttp_request_get_connection(r->ev);
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

static void connection_make_due(struct connection *c)
{
    struct http_server *s = c->server;
    if (c->is_due)
        return;
    c->is_due = true;
    TAILQ_INSERT_TAIL(&s->due, c, due);
    event_active(s->settle, 0, 0);
}

static void connection_free(struct connection *c)
{
    if (c->is_due)
        TAILQ_REMOVE(&c->server->due, c, due);
    if (c->request)
        c->request->connection = NULL;
    bufferevent_free(c->bev);
    free(c);
}

static void connection_release(struct connection *c)
{
    struct http_server *s = c->server;
    tdelete(c, &s->connections, compare_connections);
    s->connection_count--;
    connection_free(c);
    update_accepting(s);
}

static void on_linger_event(struct bufferevent *bev, short what, void *context)
{
    (void)bev, (void)what;
    connection_release(context);
}

static void on_linger_read(struct bufferevent *bev, void *context)
{
    struct connection *c = context;
    struct evbuffer *input = bufferevent_get_input(bev);
    c->linger_bytes += evbuffer_get_length(input);
    evbuffer_drain(input, evbuffer_get_length(input));
    if (c->linger_bytes > LINGER_MAX || clock_monotonic_ms() > c->linger_until)
        connection_release(c);
}

/* evhttp is done with it and has shut down our side: wait a little for the client to do the same. Closing while it
 * sends would reset the connection, and the answer could be lost with it. */
static void connection_linger(struct connection *c)
{
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

/* From evhttp, while it frees the connection. What is to be told is told later: we may be inside a call of ours. */
static void on_connection_closed(struct evhttp_connection *evcon, void *context)
{
    (void)evcon;
    struct connection *c = context;
    struct http_request *r = c->request;
    if (r) {
        r->gone = true;
        if (r->ev && evhttp_request_get_connection(r->ev))
            r->ev = NULL;
    }
    connection_make_due(c);
}

static void request_free(struct http_request *r);

static void connection_settle(struct connection *c)
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
    connection_linger(c);
    if (r) {
        const struct http_stream_options o = r->stream.options;
        r->connection = NULL;
        c->request = NULL;
        request_free(r);
        if (o.closed)
            o.closed(o.context);
    }
}

static void on_settle(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct http_server *s = context;
    struct connection *c;
    while ((c = TAILQ_FIRST(&s->due))) {
        TAILQ_REMOVE(&s->due, c, due);
        c->is_due = false;
        connection_settle(c);
    }
}

/* From evhttp for each accepted connection. With NULL it makes a bufferevent of its own, which serves as well but is
 * not counted; on_request() then refuses. */
static struct bufferevent *on_accept(struct event_base *base, void *context)
{
    struct http_server *s = context;
    _cleanup_free_ struct connection *c = calloc(1, sizeof *c);
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
    bufferevent_set_max_single_read(bev, IO_MAX);
    bufferevent_set_max_single_write(bev, IO_MAX);
    s->connection_count++;
    update_accepting(s);
    connection_make_due(TAKE_PTR(c)); /* evhttp's connection does not exist yet */
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
    LIST_FOREACH(s, &servers, next) {
        if (s->http != context)
            continue;
        char text[128];
        log_warn("accepting connections pauses for %d s: %s", ACCEPT_PAUSE_S,
                 strerror_r(errnum, text, sizeof text));
        event_add(s->resume, &pause);
        update_accepting(s);
    }
}

/* The request */

static bool is_request_id(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length <= REQUEST_ID_MAX && !text[length];
}

static void choose_request_id(struct http_request *r)
{
    const char *own = http_request_header(r, "X-Request-Id");
    uint8_t random[8] = {0};
    struct error e;
    if (own && is_request_id(own))
        snprintf(r->id, sizeof r->id, "%s", own);
    else if (random_bytes(random, sizeof random, &e))
        hex_encode(random, sizeof random, r->id);
}

/* The path within a target that the gate has let pass: "/path?query", "http://host/path?query" or "*". */
static const char *path_of(const char *target)
{
    if (*target == '/' || *target == '*')
        return target;
    target = strstr(target, "://") + 3;
    return target + strcspn(target, "/?");
}

static struct http_request *request_new(struct connection *c, struct evhttp_request *ev)
{
    struct http_request *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    const char *path = path_of(evhttp_request_get_uri(ev));
    size_t length = strcspn(path, "?");
    r->path = length ? strndup(path, length) : strdup("/");
    r->query = http_query_new(path[length] ? path + length + 1 : "");
    if (!r->path || !r->query) {
        request_free(r);
        return NULL;
    }
    r->ev = ev;
    r->connection = c;
    c->request = r;
    choose_request_id(r);
    return r;
}

/* A request that is still tied to a connection stays with it. */
static void request_free(struct http_request *r)
{
    if (r->connection) {
        r->connection->request = NULL;
        if (r->gone)
            connection_make_due(r->connection);
    }
    if (r->ev && !connection_of(r))
        evhttp_request_free(r->ev);
    http_query_free(r->query);
    free(r->path);
    free(r);
}

static const char *check(struct evhttp_request *ev)
{
    if (ev->type == EVHTTP_REQ_CONNECT)
        return "CONNECT is for proxies";
    const struct http_gate_request request = {
        .headers = evhttp_request_get_input_headers(ev),
        .target = evhttp_request_get_uri(ev),
        .major = ev->major,
        .minor = ev->minor,
        .is_options = ev->type == EVHTTP_REQ_OPTIONS,
        .body_is_read = ev->type & (EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
                                    EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH)};
    return http_gate_check(&request);
}

static void on_request(struct evhttp_request *ev, void *context)
{
    struct http_server *s = context;
    const char *why = check(ev);
    if (why) {
        evhttp_send_error(ev, HTTP_BADREQUEST, why);
        return;
    }
    struct connection *c = connection_find(s, evhttp_connection_get_bufferevent(evhttp_request_get_connection(ev)));
    struct http_request *r = c ? request_new(c, ev) : NULL;
    if (r)
        s->options.handler(r, s->options.context);
    else
        evhttp_send_error(ev, HTTP_SERVUNAVAIL, "out of memory");
}

enum http_method http_request_method(const struct http_request *r)
{
    switch (evhttp_request_get_command(r->ev)) {
    case EVHTTP_REQ_GET:
        return HTTP_GET;
    case EVHTTP_REQ_HEAD:
        return HTTP_HEAD;
    case EVHTTP_REQ_POST:
        return HTTP_POST;
    case EVHTTP_REQ_PUT:
        return HTTP_PUT;
    case EVHTTP_REQ_DELETE:
        return HTTP_DELETE;
    case EVHTTP_REQ_OPTIONS:
        return HTTP_OPTIONS;
    case EVHTTP_REQ_PATCH:
        return HTTP_PATCH;
    default:
        return HTTP_OTHER;
    }
}

const char *http_request_path(const struct http_request *r)
{
    return r->path;
}

const char *http_request_header(const struct http_request *r, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(r->ev), name);
}

const char *http_request_query(const struct http_request *r, const char *name)
{
    return http_query_get(r->query, name);
}

const char *http_request_body(const struct http_request *r, size_t *ret_length)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(r->ev);
    *ret_length = evbuffer_get_length(body);
    const char *data = *ret_length ? (const char *)evbuffer_pullup(body, -1) : "";
    if (!data) /* out of memory */
        *ret_length = 0;
    return data;
}

const char *http_request_id(const struct http_request *r)
{
    return r->id;
}

/* The answer */

/* Where reading stays on, evhttp takes a client that has only shut down its sending side for one that has gone. */
static void stop_reading(struct bufferevent *bev)
{
    bufferevent_disable(bev, EV_READ);
}

static char *error_json(const char *message)
{
    json_t *object = json_pack("{s:s}", "error", message);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return text;
}

/* libevent's own name, see above. It is called with a request that was never presented to a handler; also from here,
 * for what the gate refuses. The connection ends with it. */
void evhttp_send_error(struct evhttp_request *ev, int status, const char *reason)
{
    if (!reason)
        reason = status == HTTP_ENTITYTOOLARGE ? "the request is too large, or its chunks are malformed"
                                               : "the request is malformed, or its headers are too large";
    if (ev->type == EVHTTP_REQ_CONNECT) /* evhttp never closes after a CONNECT */
        ev->type = EVHTTP_REQ_GET;
    ev->flags &= ~EVHTTP_PROXY_REQUEST; /* nor does it then say so */
    if (ev->major != 1)
        ev->major = ev->minor = 1;

    struct evhttp_connection *evcon = evhttp_request_get_connection(ev);
    _cleanup_free_ char *text = error_json(reason);
    struct evbuffer *body = evbuffer_new();
    if (!text || !body || evbuffer_add(body, text, strlen(text)) < 0) {
        evhttp_connection_free(evcon);
    } else {
        char length[24];
        snprintf(length, sizeof length, "%zu", strlen(text));
        struct evkeyvalq *headers = evhttp_request_get_output_headers(ev);
        evhttp_clear_headers(headers);
        evhttp_add_header(headers, "Content-Type", "application/json");
        evhttp_add_header(headers, "Content-Length", length);
        evhttp_add_header(headers, "Connection", "close");
        evhttp_remove_header(evhttp_request_get_input_headers(ev), "Connection");
        if (ev->type == EVHTTP_REQ_HEAD)
            evbuffer_drain(body, strlen(text));
        evhttp_send_reply(ev, status, NULL, body);
        stop_reading(evhttp_connection_get_bufferevent(evcon));
    }
    if (body)
        evbuffer_free(body);
}

void http_response_header(struct http_request *r, const char *name, const char *value)
{
    assert(!strpbrk(name, "\r\n") && !strpbrk(value, "\r\n"));
    if (!r->gone)
        evhttp_add_header(evhttp_request_get_output_headers(r->ev), name, value);
}

/* True if the comma list (NULL: none) has `token`. */
static bool has_token(const char *list, const char *token)
{
    while (list && *list) {
        list += strspn(list, ", \t");
        size_t length = strcspn(list, ", \t");
        if (length == strlen(token) && !strncasecmp(list, token, length))
            return true;
        list += length;
    }
    return false;
}

/* `length` < 0: not known. */
static void prepare_answer(struct http_request *r, int status, const char *content_type, int64_t length)
{
    struct evkeyvalq *in = evhttp_request_get_input_headers(r->ev), *out = evhttp_request_get_output_headers(r->ev);
    bool may_have_body = status >= 200 && status != 204 && status != 304;
    r->has_body = may_have_body && r->ev->type != EVHTTP_REQ_HEAD;
    if (content_type)
        evhttp_add_header(out, "Content-Type", content_type);
    if (may_have_body && length >= 0) {
        char text[24];
        snprintf(text, sizeof text, "%lld", (long long)length);
        evhttp_add_header(out, "Content-Length", text);
    }
    evhttp_add_header(out, "X-Request-Id", r->id);

    bool is_old = r->ev->minor == 0; /* HTTP/1.0 has no chunks: only the end tells the end */
    if (!evhttp_find_header(out, "Connection") &&
        ((is_old && length < 0) || has_token(evhttp_find_header(in, "Connection"), "close")))
        evhttp_add_header(out, "Connection", "close");
    if (is_old && evhttp_find_header(out, "Connection"))
        evhttp_remove_header(in, "Connection"); /* else evhttp answers a keep-alive with keep-alive, too */
}

void http_reply(struct http_request *r, int status, const char *content_type, const void *body, size_t length)
{
    if (r->gone) {
        request_free(r);
        return;
    }
    prepare_answer(r, status, content_type, (int64_t)length);
    struct evhttp_request *ev = r->ev;
    struct evhttp_connection *evcon = connection_of(r);
    struct evbuffer *copy = evbuffer_new();
    bool ok = copy && (!r->has_body || length == 0 || evbuffer_add(copy, body, length) == 0);
    request_free(r);
    if (ok) {
        evhttp_send_reply(ev, status, NULL, copy);
        stop_reading(evhttp_connection_get_bufferevent(evcon));
    } else
        evhttp_connection_free(evcon); /* out of memory */
    if (copy)
        evbuffer_free(copy);
}

void http_reply_error(struct http_request *r, const struct error *e)
{
    char message[ERROR_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", e->message);
    utf8_scrub(message, strlen(message));
    _cleanup_free_ char *text = error_json(message);
    http_reply(r, error_code_http_status(e->code), "application/json", text, text ? strlen(text) : 0);
}

/* Streams */

static struct http_request *request_of(const struct http_stream *s)
{
    return CONTAINER_OF(s, struct http_request, stream);
}

struct http_stream *http_stream_begin(struct http_request *r, const struct http_stream_options *o)
{
    struct http_stream *s = &r->stream;
    s->options = *o;
    s->left = o->length;
    r->is_stream = true;
    if (r->gone) {
        connection_make_due(r->connection); /* and `closed` is told */
        return s;
    }
    prepare_answer(r, o->status, o->content_type, o->length);
    evhttp_send_reply_start(r->ev, o->status, NULL);
    struct bufferevent *bev = r->connection->bev;
    bufferevent_set_timeouts(bev, NULL, &r->connection->server->timeout);
    bufferevent_setwatermark(bev, EV_READ, 0, STREAM_READ_MAX);
    if (o->length >= 0)
        stop_reading(bev);
    return s;
}

static void on_drained(struct evhttp_connection *evcon, void *context)
{
    (void)evcon;
    const struct http_stream_options *o = &((struct http_request *)context)->stream.options;
    if (o->drained)
        o->drained(o->context);
}

static bool add_framed(struct evbuffer *out, const void *data, size_t length)
{
    return evbuffer_add_printf(out, "%zx\r\n", length) > 0 && evbuffer_add(out, data, length) == 0 &&
           evbuffer_add(out, "\r\n", 2) == 0;
}

/* Only the first write goes through evhttp, which then knows `drained`: it would begin the write timeout anew each
 * time, and a reader that takes nothing would never be dropped as long as there is something new to tell it. */
static bool stream_add(struct http_request *r, struct evbuffer *chunk, const void *data, size_t length)
{
    struct bufferevent *bev = r->connection->bev;
    if (!r->stream.drained_set) {
        if (evbuffer_add(chunk, data, length) < 0)
            return false;
        r->stream.drained_set = true;
        evhttp_send_reply_chunk_with_cb(r->ev, chunk, on_drained, r);
        if (r->stream.options.length >= 0)
            stop_reading(bev);
        return true;
    }
    if (!(r->ev->chunked ? add_framed(chunk, data, length) : evbuffer_add(chunk, data, length) == 0))
        return false;
    return evbuffer_add_buffer(bufferevent_get_output(bev), chunk) == 0;
}

void http_stream_write(struct http_stream *s, const void *data, size_t length)
{
    struct http_request *r = request_of(s);
    if (length == 0 || r->gone || !r->has_body || r->connection->drop)
        return;
    if (s->options.length >= 0) {
        assert((int64_t)length <= s->left);
        s->left -= (int64_t)length;
    }
    struct evbuffer *chunk = evbuffer_new();
    if (!chunk || !stream_add(r, chunk, data, length)) {
        r->connection->drop = true; /* out of memory */
        connection_make_due(r->connection);
    }
    if (chunk)
        evbuffer_free(chunk);
}

size_t http_stream_pending(const struct http_stream *s)
{
    const struct http_request *r = request_of(s);
    return r->gone ? 0 : evbuffer_get_length(bufferevent_get_output(r->connection->bev));
}

void http_stream_end(struct http_stream *s)
{
    struct http_request *r = request_of(s);
    if (r->gone || (r->has_body && s->options.length >= 0 && s->left > 0)) {
        http_stream_abort(s);
        return;
    }
    struct evhttp_request *ev = r->ev;
    struct bufferevent *bev = r->connection->bev;
    const struct timeval *timeout = &r->connection->server->timeout;
    bool chunked = ev->chunked;
    request_free(r);
    stop_reading(bev);
    bufferevent_set_timeouts(bev, timeout, timeout);
    bufferevent_setwatermark(bev, EV_READ, 0, 0);
    evhttp_send_reply_end(ev);
    if (chunked) /* the last chunk is still to be written; else the next request may be on its way in already */
        stop_reading(bev);
}

void http_stream_abort(struct http_stream *s)
{
    struct http_request *r = request_of(s);
    struct evhttp_connection *evcon = r->gone ? NULL : connection_of(r);
    request_free(r);
    if (evcon)
        evhttp_connection_free(evcon);
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
    if (!s->http || !s->settle || !s->resume) {
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
    evhttp_set_gencb(s->http, on_request, s);
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
    free(s);
}
