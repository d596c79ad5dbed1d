/* Fetches the file of a finished download. One thread. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "base/digest.h"
#include "cli/session.h"
#include "cli/sink.h"

struct fetch_options {
    const char *url;    /* the signed link: no identity is sent with it, and it is not shown */
    const char *sha256; /* hex; "": not known */
    int64_t bytes;      /* below 0: not known */
};

/* Writes all of it into `sink`, which is committed only when length and hash are as announced. A transfer
 * that breaks is taken up where it broke, by Range and If-Range (RFC 9110, 13.1.5 and 14.2). Everything but
 * EXIT_OK has been said to the user. */
enum exit_code fetch_file(struct session *s, const struct fetch_options *options, struct sink *sink,
                          int64_t *ret_bytes, char ret_sha256[SHA256_HEX_SIZE]);

#endif
