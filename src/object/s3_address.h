/* Where a bucket is, and how its objects are named in URLs. Pure. */
#ifndef OBJECT_S3_ADDRESS_H
#define OBJECT_S3_ADDRESS_H

#include "base/buf.h"
#include "base/config.h"
#include "base/error.h"

#define S3_AUTHORITY_MAX 300 /* a host of 253 bytes, a port */

struct s3_address {
    bool tls;
    bool is_ip; /* bucket names cannot be put before it */
    char authority[S3_AUTHORITY_MAX +
                   1]; /* as it is sent in Host: lower case, without the scheme's own port */
};

/* "[http[s]://]host[:port][/]", host a name, an IPv4 address or an IPv6 one in brackets. ERROR_CONFIG says
 * what is wrong without a name of a variable. */
MUST_CHECK bool s3_address_parse(const char *text, bool tls_by_default, struct s3_address *ret,
                                 struct error *e);

/* 3 to 63 of [a-z0-9.-] that begin and end with a letter or digit; in path style also the names of older
 * buckets: up to 255 of [A-Za-z0-9._-], not only dots. */
bool s3_bucket_ok(const char *bucket, enum s3_addressing addressing);

/* The address of the bucket: itself in path style; "bucket.host" in virtual-host style. ERROR_CONFIG: an IP
 * address has no sub-domains. */
MUST_CHECK bool s3_address_of_bucket(const struct s3_address *a, const char *bucket,
                                     enum s3_addressing addressing, struct s3_address *ret, struct error *e);

/* Appends the encoded path: "/bucket/key" or "/key"; NULL: the bucket itself. */
void s3_append_path(struct buf *b, const char *bucket, enum s3_addressing addressing, const char *key);

/* A key that every S3 store and every HTTP library on the way leaves as it is: 1 to 1,024 bytes of UTF-8
 * without control characters, and no segment between slashes that is empty, "." or "..". ERROR_INVALID. */
MUST_CHECK bool s3_key_ok(const char *key, struct error *e);

/* The value of Content-Disposition for a file to be saved under `name` (RFC 6266): what a quoted string
 * cannot hold safely is "_" in it, and the true name follows encoded (RFC 8187). */
void s3_append_disposition(struct buf *b, const char *name);

#endif
