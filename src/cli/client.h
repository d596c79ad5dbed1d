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
    const char *sql, *dataset;
    json_t *form; /* an object: what the file is to look like, in the members that format/file_form.h has; csv where it
                     names no format */
};

#define DOWNLOAD_NAME_MAX 64 /* an id, a dot and at most 15 letters have room */

/* A download, as far as it is known; the caller's. Zeroes are a good beginning. */
struct download {
    char id[UUID_SIZE];  /* "": not created yet */
    char format[32];     /* letters and digits */
    char name[DOWNLOAD_NAME_MAX]; /* of the completed file, safe to make here; "": not told */
    bool truncated;      /* the file ends at a limit */
    char *link;          /* set when completed */
    char *sha256;        /* hex; NULL: not told */
    int64_t rows, bytes; /* of the completed file; below 0: not told */
};
void download_release(struct download *d);

/* Whether a name that a server tells may be that of a file here: `<id>.<letters, digits, dots>` and nothing else, so
 * that it leads nowhere, is no option of a command and replaces no other file. */
bool download_name_ok(const char *id, const char *name);

/* EXIT_OK: `d` is completed, with its link. Everything else has been said to the user; `d` then has what was
 * learned. */
enum exit_code client_follow(struct session *s, const struct client_options *options, struct download *d);

#endif
