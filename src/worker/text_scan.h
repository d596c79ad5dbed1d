/* Eight or sixteen bytes of a text at once: what encoders look for special characters with. Pure. */
#ifndef WORKER_TEXT_SCAN_H
#define WORKER_TEXT_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* The high bit of some byte is set if a byte of `word` is zero; the lowest such bit is right, those above it may not
 * be. */
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - ONES) & ~word & HIGHS;
}

static inline uint64_t load64(const char *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

/* Sixteen bytes at once, as the compiler's vectors: SSE2 on x86-64, NEON on arm64. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

static inline bytes16 load_bytes(const char *data)
{
    bytes16 b;
    memcpy(&b, data, sizeof b);
    return b;
}

static inline bool any(bytes16 b)
{
    words2 w = (words2)b;
    return (w[0] | w[1]) != 0;
}

/* A text_value without its length in front: the bytes of a short text, and zeros. */
static inline bytes16 text_of_whole(bytes16 whole)
{
    static const bytes16 zeros = {0};
    return __builtin_shuffle(whole, zeros, (bytes16){4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 16});
}

#endif
