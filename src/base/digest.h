/* SHA-256, HMAC-SHA-256 and random bytes, over OpenSSL's libcrypto. No state is shared; any thread may call. */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SHA256_BYTES 32
#define SHA256_HEX_SIZE (2 * SHA256_BYTES + 1)

struct sha256; /* a running hash */

struct sha256 *sha256_new(void); /* NULL: out of memory */
void sha256_free(struct sha256 *h);
void sha256_clear(struct sha256 *h); /* begins again */
void sha256_update(struct sha256 *h, const void *data, size_t len);
void sha256_final(struct sha256 *h, uint8_t ret_digest[SHA256_BYTES]); /* the hash so far; the state stays usable */

/* In one go. False: out of memory. */
MUST_CHECK bool sha256_of(const void *data, size_t len, uint8_t ret_digest[SHA256_BYTES]);

MUST_CHECK bool hmac_sha256(const void *key, size_t key_len, const void *data, size_t len,
                            uint8_t ret_mac[SHA256_BYTES]);

/* Lower-case hex with a final NUL: `out` has 2 * len + 1 bytes. */
void hex_encode(const uint8_t *data, size_t len, char *out);

/* The value of a hex digit of either case, -1 for anything else. */
int hex_digit_value(char c);

/* Compares in a time that depends on `len` only. */
bool equal_constant_time(const void *a, const void *b, size_t len);

/* Fills `out` from the kernel's random source. */
MUST_CHECK bool random_bytes(void *out, size_t len, struct error *e);

#define UUID_SIZE 37 /* text with its NUL */

/* A random UUID (RFC 9562 version 4), lower case. */
MUST_CHECK bool uuid_random(char out[UUID_SIZE], struct error *e);

/* True for 8-4-4-4-12 hex digits; writes the lower-case form. Any version is taken: old rows hold what they hold. */
bool uuid_parse(const char *text, char ret_uuid[UUID_SIZE]);

#endif
