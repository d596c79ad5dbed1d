/* Follows a download from its SQL to its link: posts it, reads its events, and comes back whenever the stream
 * breaks, since the server's record goes on without us. One thread. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/digest.h"
#include "cli/session.h"

struct client_options {
    const char *server; /* base URL, no slash at its end */
    const char *user, *org;
    /* What to post; looked at where the download has no id yet. */
    const char *sql, *dataset, *format;
};

/* A download, as far as it is known; the caller's. Zeroes are a good beginning. */
struct download {
    char id[UUID_SIZE];  /* "": not created yet */
    char format[32];     /* letters and digits */
    char *link;          /* set when completed */
    char *sha256;        /* hex; NULL: not told */
    int64_t rows, bytes; /* of the completed file; below 0: not told */
};
void download_release(struct download *d);

/* EXIT_OK: `d` is completed, with its link. Everything else has been said to the user; `d` then has what was
 * learned. */
enum exit_code client_follow(struct session *s, const struct client_options *options, struct download *d);

#endif
