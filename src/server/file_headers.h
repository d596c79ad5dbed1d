/* What the headers of a file's answer say, from its key and its state on disk. Pure. */
#ifndef SERVER_FILE_HEADERS_H
#define SERVER_FILE_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `attachment; filename="<id>.csv.gz"` for the keys <org>/<id>.csv.gz and <org>/<id>-2.csv.gz: a later attempt's file
 * is saved under the download's name. The key's last segment is of object_local_segment_ok(): nothing needs
 * an escape. */
#define FILE_DISPOSITION_SIZE 256
void file_disposition(const char *key, char out[FILE_DISPOSITION_SIZE]);

/* A strong entity tag (RFC 9110, 8.8.3), with its quotes. A finished file never changes; one that takes its
 * place under the same name has another inode or time. */
#define FILE_ETAG_SIZE 64
void file_etag(uint64_t size, int64_t mtime_us, uint64_t inode, char out[FILE_ETAG_SIZE]);

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, 5.6.7) */
#define HTTP_DATE_SIZE 64
void http_date_format(int64_t seconds, char out[HTTP_DATE_SIZE]);

/* Does If-None-Match's value name the tag (or anything, by "*")? Weakly compared, as RFC 9110, 13.1.2 says.
 */
bool etag_is_listed(const char *header, const char *etag);

/* May the range be sent, by If-Range's value (RFC 9110, 13.1.5)? NULL: there is none, so yes. A date must be
 * the one that we gave, to the byte: it is a strong validator here, since files do not change. */
bool if_range_holds(const char *header, const char *etag, const char *last_modified);

#endif
