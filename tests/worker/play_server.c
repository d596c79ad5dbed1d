#include "play_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "link/message.h"
#include "link/parts.h"

#define SAMPLE_MS 20

struct play {
    const struct play_options *o;
    struct play_result *r;
    struct parts *parts;
    struct sha256 *hash;
    int link;
    pid_t pid;
    int template_link; /* -1: none has made the worker */
    pid_t template_pid;
    const char *directory; /* the worker's; the template has one beside it */
    bool started, streaming, ended;
    size_t last_length; /* of the newest part; it must be full if another follows */
    uint64_t told_rows, told_bytes;
    int64_t cancelled_at;
};

static void PRINTF_LIKE(2, 3) broke(struct play *p, const char *format, ...)
{
    if (p->r->broken[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(p->r->broken, sizeof p->r->broken, format, args);
    va_end(args);
}

static bool start_worker(struct play *p, struct error *e)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "socketpair");
    p->pid = fork();
    if (p->pid < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "fork");
    if (p->pid == 0) {
        char *const argv[] = {(char *)(p->o->template ? "downloads-template" : "downloads-worker"), NULL}, *const environment[] = {NULL};
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        if (pair[1] == LINK_WORKER_FD)
            fcntl(pair[1], F_SETFD, 0);
        else
            dup2(pair[1], LINK_WORKER_FD);
        execve(p->o->worker, argv, environment);
        _exit(127);
    }
    close(pair[1]);
    p->link = pair[0];
    return true;
}

/* --- what /proc shows --- */

static uint64_t status_field(const char *text, const char *name, int base)
{
    const char *at = strstr(text, name);
    return at ? strtoull(at + strlen(name), NULL, base) : UINT64_MAX;
}

static bool read_status(const char *path, char *text, size_t size)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

static void look_at_threads(struct play *p)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task", (int)p->pid);
    _cleanup_closedir_ DIR *tasks = opendir(path);
    uint32_t threads = 0;
    bool boxed = true;
    for (struct dirent *d; tasks && (d = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/status", (int)p->pid, d->d_name);
        if (d->d_name[0] == '.' || !read_status(path, text, sizeof text))
            continue;
        threads++;
        boxed = boxed && status_field(text, "\nNoNewPrivs:", 10) == 1 &&
                status_field(text, "\nSeccomp:", 10) == 2 && status_field(text, "\nCapEff:", 16) == 0 &&
                status_field(text, "\nCapPrm:", 16) == 0 &&
                (p->o->worker_spec.uid == 0 || status_field(text, "\nUid:", 10) == p->o->worker_spec.uid);
    }
    if (threads == 0)
        return;
    p->r->boxed = boxed && (p->r->boxed || !p->r->box_seen);
    p->r->box_seen = true;
    if (threads > p->r->threads)
        p->r->threads = threads;
}

static void sample(struct play *p)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)p->pid);
    if (!read_status(path, text, sizeof text))
        return;
    uint64_t kib = status_field(text, "\nRssAnon:", 10);
    if (kib != UINT64_MAX && kib * 1024 > p->r->peak_rss_anon)
        p->r->peak_rss_anon = kib * 1024;
    if (p->streaming && !p->ended)
        look_at_threads(p);
}

/* --- the protocol --- */

static bool send_to(struct play *p, const struct link_message *m, const int *fds, int count)
{
    struct error e;
    return link_send(p->link, m, fds, count, &e) == LINK_OK;
}

static bool is_made(const struct play *p)
{
    return !p->o->template || p->template_link >= 0;
}

static void cancel_if_due(struct play *p)
{
    if (!is_made(p))
        return;
    if (p->cancelled_at < 0 && p->r->bytes >= p->o->cancel_after) {
        p->cancelled_at = clock_monotonic_ms();
        send_to(p, &(struct link_message){.type = LINK_CANCEL}, NULL, 0);
    }
    if (p->r->bytes >= p->o->kill_after)
        kill(p->pid, SIGKILL);
}

