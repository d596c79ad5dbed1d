/* Links to files of the local store: /files/<key>?expires=<seconds since 1970>&signature=<hex>. Pure: no I/O,
 * no clock.
 *
 * The signature is HMAC-SHA-256 over "<expires>\n<key>" (the key as stored, not percent-encoded), so a link
 * holds for GET and HEAD, and for this key and time only. A link has one spelling (decimal digits, lower-case
 * hex): any other is an altered link. Links are secrets: they are never logged. */
#ifndef OBJECT_FILE_LINK_H
#define OBJECT_FILE_LINK_H

#include <stdint.h>

#include "base/error.h"

#define FILE_LINK_PATH "/files/"
#define FILE_LINK_SECRET_SIZE 32

/* "<base>/files/<key, percent-encoded>?expires=...&signature=..."; free() it. `base` has no slash at its end.
 * NULL: out of memory. */
char *file_link_make(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *base, const char *key,
                     int64_t expires_s);

/* Undoes the percent-encoding of a key (what follows "/files/" in a request's path); `ret_key` has `size`
 * bytes. False for a broken escape, an encoded NUL, an empty key, and one that does not fit. */
MUST_CHECK bool file_link_decode_key(const char *encoded, char *ret_key, size_t size);

/* ERROR_FORBIDDEN with "the link has expired" or "the link's signature does not match". `expires` and
 * `signature` are the link's parameters, NULL where missing. */
MUST_CHECK bool file_link_verify(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *key,
                                 const char *expires, const char *signature, int64_t now_s, struct error *e);

#endif
