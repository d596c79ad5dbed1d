#include "base/http_upload.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/http_answer.h"

/* Smaller bodies are libcurl's: a connection of their own would not pay. */
#define BODY_MIN ((size_t)1 << 20)

#define HEAD_MAX ((size_t)64 * 1024)
#define READ_SIZE 16384

/* TLS takes no more at once, and must be given the same again if it took none. */
#define TLS_PIECE ((size_t)256 * 1024)
#define PIECES_A_TURN 16

#define IDLE_MS 20000       /* a connection is kept unused for so long; stores close them after some seconds */
#define BYTES_A_SECOND 1024 /* fewer are silence */

struct connection {
    struct connection *next; /* of those that are idle */
    CURL *easy;              /* in the multi handle */
    curl_socket_t fd;
    char *origin; /* "https://host:port" */
    int64_t idle_at;
};

/* WAITING is for one of the connections that there may be. */
enum phase { WAITING, CONNECTING, EXCHANGING, OVER };

struct http_upload {
    struct http_uploads *us;
    struct http_upload *next, **link; /* in us->first */
    void *owner;
    enum phase phase;
    bool told;
    enum http_outcome outcome;
    struct error error;
    char detail[CURL_ERROR_SIZE];

    struct connection *connection; /* while it is CONNECTING or EXCHANGING */
    bool reused;
    bool tls;
    char *origin;
    int64_t connect_ms, deadline_at, silence_ms;
    int64_t alive_at; /* the last sign of life, and the bytes since */
    size_t moved;

    struct buf head;
    const char *body;
    size_t body_len, sent; /* of head and body */
    bool send_failed;      /* an answer may have come all the same */
    struct http_answer answer;
    int wait_at; /* in us->waits; -1: it has not been waited for */
};

struct http_uploads {
    CURLM *multi;
    const char *ca_file;
    unsigned max, count; /* of connections, idle ones included */
    struct connection *idle; /* the latest first */
    struct http_upload *first;
    struct curl_waitfd *waits;
    unsigned waits_room;
};

/* Connections */

static void connection_free(struct http_uploads *us, struct connection *c)
{
    if (!c)
        return;
    if (c->easy) {
        curl_multi_remove_handle(us->multi, c->easy);
        curl_easy_cleanup(c->easy);
    }
    free(c->origin);
    free(c);
    us->count--;
}

