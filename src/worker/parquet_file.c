#include "worker/parquet_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "worker/engine_parquet.h"

/* What the kernel gives to anybody; with less the writer only waits more often. */
#define PIPE_SIZE (1 << 20)

#define PIECE_SIZE ((size_t)256 << 10)

/* The file's first bytes, which the engine writes before the query runs, https://parquet.apache.org/docs/file-format/.
 * What comes behind them says that rows are there. */
#define MAGIC_SIZE 4

#define INTERRUPT_INTERVAL_NS 50000000

struct parquet_file {
    struct export *x;
    int read_fd;
    uint8_t *piece;
    size_t held; /* bytes of `piece` */

    /* The writing thread, until it is joined. */
    int write_fd;
    bool written;
    struct engine_parquet_result result;
    struct error error;
};

static void *write_engine(void *context)
{
    struct parquet_file *f = context;
    f->written = engine_parquet_write(f->x->engine, f->write_fd, &f->result, &f->error);
    return NULL;
}

/* After a failure on this side: the query is to end, and it may write, or just begin. */
static void stop_engine(struct parquet_file *f, pthread_t thread)
{
    struct timespec until;
    do {
        engine_interrupt(f->x->engine);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += INTERRUPT_INTERVAL_NS;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
    } while (pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) != 0);
}

static bool use_piece(struct parquet_file *f, struct error *e)
{
    struct export *x = f->x;
    if (atomic_load(&x->bytes) == 0)
        x->tell_streaming(x->context);
    int64_t start = clock_thread_cpu_ns();
    bool ok = output_write(x->output, f->piece, f->held, e);
    x->hash_ns += (uint64_t)(clock_thread_cpu_ns() - start);
    atomic_store(&x->bytes, output_bytes(x->output));
    f->held = 0;
    return ok;
}

/* To the end of the pipe, which says nothing of how the writer has ended. */
static bool take_bytes(struct parquet_file *f, struct error *e)
{
    for (;;) {
        ssize_t n = read(f->read_fd, f->piece + f->held, PIECE_SIZE - f->held);
        if (n == 0)
            return true;
        if (n < 0 && errno != EINTR)
            return error_set_errno(e, ERROR_INTERNAL, errno, "cannot read from the engine");
        f->held += n > 0 ? (size_t)n : 0;
        bool magic_only = f->held <= MAGIC_SIZE && output_bytes(f->x->output) == 0;
        if (f->held > 0 && !magic_only && !use_piece(f, e))
            return false;
        if (atomic_load(f->x->cancelled))
            return export_fail_cancelled(e);
    }
}

static bool make_pipe(struct parquet_file *f, struct error *e)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare the worker");
    f->read_fd = fds[0];
    f->write_fd = fds[1];
    if (fcntl(f->read_fd, F_SETPIPE_SZ, PIPE_SIZE) < 0)
        errno = 0; /* it stays smaller */
    return true;
}

static bool write_file(struct parquet_file *f, struct error *e)
{
    pthread_t thread;
    if (!make_pipe(f, e))
        return false;
    int status = pthread_create(&thread, NULL, write_engine, f);
    if (status != 0) {
        close(f->read_fd);
        close(f->write_fd);
        return error_set(e, ERROR_MEMORY, "no memory for a thread");
    }
    bool taken = take_bytes(f, e);
    close(f->read_fd); /* a writer that waits fails */
    if (!taken) {
        stop_engine(f, thread);
        return false;
    }
    pthread_join(thread, NULL);
    if (!f->written)
        *e = f->error;
    return f->written;
}

/* Every byte that the writer counted, and no other, has come through the pipe. */
static bool check(struct parquet_file *f, struct error *e)
{
    uint64_t bytes = output_bytes(f->x->output);
    atomic_store(&f->x->rows, f->result.rows);
    f->x->truncated = f->result.truncated;
    return bytes == f->result.bytes || error_set(e, ERROR_INTERNAL, "the engine wrote %" PRIu64 " bytes, and %" PRIu64 " came",
                                                 f->result.bytes, bytes);
}

static bool begin(void *context, const struct engine_columns *columns, struct error *e)
{
    return export_tell_columns(context, columns, e);
}

/* Pages are compressed, so the token cannot be seen in them. */
static bool scan(void *context, const void *data, size_t length, struct error *e)
{
    struct export *x = context;
    return output_scan(x->output, data, length, e);
}

static const char *codec(enum file_compression compression)
{
    return compression == COMPRESSION_NONE ? "uncompressed" : file_compression_name(compression);
}

bool parquet_file_write(struct export *x, uint8_t ret_digest[SHA256_BYTES], struct error *e)
{
    _cleanup_free_ uint8_t *piece = malloc(PIECE_SIZE);
    struct parquet_file f = {.x = x, .piece = piece};
    const struct engine_sink sink = {.begin = begin, .context = x};
    const struct engine_query query = {.sql = x->sql, .timezone = x->form->timezone, .nested = true};
    const struct engine_parquet parquet = {.codec = codec(x->form->compression),
                                           .row_group_size = x->form->row_group_size,
                                           .row_limit = x->form->row_limit,
                                           .byte_limit = x->form->byte_limit,
                                           .scan = scan,
                                           .context = x,
                                           .rows = &x->rows};
    if (!piece)
        return error_set(e, ERROR_MEMORY, "out of memory");
    return engine_parquet_start(x->engine, &query, &sink, &parquet, e) && write_file(&f, e) && check(&f, e) &&
           output_finish(x->output, ret_digest, e);
}
