/* Finds a secret in a stream of bytes, whatever the borders of its pieces: as it is, in any case, reversed, in hex of either
 * case, and in base64 (both alphabets, all three alignments).
 *
 * What is looked for is the end of each of these, at most SECRET_WINDOW bytes: so a part of a token with its end (a JWT's
 * signature) is found as well. Any other transformation is not: docs/security.md. Pure; patterns may be shared between
 * threads, a scan belongs to one. */
#ifndef BASE_SECRET_SCAN_H
#define BASE_SECRET_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define SECRET_WINDOW 32
#define SECRET_MIN 16    /* bytes: a shorter one could stand in honest data */
#define SECRET_MAX 16384 /* bytes */
#define SECRET_PATTERNS 6

struct secret_patterns;

/* NULL: too short, too long, or out of memory. The secret is not kept, but for its end. */
struct secret_patterns *secret_patterns_new(const char *secret, struct error *e);
void secret_patterns_free(struct secret_patterns *p);

/* Pattern `i` (below SECRET_PATTERNS) with its case folded: for the tests. All have the same length. */
const uint8_t *secret_patterns_get(const struct secret_patterns *p, size_t i, size_t *ret_length);

/* The folding under which text and patterns are compared: of ASCII letters, and of the two base64 alphabets. */
uint8_t secret_fold(uint8_t byte);

struct secret_scan {
    const struct secret_patterns *patterns; /* NULL: there is no secret, and nothing is found */
    size_t tail_length;
    uint8_t tail[SECRET_WINDOW - 1]; /* the last bytes fed */
};

void secret_scan_init(struct secret_scan *s, const struct secret_patterns *patterns);

/* True where the secret ends in these bytes, with its beginning in them or in those fed before. */
MUST_CHECK bool secret_scan_feed(struct secret_scan *s, const void *data, size_t length);

/* The same for one whole text. `patterns` may be NULL. */
MUST_CHECK bool secret_in_text(const struct secret_patterns *patterns, const void *data, size_t length);

#endif
