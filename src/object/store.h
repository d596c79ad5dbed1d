/* The object store: where finished files go. One interface, a backend each for a local directory and (later) S3.
 *
 * All calls are made on the event loop and return at once; the work is done on threads of the backend, whose answers come through the mailbox
 * given at opening, hence on the loop. An object appears under its key complete or not at all. */
#ifndef OBJECT_STORE_H
#define OBJECT_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mailbox.h"

#define OBJECT_KEY_MAX 1024 /* bytes, S3's limit: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html */

struct object_upload; /* one object on its way */

/* Exactly one of `finished` and `aborted` comes last, and the upload is freed when it returns. After `failed` (at most once) nothing
 * comes but the answer to object_upload_abort(), which the owner must call then. */
struct object_upload_events {
    void (*part_done)(void *context, uint32_t buffer); /* the store is done with the bytes; in the order of the parts */
    void (*finished)(void *context); /* the object is under its key, whole: the store has looked (size and last byte) */
    void (*failed)(void *context, const struct error *e);
    void (*aborted)(void *context); /* nothing of this upload is left */
};

struct object_upload_options {
    const char *key; /* copied */
    const char *content_type;
    const struct object_upload_events *events;
    void *context;
};

struct object_store;

struct object_store_api {
    const char *name; /* "local" */

    /* Finishes or drops what is under way, ends the threads. */
    void (*close)(struct object_store *s);

    /* Is the store there and writable? Blocks: for --check-config and start only. */
    bool (*check)(struct object_store *s, struct error *e);

    struct object_upload *(*begin)(struct object_store *s, const struct object_upload_options *o, struct error *e);

    /* The next `length` bytes of the object. `data` stays valid and unchanged until part_done(buffer), or finished or aborted. */
    void (*part)(struct object_upload *u, uint32_t buffer, const void *data, size_t length);

    /* After all parts: `total` is their sum. Answered by finished or failed. An object of no bytes is an object. */
    void (*finish)(struct object_upload *u, uint64_t total);

    /* At any time but after `finished`. Answered by aborted. Parts under way are not answered any more. */
    void (*abort)(struct object_upload *u);

    /* A link that lives until about `expires_at` (microseconds; *ret_expires_at is the truth). Pure: no I/O. Secret. NULL: `e` says why. */
    char *(*link)(struct object_store *s, const char *key, const char *file_name, const char *content_type, int64_t expires_at,
                  int64_t *ret_expires_at, struct error *e);

    /* Takes an object away; an absent one is a success. `done` is called on the loop. */
    void (*remove)(struct object_store *s, const char *key, void (*done)(void *context, const struct error *e_or_null), void *context);

    /* True where files are to be removed when their links are over (local); objects in a bucket stay. */
    bool removes_expired;
};

struct object_store {
    const struct object_store_api *api;
};

struct object_local_options {
    const char *directory;  /* exists; absolute; made into files/, tmp/ below; the caller holds the data directory's lock */
    const char *public_url; /* base of links, no slash at its end */
    const char *key_file;   /* 32 random bytes as hex, mode 0600; made where it is absent */
    struct mailbox *done;
};

/* Clears tmp/ of what an earlier process left. */
struct object_store *object_store_local_open(const struct object_local_options *o, struct error *e);

/* For the server's /files (api_files.c): checks the signature and the time of a link; ERROR_FORBIDDEN. Pure but for the clock given. */
MUST_CHECK bool object_store_local_verify(const struct object_store *s, const char *key, const char *expires, const char *signature,
                                          int64_t now, struct error *e);

/* Opens the object for reading; blocks: on a thread of a pool only. The descriptor is the caller's. ERROR_NOT_FOUND. No path leaves the
 * directory, no symbolic link is followed. */
MUST_CHECK bool object_store_local_read(const struct object_store *s, const char *key, int *ret_fd, uint64_t *ret_size, int64_t *ret_mtime_us,
                                        struct error *e);

/* "[A-Za-z0-9._-]{1,128}, not only dots": what may be an organisation's id where it becomes a directory. */
bool object_local_segment_ok(const char *segment);

#endif