/* One that is not connected yet. */
static struct connection *connection_new(struct http_uploads *us, const char *origin, int64_t connect_ms, char *error_text)
{
    struct connection *c = calloc(1, sizeof *c);
    us->count += c != NULL;
    if (!c || !(c->origin = strdup(origin)) || !(c->easy = curl_easy_init())) {
        connection_free(us, c);
        return NULL;
    }
    http_curl_prepare(c->easy, origin, connect_ms);
    curl_easy_setopt(c->easy, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(c->easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(c->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, error_text);
    curl_easy_setopt(c->easy, CURLOPT_QUICK_EXIT, 1L); /* else a cancel would wait for a name that is being looked up */
    if (us->ca_file)
        curl_easy_setopt(c->easy, CURLOPT_CAINFO, us->ca_file);
    if (curl_multi_add_handle(us->multi, c->easy) != CURLM_OK) {
        curl_easy_cleanup(c->easy);
        c->easy = NULL;
        connection_free(us, c);
        return NULL;
    }
    return c;
}

/* An idle connection on which there is something to read has been closed, or is none that we understand. */
static bool is_usable(const struct connection *c)
{
    char byte;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

static struct connection *take_idle(struct http_uploads *us, const char *origin)
{
    for (struct connection **link = &us->idle, *c; (c = *link);) {
        bool ours = strcmp(c->origin, origin) == 0, usable = is_usable(c);
        if (!ours && usable) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        if (usable)
            return c;
        connection_free(us, c);
    }
    return NULL;
}

/* Those that have been idle since `before` and longer. */
static void drop_idle(struct http_uploads *us, int64_t before)
{
    for (struct connection **link = &us->idle, *c; (c = *link);) {
        if (c->idle_at > before) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        connection_free(us, c);
    }
}

/* The exchange */

static bool connect_anew(struct http_upload *u)
{
    u->phase = CONNECTING;
    u->reused = false;
    u->connection = connection_new(u->us, u->origin, u->connect_ms, u->detail);
    return u->connection != NULL;
}

static void begin_exchange(struct http_upload *u, struct connection *c, bool reused)
{
    u->connection = c;
    u->reused = reused;
    u->phase = EXCHANGING;
    u->sent = 0;
    u->send_failed = false;
    u->alive_at = clock_monotonic_ms();
    u->moved = 0;
    u->wait_at = -1;
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, u->detail);
}

/* False: there is no memory. */
static bool find_connection(struct http_upload *u)
{
    struct http_uploads *us = u->us;
    struct connection *c = take_idle(us, u->origin);
    if (c) {
        begin_exchange(u, c, true);
        return true;
    }
    if (us->count == us->max)
        drop_idle(us, INT64_MAX); /* they lead elsewhere */
    return us->count == us->max || connect_anew(u);
}

static void release_connection(struct http_upload *u, bool is_reusable)
{
    struct http_uploads *us = u->us;
    struct connection *c = TAKE_PTR(u->connection);
    if (!is_reusable) {
        connection_free(us, c);
        return;
    }
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, NULL);
    c->idle_at = clock_monotonic_ms();
    c->next = us->idle;
    us->idle = c;
}

static void over(struct http_upload *u, enum http_outcome outcome, bool is_reusable)
{
    u->phase = OVER;
    u->outcome = outcome;
    if (u->connection)
        release_connection(u, is_reusable);
}

static void broken(struct http_upload *u, enum http_outcome outcome, const char *why)
{
    error_set(&u->error, ERROR_UNAVAILABLE, "%s", why);
    over(u, outcome, false);
}

static size_t total(const struct http_upload *u)
{
    return u->head.len + u->body_len;
}

/* A peer that lets through less than BYTES_A_SECOND is silent. */
static void sign_of_life(struct http_upload *u, size_t bytes)
{
    int64_t now = clock_monotonic_ms();
    u->moved += bytes;
    if ((int64_t)u->moved * 1000 < (now - u->alive_at) * BYTES_A_SECOND)
        return;
    u->alive_at = now;
    u->moved = 0;
}

static void send_some(struct http_upload *u)
{
    for (int i = 0; i < PIECES_A_TURN && u->sent < total(u); i++) {
        bool in_head = u->sent < u->head.len;
        const char *from = in_head ? u->head.data + u->sent : u->body + (u->sent - u->head.len);
        size_t left = (in_head ? u->head.len : total(u)) - u->sent, sent = 0;
        CURLcode code = curl_easy_send(u->connection->easy, from, u->tls && left > TLS_PIECE ? TLS_PIECE : left, &sent);
        if (code == CURLE_AGAIN)
            return;
        if (code != CURLE_OK) {
            u->send_failed = true;
            return;
        }
        u->sent += sent;
        sign_of_life(u, sent);
        if (!in_head && !u->tls)
            return; /* it took what it had room for */
    }
}

/* The answer is whole, or cannot become so. */
static void on_answer(struct http_upload *u)
{
    bool all_sent = u->sent == total(u);
    switch (u->answer.state) {
    case HTTP_ANSWER_WHOLE:
        if (!all_sent && u->answer.status < 300)
            broken(u, HTTP_BROKEN, "the server answered before it had the whole body");
        else
            over(u, HTTP_ANSWERED, all_sent && !u->answer.last);
        break;
    case HTTP_ANSWER_TOO_LONG:
        over(u, HTTP_STOPPED, false);
        break;
    default:
        broken(u, HTTP_BROKEN, "the server's answer is cut off, or not HTTP");
    }
}

/* No answer will come on this connection. A kept one may have died before it was used again: then another is made. */
static void on_closed(struct http_upload *u, const char *why)
{
    if (u->answer.begun) {
        http_answer_end(&u->answer);
        on_answer(u);
        return;
    }
    if (!u->reused) {
        broken(u, HTTP_BROKEN, why);
        return;
    }
    connection_free(u->us, TAKE_PTR(u->connection));
    if (!connect_anew(u))
        broken(u, HTTP_UNREACHABLE, "out of memory");
}

static void read_some(struct http_upload *u)
{
    char data[READ_SIZE];
    for (int i = 0; i < PIECES_A_TURN; i++) {
        size_t length = 0;
        CURLcode code = curl_easy_recv(u->connection->easy, data, sizeof data, &length);
        if (code == CURLE_AGAIN) {
            if (u->send_failed)
                on_closed(u, "the connection broke off");
            return;
        }
        if (code != CURLE_OK || length == 0) {
            on_closed(u, code == CURLE_OK ? "the connection was closed without an answer" : curl_easy_strerror(code));
            return;
        }
        sign_of_life(u, length);
        if (http_answer_feed(&u->answer, data, length) != HTTP_ANSWER_MORE) {
            on_answer(u);
            return;
        }
    }
}

/* What the owner sees */

bool http_upload_is_for(const struct http_transfer_options *o)
{
    return strcmp(o->method, "PUT") == 0 && o->body_len >= BODY_MIN && !o->once;
}

static bool is_line(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7F)
            return false;
    return true;
}

