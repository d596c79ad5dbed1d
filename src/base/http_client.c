#include "base/http_client.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/http_curl.h"

struct http_client {
    CURLM *multi; /* keeps the connections */
    CURL *easy;
    const struct http_request *request; /* while one runs */
    bool stopped;
    char error_text[CURL_ERROR_SIZE];
};

struct http_client *http_client_new(struct error *e)
{
    bool started = http_curl_init();
    struct http_client *c = calloc(1, sizeof *c);
    if (c) {
        c->multi = curl_multi_init();
        c->easy = curl_easy_init();
    }
    if (!started || !c || !c->multi || !c->easy) {
        error_set(e, ERROR_INTERNAL, "the HTTP client does not start");
        http_client_free(c);
        return NULL;
    }
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    free(c);
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    struct http_client *c = context;
    size_t len = size * count;
    if (c->request->body_bytes(c->request->context, data, len))
        return len;
    c->stopped = true;
    return CURL_WRITEFUNC_ERROR;
}

static bool make_headers(const struct http_request *r, struct curl_slist **ret, struct error *e)
{
    /* libcurl waits a second for "100 Continue" before a larger body, which few servers send. */
    bool ok = http_curl_append_header(ret, "Expect:");
    for (const char *const *h = r->headers; ok && h && *h; h++)
        ok = http_curl_append_header(ret, *h);
    return ok || error_set(e, ERROR_INVALID, "a request header has control characters");
}

static void prepare(struct http_client *c, const struct http_request *r, struct curl_slist *headers)
{
    CURL *easy = c->easy;
    http_curl_prepare(easy, r->url, r->connect_ms);
    c->error_text[0] = '\0';
    c->request = r;
    c->stopped = false;
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, c->error_text);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, c);
    if (r->body) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        /* On a kept connection that dies, libcurl would send the request again: twice is not once. */
        curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, r->body);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
    }
}

/* Grows with every byte that moves, either way. */
static curl_off_t bytes_moved(CURL *easy)
{
    curl_off_t up = 0, down = 0;
    long head = 0;
    curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &head);
    return up + down + head;
}

static enum http_outcome outcome_of(const struct http_client *c, CURLcode code, struct error *e)
{
    if (code == CURLE_OK)
        return HTTP_ANSWERED;
    if (c->stopped)
        return HTTP_STOPPED;
    error_set(e, ERROR_UNAVAILABLE, "%s", c->error_text[0] ? c->error_text : curl_easy_strerror(code));
    curl_off_t connected_us = 0; /* 0 until the connection stands */
    curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_OUT_OF_MEMORY:
        return HTTP_IMPOSSIBLE;
    default:
        return connected_us ? HTTP_BROKEN : HTTP_UNREACHABLE;
    }
}

/* Drives the one transfer to its end. */
static enum http_outcome drive(struct http_client *c, struct error *e)
{
    const struct http_request *r = c->request;
    curl_off_t moved = 0;
    int64_t moved_at = clock_monotonic_ms();
    for (;;) {
        int running, left;
        if (curl_multi_perform(c->multi, &running) != CURLM_OK) {
            error_set(e, ERROR_INTERNAL, "the HTTP client fails");
            return HTTP_IMPOSSIBLE;
        }
        const CURLMsg *message = curl_multi_info_read(c->multi, &left);
        if (message)
            return outcome_of(c, message->data.result, e);
        if (r->tick && !r->tick(r->context))
            return HTTP_STOPPED;
        curl_off_t now_moved = bytes_moved(c->easy);
        int64_t now = clock_monotonic_ms();
        if (now_moved != moved) {
            moved = now_moved;
            moved_at = now;
        } else if (now - moved_at > r->silence_ms) {
            error_set(e, ERROR_TIMEOUT, "nothing came for %lld s", (long long)(r->silence_ms / 1000));
            return HTTP_BROKEN;
        }
        curl_multi_poll(c->multi, NULL, 0, HTTP_CLIENT_TICK_MS, NULL);
    }
}

enum http_outcome http_client_perform(struct http_client *c, const struct http_request *r, struct error *e)
{
    struct curl_slist *headers = NULL;
    enum http_outcome outcome = HTTP_IMPOSSIBLE;
    if (make_headers(r, &headers, e)) {
        prepare(c, r, headers);
        if (curl_multi_add_handle(c->multi, c->easy) == CURLM_OK) {
            outcome = drive(c, e);
            curl_multi_remove_handle(c->multi, c->easy);
        } else {
            error_set(e, ERROR_INTERNAL, "the HTTP client fails");
        }
        curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, NULL);
    }
    curl_slist_free_all(headers);
    return outcome;
}

int http_client_status(const struct http_client *c)
{
    long status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    return (int)status;
}

const char *http_client_header(const struct http_client *c, const char *name)
{
    struct curl_header *header;
    if (curl_easy_header(c->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
        return NULL;
    return header->value;
}
