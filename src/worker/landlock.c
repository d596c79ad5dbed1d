#include "worker/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1
#define RULE_NET_PORT 2

/* handled_access_fs: bits 0 to 12 are of version 1. */
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_DIR (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_DIR (1ull << 7)
#define FS_MAKE_REG (1ull << 8)
#define FS_VERSION_1 ((1ull << 13) - 1)
#define FS_REFER (1ull << 13)     /* version 2 */
#define FS_TRUNCATE (1ull << 14)  /* version 3 */
#define FS_IOCTL_DEV (1ull << 15) /* version 5 */
#define NET_BIND 1ull             /* version 4 */
#define NET_CONNECT 2ull          /* version 4 */
#define SCOPES 3ull               /* version 6: abstract UNIX sockets, signals */

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct path_beneath_attr {
    uint64_t access;
    int32_t parent_fd;
} __attribute__((packed));

struct net_port_attr {
    uint64_t access, port;
};

int landlock_abi(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION);
    return version > 0 ? (int)version : 0;
}

static struct ruleset_attr everything(int abi)
{
    struct ruleset_attr a = {.fs = FS_VERSION_1};
    if (abi >= 2)
        a.fs |= FS_REFER;
    if (abi >= 3)
        a.fs |= FS_TRUNCATE;
    if (abi >= 5)
        a.fs |= FS_IOCTL_DEV;
    if (abi >= 4)
        a.net = NET_BIND | NET_CONNECT;
    if (abi >= 6)
        a.scoped = SCOPES;
    return a;
}

/* Older kernels know a shorter structure, and refuse a longer one only if the rest is not zero. */
static size_t attr_size(int abi)
{
    return abi >= 6 ? sizeof(struct ruleset_attr) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

static uint64_t access_of(enum landlock_grant grant)
{
    switch (grant) {
    case LANDLOCK_READ_FILE:
        return FS_READ_FILE;
    case LANDLOCK_READ_TREE:
        return FS_READ_FILE | FS_READ_DIR;
    case LANDLOCK_SCRATCH:
        return FS_READ_FILE | FS_WRITE_FILE | FS_READ_DIR | FS_MAKE_REG | FS_REMOVE_FILE | FS_TRUNCATE;
    case LANDLOCK_SCRATCH_TREE:
        return access_of(LANDLOCK_SCRATCH) | FS_MAKE_DIR | FS_REMOVE_DIR;
    }
    return 0;
}

bool landlock_restrict(const struct landlock_rule *rules, size_t count, const uint16_t *ports, size_t port_count,
                       struct error *e)
{
    int abi = landlock_abi();
    if (abi == 0)
        return error_set(e, ERROR_INTERNAL, "the kernel has no Landlock");
    struct ruleset_attr attr = everything(abi);
    _cleanup_close_ int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, attr_size(abi), 0);
    if (ruleset < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a Landlock rule set");
    for (size_t i = 0; i < count; i++) {
        _cleanup_close_ int fd = open(rules[i].path, O_PATH | O_CLOEXEC);
        if (fd < 0 && rules[i].optional)
            continue;
        struct path_beneath_attr rule = {.access = access_of(rules[i].grant) & attr.fs, .parent_fd = fd};
        if (fd < 0 || syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
            return error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a Landlock rule");
    }
    for (size_t i = 0; i < port_count && (attr.net & NET_CONNECT); i++) {
        struct net_port_attr rule = {.access = NET_CONNECT, .port = ports[i]};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) < 0)
            return error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a Landlock rule");
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot enter Landlock");
    return true;
}
