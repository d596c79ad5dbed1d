#include "cli/fetch.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/digest.h"

struct fetch {
    struct session *session;
    const struct fetch_options *options;
    struct sink *sink;
    struct retry retry;
    struct sha256 *hash;
    int64_t received; /* in the sink, and hashed */
    int64_t total;    /* below 0: not known */
    char etag[256];   /* a strong one, of what is in the sink; "": none */
    bool begun;       /* the head of this answer has been looked at */
    struct buf refusal;
    enum exit_code failed; /* EXIT_OK: nothing that ends the fetch */
    struct error error;
};

static bool fail(struct fetch *f, enum exit_code code, const char *why)
{
    f->failed = code;
    return error_set(&f->error, ERROR_STORAGE, "%s", why);
}

static bool start_over(struct fetch *f)
{
    if (f->received && !sink_rewind(f->sink))
        return fail(f, EXIT_INTEGRITY, "the transfer broke, and the server cannot take it up where it broke");
    sha256_free(f->hash);
    f->hash = sha256_new();
    f->received = 0;
    f->etag[0] = '\0';
    return f->hash || fail(f, EXIT_WRITE, "out of memory");
}

static int64_t number_or(const char *text, int64_t otherwise)
{
    char *end;
    long long n = text ? strtoll(text, &end, 10) : -1;
    return n >= 0 && end != text && !*end ? n : otherwise;
}

/* The whole file, from its first byte. */
static bool begin_whole(struct fetch *f)
{
    if (!start_over(f))
        return false;
    const char *etag = http_client_header(f->session->http, "ETag");
    if (etag && etag[0] == '"' && strlen(etag) < sizeof f->etag)
        snprintf(f->etag, sizeof f->etag, "%s", etag);
    int64_t length = number_or(http_client_header(f->session->http, "Content-Length"), -1);
    if (length >= 0 && f->options->bytes >= 0 && length != f->options->bytes)
        return fail(f, EXIT_INTEGRITY, "the file's length is not the one that was announced");
    f->total = f->options->bytes >= 0 ? f->options->bytes : length;
    return true;
}

/* A rest, which has to begin where ours ends. */
static bool begin_rest(struct fetch *f)
{
    const char *range = http_client_header(f->session->http, "Content-Range");
    long long from;
    if (!f->received || !range || sscanf(range, "bytes %lld-", &from) != 1 || from != f->received)
        return fail(f, EXIT_INTEGRITY, "the server answered another range than the one asked for");
    return true;
}

static bool begin_answer(struct fetch *f)
{
    int status = http_client_status(f->session->http);
    f->begun = true;
    return status == 200 ? begin_whole(f) : status == 206 ? begin_rest(f) : true;
}

static bool on_bytes(void *context, const void *data, size_t len)
{
    struct fetch *f = context;
    if (!f->begun && !begin_answer(f))
        return false;
    int status = http_client_status(f->session->http);
    if (status != 200 && status != 206) {
        buf_append(&f->refusal, data, len);
        return true;
    }
    if (f->total >= 0 && (int64_t)len > f->total - f->received)
        return fail(f, EXIT_INTEGRITY, "the file is longer than announced");
    if (!sink_write(f->sink, data, len, &f->error)) {
        f->failed = EXIT_WRITE;
        return false;
    }
    sha256_update(f->hash, data, len);
    f->received += (int64_t)len;
    retry_progress(&f->retry);
    double percent = f->total > 0 ? 100.0 * (double)f->received / (double)f->total : -1;
    display_progress(&f->session->display, percent, -1, f->received);
    return true;
}

static bool on_tick(void *context)
{
    const struct fetch *f = context;
    return session_tick(f->session);
}

