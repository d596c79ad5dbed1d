#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/task_queue.h"
#include "object/file_link.h"
#include "object/secret_file.h"
#include "object/store.h"

#define THREADS 4

/* The kernel is told to write each part at once, and an upload waits for what is more than this behind: the
 * fsync at the end finds little to do, and no upload fills the machine's page cache with unwritten bytes. */
#define UNWRITTEN_MAX ((uint64_t)32 * 1024 * 1024)

#define TEMPORARY_NAME_SIZE (2 * 16 + 1) /* 16 random bytes as hex */

struct local {
    struct object_store store;
    int files, tmp; /* directories; every path below is one name relative to one of them */
    uint8_t secret[FILE_LINK_SECRET_SIZE];
    char *public_url;
    struct task_queue *queue;
    struct object_upload *uploads; /* those under way; the loop's */
};

/* A key, taken apart into names that cannot leave their directory. */
struct place {
    char organisation[OBJECT_LOCAL_SEGMENT_MAX + 1];
    char name[OBJECT_LOCAL_SEGMENT_MAX + 1];
};

struct part {
    uint32_t buffer;
    const void *data;
    size_t length;
};

struct object_upload {
    struct task task; /* one at a time: the operations of an upload follow each other */
    struct local *local;
    struct object_upload *next, **link; /* in local->uploads */
    const struct object_upload_events *events;
    void *context;
    struct place place;

    /* The loop's. */
    struct part parts[OBJECT_PARTS_MAX]; /* a ring of what waits to be written; the first may be under way */
    unsigned first_part, part_count;
    uint64_t total;
    bool finishing, failed, aborting;
    bool busy;    /* the task is with the queue or in the mailbox */
    bool dropped; /* the store has been closed; whoever sees it last frees the upload */

    /* The running operation's; the loop looks at `ok` and `error` when it is over. */
    int fd; /* -1 before the first byte */
    enum { NOWHERE, IN_TMP, UNDER_KEY } where;
    char temporary[TEMPORARY_NAME_SIZE];
    uint64_t written; /* bytes given to the kernel */
    uint64_t settled; /* of these, bytes known to be on disk */
    unsigned char last_byte;
    bool ok;
    struct error error;
};

static struct local *local_of(const struct object_store *s)
{
    return CONTAINER_OF(s, struct local, store);
}

/* --- keys
 * ----------------------------------------------------------------------------------------------------------
 */

static bool segment_ok(const char *segment, size_t length)
{
    bool only_dots = true;
    if (length == 0 || length > OBJECT_LOCAL_SEGMENT_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = segment[i];
        bool word = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-';
        if (!word && c != '.')
            return false;
        only_dots = only_dots && c == '.';
    }
    return !only_dots;
}

bool object_local_segment_ok(const char *segment)
{
    return segment_ok(segment, strnlen(segment, OBJECT_LOCAL_SEGMENT_MAX + 1));
}

static bool place_parse(const char *key, struct place *ret, struct error *e)
{
    const char *slash = strchr(key, '/');
    if (!slash || !segment_ok(key, (size_t)(slash - key)) || !object_local_segment_ok(slash + 1))
        return error_set(e, ERROR_INVALID,
                         "an object's key must be <organisation>/<name>, of A-Z a-z 0-9 . _ -");
    *ret = (struct place){0};
    memcpy(ret->organisation, key, (size_t)(slash - key));
    memcpy(ret->name, slash + 1, strlen(slash + 1));
    return true;
}

