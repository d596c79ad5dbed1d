/* The object store in an S3 bucket: what it is opened with. It is used through object/store.h.
 *
 * A small object is one PUT; a larger one a multipart upload of several parts at a time. Every request is
 * signed (sigv4.h), tried again where that can help (s3_answer.h), and made by one thread for all uploads
 * (transfer.h), so that a stalled one delays no other. */
#ifndef OBJECT_S3_H
#define OBJECT_S3_H

#include "base/config.h"
#include "object/store.h"

/* Limits of S3: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html */
#define S3_PARTS_MAX 10000
#define S3_PART_SIZE_MIN ((size_t)5 << 20)

/* Everything is copied. NULL and "" are the same, 0 is the default. */
struct object_s3_options {
    const char *endpoint;        /* "host", "host:port", or with http:// or https:// before it */
    const char *public_endpoint; /* the same for links; default: endpoint */
    bool ssl;                    /* https for an endpoint without a scheme */
    enum s3_addressing addressing;
    const char *region, *bucket;
    const char *access_key, *secret_key, *session_token; /* wiped at close */
    const char *ca_file;                                 /* PEM; default: the system's */
    enum s3_sse sse;
    const char *kms_key_id; /* with S3_SSE_KMS; default: the store's own */
    enum s3_sign_payload sign_payload;
    size_t part_size;     /* default 16 MiB; at least S3_PART_SIZE_MIN */
    uint32_t parts_a_job; /* parts of an upload under way at a time; default 4, at least 2: the first waits
                             for a second, or for the end */
    bool equal_parts;     /* the store insists on parts of one size: they never grow */
    int64_t timeout_ms;   /* how long a request is tried again; default 5 min */
    struct mailbox *done;

    /* For tests; 0 is what production uses. */
    uint32_t grow_at;     /* parts, default 5,000 */
    uint32_t parts_max;   /* default S3_PARTS_MAX */
    int64_t connect_ms;   /* of one connection, default 10 s */
    int64_t silence_s;    /* a connection below 1 KiB/s for so long is broken off; default 30 */
    int64_t abort_ms;     /* how long abort() tries to tidy up; default 10 s */
    unsigned connections; /* at a time, at least 2; default 256 */
};

/* ERROR_CONFIG with what to do where an option is wrong. Does not speak to the store: check() does. */
struct object_store *object_store_s3_open(const struct object_s3_options *o, struct error *e);

#endif
