/* Where the bytes of a file go. A regular file appears whole or not at all: it is written under a temporary
 * name beside its own. Standard output ("-"), devices and pipes are written straight. One thread. */
#ifndef CLI_SINK_H
#define CLI_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct sink {
    int fd;       /* -1: not open */
    char *target; /* NULL: written straight */
    char *temp;
};

#define SINK_CLOSED ((struct sink){.fd = -1})

/* Nothing stands under `path` yet, and what stood there stays. */
MUST_CHECK bool sink_open(struct sink *ret, const char *path, struct error *e);
MUST_CHECK bool sink_write(struct sink *s, const void *data, size_t len, struct error *e);

/* Forgets what was written; false where it is out of our hands. */
MUST_CHECK bool sink_rewind(struct sink *s);

/* On the disk, under its name; then closed. */
MUST_CHECK bool sink_commit(struct sink *s, struct error *e);

/* Not committed: nothing stays. */
void sink_release(struct sink *s);

#endif
