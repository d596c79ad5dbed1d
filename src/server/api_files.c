#include "server/api_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/task_queue.h"
#include "format/file_form.h"
#include "object/file_link.h"
#include "server/byte_range.h"
#include "server/file_headers.h"

#define THREADS 4
#define CHUNK ((size_t)256 * 1024)
#define STALL_MS 60000

struct api_files {
    struct api_files_options options;
    struct task_queue *pool;
    struct transfer *transfers; /* those under way */
};

/* One answer: open, then chunk after chunk, then close; each of them a task. */
struct transfer {
    struct task task;
    struct api_files *files; /* NULL: freed while the task was under way; nobody is left to answer */
    struct transfer *next, **link;
    struct http_request *request; /* until it is answered */
    struct http_stream *stream;   /* from then on, until it ends or the client goes */
    struct event *stalled;
    size_t pending; /* bytes that the socket had not taken when last looked at */
    bool busy;      /* the task is with the pool or in the mailbox */

    char key[OBJECT_KEY_MAX + 1];
    struct object_local_file file; /* fd: -1 unless open */
    uint64_t offset, left;         /* what is to be sent */

    const struct object_store *store; /* for the threads */
    char *chunk;                      /* CHUNK bytes */
    size_t chunk_length;
    bool ok;
    struct error error;
};

static void transfer_free(struct transfer *t)
{
    cleanup_close(&t->file.fd);
    if (t->stalled)
        event_free(t->stalled);
    free(t->chunk);
    free(t);
}

static void submit(struct transfer *t, void (*work)(struct task *, void *), void (*done)(struct task *))
{
    t->task.work = work;
    t->task.done = done;
    t->busy = true;
    task_queue_submit(t->files->pool, &t->task);
}

/* A task is back. False: the server is ending, and this was the last to see the transfer. */
static bool is_awaited(struct transfer *t)
{
    t->busy = false;
    if (t->files)
        return true;
    transfer_free(t);
    return false;
}

/* The end */

/* On a thread: to close the last descriptor of a removed file gives its blocks back, which takes a while. */
static void close_work(struct task *task, void *context)
{
    (void)context;
    struct transfer *t = CONTAINER_OF(task, struct transfer, task);
    cleanup_close(&t->file.fd);
    t->file.fd = -1;
}

static void close_over(struct task *task)
{
    struct transfer *t = CONTAINER_OF(task, struct transfer, task);
    if (!is_awaited(t))
        return;
    *t->link = t->next;
    if (t->next)
        t->next->link = t->link;
    transfer_free(t);
}

/* The request is answered, or its client gone. */
static void transfer_end(struct transfer *t)
{
    t->stream = NULL;
    if (t->stalled)
        event_del(t->stalled);
    submit(t, close_work, close_over);
}

static void transfer_abort(struct transfer *t)
{
    http_stream_abort(t->stream);
    transfer_end(t);
}

static void reply_error(struct transfer *t, const struct error *e)
{
    http_reply_error(t->request, e);
    t->request = NULL;
    transfer_end(t);
}

/* Chunks */

static void on_closed(void *context)
{
    struct transfer *t = context;
    t->stream = NULL;
    if (!t->busy)
        transfer_end(t);
}

static void wait_for_reader(struct transfer *t)
{
    unsigned ms = t->files->options.stall_ms;
    struct timeval limit = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_add(t->stalled, &limit);
}

/* Slow is not stalled: as long as the socket takes something, the reader is there. */
static void on_stalled(evutil_socket_t fd, short what, void *context)
{
    (void)fd, (void)what;
    struct transfer *t = context;
    size_t pending = http_stream_pending(t->stream);
    if (pending >= t->pending) {
        transfer_abort(t);
        return;
    }
    t->pending = pending;
    wait_for_reader(t);
}

