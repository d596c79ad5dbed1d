/* Landlock: which files this process may still open. https://docs.kernel.org/userspace-api/landlock.html
 *
 * The kernel's numbers are written out in landlock.c: the headers of Debian 12 know less than newer kernels
 * can do. */
#ifndef WORKER_LANDLOCK_H
#define WORKER_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum landlock_grant {
    LANDLOCK_READ_FILE, /* this file may be read */
    LANDLOCK_READ_TREE, /* all below this directory may be read and listed */
    LANDLOCK_SCRATCH,   /* below this directory files may be made, read, written and removed */
    LANDLOCK_SCRATCH_TREE, /* the same, and directories as well */
};

struct landlock_rule {
    const char *path;
    enum landlock_grant grant;
    bool optional; /* where it does not exist, nothing is granted; else that is an error */
};

/* The kernel's version of the interface; 0: it has none. */
int landlock_abi(void);

/* From now on this thread, and what it starts, opens nothing but what `rules` grant. Where the kernel can,
 * TCP, abstract sockets and signals to others are forbidden as well; but connections to the `port_count` TCP
 * ports are allowed. May be called again: the grants are intersected. Needs no_new_privs. */
MUST_CHECK bool landlock_restrict(const struct landlock_rule *rules, size_t count, const uint16_t *ports,
                                  size_t port_count, struct error *e);

#endif
