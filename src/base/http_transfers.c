#include "base/http_transfers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/http_curl.h"
#include "base/http_upload.h"

/* libcurl copies a body through this buffer; large ones do not come here (http_upload.h). */
#define UPLOAD_BUFFER (256 * 1024L)

/* So many of all connections may be taken by uploads: other requests never wait for these. */
#define UPLOADS_SHARE(connections) ((connections) - (connections) / 4 - 1)

/* Fewer bytes a second are a stalled connection. */
#define SILENCE_BYTES 1024L

struct http_transfers {
    CURLM *multi;
    char *ca_file;
    struct http_uploads *uploads;
    struct http_transfer *running;
};

struct http_transfer {
    struct http_transfers *ts;
    struct http_transfer *next, **link; /* in ts->running */
    struct http_upload *upload;         /* it is this; NULL: it is libcurl's, and as follows */
    CURL *easy;
    struct curl_slist *headers;
    const char *body;
    size_t body_len, body_sent;
    struct buf answer;
    char error_text[CURL_ERROR_SIZE];
    void (*done)(void *context, struct http_transfer *t, enum http_outcome outcome, const struct error *e);
    void *context;
};

struct http_transfers *http_transfers_new(const struct http_transfers_options *o, struct error *e)
{
    bool started = http_curl_init();
    struct http_transfers *ts = calloc(1, sizeof *ts);
    if (ts)
        ts->multi = curl_multi_init();
    if (started && ts && ts->multi && o->ca_file)
        ts->ca_file = strdup(o->ca_file);
    if (ts && ts->multi)
        ts->uploads = http_uploads_new(ts->multi, ts->ca_file, UPLOADS_SHARE(o->connections_max));
    if (!started || !ts || !ts->multi || !ts->uploads || (o->ca_file && !ts->ca_file)) {
        error_set(e, ERROR_INTERNAL, "the HTTP client does not start");
        http_transfers_free(ts);
        return NULL;
    }
    assert(o->connections_max >= HTTP_CONNECTIONS_MIN);
    curl_multi_setopt(ts->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)o->connections_max);
    curl_multi_setopt(ts->multi, CURLMOPT_MAXCONNECTS, (long)o->connections_max);
    curl_multi_setopt(ts->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    return ts;
}

static void transfer_free(struct http_transfer *t)
{
    if (t->link) {
        if (t->easy)
            curl_multi_remove_handle(t->ts->multi, t->easy);
        *t->link = t->next;
        if (t->next)
            t->next->link = t->link;
    }
    http_upload_free(t->upload);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    buf_release(&t->answer);
    free(t);
}

void http_transfers_free(struct http_transfers *ts)
{
    if (!ts)
        return;
    while (ts->running)
        transfer_free(ts->running);
    http_uploads_free(ts->uploads);
    curl_multi_cleanup(ts->multi);
    free(ts->ca_file);
    free(ts);
}

static size_t on_read(char *to, size_t size, size_t count, void *context)
{
    struct http_transfer *t = context;
    size_t left = t->body_len - t->body_sent, n = size * count < left ? size * count : left;
    memcpy(to, t->body + t->body_sent, n);
    t->body_sent += n;
    return n;
}

/* A kept connection may turn out to be dead when some of the body is gone already. */
static int on_seek(void *context, curl_off_t offset, int origin)
{
    struct http_transfer *t = context;
    if (origin != SEEK_SET || offset < 0 || (size_t)offset > t->body_len)
        return CURL_SEEKFUNC_FAIL;
    t->body_sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct http_transfer *t = context;
    buf_append(&t->answer, data, size * count);
    return buf_ok(&t->answer) ? size * count : CURL_WRITEFUNC_ERROR;
}

static void set_method(struct http_transfer *t, const char *method)
{
    CURL *easy = t->easy;
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (strcmp(method, "PUT") == 0) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, UPLOAD_BUFFER);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, t);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, t);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)t->body_len);
    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, t->body_len > 0 ? t->body : "");
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body_len);
    } else if (strcmp(method, "GET") != 0) {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    }
}

static void prepare(struct http_transfer *t, const struct http_transfer_options *o)
{
    CURL *easy = t->easy;
    http_curl_prepare(easy, o->url, o->connect_ms);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->error_text);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)o->deadline_ms);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, SILENCE_BYTES);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)o->silence_s);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, o->once ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
    /* Else a cancel would wait for a name that is being looked up. */
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    if (t->ts->ca_file)
        curl_easy_setopt(easy, CURLOPT_CAINFO, t->ts->ca_file);
    set_method(t, o->method);
}

