#include "server/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "link/message.h"

/* The first number of a file; 0 where there is none ("max"). */
static uint64_t number_in(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[64] = "";
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return 0;
    return strtoull(text, NULL, 10);
}

uint64_t machine_memory(void)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    /* As a container sees its own limit: version 2, then 1. */
    static const char *const limits[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        uint64_t limit = number_in(limits[i]);
        if (limit > 0 && limit < memory)
            memory = limit;
    }
    return memory;
}

unsigned machine_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}

bool machine_is_container(void)
{
    return access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0 ||
           getenv("KUBERNETES_SERVICE_HOST") != NULL;
}

uint64_t machine_raise_descriptors(void)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

char *machine_worker_program(struct error *e)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *path = NULL;
    if (n > 0) {
        self[n] = '\0';
        *strrchr(self, '/') = '\0';
        if (asprintf(&path, "%s/downloads-worker", self) < 0)
            path = NULL;
    }
    if (path && access(path, X_OK) == 0)
        return path;
    error_set(e, ERROR_CONFIG, "the program downloads-worker is not beside downloads-server (%s)",
              path ? path : "out of memory");
    free(path);
    return NULL;
}

/* Reads until the end of the pipe or the deadline. */
static bool read_answer(int fd, int64_t deadline_ms, struct buf *answer)
{
    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left) == 0)
            return false;
        char text[4096];
        ssize_t n = read(fd, text, sizeof text);
        if (n == 0)
            return true;
        if (n > 0)
            buf_append(answer, text, (size_t)n);
        else if (errno != EINTR)
            return false;
    }
}

bool machine_ask_worker(const char *program, const char *option, const char *argument, int fd, int timeout_ms,
                        struct buf *answer, struct error *e)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a pipe");
    _cleanup_close_ int in = fds[0], out = fds[1];
    char *const arguments[] = {(char *)"downloads-worker", (char *)option, (char *)argument, NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    int failed = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    failed = failed ? failed : posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    if (fd >= 0)
        failed = failed ? failed : posix_spawn_file_actions_adddup2(&actions, fd, LINK_WORKER_FD);
    pid_t pid;
    failed = failed ? failed : posix_spawn(&pid, program, &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        return error_set_errno(e, ERROR_CONFIG, failed, "cannot start %s", program);
    close(TAKE_FD(out));
    bool answered = read_answer(in, clock_monotonic_ms() + timeout_ms, answer);
    if (!answered)
        kill(pid, SIGKILL);
    int status = 0;
    waitpid(pid, &status, 0);
    while (answer->len > 0 && answer->data[answer->len - 1] == '\n')
        answer->data[--answer->len] = '\0';
    if (!answered)
        return error_set(e, ERROR_CONFIG, "downloads-worker %s did not answer in %d ms", option, timeout_ms);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(e, ERROR_CONFIG, "%s", buf_ok(answer) && answer->len ? answer->data : "downloads-worker failed");
    return true;
}
