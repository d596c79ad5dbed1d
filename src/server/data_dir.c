#include "server/data_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char *below(const char *directory, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

void data_dir_release(struct data_dir *d)
{
    free(d->path);
    free(d->jobs_db);
    free(d->link_key);
    free(d->spill);
    cleanup_close(&d->lock);
    *d = (struct data_dir){.lock = -1};
}

bool data_dir_open(struct data_dir *ret, const char *path, struct error *e)
{
    struct data_dir d = {.lock = -1};
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot make the data directory '%s'", path);
    d.path = realpath(path, NULL);
    if (!d.path)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot use the data directory '%s'", path);
    _cleanup_free_ char *lock = below(d.path, "lock");
    d.jobs_db = below(d.path, "jobs.db");
    d.link_key = below(d.path, "link.key");
    d.spill = below(d.path, "spill");
    bool ok = true;
    if (!lock || !d.jobs_db || !d.link_key || !d.spill)
        ok = error_set(e, ERROR_CONFIG, "out of memory");
    if (ok)
        d.lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (ok && d.lock < 0)
        ok = error_set_errno(e, ERROR_CONFIG, errno, "cannot write in the data directory '%s'", d.path);
    if (ok && flock(d.lock, LOCK_EX | LOCK_NB) < 0)
        ok = error_set(e, ERROR_UNAVAILABLE, "the data directory '%s' is in use by another downloads-server", d.path);
    if (!ok) {
        data_dir_release(&d);
        return false;
    }
    *ret = d;
    return true;
}
