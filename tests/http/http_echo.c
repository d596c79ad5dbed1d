/* The HTTP layer with handlers that only test_http.py knows.
 *
 *     http_echo MAX_CONNECTIONS TIMEOUT_S HOST      prints its address, serves until SIGTERM
 *
 * /slow?ms=N       answers later
 * /ticks?n=N&ms=M  a chunked stream: N lines, one each M ms (N=0: for ever); with kb=K each is one letter, K KiB of it
 * /bytes?n=N       a stream with a length, written as it drains
 * /short           a stream that ends before its length
 * /counts          connections, streams that were closed by their clients
 * /204  /error     what they say
 * anything else    method, path, the parameter `q`, the header X-Test, length and sum of the body */
#include <event2/event.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <sys/queue.h>

#include "base/log.h"
#include "server/cors.h"
#include "server/http.h"

#define PIECE (64 * 1024)

struct echo {
    struct event_base *base;
    struct http_server *server;
    struct cors *cors;
    unsigned closed;
    LIST_HEAD(, work) works;
};

struct work { /* an answer under way */
    LIST_ENTRY(work) next;
    struct echo *echo;
    struct http_request *request;
    struct http_stream *stream;
    struct event *timer;
    uint64_t left, ms, kb;
};

static void work_free(struct work *w)
{
    LIST_REMOVE(w, next);
    if (w->timer)
        event_free(w->timer);
    free(w);
}

static void on_closed(void *context)
{
    struct work *w = context;
    w->echo->closed++;
    work_free(w);
}

static uint64_t number(struct http_request *r, const char *name)
{
    const char *text = http_request_query(r, name);
    return text ? strtoull(text, NULL, 10) : 0;
}

static void wait_ms(struct work *w)
{
    const struct timeval wait = {.tv_sec = (time_t)(w->ms / 1000),
                                 .tv_usec = (suseconds_t)(w->ms % 1000 * 1000)};
    evtimer_add(w->timer, &wait);
}

static struct work *work_new(struct echo *e, struct http_request *r, event_callback_fn on_timer)
{
    struct work *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    *w = (struct work){.echo = e, .request = r, .left = number(r, "n"), .ms = number(r, "ms"), .kb = number(r, "kb")};
    LIST_INSERT_HEAD(&e->works, w, next);
    if (on_timer)
        w->timer = evtimer_new(e->base, on_timer, w);
    return w;
}

static void on_slow(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct work *w = context;
    http_reply(w->request, 200, "text/plain", "slow", 4);
    work_free(w);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct work *w = context;
    static const char line[] = "data: tick\n\n";
    static char letters[PIECE];
    size_t length = w->kb * 1024 < sizeof letters ? w->kb * 1024 : sizeof letters;
    memset(letters, 'a' + (int)(w->left % 26), length);
    http_stream_write(w->stream, w->kb ? letters : line, w->kb ? length : strlen(line));
    if (w->left && --w->left == 0) {
        http_stream_end(w->stream);
        work_free(w);
        return;
    }
    wait_ms(w);
}

static void on_drained(void *context)
{
    static char piece[PIECE];
    struct work *w = context;
    size_t length = w->left < sizeof piece ? w->left : sizeof piece;
    http_stream_write(w->stream, piece, length);
    w->left -= length;
    if (w->left)
        return;
    http_stream_end(w->stream);
    work_free(w);
}

static void begin_ticks(struct work *w)
{
    const struct http_stream_options o = {200, "text/event-stream", -1, on_closed, NULL, w};
    w->stream = http_stream_begin(w->request, &o);
    on_tick(-1, 0, w);
}

static void begin_bytes(struct work *w)
{
    const struct http_stream_options o = {
        200, "application/octet-stream", (int64_t)w->left, on_closed, on_drained, w};
    if (http_request_method(w->request) == HTTP_HEAD) {
        http_stream_end(http_stream_begin(w->request, &o));
        work_free(w);
        return;
    }
    w->stream = http_stream_begin(w->request, &o);
    on_drained(w);
}

static void begin_short(struct http_request *r)
{
    const struct http_stream_options o = {200, "text/plain", 100, NULL, NULL, NULL};
    struct http_stream *s = http_stream_begin(r, &o);
    http_stream_write(s, "short", 5);
    http_stream_end(s);
}

static void reply_json(struct http_request *r, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    http_reply(r, 200, "application/json", text, strlen(text));
    free(text);
    json_decref(object);
}

static void echo(struct http_request *r)
{
    static const char *const methods[] = {"GET",    "HEAD",    "POST",  "PUT",
                                          "DELETE", "OPTIONS", "PATCH", "OTHER"};
    size_t length;
    const char *body = http_request_body(r, &length);
    uint64_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += (unsigned char)body[i];
    reply_json(r, json_pack("{s:s, s:s, s:s?, s:s?, s:I, s:I}", "method", methods[http_request_method(r)],
                            "path", http_request_path(r), "q", http_request_query(r, "q"), "header",
                            http_request_header(r, "X-Test"), "length", (json_int_t)length, "sum",
                            (json_int_t)sum));
}

static void handle(struct http_request *r, void *context)
{
    struct echo *e = context;
    const char *path = http_request_path(r);
    cors_apply(e->cors, r);
    if (!strcmp(path, "/slow"))
        wait_ms(work_new(e, r, on_slow));
    else if (!strcmp(path, "/ticks"))
        begin_ticks(work_new(e, r, on_tick));
    else if (!strcmp(path, "/bytes"))
        begin_bytes(work_new(e, r, NULL));
    else if (!strcmp(path, "/short"))
        begin_short(r);
    else if (!strcmp(path, "/counts"))
        reply_json(r, json_pack("{s:i, s:i}", "connections", (int)http_server_connections(e->server),
                                "closed", (int)e->closed));
    else if (!strcmp(path, "/204"))
        http_reply(r, 204, NULL, NULL, 0);
    else if (!strcmp(path, "/error")) {
        struct error error;
        error_set(&error, ERROR_NOT_FOUND, "bad byte \xff, \"quoted\"");
        http_reply_error(r, &error);
    } else
        echo(r);
}

static void on_signal(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    event_base_loopbreak(context);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    struct error error;
    struct echo e = {.base = event_base_new(),
                     .cors = cors_new("http://localhost:3000,https://*.example.org", &error)};
    const struct http_server_options options = {.base = e.base,
                                                .host = argv[3],
                                                .max_connections = (unsigned)strtoul(argv[1], NULL, 10),
                                                .timeout_s = (unsigned)strtoul(argv[2], NULL, 10),
                                                .handler = handle,
                                                .context = &e};
    e.server = e.cors ? http_server_new(&options, &error) : NULL;
    if (!e.server) {
        log_error("%s", error.message);
        return 1;
    }
    struct event *stop = evsignal_new(e.base, SIGTERM, on_signal, e.base);
    evsignal_add(stop, NULL);
    printf("%s\n", http_server_address(e.server));
    fflush(stdout);
    event_base_dispatch(e.base);

    http_server_stop_accepting(e.server);
    for (struct work *w; (w = LIST_FIRST(&e.works)); work_free(w)) {
        if (w->stream)
            http_stream_abort(w->stream);
        else
            http_reply(w->request, 503, NULL, NULL, 0);
    }
    http_server_free(e.server);
    cors_free(e.cors);
    event_free(stop);
    event_base_free(e.base);
    return 0;
}
