#include "server/worker_template.h"

#include <inttypes.h>
#include <limits.h>
#include <sys/inotify.h>
#include <unistd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/spill.h"
#include "server/timer.h"

#define TICK_MS 250
#define ANSWER_MS 2000   /* it has nothing else to do */
#define BACKOFF_MS 10000 /* from a failure to the next try, and from a writer's try to the next template */

/* A process. At most one is the current one; others are on their way out. */
struct copy {
    LIST_ENTRY(copy) link;
    struct worker_template *owner;
    struct worker_process *process; /* NULL: ended */
    struct source_look look;        /* before it opened the file */
    char *directory;
    unsigned crashes; /* of the owner, at its start */
    int64_t started_at;
    bool ready, retired;
    int watch_fd; /* inotify: says when somebody had the file open for writing; -1: nobody says so */
    struct event *watch;
    struct task task; /* `watch_fd` is made, or the directory removed: one at a time */
    bool busy;
};

struct worker_template {
    struct worker_template_options options;
    LIST_HEAD(, copy) copies;
    struct copy *current; /* NULL: none */
    struct event *tick;
    unsigned serial, crashes;
    int64_t used_at, not_before; /* clock_monotonic_ms() */
    bool stopped;                /* also where this machine can have none */
};

/* --- what the file is like --- */

static struct source_file look_at(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct source_file){0};
    return (struct source_file){.device = st.st_dev, .inode = st.st_ino, .size = st.st_size, .modified = st.st_mtim, .changed = st.st_ctim};
}

struct source_look source_look_at(const char *path)
{
    char wal[PATH_MAX + 8];
    struct source_look look = {.file = look_at(path)};
    if ((size_t)snprintf(wal, sizeof wal, "%s.wal", path) < sizeof wal)
        look.wal = look_at(wal);
    return look;
}

