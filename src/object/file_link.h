/* Links to files of the local store: /files/<key>?expires=<seconds since 1970>&signature=<hex>. Pure.
 *
 * The signature is HMAC-SHA-256 over "<expires>\n<key>" (the key as stored, not percent-encoded), so a link holds for GET and HEAD, and
 * for this key only. Compared in constant time. */
#ifndef OBJECT_FILE_LINK_H
#define OBJECT_FILE_LINK_H

#include <stdint.h>

#include "base/error.h"

#define FILE_LINK_SECRET_SIZE 32

/* "<base>/files/<key, percent-encoded>?expires=...&signature=..."; free() it. NULL: out of memory. */
char *file_link_make(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *base, const char *key, int64_t expires_s);

/* ERROR_FORBIDDEN with "the link has expired" or "the link's signature does not match". */
MUST_CHECK bool file_link_verify(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *key, const char *expires, const char *signature,
                                 int64_t now_s, struct error *e);

#endif
