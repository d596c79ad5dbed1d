/* What the machine offers, for defaults, and what the worker program says about it. */
#ifndef SERVER_MACHINE_H
#define SERVER_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

uint64_t machine_memory(void);  /* bytes: the machine's, or the cgroup's limit where that is less */
unsigned machine_cores(void);   /* that this process may run on */
bool machine_is_container(void);

/* Raises the soft limit of open descriptors to the hard one; returns it. */
uint64_t machine_raise_descriptors(void);

/* Path of downloads-worker: beside this program. NULL: `e` says why. */
char *machine_worker_program(struct error *e);

/* Runs `downloads-worker OPTION [ARGUMENT]`, one of its questions, and appends what it prints (both streams). True where it exits 0. Blocks,
 * at most `timeout_ms`. `fd` becomes its descriptor LINK_WORKER_FD, where it is not negative; it stays the caller's. */
MUST_CHECK bool machine_ask_worker(const char *program, const char *option, const char *argument, int fd, int timeout_ms,
                                   struct buf *answer, struct error *e);

#endif
