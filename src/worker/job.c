#include "worker/job.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret_scan.h"
#include "link/job_spec.h"
#include "link/message.h"
#include "link/parts.h"
#include "link/worker_spec.h"
#include "worker/engine.h"
#include "worker/extension.h"
#include "worker/export.h"
#include "worker/output.h"
#include "worker/parquet_file.h"
#include "worker/rows_file.h"
#include "worker/sandbox.h"
#include "worker/source.h"
#include "worker/template.h"

/* How often progress is told, and an interrupt that may have come between two statements is repeated. */
#define PROGRESS_INTERVAL_MS 200
#define LOCK_INTERVAL_MS 100

/* A query that takes longer gets the engine's other threads: starting them costs a small job more than it gains. */
#define HELPERS_AFTER_MS 5

#define REHEARSAL_PART_SIZE 4096

struct job {
    struct worker_spec worker;
    struct job_spec spec;
    struct secret_patterns *secrets; /* of the source's token; NULL: it has none */
    struct parts *parts;
    struct output *output;
    struct source source;
    struct engine *engine;
    struct export export;
    struct rows_file *rows_file;
    int stop_fd; /* an eventfd: the control thread ends */
    pthread_t control;
    bool has_control;

    atomic_bool cancelled; /* written by the control thread */
};

/* The server is gone, or cannot be understood: there is nobody to report to. Also from the control thread. */
static _Noreturn void abandon(void)
{
    _exit(1);
}

static void send_message(const struct link_message *m)
{
    struct error e;
    if (link_send(LINK_WORKER_FD, m, NULL, 0, &e) != LINK_OK)
        abandon();
}

static bool send_part(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    (void)context;
    (void)e;
    struct link_message m = {.type = LINK_PART, .buffer = index, .length = length};
    if (sha256)
        memcpy(m.digest, sha256, sizeof m.digest);
    send_message(&m);
    return true;
}

/* --- the control thread --- */

/* The mapping stays until the process ends. */
static void grow(struct job *j, const struct link_message *m, int fd)
{
    struct error e;
    struct parts *grown = fd < 0 ? NULL : parts_map(fd, m->buffer, m->length, &e);
    if (!grown || !output_grow(j->output, grown))
        abandon();
    parts_close_fd(grown);
}

static void take_order(struct job *j)
{
    struct link_message m;
    struct error e;
    int fds[LINK_MAX_FDS];
    if (link_receive(LINK_WORKER_FD, &m, fds, &e) != LINK_OK)
        abandon();
    if (m.type == LINK_CANCEL) {
        atomic_store(&j->cancelled, true);
        output_cancel(j->output);
    } else if (m.type == LINK_BUFFERS) {
        grow(j, &m, fds[0]);
    } else if (m.type != LINK_FREE || !output_free_buffer(j->output, m.buffer)) {
        abandon();
    }
}

/* Only what is news: a job that waits for the engine or for the upload is silent. */
static void tell_progress(struct job *j, struct link_message *last)
{
    uint64_t rows = atomic_load(&j->export.rows), limit = j->spec.form.row_limit;
    struct link_message m = {.type = LINK_PROGRESS,
                             .rows = limit && rows > limit ? limit : rows,
                             .bytes = atomic_load(&j->export.bytes),
                             .percent = engine_percent(j->engine)};
    if (m.rows == last->rows && m.bytes == last->bytes && m.percent == last->percent)
        return;
    send_message(&m);
    last->rows = m.rows;
    last->bytes = m.bytes;
    last->percent = m.percent;
}

static void *control(void *context)
{
    struct job *j = context;
    struct link_message last = {.percent = -1};
    int64_t start = clock_monotonic_ms(), next = start + HELPERS_AFTER_MS;
    bool has_helpers = false;
    for (;;) {
        struct pollfd fds[] = {{.fd = LINK_WORKER_FD, .events = POLLIN},
                               {.fd = j->stop_fd, .events = POLLIN}};
        int64_t left = next - clock_monotonic_ms();
        if (poll(fds, ARRAY_SIZE(fds), left > 0 ? (int)left : 0) < 0 && errno != EINTR)
            abandon();
        if (fds[1].revents)
            return NULL;
        if (fds[0].revents)
            take_order(j);
        if (atomic_load(&j->cancelled))
            engine_interrupt(j->engine);
        if (clock_monotonic_ms() < next)
            continue;
        if (has_helpers)
            tell_progress(j, &last);
        else
            has_helpers = engine_start_helpers(j->engine);
        next = clock_monotonic_ms() + (has_helpers ? PROGRESS_INTERVAL_MS : HELPERS_AFTER_MS);
    }
}

