#include "server/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/utf8.h"

#define LOG_LIMIT (64 * 1024)    /* bytes of a worker's stderr that are looked at; the rest is read and dropped */
#define MESSAGES_AT_ONCE 64      /* then the loop's other work has its turn */
#define LAST_WORDS 512
#define LATE_MS 500 /* one that has come so long behind the start of a template does not share its failure */

TAILQ_HEAD(process_queue, worker_process);

struct worker_process {
    struct worker_process_options options;
    char job[UUID_SIZE];
    pid_t pid; /* 0: not made yet */
    int pidfd, socket, log;
    struct event *exit_event, *socket_event, *log_event;
    size_t logged;
    struct buf kept; /* with secrets: all that it printed, looked at when it is whole */
    char last_words[LAST_WORDS];
    bool killed;

    /* A template's. */
    struct process_queue planned; /* those that it is to make; first those that it has been asked for */
    int64_t started_at;           /* clock_monotonic_ms(), as below */
    bool ready, retiring;

    /* One's that a template is to make, until then. */
    struct worker_process *template;
    TAILQ_ENTRY(worker_process) plan;
    int64_t planned_at, asked_at; /* asked_at: 0 before */
    int child_socket, child_log, directory; /* to be sent with FORK */
};

static void free_process(struct worker_process *w)
{
    struct event *events[] = {w->exit_event, w->socket_event, w->log_event};
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (events[i])
            event_free(events[i]);
    cleanup_close(&w->pidfd);
    cleanup_close(&w->socket);
    cleanup_close(&w->log);
    cleanup_close(&w->child_socket);
    cleanup_close(&w->child_log);
    cleanup_close(&w->directory);
    struct worker_process *p;
    TAILQ_FOREACH (p, &w->planned, plan)
        p->template = NULL;
    if (w->template)
        TAILQ_REMOVE(&w->template->planned, w, plan);
    buf_release(&w->kept);
    free(w);
}

/* One that is planned: where the template has been asked for it, it ends when it is made. */
void worker_process_kill(struct worker_process *w)
{
    w->killed = true;
    if (w->pid)
        pidfd_send_signal(w->pidfd, SIGKILL, NULL, 0); /* never another process that got the number */
    else if (!w->asked_at)
        event_active(w->exit_event, EV_TIMEOUT, 0);
}

/* For the log; NULL: it has no job. */
static const char *job_of(const struct worker_process *w)
{
    return *w->job ? w->job : NULL;
}

void worker_process_send(struct worker_process *w, enum link_type type, uint32_t buffer)
{
    struct link_message m = {.type = type, .buffer = buffer};
    struct error e;
    enum link_result result = link_send(w->socket, &m, NULL, 0, &e);
    if (result == LINK_AGAIN || result == LINK_BROKEN)
        worker_process_kill(w);
}

void worker_process_grow(struct worker_process *w, const struct parts *grown)
{
    struct link_message m = {.type = LINK_BUFFERS, .buffer = grown->count, .length = grown->size};
    struct error e;
    enum link_result result = link_send(w->socket, &m, &grown->fd, 1, &e);
    if (result == LINK_AGAIN || result == LINK_BROKEN)
        worker_process_kill(w);
}

void worker_process_begin(struct worker_process *w, int spec_fd, int parts_fd)
{
    struct link_message start = {.type = LINK_START};
    const int fds[] = {spec_fd, parts_fd};
    struct error e;
    enum link_result result = link_send(w->socket, &start, fds, 2, &e);
    if (result == LINK_AGAIN || result == LINK_BROKEN)
        worker_process_kill(w);
}

void worker_process_hand_over(struct worker_process *w, const char *job, const struct worker_process_events *events, void *context)
{
    snprintf(w->job, sizeof w->job, "%s", job);
    w->options.events = events;
    w->options.context = context;
}

