/* seccomp: which system calls this process may still make. All others answer EPERM, and nobody is killed: SQL
 * alone can reach one (glob() lists a directory), and shall get an error.
 * https://docs.kernel.org/userspace-api/seccomp_filter.html */
#ifndef WORKER_SYSCALL_FILTER_H
#define WORKER_SYSCALL_FILTER_H

#include <stdbool.h>

#include "base/error.h"

/* True if this kernel can filter. */
bool syscall_filter_supported(void);

enum syscall_filter_kind {
    SYSCALL_FILTER_FILE,
    SYSCALL_FILTER_NETWORK, /* sockets of the Internet that connect but never listen, what a network client needs beside
                             * them, and until the end of opening executable memory, for the client's code */
    SYSCALL_FILTER_TEMPLATE, /* a file; and until syscall_filter_close(), in each process that a template makes, copies of
                              * the process, and what they need to become workers (template.h) */
};

/* The one way of making a process that a template's filter lets through. */
#define TEMPLATE_CLONE_FLAGS (CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)

/* The filter under which the engine is opened: what it needs, the messages on `link_fd`, threads but no
 * processes, no executable memory; and for the time being what syscall_filter_close() takes away. For this thread and
 * what it starts; needs no_new_privs. */
MUST_CHECK bool syscall_filter_enter(int link_fd, enum syscall_filter_kind kind, struct error *e);

/* Takes away what changes users, capabilities, descriptors and the box itself, new processes, executable memory, and
 * signals to others: from every thread of the process, also those that the client has started meanwhile. */
MUST_CHECK bool syscall_filter_close(struct error *e);

#endif
