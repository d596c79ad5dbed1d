/* The object store: where finished files go. One interface, a backend each for a local directory and S3.
 *
 * All calls are made on the event loop and return at once; the work is done on threads of the backend, whose
 * answers come through the mailbox given at opening, hence on the loop. An object appears under its key
 * complete or not at all. */
#ifndef OBJECT_STORE_H
#define OBJECT_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mailbox.h"

/* Bytes of a key, S3's limit: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html */
#define OBJECT_KEY_MAX 1024

/* Parts of one upload that may wait for the store at a time. */
#define OBJECT_PARTS_MAX 64

struct object_upload; /* one object on its way; belongs to the loop */

/* Exactly one of `finished` and `aborted` comes last, and the upload is freed when it returns. After `failed`
 * (at most once) nothing comes but the answer to abort, which the owner must call then. */
struct object_upload_events {
    void (*part_done)(void *context, uint32_t buffer); /* the store is done with the bytes; in any order */
    void (*finished)(
        void *context); /* the object is under its key, whole: the store has looked (size, last byte) */
    void (*failed)(void *context, const struct error *e);
    void (*aborted)(void *context); /* nothing of this upload is left, as far as the store can tell */

    /* S3, before the first byte of a multipart upload is sent: the upload now exists in the store under that
     * id, and outlives this process. The owner writes it down and then calls noted(), or abort(). May be NULL:
     * then nothing waits. */
    void (*begun)(void *context, const char *upload_id);
};

struct object_upload_options {
    const char *key; /* copied */
    const char *content_type;
    const struct object_upload_events *events; /* stays valid */
    void *context;
};

struct object_store;

struct object_store_api {
    const char *name; /* "local", "s3" */

    /* Ends what runs, drops the uploads that are under way (their data is no longer read, nothing of them is
     * left, as far as the store answers within two seconds, none of their events comes any more), ends the
     * threads and frees the store. Not from within an event. Drain the mailbox afterwards: removals are still
     * answered there. */
    void (*close)(struct object_store *s);

    /* Is the store there and writable? Blocks: for --check-config and start only. ERROR_UNAVAILABLE: it does
     * not answer, or not yet; ERROR_CONFIG: it refuses us, with what to do. */
    MUST_CHECK bool (*check)(struct object_store *s, struct error *e);

    /* May that organisation's id begin a key? ERROR_INVALID. Pure. */
    MUST_CHECK bool (*organisation_ok)(const char *organisation, struct error *e);

    /* NULL: `e` says why (ERROR_INVALID: a key that the store cannot have). */
    struct object_upload *(*begin)(struct object_store *s, const struct object_upload_options *o,
                                   struct error *e);

    /* The next `length` bytes of the object. `data` stays valid and unchanged until part_done(buffer), or
     * finished or aborted. The store may hold the first part until it knows that it is not the last: it is
     * done only after a second part, or finish. At most OBJECT_PARTS_MAX at a time. Every part but the last
     * has the size of its buffer, at least the store's part_size. `sha256` (32 bytes, copied) is of these
     * bytes; needed where the store has sign_parts, else NULL will do. */
    void (*part)(struct object_upload *u, uint32_t buffer, const void *data, size_t length,
                 const uint8_t *sha256);

    /* The answer to `begun`; NULL where that never comes. */
    void (*noted)(struct object_upload *u);

    /* After all parts: `total` is their sum. Answered by finished or failed. An object of no bytes is an
     * object. An object that is there already is not replaced, but failed, where the store can tell (local;
     * S3's keys are unique). */
    void (*finish)(struct object_upload *u, uint64_t total);

    /* At any time but after `finished`, once. Answered by aborted. Parts under way are not answered any more.
     */
    void (*abort)(struct object_upload *u);

    /* A link that lives until about `expires_at` (microseconds; *ret_expires_at is the truth). Pure: no I/O.
     * Secret; free() it. NULL: `e` says why. */
    char *(*link)(struct object_store *s, const char *key, const char *file_name, const char *content_type,
                  int64_t expires_at, int64_t *ret_expires_at, struct error *e);

    /* Takes away what an attempt may have left under its key: the object, and all multipart uploads that are open
     * for that key; `upload_id` is one that is known, or NULL. What is absent is a success. `done` is called on
     * the loop (out of memory: at once, from within). */
    void (*remove)(struct object_store *s, const char *key, const char *upload_id,
                   void (*done)(void *context, const struct error *e_or_null), void *context);

    /* True where files are to be removed when their links are over (local); objects in a bucket stay. */
    bool removes_expired;
};

/* What the store wants of its callers; constant. */
struct object_store {
    const struct object_store_api *api;
    size_t part_size;        /* bytes of a part buffer */
    uint32_t parts_a_job;    /* buffers of a job, so that some fill while others are on their way */
    bool sign_parts;         /* part() needs each part's SHA-256 */
    uint32_t grow_at;        /* after so many parts buffers of grown_part_size are wanted; 0: never */
    size_t grown_part_size;
};

/* The local store keeps an object in files/<organisation>/<name>, in directories of mode 0700 and files of
 * mode 0600; what is on its way is in tmp/. A key is two segments of object_local_segment_ok(): no path
 * leaves the directory, and no symbolic link in it is followed. An organisation's directory stays when its
 * last object goes. */
struct object_local_options {
    const char *directory;  /* exists; absolute; the caller holds the data directory's lock */
    const char *public_url; /* base of links, no slash at its end; copied */
    const char *key_file;   /* 32 random bytes as hex, mode 0600; made where it is absent */
    struct mailbox *done;
};

/* Makes the directories where they are absent, and clears tmp/ of what an earlier process left. Blocks. */
struct object_store *object_store_local_open(const struct object_local_options *o, struct error *e);

/* For the server's /files: checks the signature and the time of a link; ERROR_FORBIDDEN. Pure. `expires` and
 * `signature` are the link's parameters, NULL where missing; `now_us` is the wall clock. */
MUST_CHECK bool object_store_local_verify(const struct object_store *s, const char *key, const char *expires,
                                          const char *signature, int64_t now_us, struct error *e);

struct object_local_file {
    int fd; /* open for reading; the caller's */
    uint64_t size;
    int64_t mtime_us;
    uint64_t inode;
};

/* Opens the object for reading; blocks: on a thread of a pool only, while the store is open. ERROR_NOT_FOUND.
 */
MUST_CHECK bool object_store_local_read(const struct object_store *s, const char *key,
                                        struct object_local_file *ret, struct error *e);

#define OBJECT_LOCAL_SEGMENT_MAX 128

/* "[A-Za-z0-9._-]{1,128}", not only dots: what may be an organisation's id where it becomes a directory. */
bool object_local_segment_ok(const char *segment);

#endif
