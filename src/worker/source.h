/* The DuckDB file of a job, before the engine sees it.
 *
 * The engine gets a neutral name: a link in the current directory (the job's own) with the file's own base
 * name, since that gives the catalog its name. So no path of the server is in what SQL or an error can show,
 * and an unprivileged user needs no way to the file. A read lock of our own, taken first, keeps writers out
 * from before we look for a write-ahead log until the worker ends: the log cannot appear or go between the
 * box and the open. The lock is the open file's, so the processes that a template makes hold it too, for as long as
 * one of them lives, whatever becomes of the template. */
#ifndef WORKER_SOURCE_H
#define WORKER_SOURCE_H

#include <stdbool.h>

#include "base/error.h"

/* The current directory by a name that is absolute (relative ones the engine makes absolute, and shows) and
 * neutral. */
#define JOB_DIRECTORY "/proc/self/cwd"

struct source {
    int fd;     /* holds the read lock; -1 before */
    bool locked; /* false: the file system has no locks of this kind */
    char *path; /* absolute */
    char *wal_path;
    char *name; /* JOB_DIRECTORY "/base name" */
};

enum source_lock {
    SOURCE_LOCKED,
    SOURCE_BUSY,  /* another process holds the file for writing */
    SOURCE_FAILED /* `e` says why, without the path */
};

MUST_CHECK bool source_init(struct source *s, const char *path, struct error *e);
void source_release(struct source *s);

/* One try; never waits. */
MUST_CHECK enum source_lock source_try_lock(struct source *s, struct error *e);

/* Makes the link, and one for the write-ahead log where there is one, in the current directory. */
MUST_CHECK bool source_link(const struct source *s, struct error *e);

/* Takes the links away once the engine has the files open. */
void source_unlink(const struct source *s);

#endif
