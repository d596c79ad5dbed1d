#include "worker/template.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "link/message.h"
#include "worker/syscall_filter.h"

static const char worker_name[] = "downloads-worker";

/* Where the C library keeps the number of its thread, which the kernel keeps true in a copy: fork() does that too, but
 * cannot make a child of our parent. */
static int *thread_number;

bool template_prepare(struct error *e)
{
    if (prctl(PR_GET_TID_ADDRESS, &thread_number, 0, 0, 0) < 0 || !thread_number || *thread_number != gettid())
        return error_set(e, ERROR_NOT_IMPLEMENTED, "this kernel does not tell what a template needs");
    return true;
}

static long copy_process(void)
{
#if defined(__x86_64__)
    return syscall(SYS_clone, TEMPLATE_CLONE_FLAGS, NULL, NULL, thread_number, NULL);
#else
    return syscall(SYS_clone, TEMPLATE_CLONE_FLAGS, NULL, NULL, NULL, thread_number);
#endif
}

/* For ps: the arguments of a copy are the template's, whose name is longer. */
static void take_name(void)
{
    size_t length = strlen(program_invocation_name);
    if (length >= strlen(worker_name)) {
        memset(program_invocation_name, 0, length);
        memcpy(program_invocation_name, worker_name, strlen(worker_name));
    }
    prctl(PR_SET_NAME, worker_name);
}

static bool become_worker(const int *fds, struct error *e)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* of the server; where it has ended already the socket is at its end */
    take_name();
    bool ok = dup3(fds[0], LINK_WORKER_FD, O_CLOEXEC) >= 0 && dup3(fds[1], STDERR_FILENO, 0) >= 0 &&
              fchdir(fds[2]) == 0;
    int failed = errno;
    for (int i = 0; i < LINK_MAX_FDS; i++)
        close(fds[i]);
    return ok || error_set_errno(e, ERROR_INTERNAL, failed, "cannot prepare the worker");
}

static void send_or_end(const struct link_message *m)
{
    struct error e;
    if (link_send(LINK_WORKER_FD, m, NULL, 0, &e) != LINK_OK)
        _exit(0); /* the server is gone, or has no more work */
}

bool template_serve(struct error *e)
{
    if (!__libc_single_threaded) /* a copy has one thread: what others hold would be held for ever */
        return error_set(e, ERROR_NOT_IMPLEMENTED, "the engine has threads before a template can be copied");
    prctl(PR_SET_NAME, "downloads-template");
    send_or_end(&(struct link_message){.type = LINK_READY});
    for (;;) {
        struct link_message m;
        int fds[LINK_MAX_FDS];
        enum link_result got = link_receive(LINK_WORKER_FD, &m, fds, e);
        if (got == LINK_CLOSED)
            _exit(0);
        if (got != LINK_OK || m.type != LINK_FORK || fds[LINK_MAX_FDS - 1] < 0)
            _exit(1);
        long pid = copy_process();
        if (pid == 0)
            return become_worker(fds, e);
        for (int i = 0; i < LINK_MAX_FDS; i++)
            close(fds[i]);
        send_or_end(&(struct link_message){.type = LINK_FORKED, .pid = pid > 0 ? (uint32_t)pid : 0});
    }
}