/* A worker looks at its own words, and at its header; but it runs other people's SQL. */
static void withhold_secret(const struct worker_process *w, struct link_message *m)
{
    static const char of_error[] = "the error is withheld: it contains the access token of the data source";
    static const char of_columns[] = "the result contains the access token of the data source";
    if (!secret_in_text(w->options.secrets, m->text, m->text_length))
        return;
    const char *neutral = m->type == LINK_COLUMNS ? of_columns : of_error;
    if (m->type == LINK_FAILED || m->type == LINK_COLUMNS) {
        m->type = LINK_FAILED;
        m->code = ERROR_SECRET;
    }
    m->text_length = (uint32_t)strlen(neutral);
    memcpy(m->text, neutral, m->text_length + 1);
}

/* --- templates --- */

static void end_planned(struct worker_process *w, void (*tell)(struct worker_process *w, const struct link_message *m),
                        const struct link_message *m)
{
    struct worker_process *template = w->template;
    TAILQ_REMOVE(&template->planned, w, plan);
    w->template = NULL;
    tell(w, m);
    if (template->retiring && TAILQ_EMPTY(&template->planned))
        worker_process_kill(template);
}

static void tell_exited(struct worker_process *w, const struct link_message *m)
{
    (void)m;
    w->options.events->exited(w->options.context, "not started");
    free_process(w);
}

static void tell_not_made(struct worker_process *w, const struct link_message *m)
{
    if (w->killed) {
        tell_exited(w, m);
        return;
    }
    w->options.events->not_made(w->options.context);
    free_process(w);
}

static void tell_failed(struct worker_process *w, const struct link_message *m)
{
    if (!w->killed)
        w->options.events->message(w->options.context, m);
    tell_exited(w, m);
}

static void on_killed_before_asked(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    end_planned(arg, tell_exited, NULL);
}

static void ask(struct worker_process *w)
{
    const struct link_message m = {.type = LINK_FORK};
    const int fds[] = {w->child_socket, w->child_log, w->directory};
    struct error e;
    w->asked_at = clock_monotonic_ms();
    enum link_result result = link_send(w->template->socket, &m, fds, ARRAY_SIZE(fds), &e);
    if (result == LINK_AGAIN || result == LINK_BROKEN)
        worker_process_kill(w->template);
    close(TAKE_FD(w->child_socket));
    close(TAKE_FD(w->child_log));
    close(TAKE_FD(w->directory));
}

static bool watch(struct worker_process *w, struct error *e);

