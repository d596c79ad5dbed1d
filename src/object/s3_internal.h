/* What s3.c, s3_upload.c and s3_sweep.c share. All of it is the loop's. */
#ifndef OBJECT_S3_INTERNAL_H
#define OBJECT_S3_INTERNAL_H

#include "object/s3.h"
#include "object/transfer.h"

struct s3 {
    struct object_store store;
    struct s3_site site;
    struct transfer *transfer;
    char *sse, *kms_key_id; /* NULL: not asked for */
    char *endpoint_text;    /* for messages to operators */
    int64_t timeout_ms, abort_ms;
    uint32_t parts_max;
    struct mailbox *done;
    struct object_upload *uploads;
    struct s3_sweep *sweeps;
    bool closing;             /* nothing new is sent */
    char probe_id[UUID_SIZE]; /* of check(); "": not made yet */
};

/* The headers of a new object: type and encryption. */
void s3_ask_for_object(const struct s3 *s3, struct s3_ask *ask, const char *content_type);

/* The backend's uploads (store.h). */
struct object_upload *s3_upload_begin(struct s3 *s3, const struct object_upload_options *o, struct error *e);
void s3_upload_part(struct object_upload *u, uint32_t buffer, const void *data, size_t length,
                    const uint8_t *sha256);
void s3_upload_noted(struct object_upload *u);
void s3_upload_finish(struct object_upload *u, uint64_t total);
void s3_upload_abort(struct object_upload *u);

/* Takes every upload back without a word to its owner, within `in_ms` if the store answers: the owner waits.
 */
void s3_uploads_drop(struct s3 *s3, int64_t in_ms);

/* Tidies up under one key: aborts multipart uploads, then removes the object; each where it is asked for.
 * What is absent is a success; after a failure it goes on with the rest. */
struct s3_sweep_options {
    const char *key;       /* copied */
    const char *upload_id; /* this one; copied; NULL: none by its id */
    bool list;             /* whatever upload is open for exactly this key */
    bool object;
    int64_t timeout_ms;                                         /* of each request */
    void (*done)(void *context, const struct error *e_or_null); /* the first failure; ERROR_UNAVAILABLE: the store
                                                                   did not answer, or asks for another try */
    void *context;
};

/* NULL: out of memory, `done` is not called. Else it is, later, and the sweep is freed when it returns. */
MUST_CHECK struct s3_sweep *s3_sweep_start(struct s3 *s3, const struct s3_sweep_options *o);

/* Gives it up in `in_ms` at the latest; `done` still comes, later. */
void s3_sweep_stop(struct s3_sweep *w, int64_t in_ms);

struct s3_sweep *s3_sweep_next(struct s3_sweep *w); /* in s3->sweeps */

#endif