/* A directory by its name alone: a symbolic link in its place is an error (ENOTDIR). */
static int open_directory(int parent, const char *name)
{
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool storage_error(struct error *e, const char *what)
{
    return error_set_errno(e, ERROR_STORAGE, errno, "%s", what);
}

/* --- one upload's operations, on a thread
 * -------------------------------------------------------------------------- */

static bool create_temporary(int tmp, char name[TEMPORARY_NAME_SIZE], int *ret_fd, struct error *e)
{
    uint8_t random[(TEMPORARY_NAME_SIZE - 1) / 2];
    if (!random_bytes(random, sizeof random, e))
        return false;
    hex_encode(random, sizeof random, name);
    int fd = openat(tmp, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return storage_error(e, "cannot make a file");
    *ret_fd = fd;
    return true;
}

/* On the thread too: the last close of an unlinked file gives its blocks back, which takes a while. */
static void close_file(struct object_upload *u)
{
    cleanup_close(&u->fd);
    u->fd = -1;
}

static bool ensure_open(struct object_upload *u)
{
    if (u->fd >= 0)
        return true;
    if (!create_temporary(u->local->tmp, u->temporary, &u->fd, &u->error))
        return false;
    u->where = IN_TMP;
    return true;
}

/* The errors that mean lost bytes; that a file system cannot do it means nothing. */
static bool write_back(int fd, uint64_t offset, uint64_t length, unsigned flags)
{
    return sync_file_range(fd, (off_t)offset, (off_t)length, flags) == 0 ||
           (errno != EIO && errno != ENOSPC && errno != EDQUOT);
}

static bool start_write_back(struct object_upload *u, uint64_t from)
{
    if (!write_back(u->fd, from, u->written - from, SYNC_FILE_RANGE_WRITE))
        return storage_error(&u->error, "cannot write the file");
    if (u->written - u->settled <= UNWRITTEN_MAX)
        return true;
    /* An error that this wait reports is one that fsync would not report again: it counts. */
    uint64_t until = u->written - UNWRITTEN_MAX;
    if (!write_back(u->fd, u->settled, until - u->settled,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
        return storage_error(&u->error, "cannot write the file");
    u->settled = until;
    return true;
}

static bool write_part(struct object_upload *u, const struct part *part)
{
    if (!ensure_open(u))
        return false;
    const char *data = part->data;
    uint64_t from = u->written;
    for (size_t done = 0; done < part->length;) {
        ssize_t n = write(u->fd, data + done, part->length - done);
        if (n < 0 && errno != EINTR)
            return storage_error(&u->error, "cannot write the file");
        if (n > 0) {
            done += (size_t)n;
            u->written += (uint64_t)n;
        }
    }
    if (part->length > 0)
        u->last_byte = (unsigned char)data[part->length - 1];
    return start_write_back(u, from);
}

static void part_work(struct task *t, void *context)
{
    (void)context;
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    u->ok = write_part(u, &u->parts[u->first_part]);
}

/* The file is what was sent: its size, and its last byte. */
static bool confirm(struct object_upload *u)
{
    struct stat st;
    unsigned char last;
    if (fstat(u->fd, &st) < 0)
        return storage_error(&u->error, "cannot look at the file");
    if ((uint64_t)st.st_size != u->total)
        return error_set(&u->error, ERROR_STORAGE, "the file has %llu bytes instead of %llu",
                         (unsigned long long)st.st_size, (unsigned long long)u->total);
    if (u->total > 0 && (pread(u->fd, &last, 1, st.st_size - 1) != 1 || last != u->last_byte))
        return error_set(&u->error, ERROR_STORAGE, "the file does not end as it was written");
    return true;
}

/* Both directories of the move are made durable, and always the one above too: another upload of the same
 * organisation may have made the directory and not yet come to its fsync. */
static bool publish(struct object_upload *u)
{
    const struct local *l = u->local;
    const char *organisation = u->place.organisation;
    if (mkdirat(l->files, organisation, 0700) < 0 && errno != EEXIST)
        return storage_error(&u->error, "cannot make the organisation's directory");
    _cleanup_close_ int directory = open_directory(l->files, organisation);
    if (directory < 0)
        return storage_error(&u->error, "cannot open the organisation's directory");
    if (renameat2(l->tmp, u->temporary, directory, u->place.name, RENAME_NOREPLACE) < 0)
        return storage_error(&u->error, "cannot put the file in its place");
    u->where = UNDER_KEY;
    if (fsync(directory) < 0 || fsync(l->tmp) < 0 || fsync(l->files) < 0)
        return storage_error(&u->error, "cannot write the directory");
    return true;
}

static void finish_work(struct task *t, void *context)
{
    (void)context;
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    u->ok = false;
    if (!ensure_open(u))
        return;
    if (fsync(u->fd) < 0)
        storage_error(&u->error, "cannot write the file");
    else
        u->ok = confirm(u) && publish(u);
    if (u->ok)
        close_file(u);
}

/* Nothing of the upload is left. What cannot be unlinked in tmp/ goes with the next opening. */
static void discard(struct object_upload *u)
{
    if (u->where == IN_TMP)
        unlinkat(u->local->tmp, u->temporary, 0);
    if (u->where == UNDER_KEY) {
        _cleanup_close_ int directory = open_directory(u->local->files, u->place.organisation);
        if (directory >= 0)
            unlinkat(directory, u->place.name, 0);
    }
    u->where = NOWHERE;
    close_file(u);
}

static void abort_work(struct task *t, void *context)
{
    (void)context;
    discard(CONTAINER_OF(t, struct object_upload, task));
}

/* --- uploads, on the loop
 * ------------------------------------------------------------------------------------------ */

static void upload_unlink(struct object_upload *u)
{
    *u->link = u->next;
    if (u->next)
        u->next->link = u->link;
}

static void part_over(struct task *t);
static void finish_over(struct task *t);
static void abort_over(struct task *t);

static void submit(struct object_upload *u, void (*work)(struct task *, void *), void (*done)(struct task *))
{
    u->task.work = work;
    u->task.done = done;
    u->busy = true;
    task_queue_submit(u->local->queue, &u->task);
}

/* The one place that decides what an upload does next. */
static void advance(struct object_upload *u)
{
    if (u->busy)
        return;
    if (u->aborting)
        submit(u, abort_work, abort_over);
    else if (u->failed)
        return;
    else if (u->part_count > 0)
        submit(u, part_work, part_over);
    else if (u->finishing)
        submit(u, finish_work, finish_over);
}

/* An operation is back. False: nobody is to hear of it. */
static bool is_heard(struct object_upload *u)
{
    u->busy = false;
    if (u->dropped) {
        free(u);
        return false;
    }
    if (u->aborting) {
        advance(u);
        return false;
    }
    if (!u->ok) {
        u->failed = true;
        u->events->failed(u->context, &u->error);
        return false;
    }
    return true;
}

static void part_over(struct task *t)
{
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    if (!is_heard(u))
        return;
    uint32_t buffer = u->parts[u->first_part].buffer;
    u->first_part = (u->first_part + 1) % OBJECT_PARTS_MAX;
    u->part_count--;
    u->events->part_done(u->context, buffer);
    advance(u);
}

static void finish_over(struct task *t)
{
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    if (!is_heard(u))
        return;
    upload_unlink(u);
    u->events->finished(u->context);
    free(u);
}

static void abort_over(struct task *t)
{
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    if (!u->dropped) {
        upload_unlink(u);
        u->events->aborted(u->context);
    }
    free(u);
}

static struct object_upload *local_begin(struct object_store *s, const struct object_upload_options *o,
                                         struct error *e)
{
    struct local *l = local_of(s);
    struct place place;
    if (!place_parse(o->key, &place, e))
        return NULL;
    struct object_upload *u = calloc(1, sizeof *u);
    if (!u) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    u->local = l;
    u->events = o->events;
    u->context = o->context;
    u->place = place;
    u->fd = -1;
    u->next = l->uploads;
    u->link = &l->uploads;
    if (u->next)
        u->next->link = &u->next;
    l->uploads = u;
    return u;
}

static void local_part(struct object_upload *u, uint32_t buffer, const void *data, size_t length)
{
    assert(u->part_count < OBJECT_PARTS_MAX && !u->finishing && !u->aborting);
    if (u->failed)
        return;
    u->parts[(u->first_part + u->part_count++) % OBJECT_PARTS_MAX] = (struct part){buffer, data, length};
    advance(u);
}

static void local_finish(struct object_upload *u, uint64_t total)
{
    assert(!u->finishing && !u->aborting);
    u->finishing = true;
    u->total = total;
    advance(u);
}

static void local_abort(struct object_upload *u)
{
    assert(!u->aborting);
    u->aborting = true;
    advance(u);
}

/* --- links and removal
 * --------------------------------------------------------------------------------------------- */

static char *local_link(struct object_store *s, const char *key, const char *file_name,
                        const char *content_type, int64_t expires_at, int64_t *ret_expires_at,
                        struct error *e)
{
    (void)file_name; /* both follow from the key: api_files.c */
    (void)content_type;
    const struct local *l = local_of(s);
    struct place place;
    if (!place_parse(key, &place, e))
        return NULL;
    int64_t expires_s = expires_at / 1000000;
    char *link = file_link_make(l->secret, l->public_url, key, expires_s);
    if (!link) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    *ret_expires_at = expires_s * 1000000;
    return link;
}

bool object_store_local_verify(const struct object_store *s, const char *key, const char *expires,
                               const char *signature, int64_t now_us, struct error *e)
{
    return file_link_verify(local_of(s)->secret, key, expires, signature, now_us / 1000000, e);
}

bool object_store_local_read(const struct object_store *s, const char *key, struct object_local_file *ret,
                             struct error *e)
{
    static const char gone[] = "file not found";
    struct place place;
    struct stat st;
    if (!place_parse(key, &place, e))
        return error_set(e, ERROR_NOT_FOUND, gone);
    _cleanup_close_ int directory = open_directory(local_of(s)->files, place.organisation);
    /* O_NONBLOCK: a FIFO in the file's place would hold the thread. It changes nothing for a file. */
    _cleanup_close_ int fd =
        directory < 0 ? -1 : openat(directory, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
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

struct removal {
    struct task task;
    const struct local *local;
    char *key;
    void (*done)(void *context, const struct error *e_or_null);
    void *context;
    bool ok;
    struct error error;
};

/* Durable, since nobody comes back for a file that is there again after a power cut. */
static bool remove_object(const struct local *l, const char *key, struct error *e)
{
    struct place place;
    if (!place_parse(key, &place, e))
        return false;
    _cleanup_close_ int directory = open_directory(l->files, place.organisation);
    bool removed = directory >= 0 && unlinkat(directory, place.name, 0) == 0;
    if (!removed && errno == ENOENT)
        return true;
    if (!removed || fsync(directory) < 0)
        return storage_error(e, "cannot remove the file");
    return true;
}

static void removal_work(struct task *t, void *context)
{
    (void)context;
    struct removal *r = CONTAINER_OF(t, struct removal, task);
    r->ok = remove_object(r->local, r->key, &r->error);
}

/* Also called after the store was closed: r->local may be gone. */
static void removal_over(struct task *t)
{
    struct removal *r = CONTAINER_OF(t, struct removal, task);
    r->done(r->context, r->ok ? NULL : &r->error);
    free(r->key);
    free(r);
}

static void local_remove(struct object_store *s, const char *key,
                         void (*done)(void *context, const struct error *e_or_null), void *context)
{
    struct removal *r = calloc(1, sizeof *r);
    char *key_copy = strdup(key);
    if (!r || !key_copy) {
        struct error e;
        error_set(&e, ERROR_INTERNAL, "out of memory");
        free(r);
        free(key_copy);
        done(context, &e);
        return;
    }
    *r = (struct removal){.task = {.work = removal_work, .done = removal_over},
                          .local = local_of(s),
                          .key = key_copy,
                          .done = done,
                          .context = context};
    task_queue_submit(r->local->queue, &r->task);
}

/* --- the store
 * ----------------------------------------------------------------------------------------------------- */

static bool local_check(struct object_store *s, struct error *e)
{
    const struct local *l = local_of(s);
    char name[TEMPORARY_NAME_SIZE];
    _cleanup_close_ int fd = -1;
    if (!create_temporary(l->tmp, name, &fd, e))
        return false;
    bool ok = write(fd, "?", 1) == 1 && fsync(fd) == 0;
    int reason = errno;
    unlinkat(l->tmp, name, 0);
    return ok || error_set_errno(e, ERROR_STORAGE, reason, "cannot write a file");
}

static void local_free(struct local *l)
{
    cleanup_close(&l->files);
    cleanup_close(&l->tmp);
    free(l->public_url);
    explicit_bzero(l->secret, sizeof l->secret);
    free(l);
}

static void local_close(struct object_store *s)
{
    struct local *l = local_of(s);
    task_queue_free(l->queue);
    for (struct object_upload *u = l->uploads, *next; u; u = next) {
        next = u->next;
        discard(u); /* also one that is finished and not yet announced: no record names it */
        u->dropped = true;
        if (!u->busy)
            free(u);
    }
    local_free(l);
}

static const struct object_store_api local_api = {
    .name = "local",
    .close = local_close,
    .check = local_check,
    .begin = local_begin,
    .part = local_part,
    .finish = local_finish,
    .abort = local_abort,
    .link = local_link,
    .remove = local_remove,
    .removes_expired = true,
};

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
        if (segment_ok(entry->d_name, strlen(entry->d_name)) && unlinkat(tmp, entry->d_name, 0) < 0)
            return error_set_errno(e, ERROR_CONFIG, errno, "cannot clear tmp/ in the data directory");
    }
    return true;
}

static bool open_directories(struct local *l, const char *path, struct error *e)
{
    _cleanup_close_ int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot open the data directory");
    if (!make_directory(directory, "files", &l->files, e) || !make_directory(directory, "tmp", &l->tmp, e))
        return false;
    struct stat files, tmp;
    if (fsync(directory) < 0 || fstat(l->files, &files) < 0 || fstat(l->tmp, &tmp) < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot write the data directory");
    if (files.st_dev != tmp.st_dev)
        return error_set(e, ERROR_CONFIG,
                         "files/ and tmp/ in the data directory are on different file systems");
    return clear_temporary(l->tmp, e);
}

struct object_store *object_store_local_open(const struct object_local_options *o, struct error *e)
{
    struct local *l = calloc(1, sizeof *l);
    if (!l) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    l->store.api = &local_api;
    l->files = l->tmp = -1;
    l->public_url = strdup(o->public_url);
    if (!l->public_url)
        error_set(e, ERROR_INTERNAL, "out of memory");
    else if (open_directories(l, o->directory, e) &&
             secret_file_load(o->key_file, l->secret, sizeof l->secret, e))
        l->queue = task_queue_new(
            &(struct task_queue_options){.name = "object-store", .threads = THREADS, .done = o->done}, e);
    if (!l->queue) {
        local_free(l);
        return NULL;
    }
    return &l->store;
}
