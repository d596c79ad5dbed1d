#include "worker/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

bool source_init(struct source *s, const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/');
    *s = (struct source){.fd = -1, .path = strdup(path)};
    if (!s->path || asprintf(&s->wal_path, "%s.wal", path) < 0 ||
        asprintf(&s->name, JOB_DIRECTORY "/%s", slash ? slash + 1 : path) < 0)
        return error_set(e, ERROR_MEMORY, "out of memory");
    return true;
}

void source_release(struct source *s)
{
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->wal_path);
    free(s->name);
    *s = (struct source){.fd = -1};
}

enum source_lock source_try_lock(struct source *s, struct error *e)
{
    struct stat st;
    if (s->fd < 0)
        s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (s->fd < 0 || fstat(s->fd, &st) < 0) {
        error_set_errno(e, ERROR_SOURCE, errno, "cannot open the database");
        return SOURCE_FAILED;
    }
    if (!S_ISREG(st.st_mode)) {
        error_set(e, ERROR_SOURCE, "cannot open the database: it is not a file");
        return SOURCE_FAILED;
    }
    /* A lock of the open file, not of the process: closing another descriptor of it does not let it go. */
    const struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    s->locked = fcntl(s->fd, F_OFD_SETLK, &whole) == 0;
    if (!s->locked && (errno == EAGAIN || errno == EACCES))
        return SOURCE_BUSY;
    return SOURCE_LOCKED; /* a file system without locks: the engine's own will say so */
}

static bool link_as(const char *path, const char *name, struct error *e)
{
    return symlink(path, name) == 0 ||
           error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare the job's directory");
}

bool source_link(const struct source *s, struct error *e)
{
    if (!link_as(s->path, s->name, e))
        return false;
    if (access(s->wal_path, F_OK) < 0)
        return true;
    _cleanup_free_ char *name = NULL;
    if (asprintf(&name, "%s.wal", s->name) < 0)
        return error_set(e, ERROR_MEMORY, "out of memory");
    return link_as(s->wal_path, name, e);
}

void source_unlink(const struct source *s)
{
    _cleanup_free_ char *name = NULL;
    unlink(s->name);
    if (asprintf(&name, "%s.wal", s->name) >= 0)
        unlink(name);
}