/* Host is the URL's authority, as it stands: that is what is signed. */
static bool write_head(struct http_upload *u, const struct http_transfer_options *o)
{
    const char *authority = strstr(o->url, "://");
    if (!authority)
        return false;
    authority += 3;
    const char *target = authority + strcspn(authority, "/?#");
    bool ok = *target == '/' && is_line(o->url) && !strchr(o->url, ' ') && !strchr(o->url, '#');
    u->origin = strndup(o->url, (size_t)(target - o->url));
    u->tls = strncmp(o->url, "https:", 6) == 0;
    buf_printf(&u->head, "PUT %s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: " HTTP_CURL_USER_AGENT "\r\nAccept: */*\r\n", target,
               (int)(target - authority), authority);
    for (const char *const *h = o->headers; ok && *h; h++) {
        ok = is_line(*h);
        buf_printf(&u->head, "%s\r\n", *h);
    }
    buf_printf(&u->head, "Content-Length: %zu\r\n\r\n", u->body_len);
    return ok && u->origin && buf_ok(&u->head);
}

struct http_upload *http_upload_start(struct http_uploads *us, const struct http_transfer_options *o, void *owner, struct error *e)
{
    struct http_upload *u = calloc(1, sizeof *u);
    if (!u) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    int64_t now = clock_monotonic_ms();
    u->us = us;
    u->owner = owner;
    u->body = o->body;
    u->body_len = o->body_len;
    u->connect_ms = o->connect_ms;
    u->deadline_at = now + o->deadline_ms;
    u->silence_ms = 1000 * o->silence_s;
    buf_init(&u->head, HEAD_MAX);
    http_answer_init(&u->answer, o->answer_max);
    u->next = us->first;
    u->link = &us->first;
    if (u->next)
        u->next->link = &u->next;
    us->first = u;
    if (!write_head(u, o)) {
        error_set(e, ERROR_INVALID, "a request has control characters, or is too long");
        http_upload_free(u);
        return NULL;
    }
    if (!find_connection(u)) {
        error_set(e, ERROR_INTERNAL, "the HTTP client fails");
        http_upload_free(u);
        return NULL;
    }
    return u;
}

void http_upload_free(struct http_upload *u)
{
    if (!u)
        return;
    *u->link = u->next;
    if (u->next)
        u->next->link = u->link;
    connection_free(u->us, u->connection);
    http_answer_release(&u->answer);
    buf_release(&u->head);
    free(u->origin);
    free(u);
}

struct http_uploads *http_uploads_new(CURLM *multi, const char *ca_file, unsigned max)
{
    struct http_uploads *us = calloc(1, sizeof *us);
    if (us)
        *us = (struct http_uploads){.multi = multi, .ca_file = ca_file, .max = max};
    return us;
}

void http_uploads_free(struct http_uploads *us)
{
    if (!us)
        return;
    drop_idle(us, INT64_MAX);
    free(us->waits);
    free(us);
}

