/* SHA-256 of a file and of each of its parts, in one pass over the bytes.
 *
 * Both hashes read the same bytes. Where the processor has SHA instructions (x86-64) the two are computed side by
 * side: the second one fits into the waits of the first and shares its message schedule, so that both cost little more
 * than one (docs/decisions/hashing.md). Otherwise OpenSSL computes one after the other.
 *
 * Feed it pieces that are still in the processor's cache. It is quickest where parts are a multiple of 64 bytes long;
 * other lengths are right as well. One thread at a time. */
#ifndef BASE_SHA256_PAIR_H
#define BASE_SHA256_PAIR_H

#include "base/digest.h"

struct sha256_pair;

/* Without `parts` it is the file's hash alone. NULL: out of memory. */
struct sha256_pair *sha256_pair_new(bool parts);
void sha256_pair_free(struct sha256_pair *p); /* NULL is fine */

/* The next bytes of the file, and of the part that is under way. */
void sha256_pair_update(struct sha256_pair *p, const void *data, size_t length);

/* The same, and copies the bytes to `to` on the way: with SHA instructions that is cheaper than a memcpy() beside it, where
 * `to` is not in the cache. The two must not overlap. */
void sha256_pair_copy(struct sha256_pair *p, void *to, const void *data, size_t length);

/* The hash of the part, which ends here; the next one begins. Only with `parts`. */
void sha256_pair_cut(struct sha256_pair *p, uint8_t ret_part[SHA256_BYTES]);

/* The hash of the file so far; the state stays usable. */
void sha256_pair_final(struct sha256_pair *p, uint8_t ret_file[SHA256_BYTES]);

/* For tests and measurements: from now on new pairs are computed by OpenSSL. Not thread-safe. */
void sha256_pair_use_openssl(bool on);

/* Does this processor have what it takes? */
bool sha256_pair_is_native(void);

#endif
