#include "worker/syscall_filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void release_filter(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}
#define _cleanup_filter_ _cleanup_(release_filter)

/* Measured on the engine, and what threads, signals and the C library need. */
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(stat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(access),
    SCMP_SYS(lseek),
    SCMP_SYS(fcntl),
    SCMP_SYS(ftruncate),
    SCMP_SYS(unlink),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(getrusage),
    SCMP_SYS(poll),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* What a client of a service needs beside sockets: waiting, files of its own in the scratch directory, threads
 * with names and signal stacks. socket() itself is guarded by its family: no UNIX sockets (the services of this
 * machine), no netlink, no raw packets. There is no listen() and no accept(). */
static const int network_calls[] = {
    SCMP_SYS(connect),
    SCMP_SYS(bind), /* a local address before connect(); Landlock refuses it for TCP */
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(ioctl),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe2),
    SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(dup),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(getdents64),
    SCMP_SYS(statx),
    SCMP_SYS(lstat),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    SCMP_SYS(getcwd),
    SCMP_SYS(mkdir),
    SCMP_SYS(rmdir),
    SCMP_SYS(rename),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(flock),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fallocate),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(clock_getres),
    SCMP_SYS(nanosleep),
    SCMP_SYS(times),
    SCMP_SYS(uname),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(getppid),
};

static const int until_closed[] = {
    SCMP_SYS(setgroups),
    SCMP_SYS(setresgid),
    SCMP_SYS(setresuid),
    SCMP_SYS(capget),
    SCMP_SYS(capset),
    SCMP_SYS(prctl),
    SCMP_SYS(seccomp),
    SCMP_SYS(landlock_create_ruleset),
    SCMP_SYS(landlock_add_rule),
    SCMP_SYS(landlock_restrict_self),
};

static int add_all(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
    int status = 0;
    for (size_t i = 0; i < count && status == 0; i++)
        status = seccomp_rule_add(filter, action, calls[i], 0);
    return status;
}

/* Executable memory, by any of its two calls. */
static int add_executable(scmp_filter_ctx filter, uint32_t action)
{
    const struct scmp_arg_cmp executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC);
    int status = seccomp_rule_add_array(filter, action, SCMP_SYS(mmap), 1, &executable);
    return status ? status : seccomp_rule_add_array(filter, action, SCMP_SYS(mprotect), 1, &executable);
}

static int add_network(scmp_filter_ctx filter)
{
    static const int families[] = {AF_INET, AF_INET6};
    int status = add_all(filter, SCMP_ACT_ALLOW, network_calls, ARRAY_SIZE(network_calls));
    for (size_t i = 0; i < ARRAY_SIZE(families) && status == 0; i++) {
        const struct scmp_arg_cmp guards[] = {
            SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]),
            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM), /* without SOCK_NONBLOCK, SOCK_CLOEXEC */
        };
        const struct scmp_arg_cmp datagrams[] = {guards[0], SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_DGRAM)};
        status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, guards);
        if (status == 0)
            status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, datagrams);
    }
    return status ? status : add_executable(filter, SCMP_ACT_ALLOW);
}

/* Calls that are allowed with certain arguments only, or answer something else than EPERM. */
static int add_guarded(scmp_filter_ctx filter, int link_fd)
{
    const struct scmp_arg_cmp on_link = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)link_fd);
    const struct scmp_arg_cmp at_us = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
    const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp as_thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
    const struct {
        int call;
        struct scmp_arg_cmp guard;
    } rules[] = {
        {SCMP_SYS(sendmsg), on_link},     {SCMP_SYS(recvmsg), on_link},         {SCMP_SYS(tgkill), at_us},
        {SCMP_SYS(mmap), not_executable}, {SCMP_SYS(mprotect), not_executable}, {SCMP_SYS(clone), as_thread},
    };
    int status = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rules) && status == 0; i++)
        status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, 1, &rules[i].guard);
    /* The flags of clone3 are in memory, where a filter cannot look: the C library falls back to clone. */
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* Nothing is a link: so the engine's realpath() gives, and SQL sees, the neutral name of the source
     * (source.h). */
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(readlink), 0);
    return status;
}

static bool load(scmp_filter_ctx filter, int status, struct error *e)
{
    if (status == 0)
        status = seccomp_load(filter);
    return status == 0 || error_set_errno(e, ERROR_INTERNAL, -status, "cannot load the system call filter");
}

bool syscall_filter_supported(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

bool syscall_filter_enter(int link_fd, bool network, struct error *e)
{
    _cleanup_filter_ scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return error_set(e, ERROR_MEMORY, "out of memory");
    int status = add_all(filter, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
    if (status == 0)
        status = add_all(filter, SCMP_ACT_ALLOW, until_closed, ARRAY_SIZE(until_closed));
    if (status == 0)
        status = add_guarded(filter, link_fd);
    if (status == 0 && network)
        status = add_network(filter);
    return load(filter, status, e);
}

bool syscall_filter_close(struct error *e)
{
    _cleanup_filter_ scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return error_set(e, ERROR_MEMORY, "out of memory");
    int status = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (status == 0)
        status = add_all(filter, SCMP_ACT_ERRNO(EPERM), until_closed, ARRAY_SIZE(until_closed));
    if (status == 0)
        status = add_executable(filter, SCMP_ACT_ERRNO(EPERM));
    return load(filter, status, e);
}