static void on_part(struct play *p, const struct link_message *m)
{
    if (!p->streaming)
        return broke(p, "PART before STREAMING");
    if (m->buffer >= p->parts->count || m->length == 0 || m->length > p->parts->size)
        return broke(p, "PART of buffer %u with %llu bytes", m->buffer, (unsigned long long)m->length);
    if (p->r->parts > 0 && p->last_length != p->parts->size)
        return broke(p, "a part of %zu bytes was not the last", p->last_length);
    p->r->parts++;
    p->last_length = m->length;
    p->r->bytes += m->length;
    const uint8_t *data = parts_buffer(p->parts, m->buffer);
    sha256_update(p->hash, data, m->length);
    if (p->o->take && !p->o->take(p->o->context, data, m->length))
        return broke(p, "the sink gave up");
    if (p->o->slow_ms)
        poll(NULL, 0, (int)p->o->slow_ms); /* the store is slow: that is what is played */
    send_to(p, &(struct link_message){.type = LINK_FREE, .buffer = m->buffer}, NULL, 0);
    cancel_if_due(p);
}

static void on_progress(struct play *p, const struct link_message *m)
{
    if (m->rows < p->told_rows || m->bytes < p->told_bytes)
        return broke(p, "PROGRESS went back");
    p->told_rows = m->rows;
    p->told_bytes = m->bytes;
    p->r->progress++;
    if (m->percent > p->r->percent)
        p->r->percent = m->percent;
}

static void on_end(struct play *p, const struct link_message *m)
{
    p->ended = true;
    p->r->rows = m->rows;
    if (m->type == LINK_FAILED) {
        error_set(&p->r->error, (enum error_code)m->code, "%s", m->text);
        return;
    }
    p->r->done = true;
    sha256_final(p->hash, p->r->digest);
    if (!p->streaming)
        broke(p, "DONE before STREAMING");
    if (m->bytes != p->r->bytes || m->rows < p->told_rows || m->bytes < p->told_bytes)
        broke(p, "DONE tells %llu bytes, the parts had %llu", (unsigned long long)m->bytes,
              (unsigned long long)p->r->bytes);
    memcpy(p->r->cpu_us, m->cpu_us, sizeof p->r->cpu_us);
    p->r->altered = m->altered;
    p->r->truncated = m->truncated;
    if (memcmp(m->digest, p->r->digest, SHA256_BYTES) != 0)
        broke(p, "DONE tells another digest than that of the parts");
}

/* The template is ready: from now on the worker is the process that it makes, our child as well. */
static bool have_worker_made(struct play *p)
{
    int pair[2];
    struct error e;
    struct link_message m = {.type = LINK_FORK};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return false;
    _cleanup_close_ int job_end = pair[1], directory = open(p->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    p->template_link = p->link;
    p->template_pid = p->pid;
    p->link = pair[0];
    const int fds[] = {job_end, STDERR_FILENO, directory};
    if (link_send(p->template_link, &m, fds, ARRAY_SIZE(fds), &e) != LINK_OK ||
        link_receive(p->template_link, &m, NULL, &e) != LINK_OK || m.type != LINK_FORKED || m.pid == 0)
        return false;
    p->pid = (pid_t)m.pid;
    return true;
}

static void hand_over_job(struct play *p)
{
    if (p->o->template && !have_worker_made(p))
        return broke(p, "the template made no worker");
    cancel_if_due(p);
    if (p->cancelled_at >= 0) /* as the server does: a worker that is to stop gets no job, and may be gone */
        return;
    struct error e;
    _cleanup_close_ int spec_fd = job_spec_seal(&p->o->spec, &e);
    const int fds[] = {spec_fd, p->parts->fd};
    if (spec_fd < 0)
        return broke(p, "%s", e.message);
    p->started = true;
    if (!send_to(p, &(struct link_message){.type = LINK_START}, fds, 2))
        broke(p, "it did not take START");
}

static void on_message(struct play *p, const struct link_message *m)
{
    if (p->ended)
        return broke(p, "a message of type %u after the end", m->type);
    if (!p->started && m->type != LINK_READY && m->type != LINK_FAILED)
        return broke(p, "a message of type %u before READY", m->type);
    switch (m->type) {
    case LINK_READY:
        if (p->started)
            return broke(p, "READY twice");
        return hand_over_job(p);
    case LINK_COLUMNS:
        if (p->r->parts > 0)
            broke(p, "COLUMNS behind a part");
        snprintf(p->r->columns + strlen(p->r->columns), sizeof p->r->columns - strlen(p->r->columns), "%s", m->text);
        return;
    case LINK_STREAMING:
        if (p->streaming)
            broke(p, "STREAMING twice");
        p->streaming = true;
        return sample(p);
    case LINK_PART:
        return on_part(p, m);
    case LINK_PROGRESS:
        return on_progress(p, m);
    case LINK_DONE:
    case LINK_FAILED:
        return on_end(p, m);
    default:
        return broke(p, "a message of type %u", m->type);
    }
}

static void serve(struct play *p)
{
    int64_t deadline = clock_monotonic_ms() + p->o->deadline_ms, next_sample = 0;
    for (;;) {
        struct pollfd fd = {.fd = p->link, .events = POLLIN};
        int ready = poll(&fd, 1, SAMPLE_MS);
        int64_t now = clock_monotonic_ms();
        if (now >= next_sample) {
            sample(p);
            next_sample = now + SAMPLE_MS;
        }
        if (now > deadline)
            broke(p, "no end after %d ms", p->o->deadline_ms);
        if (p->r->broken[0])
            kill(p->pid, SIGKILL);
        if (ready <= 0)
            continue;
        struct link_message m;
        struct error e = {0};
        enum link_result got = link_receive(p->link, &m, NULL, &e);
        if (got == LINK_CLOSED)
            return;
        if (got != LINK_OK)
            return broke(p, "%s", e.message);
        on_message(p, &m);
    }
}

static uint32_t remove_directory(const char *path)
{
    uint32_t count = 0;
    _cleanup_closedir_ DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        count++;
        unlinkat(dirfd(d), entry->d_name, 0);
    }
    rmdir(path);
    return count;
}