static void read_work(struct task *task, void *context)
{
    (void)context;
    struct transfer *t = CONTAINER_OF(task, struct transfer, task);
    size_t wanted = t->left < CHUNK ? (size_t)t->left : CHUNK;
    ssize_t n;
    do {
        n = pread(t->file.fd, t->chunk, wanted, (off_t)t->offset);
    } while (n < 0 && errno == EINTR);
    t->ok = n > 0; /* 0: the file has become shorter than its answer said */
    t->chunk_length = t->ok ? (size_t)n : 0;
}

static void read_over(struct task *task)
{
    struct transfer *t = CONTAINER_OF(task, struct transfer, task);
    if (!is_awaited(t))
        return;
    if (!t->stream) {
        transfer_end(t);
        return;
    }
    if (!t->ok) {
        transfer_abort(t);
        return;
    }
    t->offset += t->chunk_length;
    t->left -= t->chunk_length;
    t->pending = t->chunk_length;
    wait_for_reader(t);
    http_stream_write(t->stream, t->chunk, t->chunk_length);
}

static void send_next(struct transfer *t)
{
    if (t->left > 0) {
        submit(t, read_work, read_over);
        return;
    }
    http_stream_end(t->stream);
    transfer_end(t);
}

static void on_drained(void *context)
{
    struct transfer *t = context;
    if (t->busy) /* of the headers alone */
        return;
    event_del(t->stalled);
    send_next(t);
}

/* The answer */

static void begin_stream(struct transfer *t, int status)
{
    t->stream = http_stream_begin(t->request, &(struct http_stream_options){
                                                  .status = status,
                                                  .content_type = file_media_type(t->key),
                                                  .length = (int64_t)t->left,
                                                  .closed = on_closed,
                                                  .drained = on_drained,
                                                  .context = t,
                                              });
    t->request = NULL;
}

static void answer(struct transfer *t)
{
    char etag[FILE_ETAG_SIZE], modified[HTTP_DATE_SIZE], text[FILE_DISPOSITION_SIZE];
    struct http_request *r = t->request;
    file_etag(t->file.size, t->file.mtime_us, t->file.inode, etag);
    http_date_format(t->file.mtime_us / 1000000, modified);
    http_response_header(r, "ETag", etag);
    http_response_header(r, "Last-Modified", modified);
    http_response_header(r, "Accept-Ranges", "bytes");

    const char *none_match = http_request_header(r, "If-None-Match");
    if (none_match && etag_is_listed(none_match, etag)) {
        http_reply(r, 304, file_media_type(t->key), NULL, 0);
        t->request = NULL;
        transfer_end(t);
        return;
    }

    /* RFC 9110, 14.2: Range is defined for GET only. */
    bool head = http_request_method(r) == HTTP_HEAD;
    const char *range_header = http_request_header(r, "Range");
    if (head || !if_range_holds(http_request_header(r, "If-Range"), etag, modified))
        range_header = NULL;
    struct byte_range range;
    enum byte_range_answer kind = byte_range_parse(range_header, t->file.size, &range);
    if (kind == BYTE_RANGE_UNSATISFIABLE) {
        struct error e;
        snprintf(text, sizeof text, "bytes */%" PRIu64, t->file.size);
        http_response_header(r, "Content-Range", text);
        error_set(&e, ERROR_RANGE, "the file has %" PRIu64 " bytes", t->file.size);
        reply_error(t, &e);
        return;
    }
    if (kind == BYTE_RANGE_PART) {
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, range.first,
                 range.first + range.length - 1, t->file.size);
        http_response_header(r, "Content-Range", text);
    }
    file_disposition(t->key, text);
    http_response_header(r, "Content-Disposition", text);
    t->offset = range.first;
    t->left = range.length;
    begin_stream(t, kind == BYTE_RANGE_PART ? 206 : 200);
    if (head)
        t->left = 0;
    send_next(t);
}

static void open_work(struct task *task, void *context)
{
    (void)context;
    struct transfer *t = CONTAINER_OF(task, struct transfer, task);
    t->ok = object_store_local_read(t->store, t->key, &t->file, &t->error);
}