static bool is_our_child(int pidfd)
{
    siginfo_t info;
    return waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void tell_made(struct worker_process *w, const struct link_message *m)
{
    struct error e;
    w->pidfd = pidfd_open((pid_t)m->pid, 0);
    event_free(w->exit_event);
    w->exit_event = NULL;
    if (w->pidfd < 0 || !is_our_child(w->pidfd) || !watch(w, &e)) {
        log_job(LOG_LEVEL_ERROR, job_of(w), "the template tells of a process that cannot be watched");
        tell_not_made(w, m); /* it finds its socket closed, and ends */
        return;
    }
    w->pid = (pid_t)m->pid;
    if (w->killed)
        worker_process_kill(w);
    else
        w->options.events->message(w->options.context, &(struct link_message){.type = LINK_READY});
}

/* What the template says to us; the rest is its owner's, and so are READY, FAILED and that it can make none. */
static bool is_about_planned(struct worker_process *t, const struct link_message *m)
{
    struct worker_process *w = TAILQ_FIRST(&t->planned), *next;
    if (m->type == LINK_FORKED && w && w->asked_at) {
        end_planned(w, m->pid ? tell_made : tell_not_made, m);
        return m->pid != 0;
    }
    t->ready = t->ready || m->type == LINK_READY;
    for (; w; w = next) {
        next = TAILQ_NEXT(w, plan);
        if (m->type == LINK_READY && !w->asked_at && !w->killed)
            ask(w);
        else if (m->type == LINK_FAILED)
            end_planned(w, m->code == ERROR_NOT_IMPLEMENTED || w->planned_at - t->started_at > LATE_MS ? tell_not_made : tell_failed, m);
    }
    return false;
}

static void end_all_planned(struct worker_process *t)
{
    struct worker_process *w;
    while ((w = TAILQ_FIRST(&t->planned)))
        end_planned(w, tell_not_made, NULL);
}

void worker_process_retire(struct worker_process *template)
{
    template->retiring = true;
    if (TAILQ_EMPTY(&template->planned))
        worker_process_kill(template);
}

int64_t worker_process_owes_since(const struct worker_process *template)
{
    const struct worker_process *first = TAILQ_FIRST(&template->planned);
    return first ? first->asked_at : 0;
}

/* Delivers what is there, at most `limit` messages. False: nothing more will come. */
static bool deliver(struct worker_process *w, unsigned limit)
{
    struct link_message m;
    struct error e;
    for (unsigned i = 0; i < limit; i++) {
        switch (link_receive(w->socket, &m, NULL, &e)) {
        case LINK_OK:
            withhold_secret(w, &m);
            if (!w->options.is_template || !is_about_planned(w, &m))
                w->options.events->message(w->options.context, &m);
            break;
        case LINK_AGAIN:
            return true;
        case LINK_BROKEN:
            log_job(LOG_LEVEL_ERROR, job_of(w), "the worker broke the protocol: %s", e.message);
            worker_process_kill(w);
            return false;
        case LINK_CLOSED:
            return false;
        }
    }
    return true;
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker_process *w = arg;
    if (!deliver(w, MESSAGES_AT_ONCE))
        event_del(w->socket_event);
}

/* What a worker prints is other people's SQL at work: kept for the log at `debug`, its last words for the tale of a death.
 * `text` has room for a NUL. */
static void log_words(struct worker_process *w, char *text, size_t n)
{
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    utf8_scrub(text, n);
    log_job(LOG_LEVEL_DEBUG, job_of(w), "worker: %s", text);
    size_t from = n >= LAST_WORDS ? n - LAST_WORDS + 1 : 0;
    memcpy(w->last_words, text + from, n - from + 1);
    utf8_scrub(w->last_words, n - from); /* the cut may be inside a character */
}

static void on_log(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct worker_process *w = arg;
    char text[4096];
    ssize_t n = read(fd, text, sizeof text - 1);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        event_del(w->log_event);
    if (n <= 0 || w->logged >= LOG_LIMIT)
        return;
    w->logged += (size_t)n;
    if (w->options.secrets)
        buf_append(&w->kept, text, (size_t)n);
    else
        log_words(w, text, (size_t)n);
}

/* At the end of a worker that has a secret: nothing of what it printed is told where the secret is in it, or may have been
 * about to be where we stopped reading. */
static void log_kept(struct worker_process *w)
{
    if (w->kept.len == 0)
        return;
    if (w->logged >= LOG_LIMIT || !buf_ok(&w->kept) || secret_in_text(w->options.secrets, w->kept.data, w->kept.len))
        log_job(LOG_LEVEL_DEBUG, job_of(w), "worker: (%zu bytes are withheld, since the data source's token is or may be in them)",
                w->kept.len);
    else
        log_words(w, w->kept.data, w->kept.len);
}

static void on_exit_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker_process *w = arg;
    int status;
    if (waitpid(w->pid, &status, WNOHANG) != w->pid)
        return;
    char how[128];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof how, "exit status %d", WEXITSTATUS(status));
    event_del(w->exit_event);
    deliver(w, UINT32_MAX);
    on_log(w->log, EV_READ, w);
    log_kept(w);
    if ((WIFSIGNALED(status) || WEXITSTATUS(status) != 0) && !w->killed)
        log_job(LOG_LEVEL_WARN, job_of(w), "worker %d ended by %s%s%s", (int)w->pid, how, *w->last_words ? ": " : "", w->last_words);
    if (WIFSIGNALED(status) && !w->killed && w->options.crashes)
        ++*w->options.crashes;
    end_all_planned(w);
    w->options.events->exited(w->options.context, how);
    free_process(w);
}