static bool start_libcurl(struct http_transfer *t, const struct http_transfer_options *o, struct error *e)
{
    t->easy = curl_easy_init();
    if (!t->easy)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    t->body = o->body;
    t->body_len = o->body_len;
    /* libcurl waits a second for "100 Continue" before a larger body, and names a POST's type by itself. */
    bool ok = http_curl_append_header(&t->headers, "Expect:");
    for (const char *const *h = o->headers; ok && *h; h++)
        ok = http_curl_append_header(&t->headers, *h);
    if (!ok)
        return error_set(e, ERROR_INVALID, "a request header has control characters");
    prepare(t, o);
    return curl_multi_add_handle(t->ts->multi, t->easy) == CURLM_OK ||
           error_set(e, ERROR_INTERNAL, "the HTTP client fails");
}

struct http_transfer *http_transfer_start(struct http_transfers *ts, const struct http_transfer_options *o,
                                          struct error *e)
{
    struct http_transfer *t = calloc(1, sizeof *t);
    if (!t) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    t->ts = ts;
    t->done = o->done;
    t->context = o->context;
    buf_init(&t->answer, o->answer_max);
    bool is_upload = http_upload_is_for(o);
    if (is_upload)
        t->upload = http_upload_start(ts->uploads, o, t, e);
    if (is_upload ? !t->upload : !start_libcurl(t, o, e)) {
        transfer_free(t);
        return NULL;
    }
    t->next = ts->running;
    t->link = &ts->running;
    if (t->next)
        t->next->link = &t->next;
    ts->running = t;
    return t;
}

void http_transfer_cancel(struct http_transfer *t)
{
    transfer_free(t);
}

int http_transfer_status(const struct http_transfer *t)
{
    if (t->upload)
        return http_upload_status(t->upload);
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

const char *http_transfer_header(const struct http_transfer *t, const char *name)
{
    if (t->upload)
        return http_upload_header(t->upload, name);
    struct curl_header *header;
    if (curl_easy_header(t->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return header->value;
}

const char *http_transfer_body(const struct http_transfer *t, size_t *ret_len)
{
    const struct buf *body = t->upload ? http_upload_body(t->upload) : &t->answer;
    *ret_len = body->len;
    return body->data ? body->data : "";
}

const char *http_transfer_detail(const struct http_transfer *t)
{
    return t->upload ? http_upload_detail(t->upload) : t->error_text;
}

static enum http_outcome outcome_of(const struct http_transfer *t, CURLcode code, struct error *e)
{
    if (code == CURLE_OK)
        return HTTP_ANSWERED;
    if (!buf_ok(&t->answer))
        return HTTP_STOPPED;
    curl_off_t connected_us = 0; /* 0 until the connection stands */
    curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    return http_curl_outcome(code, connected_us != 0, e);
}

static void end(struct http_transfer *t, enum http_outcome outcome, const struct error *e)
{
    t->done(t->context, t, outcome, e);
    transfer_free(t);
}

bool http_transfers_run(struct http_transfers *ts, int64_t wait_ms, struct error *e)
{
    int running, left;
    struct curl_waitfd *waits;
    unsigned wait_count;
    if (wait_ms < 0)
        wait_ms = 0;
    if (!http_uploads_prepare(ts->uploads, &wait_ms, &waits, &wait_count) ||
        curl_multi_poll(ts->multi, waits, wait_count, (int)wait_ms, NULL) != CURLM_OK ||
        curl_multi_perform(ts->multi, &running) != CURLM_OK)
        return error_set(e, ERROR_INTERNAL, "the HTTP client fails");
    struct error failure;
    enum http_outcome outcome;
    struct http_transfer *t;
    for (const CURLMsg *m; (m = curl_multi_info_read(ts->multi, &left));) {
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        if (!t) {
            http_uploads_on_connected(ts->uploads, m->easy_handle, m->data.result);
            continue;
        }
        outcome = outcome_of(t, m->data.result, &failure);
        end(t, outcome, &failure);
    }
    http_uploads_move(ts->uploads);
    while ((t = http_uploads_next(ts->uploads, &outcome, &failure)))
        end(t, outcome, &failure);
    return true;
}

void http_transfers_wake(struct http_transfers *ts)
{
    curl_multi_wakeup(ts->multi);
}

int64_t http_date_parse(const char *text)
{
    return (int64_t)curl_getdate(text, NULL);
}
