#include "server/http_internal.h"

#include <assert.h>
#include <event2/http_struct.h>
#include <jansson.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/digest.h"
#include "base/mailbox.h"
#include "base/utf8.h"
#include "server/http_gate.h"

#define STREAM_READ_MAX (64 * 1024) /* what a client may push while it is being answered */
#define STREAM_READ_ONCE 512        /* its end, most often; a read takes memory for as much as it may find */

static struct evhttp_connection *connection_of(const struct http_request *r)
{
    return evhttp_request_get_connection(r->ev);
}

/* A request that is still tied to a connection stays with it. */
static void request_free(struct http_request *r)
{
    if (r->connection) {
        r->connection->request = NULL;
        if (r->gone)
            http_connection_make_due(r->connection);
    }
    if (r->ev && !connection_of(r))
        evhttp_request_free(r->ev);
    http_query_free(r->query);
    free(r->path);
    free(r);
}

static bool is_request_id(const char *text)
{
    size_t length = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length <= HTTP_REQUEST_ID_MAX && !text[length];
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

static struct http_request *request_new(struct http_connection *c, struct evhttp_request *ev)
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

void http_request_arrived(struct evhttp_request *ev, void *server)
{
    struct http_server *s = server;
    const char *why = check(ev);
    if (why) {
        evhttp_send_error(ev, HTTP_BADREQUEST, why);
        return;
    }
    struct http_connection *c =
        http_connection_find(s, evhttp_connection_get_bufferevent(evhttp_request_get_connection(ev)));
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

/* Where reading stays on, evhttp takes a client that has only shut down its sending side for one that has
 * gone. */
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

/* libevent's own name, see http_internal.h. It is called with a request that was never presented to a
 * handler; also from here, for what the gate refuses. The connection ends with it. */
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
    struct evkeyvalq *in = evhttp_request_get_input_headers(r->ev),
                     *out = evhttp_request_get_output_headers(r->ev);
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

static void reply(struct http_request *r, int status, const char *content_type, const void *body, size_t length,
                  bool is_constant)
{
    if (r->gone) {
        request_free(r);
        return;
    }
    prepare_answer(r, status, content_type, (int64_t)length);
    struct evhttp_request *ev = r->ev;
    struct evhttp_connection *evcon = connection_of(r);
    struct evbuffer *out = evbuffer_new();
    bool ok = out && (!r->has_body || length == 0 ||
                      (is_constant ? evbuffer_add_reference(out, body, length, NULL, NULL)
                                   : evbuffer_add(out, body, length)) == 0);
    request_free(r);
    if (ok) {
        evhttp_send_reply(ev, status, NULL, out);
        stop_reading(evhttp_connection_get_bufferevent(evcon));
    } else
        evhttp_connection_free(evcon); /* out of memory */
    if (out)
        evbuffer_free(out);
}

void http_reply(struct http_request *r, int status, const char *content_type, const void *body, size_t length)
{
    reply(r, status, content_type, body, length, false);
}

void http_reply_constant(struct http_request *r, int status, const char *content_type, const void *body, size_t length)
{
    reply(r, status, content_type, body, length, true);
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

/* The headers are on their way, and what came is not looked at again: a stream may stay for hours, and these
 * are a third of its memory. What evhttp asks for at the end is whether the connection closes. */
static void forget_request(struct http_request *r)
{
    struct evkeyvalq *out = evhttp_request_get_output_headers(r->ev);
    bool closes = has_token(evhttp_find_header(out, "Connection"), "close");
    evhttp_clear_headers(out);
    evhttp_clear_headers(evhttp_request_get_input_headers(r->ev));
    if (closes)
        evhttp_add_header(out, "Connection", "close");
    free(TAKE_PTR(r->ev->uri));
    if (r->ev->uri_elems)
        evhttp_uri_free(TAKE_PTR(r->ev->uri_elems));
    http_query_free(TAKE_PTR(r->query));
    free(TAKE_PTR(r->path));
}

struct http_stream *http_stream_begin(struct http_request *r, const struct http_stream_options *o)
{
    struct http_stream *s = &r->stream;
    s->options = *o;
    s->left = o->length;
    r->is_stream = true;
    if (r->gone) {
        http_connection_make_due(r->connection); /* and `closed` is told */
        return s;
    }
    prepare_answer(r, o->status, o->content_type, o->length);
    evhttp_send_reply_start(r->ev, o->status, NULL);
    struct bufferevent *bev = r->connection->bev;
    bufferevent_set_timeouts(bev, NULL, &r->connection->server->timeout);
    bufferevent_setwatermark(bev, EV_READ, 0, STREAM_READ_MAX);
    if (o->length >= 0)
        stop_reading(bev);
    else
        forget_request(r);
    bufferevent_set_max_single_read(bev, STREAM_READ_ONCE);
    return s;
}

static void on_drained(struct evhttp_connection *evcon, void *context)
{
    (void)evcon;
    const struct http_stream_options *o = &((struct http_request *)context)->stream.options;
    if (o->drained)
        o->drained(o->context);
}

struct http_chunk {
    unsigned references;
    size_t prefix, length; /* of the frame's head, and of the data */
    char framed[];         /* <length in hex>CRLF<data>CRLF (RFC 9112, 7.1) */
};

struct http_chunk *http_chunk_new(const void *data, size_t length)
{
    char head[24];
    size_t prefix = (size_t)snprintf(head, sizeof head, "%zx\r\n", length);
    struct http_chunk *c = length ? malloc(sizeof *c + prefix + length + 2) : NULL;
    if (!c)
        return NULL;
    *c = (struct http_chunk){.references = 1, .prefix = prefix, .length = length};
    memcpy(c->framed, head, prefix);
    memcpy(c->framed + prefix, data, length);
    memcpy(c->framed + prefix + length, "\r\n", 2);
    return c;
}

void http_chunk_release(struct http_chunk *c)
{
    if (c && --c->references == 0)
        free(c);
}

size_t http_chunk_length(const struct http_chunk *c)
{
    return c->length;
}

static void release_reference(const void *data, size_t length, void *chunk)
{
    (void)data, (void)length;
    http_chunk_release(chunk);
}

/* Bytes that the socket took at once. Only where nothing waits before them, and nobody wants to hear when
 * they have left. An error shows again when the loop writes, and ends the connection from there. */
static size_t send_at_once(const struct http_request *r, const char *data, size_t length)
{
    struct bufferevent *bev = r->connection->bev;
    if (r->stream.options.drained || evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return 0;
    ssize_t n = send(bufferevent_getfd(bev), data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (size_t)n : 0;
}

/* Not by way of evhttp, which would begin the write timeout anew each time: a reader that takes nothing would
 * never be dropped as long as there is something new to tell it. And most often not by way of the loop: that
 * takes two more system calls, and memory, for each stream. */
static bool add_chunk(struct http_request *r, struct http_chunk *c)
{
    bool is_framed = r->ev->chunked;
    const char *data = is_framed ? c->framed : c->framed + c->prefix;
    size_t length = is_framed ? c->prefix + c->length + 2 : c->length;
    size_t sent = send_at_once(r, data, length);
    if (sent == length)
        return true;
    c->references++;
    struct evbuffer *out = bufferevent_get_output(r->connection->bev);
    if (evbuffer_add_reference(out, data + sent, length - sent, release_reference, c) == 0)
        return true;
    c->references--;
    return false;
}

/* With evhttp, which then knows `drained`. */
static bool add_first(struct http_request *r, const void *data, size_t length)
{
    struct evbuffer *buffer = evbuffer_new();
    bool ok = buffer && evbuffer_add(buffer, data, length) == 0;
    if (ok) {
        r->stream.drained_set = true;
        evhttp_send_reply_chunk_with_cb(r->ev, buffer, on_drained, r);
        if (r->stream.options.length >= 0)
            stop_reading(r->connection->bev);
    }
    if (buffer)
        evbuffer_free(buffer);
    return ok;
}

static bool add_copy(struct http_request *r, const void *data, size_t length)
{
    if (r->stream.options.length >= 0)
        return evbuffer_add(bufferevent_get_output(r->connection->bev), data, length) == 0;
    struct http_chunk *c = http_chunk_new(data, length);
    bool ok = c && add_chunk(r, c);
    http_chunk_release(c);
    return ok;
}

static bool takes_no_more(const struct http_request *r)
{
    return r->gone || !r->has_body || r->connection->drop;
}

static void drop(struct http_request *r) /* out of memory */
{
    r->connection->drop = true;
    http_connection_make_due(r->connection);
}

void http_stream_write(struct http_stream *s, const void *data, size_t length)
{
    struct http_request *r = request_of(s);
    if (length == 0 || takes_no_more(r))
        return;
    if (s->options.length >= 0) {
        assert((int64_t)length <= s->left);
        s->left -= (int64_t)length;
    }
    if (!(s->drained_set ? add_copy(r, data, length) : add_first(r, data, length)))
        drop(r);
}

void http_stream_write_chunk(struct http_stream *s, struct http_chunk *c)
{
    struct http_request *r = request_of(s);
    assert(s->options.length < 0);
    if (takes_no_more(r))
        return;
    if (!(s->drained_set ? add_chunk(r, c) : add_first(r, c->framed + c->prefix, c->length)))
        drop(r);
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
    bufferevent_set_max_single_read(bev, HTTP_IO_MAX);
    evhttp_send_reply_end(ev);
    if (chunked) /* the last chunk is to be written yet; else the next request may be coming in already */
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

void http_stream_tell_closed(struct http_request *r)
{
    const struct http_stream_options o = r->stream.options;
    r->connection->request = NULL;
    r->connection = NULL; /* settled: it need not be made due */
    request_free(r);
    if (o.closed)
        o.closed(o.context);
}
