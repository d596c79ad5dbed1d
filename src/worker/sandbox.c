#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "link/message.h"
#include "worker/landlock.h"
#include "worker/syscall_filter.h"

/* The engine's own memory limit does not bound everything, and private memory is more than what is resident:
 * sorts and joins peak at 437, 717 and 1,310 MiB for limits of 244, 488 and 954; with 128 MiB above 1.5 times
 * the limit a join of 30 million rows still failed now and then, with 192 no more. The writer of Parquet needs up to
 * 400 more where a table has 1,600 columns, and as much of address space that the allocator keeps. Part buffers are
 * shared memory and do not count. */
#define DATA_LIMIT(memory_limit) ((memory_limit) / 2 * 3 + (512ull << 20))

/* What compression takes beside the engine, most of it address space: with zstd 11 MiB for each of its threads, 8 of which
 * are a stack; with gzip less than 3. Neither has more than 8 times 11 MiB (worker/zstd.c, deflate_pool.c). */
#define PACKING_DATA(threads) ((uint64_t)((threads) < 8 ? (threads) : 8) * (12ull << 20))

/* More for MotherDuck's client, which is loaded into the process: its code on the way (85 MB), the stacks (8 MiB
 * each) of its threads and of those that check the extension's signature (18 of them). */
#define CLIENT_DATA (768ull << 20)

/* The source, its log, the spill files (one for each size of block), and those of the process. */
#define DESCRIPTOR_LIMIT 256

/* Needed to open a file of any owner and to become another user; gone after sandbox_close(). */
#define OPENING_CAPABILITIES (1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_SETUID | 1ull << CAP_SETGID)

/* Than the server: a loop that has an event to tell, or a part to send, is not to wait behind queries. */
#define NICER 5

void sandbox_begin(void)
{
    /* Without a server the socket is at its end too: this is for a worker that does not look. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    syscall(SYS_close_range, LINK_WORKER_FD + 1, ~0u, 0);
    signal(SIGXFSZ, SIG_IGN); /* a spill file at RLIMIT_FSIZE is an error of write(), not the end */
    signal(SIGPIPE, SIG_IGN);
    errno = 0;
    (void)!nice(NICER); /* where it cannot be had, clients wait longer beside a busy machine, and no worse */
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        /* A kernel that refuses leaves the worker as likely to be chosen as the server, and no worse. */
        if (write(fd, "1000", 4) < 0)
            errno = 0;
        close(fd);
    }
}

static bool limit(int resource, uint64_t value)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
        return false;
    rlim_t wanted = now.rlim_max < value ? now.rlim_max : (rlim_t)value;
    return setrlimit((__rlimit_resource_t)resource, &(struct rlimit){wanted, wanted}) == 0;
}

static bool keep_capabilities(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data) < 0)
        return false;
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(keep >> (32 * i));
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    return syscall(SYS_capset, &header, data) == 0;
}

/* The bounding set only matters to exec, which is refused: where it may not be emptied, it may stay. */
static void empty_bounding_set(void)
{
    for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++)
        prctl(PR_CAPBSET_DROP, capability);
}

/* A part is there, or need not be. `why` is filled where it is neither. */
static bool had(const struct worker_spec *spec, bool worked, const char *part, const char *why, struct error *e)
{
    if (worked || spec->sandbox == SANDBOX_BEST_EFFORT)
        return true;
    return error_set(e, ERROR_INTERNAL, "the sandbox lacks a part: %s (%s)", part, why);
}

static bool had_errno(const struct worker_spec *spec, bool worked, const char *part, struct error *e)
{
    char why[128] = "";
    return had(spec, worked, part, worked ? why : strerror_r(errno, why, sizeof why), e);
}

/* Users are never best effort: a worker that was to be somebody else does not go on as root. */
static bool become(uint32_t uid, uint32_t gid, struct error *e)
{
    if (uid == 0 || uid == geteuid())
        return true;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot become user %u, group %u", uid, gid);
    return true;
}

static bool drop_privileges(const struct worker_spec *spec, struct error *e)
{
    if (!become(spec->uid, spec->gid, e) || !had_errno(spec, keep_capabilities(0), "no capabilities", e))
        return false;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user clears it */
    prctl(PR_SET_DUMPABLE, 0);
    return true;
}

