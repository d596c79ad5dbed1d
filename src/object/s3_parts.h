/* The parts that the store has taken, and the document that puts them together. Pure.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html */
#ifndef OBJECT_S3_PARTS_H
#define OBJECT_S3_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* Zeroed is empty. */
struct s3_parts {
    char **etags; /* by part number - 1; NULL: not taken yet */
    uint32_t room;
};

void s3_parts_release(struct s3_parts *p);

/* Is it one that can be sent back as it came? Letters, digits and -_.:+/= with quotes around them or without.
 */
bool s3_etag_ok(const char *etag);

/* Part `number` (1 and up) has been taken. False: out of memory. */
MUST_CHECK bool s3_parts_set(struct s3_parts *p, uint32_t number, const char *etag);

/* Appends the body of Complete for parts 1 to `count`, which have all been taken. */
void s3_parts_append_complete(const struct s3_parts *p, uint32_t count, struct buf *b);

#endif
