/* A request to S3, signed for a moment: URL and header lines. Pure. */
#ifndef OBJECT_S3_REQUEST_H
#define OBJECT_S3_REQUEST_H

#include "object/s3_address.h"
#include "object/sigv4.h"

#define S3_QUERY_MAX 6
#define S3_HEADERS_MAX 4

/* Who speaks to which bucket; constant while the store is open, so any thread may read it. */
struct s3_site {
    struct s3_address address; /* the bucket's, for requests */
    struct s3_address link;    /* the bucket's, for links */
    enum s3_addressing addressing;
    char *bucket;
    char *access_key, *secret_key, *region;
    char *session_token; /* NULL: none */
};

struct s3_ask {
    const char *method;
    const char *key; /* NULL: the bucket */
    struct sigv4_pair query[S3_QUERY_MAX];
    size_t query_count;
    struct sigv4_pair
        headers[S3_HEADERS_MAX]; /* lower-case names; without host and what begins with "x-amz-date",
                                    "x-amz-content-sha256", "x-amz-security-token" */
    size_t header_count;
    const uint8_t *sha256; /* of the body; NULL: UNSIGNED-PAYLOAD */
};

/* Room for "Name: value" lines and their end. */
#define S3_LINES_MAX (S3_HEADERS_MAX + 6)

struct s3_signed {
    struct buf url, text;                /* `lines` point into `text` */
    const char *lines[S3_LINES_MAX + 1]; /* NULL at the end */
};

/* `time_s`: the moment, seconds since 1970. False: out of memory, or an oversized part. Release it in any
 * case. */
MUST_CHECK bool s3_request_sign(const struct s3_site *site, const struct s3_ask *ask, int64_t time_s,
                                struct s3_signed *ret);
void s3_signed_release(struct s3_signed *s);

/* A link for GET of the key that lives for `seconds` from `time_s` on; free() it. NULL: out of memory. The
 * response's Content-Disposition and Content-Type are part of it. */
char *s3_link_make(const struct s3_site *site, const char *key, const char *file_name,
                   const char *content_type, int64_t time_s, int64_t seconds);

#endif
