/* PUTs with large bodies, for http_transfers.c only: libcurl makes the connection (names, TLS, certificates), and what is
 * said on it is ours. libcurl's own way copies a body through a buffer, 256 KiB a call; here the kernel takes it from
 * where it lies, as much at once as it will have (docs/decisions/s3.md).
 *
 * One thread. Connections are kept and used again, apart from those of libcurl's own requests. */
#ifndef BASE_HTTP_UPLOAD_H
#define BASE_HTTP_UPLOAD_H

#include "base/http_curl.h"
#include "base/http_transfers.h"

struct http_uploads;
struct http_upload;

/* `multi` and `ca_file` (NULL: the system's) outlive it. At most `max` connections, at least 1; further uploads wait, in
 * the order in which they came. NULL: out of memory. */
struct http_uploads *http_uploads_new(CURLM *multi, const char *ca_file, unsigned max);
void http_uploads_free(struct http_uploads *us); /* with none under way; NULL is fine */

/* Is it one for us? */
bool http_upload_is_for(const struct http_transfer_options *o);

/* `owner` comes back from http_uploads_next(). NULL: `e` says why. */
struct http_upload *http_upload_start(struct http_uploads *us, const struct http_transfer_options *o, void *owner,
                                      struct error *e);

/* Breaks it off where it is not over. NULL is fine. */
void http_upload_free(struct http_upload *u);

/* What curl_multi_poll() is to wait for beside its own. *wait_ms becomes smaller where something is due before. False: out
 * of memory. */
MUST_CHECK bool http_uploads_prepare(struct http_uploads *us, int64_t *wait_ms, struct curl_waitfd **ret, unsigned *ret_count);

/* A connection of ours stands, or failed: what curl_multi_info_read() tells of a handle without CURLINFO_PRIVATE. */
void http_uploads_on_connected(struct http_uploads *us, CURL *easy, CURLcode code);

/* After the wait: moves bytes, and looks at the clock. */
void http_uploads_move(struct http_uploads *us);

/* The next one that is over, once: its owner. NULL: none. */
void *http_uploads_next(struct http_uploads *us, enum http_outcome *ret, struct error *e);

/* Of one that is over; as in http_transfers.h. */
int http_upload_status(const struct http_upload *u);
const char *http_upload_header(const struct http_upload *u, const char *name);
const struct buf *http_upload_body(const struct http_upload *u);
const char *http_upload_detail(const struct http_upload *u);

#endif