static bool hand_over_source(struct play *p, const struct worker_spec *spec, struct error *e)
{
    _cleanup_close_ int spec_fd = worker_spec_seal(spec, e);
    if (spec_fd < 0)
        return false;
    if (!send_to(p, &(struct link_message){.type = LINK_OPEN}, &spec_fd, 1))
        return error_set(e, ERROR_INTERNAL, "the worker did not take OPEN");
    return true;
}

static void collect(struct play *p, int64_t started)
{
    struct rusage usage = {0};
    close(p->link);
    wait4(p->pid, &p->r->wait_status, 0, &usage);
    if (p->template_link >= 0) {
        int status;
        close(p->template_link);
        if (waitpid(p->template_pid, &status, 0) != p->template_pid || status != 0)
            broke(p, "the template ended with wait status %d", status);
    }
    int64_t now = clock_monotonic_ms();
    p->r->wall_s = (double)(now - started) / 1e3;
    p->r->cpu_s = (double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6 +
                  (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6;
    if (p->cancelled_at >= 0)
        p->r->cancel_ms = now - p->cancelled_at;
    if (!p->ended && WIFSIGNALED(p->r->wait_status))
        broke(p, "the worker died of signal %d", WTERMSIG(p->r->wait_status));
    else if (!p->ended || p->r->wait_status != 0)
        broke(p, "the worker ended with status %d", WEXITSTATUS(p->r->wait_status));
}

static bool make_directory(const char *path, const struct worker_spec *spec, struct error *e)
{
    return (mkdir(path, 0700) == 0 && (!spec->uid || chown(path, spec->uid, spec->gid) == 0)) ||
           error_set_errno(e, ERROR_INTERNAL, errno, "mkdir");
}

bool play_server(const struct play_options *o, struct play_result *ret, struct error *e)
{
    char root[] = "/tmp/worker-spill.XXXXXX", spill[64], beside[64];
    *ret = (struct play_result){.percent = -1, .cancel_ms = -1};
    struct play p = {.o = o, .r = ret, .link = -1, .template_link = -1, .directory = spill, .cancelled_at = -1, .hash = sha256_new()};
    struct worker_spec spec = o->worker_spec;
    p.parts = parts_new(o->spec.part_count, o->spec.part_size, e);
    if (!p.parts || !p.hash || !mkdtemp(root) || chmod(root, 0711) < 0)
        return error_set(e, ERROR_INTERNAL, "no parts, no hash or no directory");
    snprintf(spill, sizeof spill, "%s/job", root);
    snprintf(beside, sizeof beside, "%s/template", root);
    spec.spill_dir = o->template ? beside : spill;
    spec.is_template = o->template;
    if (!make_directory(spill, &spec, e) || !make_directory(beside, &spec, e))
        return false;
    int64_t started = clock_monotonic_ms();
    bool ok = start_worker(&p, e);
    if (ok) {
        ok = hand_over_source(&p, &spec, e);
        if (ok) {
            cancel_if_due(&p);
            serve(&p);
        }
        collect(&p, started);
    }
    ret->spill_left = remove_directory(spill) + remove_directory(beside);
    rmdir(root);
    sha256_free(p.hash);
    parts_free(p.parts);
    return ok;
}
