#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/task_queue.h"
#include "object/file_link.h"
#include "object/local_dir.h"
#include "object/secret_file.h"
#include "object/store.h"

#define THREADS 4

/* Large enough for few messages, small enough to overlap. */
#define PART_SIZE ((size_t)4 << 20)
#define PARTS_A_JOB 4

struct local {
    struct object_store store;
    struct local_dir dir;
    uint8_t secret[FILE_LINK_SECRET_SIZE];
    char *public_url;
    struct task_queue *queue;
    struct object_upload *uploads; /* those under way; the loop's */
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
    struct local_place place;

    /* The loop's. */
    struct part parts[OBJECT_PARTS_MAX]; /* a ring of what waits to be written; the first may be under way */
    unsigned first_part, part_count;
    uint64_t total;
    bool finishing, failed, aborting;
    bool busy;    /* the task is with the queue or in the mailbox */
    bool dropped; /* the store has been closed; whoever sees it last frees the upload */

    /* The running operation's; the loop looks at `ok` and `error` when it is over. */
    struct local_upload file;
    bool ok;
    struct error error;
};

static struct local *local_of(const struct object_store *s)
{
    return CONTAINER_OF(s, struct local, store);
}

/* One upload's operations, on a thread. The last close of an unlinked file, which gives its blocks back and
 * takes a while, happens here too. */

static void part_work(struct task *t, void *context)
{
    (void)context;
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    const struct part *part = &u->parts[u->first_part];
    u->ok = local_upload_write(&u->file, &u->local->dir, part->data, part->length, &u->error);
}

static void finish_work(struct task *t, void *context)
{
    (void)context;
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    u->ok = local_upload_finish(&u->file, &u->local->dir, &u->place, u->total, &u->error);
}

static void abort_work(struct task *t, void *context)
{
    (void)context;
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, task);
    local_upload_discard(&u->file, &u->local->dir, &u->place);
}

/* Uploads, on the loop */

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

static bool local_organisation_ok(const char *organisation, struct error *e)
{
    return object_local_segment_ok(organisation) ||
           error_set(e, ERROR_INVALID,
                     "the organization ID must be 1 to 128 letters, digits, '.', '_' or '-', not only dots");
}

static struct object_upload *local_begin(struct object_store *s, const struct object_upload_options *o,
                                         struct error *e)
{
    struct local *l = local_of(s);
    struct local_place place;
    if (!local_place_parse(o->key, &place, e))
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
    u->file.fd = -1;
    u->next = l->uploads;
    u->link = &l->uploads;
    if (u->next)
        u->next->link = &u->next;
    l->uploads = u;
    return u;
}

static void local_part(struct object_upload *u, uint32_t buffer, const void *data, size_t length,
                       const uint8_t *sha256)
{
    (void)sha256;
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

/* Links, reading and removal */

static char *local_link(struct object_store *s, const char *key, const char *file_name,
                        const char *content_type, int64_t expires_at, int64_t *ret_expires_at,
                        struct error *e)
{
    (void)file_name; /* both follow from the key: api_files.c */
    (void)content_type;
    const struct local *l = local_of(s);
    struct local_place place;
    if (!local_place_parse(key, &place, e))
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
    struct local_place place;
    if (!local_place_parse(key, &place, e))
        return error_set(e, ERROR_NOT_FOUND, "file not found");
    return local_dir_read(&local_of(s)->dir, &place, ret, e);
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

static void removal_work(struct task *t, void *context)
{
    (void)context;
    struct removal *r = CONTAINER_OF(t, struct removal, task);
    struct local_place place;
    r->ok =
        local_place_parse(r->key, &place, &r->error) && local_dir_remove(&r->local->dir, &place, &r->error);
}

/* Also called after the store was closed: r->local may be gone. */
static void removal_over(struct task *t)
{
    struct removal *r = CONTAINER_OF(t, struct removal, task);
    r->done(r->context, r->ok ? NULL : &r->error);
    free(r->key);
    free(r);
}

static void local_remove(struct object_store *s, const char *key, const char *upload_id,
                         void (*done)(void *context, const struct error *e_or_null), void *context)
{
    (void)upload_id;
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

/* The store */

static bool local_check(struct object_store *s, struct error *e)
{
    return local_dir_check(&local_of(s)->dir, e);
}

static void local_free(struct local *l)
{
    local_dir_release(&l->dir);
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
        /* Also one that is finished and not yet announced: no record names it. */
        local_upload_discard(&u->file, &l->dir, &u->place);
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
    .organisation_ok = local_organisation_ok,
    .begin = local_begin,
    .part = local_part,
    .finish = local_finish,
    .abort = local_abort,
    .link = local_link,
    .remove = local_remove,
    .removes_expired = true,
};

struct object_store *object_store_local_open(const struct object_local_options *o, struct error *e)
{
    struct local *l = calloc(1, sizeof *l);
    if (!l) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    l->store = (struct object_store){
        .api = &local_api, .part_size = PART_SIZE, .parts_a_job = PARTS_A_JOB};
    l->dir = (struct local_dir){-1, -1};
    l->public_url = strdup(o->public_url);
    if (!l->public_url)
        error_set(e, ERROR_INTERNAL, "out of memory");
    else if (local_dir_open(&l->dir, o->directory, e) &&
             secret_file_load(o->key_file, l->secret, sizeof l->secret, e))
        l->queue = task_queue_new(
            &(struct task_queue_options){.name = "object-store", .threads = THREADS, .done = o->done}, e);
    if (!l->queue) {
        local_free(l);
        return NULL;
    }
    return &l->store;
}