static void open_over(struct task *task)
{
    struct transfer *t = CONTAINER_OF(task, struct transfer, task);
    if (!is_awaited(t))
        return;
    if (t->ok)
        answer(t);
    else
        reply_error(t, &t->error);
}

static struct transfer *transfer_new(struct api_files *f, struct http_request *r)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->file.fd = -1;
    t->chunk = malloc(CHUNK);
    t->stalled = evtimer_new(f->options.base, on_stalled, t);
    if (!t->chunk || !t->stalled) {
        transfer_free(t);
        return NULL;
    }
    t->files = f;
    t->store = f->options.store;
    t->request = r;
    t->next = f->transfers;
    t->link = &f->transfers;
    if (t->next)
        t->next->link = &t->next;
    f->transfers = t;
    return t;
}

/* The key that the request's link allows to read. */
static bool authorize(const struct api_files *f, const struct http_request *r,
                      char ret_key[OBJECT_KEY_MAX + 1], struct error *e)
{
    const char *path = http_request_path(r);
    if (strncmp(path, FILE_LINK_PATH, strlen(FILE_LINK_PATH)) != 0 ||
        !file_link_decode_key(path + strlen(FILE_LINK_PATH), ret_key, OBJECT_KEY_MAX + 1))
        return error_set(e, ERROR_FORBIDDEN, "this is not a link to a file");
    return object_store_local_verify(f->options.store, ret_key, http_request_query(r, "expires"),
                                     http_request_query(r, "signature"), clock_wall_us(), e);
}

void api_files_handle(struct api_files *f, struct http_request *r)
{
    struct error e;
    char key[OBJECT_KEY_MAX + 1];
    if (http_request_method(r) == HTTP_OPTIONS) {
        http_response_header(r, "Allow", "GET, HEAD, OPTIONS");
        http_reply(r, 204, NULL, NULL, 0);
        return;
    }
    http_response_header(r, "Cache-Control", "private, no-store");
    http_response_header(r, "X-Content-Type-Options", "nosniff");
    if (http_request_method(r) != HTTP_GET && http_request_method(r) != HTTP_HEAD) {
        http_response_header(r, "Allow", "GET, HEAD, OPTIONS");
        error_set(&e, ERROR_METHOD, "a file can only be read");
        http_reply_error(r, &e);
        return;
    }
    if (!authorize(f, r, key, &e)) {
        http_reply_error(r, &e);
        return;
    }
    struct transfer *t = transfer_new(f, r);
    if (!t) {
        error_set(&e, ERROR_UNAVAILABLE, "out of memory");
        http_reply_error(r, &e);
        return;
    }
    memcpy(t->key, key, sizeof key);
    submit(t, open_work, open_over);
}

struct api_files *api_files_new(const struct api_files_options *o, struct error *e)
{
    struct api_files *f = calloc(1, sizeof *f);
    if (!f) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    f->options = *o;
    if (f->options.stall_ms == 0)
        f->options.stall_ms = STALL_MS;
    f->pool =
        task_queue_new(&(struct task_queue_options){.name = "files", .threads = THREADS, .done = o->done}, e);
    if (!f->pool) {
        free(f);
        return NULL;
    }
    return f;
}

void api_files_free(struct api_files *f)
{
    if (!f)
        return;
    struct error e;
    error_set(&e, ERROR_UNAVAILABLE, "the server is shutting down");
    for (struct transfer *t = f->transfers, *next; t; t = next) {
        next = t->next;
        if (t->request)
            http_reply_error(t->request, &e);
        if (t->stream)
            http_stream_abort(t->stream);
        event_free(t->stalled);
        t->stalled = NULL;
        t->files = NULL;
        if (!t->busy)
            transfer_free(t);
    }
    task_queue_free(f->pool);
    free(f);
}
