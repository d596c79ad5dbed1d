#include "worker/syscall_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
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

/* How a copy of a template becomes a worker. eventfd2 it keeps. */
static const int becoming[] = {SCMP_SYS(fchdir), SCMP_SYS(dup3)};

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
static int add_guarded(scmp_filter_ctx filter, int link_fd, bool template)
{
    const struct scmp_arg_cmp on_link = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)link_fd);
    const struct scmp_arg_cmp at_us = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());
    const struct scmp_arg_cmp not_executable = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
    const struct scmp_arg_cmp as_thread = SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD);
    /* For Parquet, which only the job asks for (parquet_file.c): none stands open in others. */
    const struct scmp_arg_cmp closed_on_exec = SCMP_A1(SCMP_CMP_EQ, O_CLOEXEC);
    const struct {
        int call;
        struct scmp_arg_cmp guard;
    } rules[] = {
        {SCMP_SYS(sendmsg), on_link},     {SCMP_SYS(recvmsg), on_link},
        {SCMP_SYS(mmap), not_executable}, {SCMP_SYS(mprotect), not_executable},
        {SCMP_SYS(clone), as_thread},     {SCMP_SYS(pipe2), closed_on_exec},
    };
    int status = 0;
    for (size_t i = 0; i < ARRAY_SIZE(rules) && status == 0; i++)
        status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, rules[i].call, 1, &rules[i].guard);
    /* The number of a template's copy is not known before there is one: syscall_filter_close() guards it there. */
    if (status == 0)
        status = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), template ? 0 : 1, &at_us);
    /* The flags of clone3 are in memory, where a filter cannot look: the C library falls back to clone. */
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* Nothing is a link: so the engine's realpath() gives, and SQL sees, the neutral name of the source
     * (source.h). */
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(readlink), 0);
    return status;
}

static int add_template(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp as_copy = SCMP_A0(SCMP_CMP_EQ, TEMPLATE_CLONE_FLAGS);
    int status = add_all(filter, SCMP_ACT_ALLOW, becoming, ARRAY_SIZE(becoming));
    if (status == 0)
        status = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(eventfd2), 0);
    return status ? status : seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, &as_copy);
}

bool syscall_filter_supported(void)
{
    uint32_t action = SECCOMP_RET_ERRNO;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

bool syscall_filter_enter(int link_fd, enum syscall_filter_kind kind, struct error *e)
{
    _cleanup_filter_ scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return error_set(e, ERROR_MEMORY, "out of memory");
    int status = add_all(filter, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
    if (status == 0)
        status = add_all(filter, SCMP_ACT_ALLOW, until_closed, ARRAY_SIZE(until_closed));
    if (status == 0)
        status = add_guarded(filter, link_fd, kind == SYSCALL_FILTER_TEMPLATE);
    if (status == 0 && kind == SYSCALL_FILTER_NETWORK)
        status = add_network(filter);
    if (status == 0 && kind == SYSCALL_FILTER_TEMPLATE)
        status = add_template(filter);
    if (status == 0)
        status = seccomp_load(filter);
    return status == 0 || error_set_errno(e, ERROR_INTERNAL, -status, "cannot load the system call filter");
}

/* --- the second filter, by hand: each process that a template makes enters it, and the library takes 0.2 ms --- */

#define PROGRAM_MAX 128

struct program {
    struct sock_filter steps[PROGRAM_MAX];
    unsigned short length;
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half of an argument comes first");

#define DENY BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))

static void append(struct program *p, const struct sock_filter *steps, size_t count)
{
    memcpy(p->steps + p->length, steps, count * sizeof *steps);
    p->length = (unsigned short)(p->length + count);
}

static void deny_all(struct program *p, const int *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct sock_filter steps[] = {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i], 0, 1), DENY};
        append(p, steps, ARRAY_SIZE(steps));
    }
}

/* The low half of one argument decides: `test` is BPF_JSET (a bit is set) or BPF_JEQ. */
static void deny_if(struct program *p, int call, unsigned argument, uint16_t test, uint32_t value, bool outcome)
{
    const struct sock_filter steps[] = {
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * argument)),
        BPF_JUMP(BPF_JMP | test | BPF_K, value, outcome ? 0 : 1, outcome ? 1 : 0),
        DENY,
        ALLOW,
    };
    append(p, steps, ARRAY_SIZE(steps));
}

bool syscall_filter_close(struct error *e)
{
    /* The first filter has killed what comes by another architecture's numbers. */
    static const struct sock_filter begin[] = {LOAD(nr)}, end[] = {ALLOW};
    struct program p = {.length = 0};
    append(&p, begin, ARRAY_SIZE(begin));
    deny_all(&p, until_closed, ARRAY_SIZE(until_closed));
    deny_all(&p, becoming, ARRAY_SIZE(becoming));
    deny_if(&p, SCMP_SYS(clone), 0, BPF_JSET, CLONE_THREAD, false);
    deny_if(&p, SCMP_SYS(mmap), 2, BPF_JSET, PROT_EXEC, true);
    deny_if(&p, SCMP_SYS(mprotect), 2, BPF_JSET, PROT_EXEC, true);
    deny_if(&p, SCMP_SYS(tgkill), 0, BPF_JEQ, (uint32_t)getpid(), false);
    append(&p, end, ARRAY_SIZE(end));
    const struct sock_fprog program = {.len = p.length, .filter = p.steps};
    long status = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    if (status == 0)
        return true;
    return status < 0 ? error_set_errno(e, ERROR_INTERNAL, errno, "cannot load the system call filter")
                      : error_set(e, ERROR_INTERNAL, "cannot load the system call filter on every thread");
}