static bool start_control(struct job *j, struct error *e)
{
    int status = pthread_create(&j->control, NULL, control, j);
    if (status != 0)
        return error_set_errno(e, ERROR_INTERNAL, status, "cannot start a thread");
    j->has_control = true;
    return true;
}

static void stop_control(struct job *j)
{
    if (!j->has_control)
        return;
    if (eventfd_write(j->stop_fd, 1) < 0)
        abandon();
    pthread_join(j->control, NULL);
    j->has_control = false;
}

/* --- the job thread --- */

/* The next message of that type, with its descriptors. A CANCEL is ERROR_CANCELLED. */
static bool receive(enum link_type type, int *fds, struct error *e)
{
    struct link_message m;
    if (link_receive(LINK_WORKER_FD, &m, fds, e) != LINK_OK)
        abandon();
    if (m.type == LINK_CANCEL && type != LINK_OPEN)
        return export_fail_cancelled(e);
    if (m.type != type)
        abandon();
    return true;
}

static bool take_token(struct job *j, struct error *e)
{
    if (!*j->worker.token)
        return true;
    j->secrets = secret_patterns_new(j->worker.token, e);
    return j->secrets != NULL;
}

static bool receive_open(struct job *j, struct error *e)
{
    int fds[LINK_MAX_FDS];
    if (!receive(LINK_OPEN, fds, e))
        return false;
    if (fds[0] < 0 || fds[1] >= 0)
        abandon();
    bool ok = worker_spec_read(fds[0], &j->worker, e);
    close(fds[0]);
    return ok;
}

/* In the box, as all that follows. */
static bool receive_start(struct job *j, struct error *e)
{
    int fds[LINK_MAX_FDS];
    if (!receive(LINK_START, fds, e))
        return false;
    if (fds[0] < 0 || fds[1] < 0)
        abandon();
    bool ok = job_spec_read(fds[0], &j->spec, e);
    close(fds[0]);
    if (!ok) {
        close(fds[1]);
        return false;
    }
    j->parts = parts_map(fds[1], j->spec.part_count, j->spec.part_size, e);
    if (!j->parts)
        return false;
    parts_close_fd(j->parts); /* the mapping is enough */
    j->output = output_new(j->parts, j->spec.hash_parts, send_part, j, e);
    if (!j->output)
        return false;
    output_watch(j->output, j->secrets);
    return true;
}

/* Before the control thread is there, the job thread itself listens while it waits. */
static bool wait_listening(int wait_ms, struct error *e)
{
    struct pollfd fd = {.fd = LINK_WORKER_FD, .events = POLLIN};
    if (poll(&fd, 1, wait_ms) <= 0)
        return true;
    struct link_message m;
    struct error ignored;
    if (link_receive(LINK_WORKER_FD, &m, NULL, &ignored) != LINK_OK || m.type != LINK_CANCEL)
        abandon();
    return export_fail_cancelled(e);
}

static bool lock_source(struct job *j, struct error *e)
{
    int64_t deadline = clock_monotonic_ms() + (int64_t)j->worker.source_wait_ms;
    for (;;) {
        enum source_lock state = source_try_lock(&j->source, e);
        if (state != SOURCE_BUSY)
            return state == SOURCE_LOCKED;
        if (clock_monotonic_ms() >= deadline)
            return error_set(e, ERROR_SOURCE, "the database is in use by a writer");
        if (!wait_listening(LOCK_INTERVAL_MS, e))
            return false;
    }
}

static bool prepare_source(struct job *j, struct error *e)
{
    const struct worker_spec *w = &j->worker;
    if (w->source == SOURCE_MOTHERDUCK)
        return extension_link(w->extension_dir, engine_version(), engine_platform(), w->uid, w->gid, e);
    if (!source_init(&j->source, w->source_path, e) || !lock_source(j, e))
        return false;
    if (w->is_template && !j->source.locked) /* the engine's own lock is not handed on to copies of the process */
        return error_set(e, ERROR_NOT_IMPLEMENTED, "the source's file system has no locks that a template can hand on");
    return source_link(&j->source, e);
}