static int64_t next_look(const struct http_upload *u)
{
    int64_t silent_at = u->alive_at + u->silence_ms;
    return u->phase == EXCHANGING && silent_at < u->deadline_at ? silent_at : u->deadline_at;
}

/* Whoever waits longest comes first: the last one in the list. */
static void serve_waiting(struct http_uploads *us)
{
    for (bool more = us->count < us->max || us->idle; more;) {
        struct http_upload *next = NULL;
        for (struct http_upload *u = us->first; u; u = u->next)
            if (u->phase == WAITING)
                next = u;
        if (next && !find_connection(next))
            broken(next, HTTP_UNREACHABLE, "out of memory");
        more = next && next->phase != WAITING;
    }
}

bool http_uploads_prepare(struct http_uploads *us, int64_t *wait_ms, struct curl_waitfd **ret, unsigned *ret_count)
{
    unsigned count = 0, needed = 0;
    int64_t now = clock_monotonic_ms();
    drop_idle(us, now - IDLE_MS);
    serve_waiting(us);
    for (const struct http_upload *u = us->first; u; u = u->next)
        needed++;
    if (needed > us->waits_room) {
        struct curl_waitfd *larger = realloc(us->waits, needed * sizeof *larger);
        if (!larger)
            return false;
        us->waits = larger;
        us->waits_room = needed;
    }
    for (struct http_upload *u = us->first; u; u = u->next) {
        if (u->phase == OVER)
            continue;
        int64_t left = next_look(u) - now;
        *wait_ms = left < 0 ? 0 : left < *wait_ms ? left : *wait_ms;
        if (u->phase != EXCHANGING)
            continue;
        u->wait_at = (int)count;
        short events = CURL_WAIT_POLLIN | (u->sent < total(u) ? CURL_WAIT_POLLOUT : 0);
        us->waits[count++] = (struct curl_waitfd){.fd = u->connection->fd, .events = events};
    }
    *ret = us->waits;
    *ret_count = count;
    return true;
}

void http_uploads_on_connected(struct http_uploads *us, CURL *easy, CURLcode code)
{
    struct http_upload *u = us->first;
    while (u && !(u->connection && u->connection->easy == easy))
        u = u->next;
    if (!u || u->phase != CONNECTING)
        return;
    if (code == CURLE_OK)
        code = curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &u->connection->fd);
    if (code != CURLE_OK)
        over(u, http_curl_outcome(code, false, &u->error), false);
    else
        begin_exchange(u, u->connection, false);
}

void http_uploads_move(struct http_uploads *us)
{
    for (struct http_upload *u = us->first; u; u = u->next) {
        if (u->phase == OVER)
            continue;
        int64_t now = clock_monotonic_ms();
        if (now >= u->deadline_at || (u->phase == EXCHANGING && now - u->alive_at >= u->silence_ms)) {
            broken(u, u->phase == EXCHANGING ? HTTP_BROKEN : HTTP_UNREACHABLE, "no answer in time");
            continue;
        }
        if (u->phase != EXCHANGING)
            continue;
        int ready = u->wait_at < 0 ? CURL_WAIT_POLLOUT : us->waits[u->wait_at].revents;
        if ((ready & CURL_WAIT_POLLOUT) && u->sent < total(u) && !u->send_failed)
            send_some(u);
        if ((ready & CURL_WAIT_POLLIN) || u->send_failed)
            read_some(u);
    }
}

void *http_uploads_next(struct http_uploads *us, enum http_outcome *ret, struct error *e)
{
    for (struct http_upload *u = us->first; u; u = u->next)
        if (u->phase == OVER && !u->told) {
            u->told = true;
            *ret = u->outcome;
            if (u->outcome != HTTP_ANSWERED && u->outcome != HTTP_STOPPED)
                *e = u->error;
            return u->owner;
        }
    return NULL;
}

int http_upload_status(const struct http_upload *u)
{
    return u->answer.status;
}

const char *http_upload_header(const struct http_upload *u, const char *name)
{
    return http_answer_header(&u->answer, name);
}

const struct buf *http_upload_body(const struct http_upload *u)
{
    return &u->answer.body;
}

const char *http_upload_detail(const struct http_upload *u)
{
    return u->detail;
}
