/* Preloaded by bench/streams.py into the real programs, to see from inside what no client can know. It is no part of them.
 *
 * In a worker: a PROGRESS message carries the clock (CLOCK_MONOTONIC, microseconds) in `rows` at the moment when it is sent; and after each part
 * the worker pauses for STREAM_STAMP_PAUSE_MS, so that many jobs tell progress and leave the machine to the server.
 * In a server: the longest pass of the event loop, from epoll_wait(2) returning to its next call, is kept in the file STREAM_STAMP_FILE:
 * two numbers of 64 bits, wall and CPU microseconds. Whoever measures sets them to zero. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "link/message.h"

ssize_t sendmsg(int fd, const struct msghdr *m, int flags);
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout);

static int64_t now_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static struct link_message *message_of(int fd, const struct msghdr *m)
{
    if (fd != LINK_WORKER_FD || m->msg_iovlen != 1 || m->msg_iov->iov_len < offsetof(struct link_message, text))
        return NULL;
    return m->msg_iov->iov_base;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    static ssize_t (*next)(int, const struct msghdr *, int);
    static int pause_ms;
    if (!next) {
        next = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
        const char *pause = getenv("STREAM_STAMP_PAUSE_MS");
        pause_ms = pause ? (int)strtol(pause, NULL, 10) : 0;
    }
    struct link_message *message = message_of(fd, m);
    if (message && message->type == LINK_PROGRESS)
        message->rows = (uint64_t)now_us(CLOCK_MONOTONIC);
    ssize_t n = next(fd, m, flags);
    if (message && message->type == LINK_PART && pause_ms > 0)
        poll(NULL, 0, pause_ms);
    return n;
}

static volatile int64_t *longest(void)
{
    const char *path = getenv("STREAM_STAMP_FILE");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 2 * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return page == MAP_FAILED ? NULL : page;
}

/* curl's multi handle has an epoll of its own on another thread: only the thread that came first is looked at. */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    static int (*next)(int, struct epoll_event *, int, int);
    static volatile int64_t *page;
    static __thread int64_t begun, begun_cpu;
    if (!next) {
        next = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
        page = longest();
    }
    if (page && begun && gettid() == getpid()) {
        int64_t wall = now_us(CLOCK_MONOTONIC) - begun, cpu = now_us(CLOCK_THREAD_CPUTIME_ID) - begun_cpu;
        if (wall > page[0])
            page[0] = wall;
        if (cpu > page[1])
            page[1] = cpu;
    }
    int n = next(fd, events, max, timeout);
    begun = now_us(CLOCK_MONOTONIC);
    begun_cpu = now_us(CLOCK_THREAD_CPUTIME_ID);
    return n;
}