static bool enter_limits(const struct worker_spec *spec, struct error *e)
{
    uint64_t data = DATA_LIMIT(spec->memory_limit) + PACKING_DATA(spec->threads) +
                    (spec->source == SOURCE_MOTHERDUCK ? CLIENT_DATA : 0);
    bool limits = limit(RLIMIT_DATA, data) && limit(RLIMIT_CORE, 0) && limit(RLIMIT_FSIZE, spec->spill_limit) &&
                  limit(RLIMIT_NOFILE, DESCRIPTOR_LIMIT);
    if (!had_errno(spec, limits, "resource limits", e))
        return false;
    empty_bounding_set();
    return had_errno(spec, keep_capabilities(OPENING_CAPABILITIES), "no capabilities", e) &&
           had_errno(spec, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs", e);
}

/* Without these two the engine finds no memory limit of its group, throws in a constructor, and aborts. */
#define CGROUP_RULES                                                                                         \
    {.path = "/proc/self/cgroup", .grant = LANDLOCK_READ_FILE, .optional = true},                            \
    {                                                                                                        \
        .path = "/sys/fs/cgroup", .grant = LANDLOCK_READ_TREE, .optional = true                              \
    }

/* A template's jobs have their directories beside its own; each closes all but its own to itself. */
static const char *scratch(const struct worker_spec *spec)
{
    return spec->is_template ? ".." : ".";
}

static bool enter_for_file(const struct worker_spec *spec, const char *source, const char *wal, struct error *e)
{
    const struct landlock_rule rules[] = {
        {.path = source, .grant = LANDLOCK_READ_FILE},
        {.path = wal, .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = scratch(spec), .grant = LANDLOCK_SCRATCH},
        CGROUP_RULES,
    };
    enum syscall_filter_kind kind = spec->is_template ? SYSCALL_FILTER_TEMPLATE : SYSCALL_FILTER_FILE;
    struct error why = {0};
    return had(spec, landlock_restrict(rules, ARRAY_SIZE(rules), NULL, 0, &why), "Landlock", why.message, e) &&
           had(spec, syscall_filter_enter(LINK_WORKER_FD, kind, &why), "seccomp", why.message, e);
}

static bool enter_for_motherduck(const struct worker_spec *spec, struct error *e)
{
    /* The extension asks api.motherduck.com for the version of its client over http, and fetches that from
       ext.motherduck.com; the client speaks https. DNS goes over TCP where an answer is long. */
    static const uint16_t ports[] = {80, 443, 53};
    const struct landlock_rule rules[] = {
        {.path = spec->extension_dir, .grant = LANDLOCK_READ_TREE, .optional = true},
        {.path = ".", .grant = LANDLOCK_SCRATCH_TREE},
        CGROUP_RULES,
        {.path = "/etc/resolv.conf", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/hosts", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/host.conf", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/gai.conf", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/nsswitch.conf", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/services", .grant = LANDLOCK_READ_FILE, .optional = true},
        /* certificate authorities, where the distributions have them */
        {.path = "/etc/ssl/certs", .grant = LANDLOCK_READ_TREE, .optional = true},
        {.path = "/etc/ssl/openssl.cnf", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/ssl/cert.pem", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/ssl/ca-bundle.pem", .grant = LANDLOCK_READ_FILE, .optional = true},
        {.path = "/etc/pki/tls/certs", .grant = LANDLOCK_READ_TREE, .optional = true},
        {.path = "/etc/pki/ca-trust/extracted", .grant = LANDLOCK_READ_TREE, .optional = true},
        {.path = "/usr/share/ca-certificates", .grant = LANDLOCK_READ_TREE, .optional = true},
        {.path = "/usr/local/share/ca-certificates", .grant = LANDLOCK_READ_TREE, .optional = true},
    };
    struct error why = {0};
    return drop_privileges(spec, e) &&
           had(spec, landlock_restrict(rules, ARRAY_SIZE(rules), ports, ARRAY_SIZE(ports), &why), "Landlock",
               why.message, e) &&
           had(spec, syscall_filter_enter(LINK_WORKER_FD, SYSCALL_FILTER_NETWORK, &why), "seccomp", why.message, e);
}

bool sandbox_enter(const struct worker_spec *spec, const char *source, const char *wal, struct error *e)
{
    if (spec->sandbox == SANDBOX_OFF)
        return true;
    return enter_limits(spec, e) && (spec->source == SOURCE_MOTHERDUCK ? enter_for_motherduck(spec, e)
                                                                        : enter_for_file(spec, source, wal, e));
}

static bool keep_scratch(const struct worker_spec *spec, const char *path, struct error *e)
{
    const struct landlock_rule rule = {.path = path, .grant = LANDLOCK_SCRATCH};
    struct error why = {0};
    return had(spec, landlock_restrict(&rule, 1, NULL, 0, &why), "Landlock", why.message, e);
}

bool sandbox_park(const struct worker_spec *spec, struct error *e)
{
    return spec->sandbox == SANDBOX_OFF || (drop_privileges(spec, e) && keep_scratch(spec, scratch(spec), e));
}

bool sandbox_close(const struct worker_spec *spec, struct error *e)
{
    if (spec->sandbox == SANDBOX_OFF)
        return true;
    struct error why = {0};
    bool dropped = spec->source == SOURCE_MOTHERDUCK || spec->is_template;
    return (dropped || drop_privileges(spec, e)) &&
           (spec->source == SOURCE_MOTHERDUCK || keep_scratch(spec, ".", e)) &&
           had(spec, syscall_filter_close(&why), "seccomp", why.message, e);
}

bool sandbox_describe(FILE *out)
{
    int abi = landlock_abi();
    bool filter = syscall_filter_supported();
    bool no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0;
    if (abi > 0)
        fprintf(out, "landlock yes abi %d\n", abi);
    else
        fprintf(out, "landlock no\n");
    fprintf(out, "seccomp %s\n", filter ? "yes" : "no");
    fprintf(out, "no_new_privs %s\n", no_new_privs ? "yes" : "no");
    fprintf(out, "limits yes\n");
    return abi > 0 && filter && no_new_privs;
}