static bool make_stop_fd(struct job *j, struct error *e)
{
    j->stop_fd = eventfd(0, EFD_CLOEXEC);
    return j->stop_fd >= 0 || error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare the worker");
}

/* Its part buffers are the rehearsal's. */
static bool prepare_template(struct job *j, struct error *e)
{
    j->parts = parts_new(2, REHEARSAL_PART_SIZE, e);
    return j->parts && template_prepare(e);
}

/* Everything that needs more rights than the query will have. */
static bool prepare(struct job *j, struct error *e)
{
    if (!take_token(j, e) || (j->worker.is_template ? !prepare_template(j, e) : !make_stop_fd(j, e)))
        return false;
    if (chdir(j->worker.spill_dir) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare the worker");
    return prepare_source(j, e);
}

static struct engine *open_engine(struct job *j, struct error *e)
{
    struct worker_spec *w = &j->worker;
    if (w->source != SOURCE_MOTHERDUCK)
        return engine_open(j->source.name, w->memory_limit, w->threads, e);
    if (!extension_check(w->extension_dir, engine_version(), engine_platform(), e))
        return NULL;
    const struct engine_motherduck options = {.database = w->database,
                                              .token = w->token,
                                              .extension_directory = EXTENSION_DIRECTORY,
                                              .unsigned_extensions = w->unsigned_extensions,
                                              .memory_limit = w->memory_limit,
                                              .spill_limit = w->spill_limit,
                                              .threads = w->threads};
    struct engine *engine = engine_open_motherduck(&options, e);
    explicit_bzero(w->token, strlen(w->token));
    return engine;
}

static bool open_boxed(struct job *j, struct error *e)
{
    if (!sandbox_enter(&j->worker, j->source.path, j->source.wal_path, e))
        return false;
    j->engine = open_engine(j, e);
    if (!j->engine || !(j->worker.is_template ? sandbox_park(&j->worker, e) : sandbox_close(&j->worker, e)))
        return false;
    if (j->worker.source == SOURCE_DUCKDB)
        source_unlink(&j->source);
    return j->worker.is_template ? engine_prepare(j->engine, j->worker.spill_limit, e)
                                 : engine_configure(j->engine, j->worker.spill_limit, e);
}

static bool open_source(struct job *j, struct error *e)
{
    if (prepare(j, e) && open_boxed(j, e))
        return true;
    if (secret_in_text(j->secrets, e->message, strlen(e->message)))
        error_set(e, e->code, "the data source's error is withheld, since it contains its access token");
    return false;
}

/* In pieces that fit into a message. */
static void tell_columns(void *context, const char *json, size_t length)
{
    (void)context;
    struct link_message m = {.type = LINK_COLUMNS};
    for (size_t at = 0; at < length; at += m.text_length) {
        m.text_length = (uint32_t)(length - at < ERROR_MESSAGE_MAX - 1 ? length - at : ERROR_MESSAGE_MAX - 1);
        memcpy(m.text, json + at, m.text_length);
        send_message(&m);
    }
}

static void tell_streaming(void *context)
{
    (void)context;
    send_message(&(struct link_message){.type = LINK_STREAMING});
}

static bool write_file(struct job *j, uint8_t ret_digest[SHA256_BYTES], struct error *e)
{
    const struct encoder *encoder = encoder_of(j->spec.form.format);
    j->export = (struct export){.sql = j->spec.sql,
                                .form = &j->spec.form,
                                .threads = j->worker.threads,
                                .engine = j->engine,
                                .output = j->output,
                                .cancelled = &j->cancelled,
                                .tell_columns = tell_columns,
                                .tell_streaming = tell_streaming};
    if (j->spec.form.format == FILE_PARQUET)
        return start_control(j, e) && parquet_file_write(&j->export, ret_digest, e);
    if (!encoder)
        return error_set(e, ERROR_NOT_IMPLEMENTED, "the format %s is not there", file_format_name(j->spec.form.format));
    j->rows_file = rows_file_new(&j->export, encoder, e);
    return j->rows_file && start_control(j, e) && rows_file_write(j->rows_file, ret_digest, e);
}

static void ignore_columns(void *context, const char *json, size_t length)
{
    (void)context;
    (void)json;
    (void)length;
}

static void ignore_streaming(void *context)
{
    (void)context;
}

static bool ignore_part(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    (void)context;
    (void)index;
    (void)length;
    (void)sha256;
    (void)e;
    return true;
}

/* A job that nobody gets. What libraries and engine do the first time only, finding their own functions before all, a
 * template does once for all of its copies: half of their processor time. */
static void rehearse(struct job *j)
{
    struct error e;
    uint8_t digest[SHA256_BYTES];
    const struct file_form form = file_form_default(FILE_CSV);
    struct export x = {.sql = "SELECT 1 AS a, 'b' AS c, 0.5 AS d, DATE '2024-01-01' AS e FROM range(3)",
                       .form = &form,
                       .threads = 1,
                       .engine = engine_rehearsal_begin(j->engine),
                       .output = output_new(j->parts, true, ignore_part, NULL, &e),
                       .cancelled = &j->cancelled,
                       .tell_columns = ignore_columns,
                       .tell_streaming = ignore_streaming};
    struct rows_file *f = x.engine && x.output ? rows_file_new(&x, &csv_encoder, &e) : NULL;
    if (f && !rows_file_write(f, digest, &e))
        fprintf(stderr, "rehearsal: %s\n", e.message);
    engine_rehearsal_end(x.engine);
    rows_file_free(f);
    output_free(x.output);
    parts_free(TAKE_PTR(j->parts));
}

/* Returns in each process that is to serve a job. */
static bool get_ready(struct job *j, struct error *e)
{
    if (j->worker.is_template) {
        rehearse(j);
        return template_serve(e) && sandbox_close(&j->worker, e) && make_stop_fd(j, e) && engine_join(j->engine, e);
    }
    send_message(&(struct link_message){.type = LINK_READY});
    return true;
}

/* A cancelled job fails with just that, whatever broke first. */
static bool run(struct job *j, uint8_t ret_digest[SHA256_BYTES], struct error *e)
{
    bool ok = receive_open(j, e) && open_source(j, e) && get_ready(j, e) && receive_start(j, e) &&
              write_file(j, ret_digest, e);
    if (!ok && e->code == ERROR_CANCELLED && j->has_control && !atomic_load(&j->cancelled))
        engine_find_cause(j->engine, e);
    stop_control(j);
    if (!ok && secret_in_text(j->secrets, e->message, strlen(e->message)))
        error_set(e, ERROR_SECRET, "the query's error contains the access token of the data source");
    return atomic_load(&j->cancelled) ? export_fail_cancelled(e) : ok;
}

static void report_cpu(const struct job *j, uint64_t *cpu_us)
{
    uint64_t encode = atomic_load(&j->export.encode_ns), pack = j->export.pack_ns, hash = j->export.hash_ns;
    cpu_us[LINK_QUERY] = ((uint64_t)clock_process_cpu_ns() - encode - pack - hash) / 1000;
    cpu_us[LINK_ENCODE] = encode / 1000;
    cpu_us[LINK_PACK] = pack / 1000;
    cpu_us[LINK_HASH] = hash / 1000;
}

static struct job job = {.source.fd = -1, .stop_fd = -1};

bool job_check_source(struct error *e)
{
    return worker_spec_read(LINK_WORKER_FD, &job.worker, e) && open_source(&job, e);
}

void job_serve(void)
{
    struct error e = {0};
    struct link_message m = {.type = LINK_DONE};
    if (run(&job, m.digest, &e)) {
        m.rows = atomic_load(&job.export.rows);
        m.bytes = output_bytes(job.output);
        m.altered = job.export.altered;
        m.truncated = job.export.truncated;
        report_cpu(&job, m.cpu_us);
    } else {
        m.type = LINK_FAILED;
        m.code = e.code;
        m.text_length = (uint32_t)strlen(e.message);
        memcpy(m.text, e.message, m.text_length);
    }
    send_message(&m);
    /* The kernel takes everything back at once; an orderly end of the engine would only take time. */
    _exit(0);
}
