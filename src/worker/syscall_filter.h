/* seccomp: which system calls this process may still make. All others answer EPERM, and nobody is killed: SQL
 * alone can reach one (glob() lists a directory), and shall get an error.
 * https://docs.kernel.org/userspace-api/seccomp_filter.html */
#ifndef WORKER_SYSCALL_FILTER_H
#define WORKER_SYSCALL_FILTER_H

#include <stdbool.h>

#include "base/error.h"

/* True if this kernel can filter. */
bool syscall_filter_supported(void);

/* The filter under which the engine is opened: what it needs, the messages on `link_fd`, threads but no
 * processes, no executable memory; and for the time being what syscall_filter_close() takes away. With
 * `network` also sockets of the Internet that connect but never listen, what a network client needs beside
 * them, and until the end of opening executable memory, for the client's code. For this thread and what it
 * starts; needs no_new_privs. */
MUST_CHECK bool syscall_filter_enter(int link_fd, bool network, struct error *e);

/* Takes away what changes users, capabilities and the box itself, and executable memory: from every thread of
 * the process, also those that the client has started meanwhile. */
MUST_CHECK bool syscall_filter_close(struct error *e);

#endif
