/* AWS Signature Version 4 for S3, as pure functions in the stages of its specification, so that each can be
 * compared with another implementation: canonical request, string to sign, signature; then a header or a
 * link. https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and
 * sigv4-query-string-auth.html
 *
 * S3 differs from other services: the path is percent-encoded once, and not normalised. No function does I/O
 * or looks at a clock. False and NULL mean out of memory. */
#ifndef OBJECT_SIGV4_H
#define OBJECT_SIGV4_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"

#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"

/* "20240229T123456Z", and the "20240229" that it begins with. */
#define SIGV4_TIME_SIZE 17
#define SIGV4_DATE_LEN 8

struct sigv4_pair {
    const char *name, *value;
};

struct sigv4_key {
    const char *access_key, *secret_key, *region;
};

struct sigv4_request {
    const char *method;
    const char *path;                 /* encoded, as it is sent */
    const char *query;                /* as sigv4_append_query() writes it; "": none */
    const struct sigv4_pair *headers; /* to be signed: lower-case names, sorted; "host" is among them */
    size_t header_count;
    const char *payload; /* SHA-256 of the body in hex, or SIGV4_UNSIGNED_PAYLOAD */
};

/* `time_s` (seconds since 1970, from year 1970 to 9999) in the form that is signed. */
void sigv4_time(int64_t time_s, char ret[SIGV4_TIME_SIZE]);

/* Percent-encodes all but unreserved characters (RFC 3986), with upper-case digits; "/" stays where
 * `is_path`. */
void sigv4_append_encoded(struct buf *b, const char *text, bool is_path);

/* "name=value&..." encoded and sorted by name, as it is signed and sent. Sorts `pairs` in place; the names
 * are different, and need no encoding to be sorted (ASCII letters, digits and "-"). */
void sigv4_append_query(struct buf *b, struct sigv4_pair *pairs, size_t count);

void sigv4_append_canonical_request(struct buf *b, const struct sigv4_request *r);

/* `time` is sigv4_time()'s. */
MUST_CHECK bool sigv4_append_string_to_sign(struct buf *b, const char *time, const char *region,
                                            const char *canonical_request, size_t length);

MUST_CHECK bool sigv4_signature(const struct sigv4_key *key, const char *time, const char *string_to_sign,
                                size_t length, char ret_hex[SHA256_HEX_SIZE]);

/* Appends the value of the header Authorization. */
MUST_CHECK bool sigv4_append_authorization(struct buf *b, const struct sigv4_key *key, const char *time,
                                           const struct sigv4_request *r);

#define SIGV4_LINK_SECONDS_MAX 604800 /* 7 days, S3's limit */
#define SIGV4_LINK_EXTRA_MAX 4

struct sigv4_link {
    const char *authority;          /* as it is in Host */
    const char *path;               /* encoded */
    const char *session_token;      /* NULL: none */
    int64_t seconds;                /* 1 to SIGV4_LINK_SECONDS_MAX */
    const struct sigv4_pair *extra; /* further parameters, at most SIGV4_LINK_EXTRA_MAX */
    size_t extra_count;
};

/* Appends the query of a link for GET, its signature included: "X-Amz-Algorithm=...&...&X-Amz-Signature=...".
 */
MUST_CHECK bool sigv4_append_link_query(struct buf *b, const struct sigv4_key *key, const char *time,
                                        const struct sigv4_link *link);

#endif
