#include "object/local_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"

/* The kernel is told to write each part at once, and an upload waits for what is more than this behind: the
 * fsync at the end finds little to do (of 2 GiB: 2 ms instead of 550), and no upload fills the machine's
 * memory with unwritten pages. */
#define UNWRITTEN_MAX ((uint64_t)32 * 1024 * 1024)

/* The end of a file, or a small one, is left to that fsync. */
#define WRITE_BACK_MIN ((uint64_t)1024 * 1024)

static bool storage_error(struct error *e, const char *what)
{
    return error_set_errno(e, ERROR_STORAGE, errno, "%s", what);
}

/* A directory by its name alone: a symbolic link in its place is an error (ENOTDIR). */
static int open_directory(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Keys */

static bool segment_ok(const char *segment, size_t length)
{
    bool only_dots = true;
    if (length == 0 || length > OBJECT_LOCAL_SEGMENT_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = segment[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.')
            return false;
        only_dots = only_dots && c == '.';
    }
    return !only_dots;
}

bool object_local_segment_ok(const char *segment)
{
    return segment_ok(segment, strnlen(segment, OBJECT_LOCAL_SEGMENT_MAX + 1));
}

bool local_place_parse(const char *key, struct local_place *ret, struct error *e)
{
    const char *slash = strchr(key, '/');
    if (!slash || !segment_ok(key, (size_t)(slash - key)) || !object_local_segment_ok(slash + 1))
        return error_set(e, ERROR_INVALID,
                         "an object's key must be <organisation>/<name>, of A-Z a-z 0-9 . _ -");
    *ret = (struct local_place){0};
    memcpy(ret->organisation, key, (size_t)(slash - key));
    memcpy(ret->name, slash + 1, strlen(slash + 1));
    return true;
}

/* The directory */

static bool make_directory(int parent, const char *name, int *ret_fd, struct error *e)
{
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot make %s/ in the data directory", name);
    int fd = open_directory(parent, name);
    if (fd < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot open %s/ in the data directory", name);
    *ret_fd = fd;
    return true;
}

/* What an earlier process left on its way: only this program writes there, and only files. */
static bool clear_temporary(int tmp, struct error *e)
{
    int fd = open_directory(tmp, ".");
    _cleanup_closedir_ DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        cleanup_close(&fd);
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot read tmp/ in the data directory");
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (object_local_segment_ok(entry->d_name) && unlinkat(tmp, entry->d_name, 0) < 0)
            return error_set_errno(e, ERROR_CONFIG, errno, "cannot clear tmp/ in the data directory");
    }
    return true;
}

bool local_dir_open(struct local_dir *d, const char *path, struct error *e)
{
    *d = (struct local_dir){-1, -1};
    _cleanup_close_ int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot open the data directory");
    if (!make_directory(directory, "files", &d->files, e) || !make_directory(directory, "tmp", &d->tmp, e))
        return false;
    struct stat files, tmp;
    if (fsync(directory) < 0 || fstat(d->files, &files) < 0 || fstat(d->tmp, &tmp) < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot write the data directory");
    if (files.st_dev != tmp.st_dev)
        return error_set(e, ERROR_CONFIG,
                         "files/ and tmp/ in the data directory are on different file systems");
    return clear_temporary(d->tmp, e);
}

void local_dir_release(struct local_dir *d)
{
    cleanup_close(&d->files);
    cleanup_close(&d->tmp);
    *d = (struct local_dir){-1, -1};
}

static bool create_temporary(const struct local_dir *d, char name[LOCAL_TEMPORARY_SIZE], int *ret_fd,
                             struct error *e)
{
    uint8_t random[(LOCAL_TEMPORARY_SIZE - 1) / 2];
    if (!random_bytes(random, sizeof random, e))
        return false;
    hex_encode(random, sizeof random, name);
    int fd = openat(d->tmp, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return storage_error(e, "cannot make a file");
    *ret_fd = fd;
    return true;
}

bool local_dir_check(const struct local_dir *d, struct error *e)
{
    char name[LOCAL_TEMPORARY_SIZE];
    _cleanup_close_ int fd = -1;
    if (!create_temporary(d, name, &fd, e))
        return false;
    bool ok = write(fd, "?", 1) == 1 && fsync(fd) == 0;
    int reason = errno;
    unlinkat(d->tmp, name, 0);
    return ok || error_set_errno(e, ERROR_STORAGE, reason, "cannot write a file");
}

bool local_dir_read(const struct local_dir *d, const struct local_place *place, struct object_local_file *ret,
                    struct error *e)
{
    static const char gone[] = "file not found";
    struct stat st;
    _cleanup_close_ int directory = open_directory(d->files, place->organisation);
    /* O_NONBLOCK: a FIFO in the file's place would hold the thread. It changes nothing for a file. */
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    _cleanup_close_ int fd = directory < 0 ? -1 : openat(directory, place->name, flags);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENOTDIR))
        return error_set(e, ERROR_NOT_FOUND, gone);
    if (fd < 0 || fstat(fd, &st) < 0)
        return storage_error(e, "cannot open the file");
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERROR_NOT_FOUND, gone);
    *ret = (struct object_local_file){
        .fd = TAKE_FD(fd),
        .size = (uint64_t)st.st_size,
        .mtime_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000,
        .inode = st.st_ino,
    };
    return true;
}

/* Synced, since nobody comes back for a file that is there again after a power cut. */
bool local_dir_remove(const struct local_dir *d, const struct local_place *place, struct error *e)
{
    _cleanup_close_ int directory = open_directory(d->files, place->organisation);
    bool removed = directory >= 0 && unlinkat(directory, place->name, 0) == 0;
    if (!removed && errno == ENOENT)
        return true;
    if (!removed || fsync(directory) < 0)
        return storage_error(e, "cannot remove the file");
    return true;
}

/* Uploads */

static bool ensure_open(struct local_upload *u, const struct local_dir *d, struct error *e)
{
    if (u->fd >= 0)
        return true;
    if (!create_temporary(d, u->temporary, &u->fd, e))
        return false;
    u->where = LOCAL_IN_TMP;
    return true;
}

/* False for the errors that mean lost bytes; that a file system cannot do it means nothing. */
static bool write_back(int fd, uint64_t from, uint64_t until, unsigned flags)
{
    return sync_file_range(fd, (off_t)from, (off_t)(until - from), flags) == 0 ||
           (errno != EIO && errno != ENOSPC && errno != EDQUOT);
}

static bool keep_writing_back(struct local_upload *u, uint64_t from)
{
    if (u->written - from < WRITE_BACK_MIN)
        return true;
    if (!write_back(u->fd, from, u->written, SYNC_FILE_RANGE_WRITE))
        return false;
    if (u->written - u->settled <= UNWRITTEN_MAX)
        return true;
    /* An error that this wait reports is one that fsync would not report again: it counts. */
    uint64_t until = u->written - UNWRITTEN_MAX;
    const unsigned wait = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    if (!write_back(u->fd, u->settled, until, wait))
        return false;
    u->settled = until;
    return true;
}

bool local_upload_write(struct local_upload *u, const struct local_dir *d, const void *data, size_t length,
                        struct error *e)
{
    static const char failed[] = "cannot write the file";
    const char *bytes = data;
    if (!ensure_open(u, d, e))
        return false;
    if (length == 0)
        return true;
    uint64_t from = u->written;
    for (size_t done = 0; done < length;) {
        ssize_t n = write(u->fd, bytes + done, length - done);
        if (n < 0 && errno != EINTR)
            return storage_error(e, failed);
        if (n > 0)
            done += (size_t)n;
    }
    u->written += length;
    u->last_byte = (unsigned char)bytes[length - 1];
    return keep_writing_back(u, from) || storage_error(e, failed);
}

/* The file is what was sent: its size, and its last byte. */
static bool confirm(const struct local_upload *u, uint64_t total, struct error *e)
{
    struct stat st;
    unsigned char last;
    if (fstat(u->fd, &st) < 0)
        return storage_error(e, "cannot look at the file");
    if ((uint64_t)st.st_size != total)
        return error_set(e, ERROR_STORAGE, "the file has %" PRIu64 " bytes instead of %" PRIu64,
                         (uint64_t)st.st_size, total);
    if (total > 0 && (pread(u->fd, &last, 1, st.st_size - 1) != 1 || last != u->last_byte))
        return error_set(e, ERROR_STORAGE, "the file does not end as it was written");
    return true;
}

/* Both directories of the move are made durable, and always the one above too: another upload of the same
 * organisation may have made the directory and not yet come to its fsync. */
static bool move_to_place(struct local_upload *u, const struct local_dir *d, const struct local_place *place,
                          struct error *e)
{
    if (mkdirat(d->files, place->organisation, 0700) < 0 && errno != EEXIST)
        return storage_error(e, "cannot make the organisation's directory");
    _cleanup_close_ int directory = open_directory(d->files, place->organisation);
    if (directory < 0)
        return storage_error(e, "cannot open the organisation's directory");
    if (renameat2(d->tmp, u->temporary, directory, place->name, RENAME_NOREPLACE) < 0)
        return storage_error(e, "cannot put the file in its place");
    u->where = LOCAL_IN_PLACE;
    if (fsync(directory) < 0 || fsync(d->tmp) < 0 || fsync(d->files) < 0)
        return storage_error(e, "cannot write the directory");
    return true;
}

bool local_upload_finish(struct local_upload *u, const struct local_dir *d, const struct local_place *place,
                         uint64_t total, struct error *e)
{
    if (!ensure_open(u, d, e))
        return false;
    if (fsync(u->fd) < 0)
        return storage_error(e, "cannot write the file");
    if (!confirm(u, total, e) || !move_to_place(u, d, place, e))
        return false;
    cleanup_close(&u->fd);
    u->fd = -1;
    return true;
}

void local_upload_discard(struct local_upload *u, const struct local_dir *d, const struct local_place *place)
{
    if (u->where == LOCAL_IN_TMP)
        unlinkat(d->tmp, u->temporary, 0);
    if (u->where == LOCAL_IN_PLACE) {
        _cleanup_close_ int directory = open_directory(d->files, place->organisation);
        if (directory >= 0)
            unlinkat(directory, place->name, 0);
    }
    u->where = LOCAL_NOWHERE;
    cleanup_close(&u->fd);
    u->fd = -1;
}