static bool same_file(const struct source_file *a, const struct source_file *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec && a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

static bool same_look(const struct source_look *a, const struct source_look *b)
{
    return same_file(&a->file, &b->file) && same_file(&a->wal, &b->wal);
}

/* --- the processes --- */

static void free_copy(struct copy *c)
{
    if (c->watch)
        event_free(c->watch);
    cleanup_close(&c->watch_fd);
    free(c->directory);
    free(c);
}

static void retire(struct copy *c)
{
    if (c->owner->current == c)
        c->owner->current = NULL;
    if (c->process && !c->retired)
        worker_process_retire(c->process);
    c->retired = true;
}

static void back_off(struct copy *c, const char *why)
{
    c->owner->not_before = clock_monotonic_ms() + BACKOFF_MS;
    log_debug("no template for workers, each opens the file by itself for a while: %s", why);
    retire(c);
}

/* --- writers: one that the lock refuses has opened the file for writing all the same, and closes it --- */

static void on_writer(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct copy *c = arg;
    char events[4096];
    if (read(fd, events, sizeof events) <= 0 || c->retired)
        return;
    c->owner->not_before = clock_monotonic_ms() + BACKOFF_MS;
    log_debug("somebody wants to write the file: it is closed, and each download opens it by itself for a while");
    retire(c);
}

static void start_watch(struct task *task, void *context)
{
    (void)context;
    struct copy *c = CONTAINER_OF(task, struct copy, task);
    c->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (c->watch_fd >= 0)
        inotify_add_watch(c->watch_fd, c->owner->options.spec->source_path, IN_CLOSE_WRITE);
}

static void remove_directory_of(struct copy *c);

/* Without it a writer has the idle times. */
static void watch_started(struct task *task)
{
    struct copy *c = CONTAINER_OF(task, struct copy, task);
    c->busy = false;
    if (!c->process) {
        remove_directory_of(c);
        return;
    }
    c->watch = c->watch_fd < 0 ? NULL : event_new(c->owner->options.base, c->watch_fd, EV_READ | EV_PERSIST, on_writer, c);
    if (c->watch)
        event_add(c->watch, NULL);
}

static void submit(struct copy *c, void (*work)(struct task *, void *), void (*done)(struct task *))
{
    c->busy = true;
    c->task.work = work;
    c->task.done = done;
    task_queue_submit(c->owner->options.housekeeping, &c->task);
}

static void on_message(void *context, const struct link_message *m)
{
    struct copy *c = context;
    if (m->type == LINK_READY && !c->ready) {
        c->ready = true;
        submit(c, start_watch, watch_started);
        log_debug("a template for workers is ready after %" PRId64 " ms", clock_monotonic_ms() - c->started_at);
    } else if (m->type == LINK_FAILED && m->code == ERROR_NOT_IMPLEMENTED) {
        log_info("workers are started without a template: %s", m->text);
        c->owner->stopped = true;
        retire(c);
    } else {
        back_off(c, m->type == LINK_FAILED    ? m->text
                    : m->type == LINK_FORKED ? "it can make no process"
                                             : "it broke the protocol");
    }
}

static void remove_directory(struct task *task, void *context)
{
    (void)context;
    struct error e;
    if (!spill_remove(CONTAINER_OF(task, struct copy, task)->directory, &e))
        log_warn("%s", e.message);
}

static void directory_removed(struct task *task)
{
    struct copy *c = CONTAINER_OF(task, struct copy, task);
    LIST_REMOVE(c, link);
    free_copy(c);
}

static void remove_directory_of(struct copy *c)
{
    submit(c, remove_directory, directory_removed);
}

static void on_exited(void *context, const char *how)
{
    struct copy *c = context;
    c->process = NULL;
    if (!c->retired && !c->ready)
        back_off(c, how);
    retire(c);
    if (!c->busy)
        remove_directory_of(c);
}

static const struct worker_process_events copy_events = {.message = on_message, .exited = on_exited};

static bool start_process(struct copy *c, struct error *e)
{
    const struct worker_template_options *o = &c->owner->options;
    struct worker_spec spec = *o->spec;
    c->directory = spill_make(o->spill_root, "template", ++c->owner->serial, spec.uid, spec.gid, e);
    if (!c->directory)
        return false;
    spec.spill_dir = c->directory;
    spec.is_template = true;
    _cleanup_close_ int spec_fd = worker_spec_seal(&spec, e);
    const struct worker_process_options options = {.base = o->base,
                                                   .program = o->program,
                                                   .job = "",
                                                   .spec_fd = spec_fd,
                                                   .is_template = true,
                                                   .events = &copy_events,
                                                   .context = c};
    c->process = spec_fd < 0 ? NULL : worker_process_start(&options, e);
    struct error ignored;
    if (!c->process && !spill_remove(c->directory, &ignored))
        log_warn("%s", ignored.message);
    return c->process != NULL;
}

static void start_copy(struct worker_template *t, const struct source_look *look)
{
    struct error e = {.message = "out of memory"};
    struct copy *c = calloc(1, sizeof *c);
    if (c)
        *c = (struct copy){.owner = t, .look = *look, .crashes = t->crashes, .started_at = clock_monotonic_ms(), .watch_fd = -1};
    if (!c || !start_process(c, &e)) {
        log_warn("no template for workers: %s", e.message);
        t->not_before = clock_monotonic_ms() + BACKOFF_MS;
        if (c)
            free_copy(c);
        return;
    }
    LIST_INSERT_HEAD(&t->copies, c, link);
    t->current = c;
    timer_set(t->tick, TICK_MS);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker_template *t = arg;
    int64_t now = clock_monotonic_ms();
    bool any = false;
    struct copy *c;
    LIST_FOREACH (c, &t->copies, link) {
        if (!c->process)
            continue;
        any = true;
        int64_t owes_since = worker_process_owes_since(c->process);
        bool slow_to_open = !c->ready && now - c->started_at > (int64_t)t->options.open_timeout_ms;
        if (slow_to_open || (owes_since && now - owes_since > ANSWER_MS)) {
            back_off(c, "it does not answer");
            worker_process_kill(c->process);
        } else if (c == t->current && c->ready && now - t->used_at >= (int64_t)t->options.idle_ms) {
            log_debug("no download for a while: the file is closed");
            retire(c);
        }
    }
    if (any)
        timer_set(t->tick, TICK_MS);
}

struct worker_process *worker_template_fork(struct worker_template *t, const struct source_look *look, const char *directory,
                                            const struct worker_process_options *options)
{
    int64_t now = clock_monotonic_ms();
    struct copy *c = t->current;
    if (c && (!same_look(&c->look, look) || c->crashes != t->crashes))
        retire(c);
    if (t->stopped)
        return NULL;
    if (!t->current && now >= t->not_before && look->file.inode)
        start_copy(t, look);
    if (!t->current)
        return NULL;
    t->used_at = now;
    struct worker_process_options mine = *options;
    mine.crashes = &t->crashes;
    struct error e;
    struct worker_process *w = worker_process_fork(t->current->process, &mine, directory, &e);
    if (!w)
        log_warn("%s", e.message);
    return w;
}

struct worker_template *worker_template_new(const struct worker_template_options *options, struct error *e)
{
    struct worker_template *t = calloc(1, sizeof *t);
    if (t) {
        t->options = *options;
        LIST_INIT(&t->copies);
        t->tick = event_new(options->base, -1, 0, on_tick, t);
    }
    if (!t || !t->tick) {
        worker_template_free(t);
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    return t;
}

void worker_template_free(struct worker_template *t)
{
    if (!t)
        return;
    struct copy *c;
    while ((c = LIST_FIRST(&t->copies))) {
        LIST_REMOVE(c, link);
        worker_process_free(c->process);
        struct error e;
        if (!spill_remove(c->directory, &e))
            log_warn("%s", e.message);
        free_copy(c);
    }
    if (t->tick)
        event_free(t->tick);
    free(t);
}

void worker_template_stop(struct worker_template *t)
{
    struct copy *c;
    t->stopped = true;
    LIST_FOREACH (c, &t->copies, link)
        retire(c);
}