/* Asks once, for what is missing. */
static enum http_outcome ask(struct fetch *f, struct error *e)
{
    char range[64], if_range[sizeof f->etag + 16];
    const char *headers[3] = {NULL};
    if (f->received) {
        snprintf(range, sizeof range, "Range: bytes=%lld-", (long long)f->received);
        headers[0] = range;
        if (f->etag[0]) {
            snprintf(if_range, sizeof if_range, "If-Range: %s", f->etag);
            headers[1] = if_range;
        }
    }
    f->begun = false;
    buf_clear(&f->refusal);
    enum http_outcome outcome = http_client_perform(f->session->http,
                                                    &(struct http_request){.url = f->options->url,
                                                                           .headers = headers,
                                                                           .connect_ms = SESSION_CONNECT_MS,
                                                                           .silence_ms = SESSION_SILENCE_MS,
                                                                           .body_bytes = on_bytes,
                                                                           .tick = on_tick,
                                                                           .context = f},
                                                    e);
    if (outcome == HTTP_ANSWERED && !f->begun)
        begin_answer(f);
    return outcome;
}

static enum exit_code refused(struct fetch *f)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, SESSION_ANSWER_MAX);
    session_append_refusal(f->session, &f->refusal, &text);
    display_print(&f->session->display, "the file cannot be fetched: %s", text.data);
    return status_is_transient(http_client_status(f->session->http)) ? EXIT_UNREACHABLE : EXIT_FAILED;
}

/* Until all has come. */
static enum exit_code transfer(struct fetch *f)
{
    struct display *display = &f->session->display;
    for (;;) {
        struct error e;
        enum http_outcome outcome = ask(f, &e);
        int status = http_client_status(f->session->http);
        if (f->failed) {
            display_print(display, "%s", f->error.message);
            return f->failed;
        }
        if (outcome == HTTP_STOPPED)
            return session_stopped(f->session);
        if (outcome == HTTP_ANSWERED && (status == 200 || status == 206))
            return EXIT_OK;
        if (outcome != HTTP_ANSWERED && f->total >= 0 && f->received == f->total)
            return EXIT_OK;
        if (outcome == HTTP_ANSWERED && status != 416 && !status_is_transient(status))
            return refused(f);
        /* Nothing tells that a rest belongs to the same file, or there is no such rest: from the beginning.
         */
        if ((status == 416 || (!f->etag[0] && !f->options->sha256[0])) && !start_over(f)) {
            display_print(display, "%s", f->error.message);
            return f->failed;
        }
        if (outcome == HTTP_IMPOSSIBLE || !retry_pause(&f->retry)) {
            if (!session_tick(f->session))
                return session_stopped(f->session);
            if (outcome == HTTP_ANSWERED)
                return refused(f);
            display_print(display, "the file cannot be fetched: %s", e.message);
            return EXIT_UNREACHABLE;
        }
    }
}

static enum exit_code verify(struct fetch *f, char ret_sha256[SHA256_HEX_SIZE])
{
    uint8_t digest[SHA256_BYTES];
    sha256_final(f->hash, digest);
    hex_encode(digest, sizeof digest, ret_sha256);
    if (f->total >= 0 && f->received != f->total) {
        display_print(&f->session->display, "the file has %lld bytes instead of %lld", (long long)f->received,
                      (long long)f->total);
        return EXIT_INTEGRITY;
    }
    if (f->options->sha256[0] && strcasecmp(f->options->sha256, ret_sha256) != 0) {
        display_print(&f->session->display, "the file's SHA-256 is %s instead of %s", ret_sha256,
                      f->options->sha256);
        return EXIT_INTEGRITY;
    }
    return EXIT_OK;
}

enum exit_code fetch_file(struct session *s, const struct fetch_options *options, struct sink *sink,
                          int64_t *ret_bytes, char ret_sha256[SHA256_HEX_SIZE])
{
    struct fetch f = {.session = s, .options = options, .sink = sink, .total = options->bytes};
    buf_init(&f.refusal, 64 * 1024);
    retry_init(&f.retry, s);
    display_state(&s->display, "Fetching the file");
    enum exit_code code = EXIT_WRITE;
    if (start_over(&f))
        code = transfer(&f);
    else
        display_print(&s->display, "%s", f.error.message);
    if (!code)
        code = verify(&f, ret_sha256);
    if (!code && !sink_commit(sink, &f.error)) {
        display_print(&s->display, "%s", f.error.message);
        code = EXIT_WRITE;
    }
    if (!code)
        *ret_bytes = f.received;
    sha256_free(f.hash);
    buf_release(&f.refusal);
    return code;
}
