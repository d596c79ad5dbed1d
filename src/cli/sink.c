#include "cli/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/digest.h"

#define TEMP_FORMAT "%.*s.download-%s.part"

static bool cannot_write(const char *path, struct error *e)
{
    return error_set_errno(e, ERROR_STORAGE, errno, "cannot write %s", path);
}

/* Replacing a device or a pipe by a file would be a surprise. */
static bool open_straight(struct sink *s, const char *path, struct error *e)
{
    s->fd = strcmp(path, "-") == 0 ? fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
                                   : open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
    return s->fd >= 0 || cannot_write(path, e);
}

static bool open_temp(struct sink *s, struct error *e)
{
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    if (!random_bytes(random, sizeof random, e))
        return false;
    hex_encode(random, sizeof random, hex);
    const char *slash = strrchr(s->target, '/');
    int directory = slash ? (int)(slash + 1 - s->target) : 0;
    if (asprintf(&s->temp, TEMP_FORMAT, directory, s->target, hex) < 0) {
        s->temp = NULL;
        return error_set(e, ERROR_INTERNAL, "out of memory");
    }
    s->fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return s->fd >= 0 || cannot_write(s->target, e);
}

bool sink_open(struct sink *ret, const char *path, struct error *e)
{
    struct sink s = SINK_CLOSED;
    struct stat st;
    bool exists = stat(path, &st) == 0;
    bool ok = true;
    if (strcmp(path, "-") == 0 || (exists && !S_ISREG(st.st_mode))) {
        ok = open_straight(&s, path, e);
    } else {
        /* A symbolic link stays one: the file that it names is replaced. */
        s.target = exists ? realpath(path, NULL) : strdup(path);
        ok = s.target ? open_temp(&s, e) : cannot_write(path, e);
    }
    if (ok)
        *ret = s;
    else
        sink_release(&s);
    return ok;
}

bool sink_write(struct sink *s, const void *data, size_t len, struct error *e)
{
    const char *p = data;
    while (len) {
        ssize_t n = write(s->fd, p, len);
        if (n < 0 && errno != EINTR)
            return cannot_write(s->target ? s->target : "the output", e);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
    return true;
}

bool sink_rewind(struct sink *s)
{
    return s->target && ftruncate(s->fd, 0) == 0 && lseek(s->fd, 0, SEEK_SET) == 0;
}

/* The new name survives a crash only once its directory is on the disk. */
static bool sync_directory(const char *path)
{
    _cleanup_free_ char *copy = strdup(path);
    if (!copy)
        return false;
    char *slash = strrchr(copy, '/');
    if (slash)
        slash[slash == copy] = '\0';
    _cleanup_close_ int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0;
}

bool sink_commit(struct sink *s, struct error *e)
{
    if (s->target && fsync(s->fd) < 0)
        return cannot_write(s->target, e);
    int fd = TAKE_FD(s->fd);
    if (close(fd) < 0)
        return cannot_write(s->target ? s->target : "the output", e);
    if (!s->target)
        return true;
    if (rename(s->temp, s->target) < 0)
        return cannot_write(s->target, e);
    free(TAKE_PTR(s->temp));
    return sync_directory(s->target) || cannot_write(s->target, e);
}

void sink_release(struct sink *s)
{
    if (s->fd >= 0)
        close(s->fd);
    if (s->temp)
        unlink(s->temp);
    free(s->temp);
    free(s->target);
    *s = SINK_CLOSED;
}
