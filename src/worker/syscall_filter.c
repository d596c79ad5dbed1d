#include "worker/syscall_filter.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
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

bool syscall_filter_enter(int link_fd, struct error *e)
{
    _cleanup_filter_ scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return error_set(e, ERROR_MEMORY, "out of memory");
    int status = add_all(filter, SCMP_ACT_ALLOW, allowed, ARRAY_SIZE(allowed));
    if (status == 0)
        status = add_all(filter, SCMP_ACT_ALLOW, until_closed, ARRAY_SIZE(until_closed));
    if (status == 0)
        status = add_guarded(filter, link_fd);
    return load(filter, status, e);
}

bool syscall_filter_close(struct error *e)
{
    _cleanup_filter_ scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return error_set(e, ERROR_MEMORY, "out of memory");
    return load(filter, add_all(filter, SCMP_ACT_ERRNO(EPERM), until_closed, ARRAY_SIZE(until_closed)), e);
}