static bool spawn(struct worker_process *w, struct error *e)
{
    const char *name = w->options.is_template ? "downloads-template" : "downloads-worker";
    char *const arguments[] = {(char *)name, NULL}, *const environment[] = {NULL};
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    /* The log first: its number here may be 3. */
    int failed = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    failed = failed ? failed : posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    failed = failed ? failed : posix_spawn_file_actions_adddup2(&actions, w->child_log, STDERR_FILENO);
    failed = failed ? failed : posix_spawn_file_actions_adddup2(&actions, w->child_socket, LINK_WORKER_FD);
    failed = failed ? failed : posix_spawn_file_actions_addclosefrom_np(&actions, LINK_WORKER_FD + 1);
    failed = failed ? failed : posix_spawn(&w->pid, w->options.program, &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(TAKE_FD(w->child_socket));
    close(TAKE_FD(w->child_log));
    return !failed || error_set_errno(e, ERROR_WORKER, failed, "cannot start a worker");
}

static bool watch(struct worker_process *w, struct error *e)
{
    struct event_base *base = w->options.base;
    w->exit_event = event_new(base, w->pidfd, EV_READ | EV_PERSIST, on_exit_event, w);
    w->socket_event = event_new(base, w->socket, EV_READ | EV_PERSIST, on_socket, w);
    w->log_event = event_new(base, w->log, EV_READ | EV_PERSIST, on_log, w);
    if (!w->exit_event || !w->socket_event || !w->log_event || event_add(w->exit_event, NULL) < 0 ||
        event_add(w->socket_event, NULL) < 0 || event_add(w->log_event, NULL) < 0)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    return true;
}

/* Everything behind the spawn; on failure the process is to be killed. */
static bool give_source(struct worker_process *w, struct error *e)
{
    w->pidfd = pidfd_open(w->pid, 0);
    if (w->pidfd < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot watch a worker");
    struct link_message open = {.type = LINK_OPEN};
    enum link_result sent = link_send(w->socket, &open, &w->options.spec_fd, 1, e);
    if (sent == LINK_BROKEN)
        return false;
    if (sent != LINK_OK)
        return error_set(e, ERROR_WORKER, "the worker ended before it had its source");
    return watch(w, e);
}

static void end_process(struct worker_process *w)
{
    if (w->pid) {
        kill(w->pid, SIGKILL); /* it is our child and not waited for: the number is its own */
        waitpid(w->pid, NULL, 0);
    }
    free_process(w);
}

void worker_process_free(struct worker_process *w)
{
    if (w)
        end_process(w);
}

/* With both ends of its socket and of its log. */
static struct worker_process *new_process(const struct worker_process_options *options, struct error *e)
{
    struct worker_process *w = calloc(1, sizeof *w);
    if (!w) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    w->options = *options;
    TAILQ_INIT(&w->planned);
    buf_init(&w->kept, LOG_LIMIT + 4096);
    w->pidfd = w->socket = w->log = w->child_socket = w->child_log = w->directory = -1;
    snprintf(w->job, sizeof w->job, "%s", options->job);

    int sockets[2], pipe_fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a socket pair");
        free_process(w);
        return NULL;
    }
    w->socket = sockets[0];
    w->child_socket = sockets[1];
    /* Our ends do not block, whatever the worker does with its own. */
    if (pipe2(pipe_fds, O_CLOEXEC) < 0 || fcntl(w->socket, F_SETFL, O_NONBLOCK) < 0) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a pipe");
        free_process(w);
        return NULL;
    }
    w->log = pipe_fds[0];
    w->child_log = pipe_fds[1];
    fcntl(w->log, F_SETFL, O_NONBLOCK);
    return w;
}

struct worker_process *worker_process_start(const struct worker_process_options *options, struct error *e)
{
    struct worker_process *w = new_process(options, e);
    if (!w)
        return NULL;
    w->started_at = clock_monotonic_ms();
    if (!spawn(w, e)) {
        w->pid = 0;
        free_process(w);
        return NULL;
    }
    if (!give_source(w, e)) {
        end_process(w);
        return NULL;
    }
    return w;
}

struct worker_process *worker_process_fork(struct worker_process *template, const struct worker_process_options *options,
                                           const char *directory, struct error *e)
{
    struct worker_process *w = new_process(options, e);
    if (!w)
        return NULL;
    w->exit_event = event_new(options->base, -1, 0, on_killed_before_asked, w);
    w->directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (!w->exit_event || w->directory < 0) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare a worker");
        free_process(w);
        return NULL;
    }
    w->template = template;
    w->planned_at = clock_monotonic_ms();
    TAILQ_INSERT_TAIL(&template->planned, w, plan);
    if (template->ready)
        ask(w);
    return w;
}
