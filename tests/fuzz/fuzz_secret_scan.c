/* Results that are scanned for a secret, in pieces of any size, held against a search that cannot be wrong. The input: one byte
 * of how long the secret is, one of how large the pieces, the secret, the text. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/secret_scan.h"
#include "fuzz.h"

static bool found_by_looking_everywhere(const struct secret_patterns *p, const uint8_t *text, size_t length)
{
    for (size_t i = 0; i < SECRET_PATTERNS; i++) {
        size_t pattern_length;
        const uint8_t *pattern = secret_patterns_get(p, i, &pattern_length);
        for (size_t at = 0; at + pattern_length <= length; at++) {
            size_t same = 0;
            while (same < pattern_length && secret_fold(text[at + same]) == pattern[same])
                same++;
            if (same == pattern_length)
                return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    if (length < 2)
        return 0;
    size_t secret_length = data[0] % 64, piece = 1 + data[1] % 100;
    data += 2;
    length -= 2;
    if (secret_length > length)
        return 0;
    char secret[64] = "";
    memcpy(secret, data, secret_length);
    data += secret_length;
    length -= secret_length;
    struct error e;
    struct secret_patterns *p = secret_patterns_new(secret, &e);
    assert(!p == (strlen(secret) < SECRET_MIN));
    if (!p)
        return 0;
    struct secret_scan scan;
    secret_scan_init(&scan, p);
    bool found = false;
    for (size_t at = 0; at < length; at += piece)
        found = secret_scan_feed(&scan, data + at, length - at < piece ? length - at : piece) || found;
    assert(found == found_by_looking_everywhere(p, data, length));
    assert(found == secret_in_text(p, data, length));
    secret_patterns_free(p);
    return 0;
}
