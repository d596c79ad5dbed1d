/* Decimal digits, eight at a time in a 64-bit word: what the texts of values (value_text.h) are made of.
 *
 * A function that writes does so in whole words: up to 8 bytes behind what it returns may be overwritten. */
#ifndef WORKER_VALUE_DIGITS_H
#define WORKER_VALUE_DIGITS_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first digit is a word's lowest byte");

#define DIGITS_8 100000000u            /* ten to the power of 8 */
#define DIGITS_16 10000000000000000ull /* of 16 */
#define DIGITS_ASCII 0x3030303030303030u

/* Powers of ten up to the 19th, the last that 64 bits hold. */
extern const uint64_t value_powers_of_ten[20];

/* The digits (0 to 9, not yet characters) of v < DIGITS_8. Three steps halve each field: of one number of eight
 * digits two of four, of these four of two, of these eight of one; a field's quotient comes first, its
 * remainder behind it. Quotients are products with rounded reciprocals, exact at these sizes. */
static inline uint64_t digits_of(uint32_t v)
{
    uint64_t fours = (uint64_t)(v / 10000) | (uint64_t)(v % 10000) << 32;
    uint64_t quotients = (fours * 10486 >> 20) & 0x0000007F0000007Fu;
    uint64_t twos = quotients | (fours - quotients * 100) << 16;
    quotients = (twos * 103 >> 10) & 0x000F000F000F000Fu;
    return quotients | (twos - quotients * 10) << 8;
}

static inline char *digits_put_word(char *to, uint64_t word)
{
    memcpy(to, &word, 8);
    return to + 8;
}

/* Eight digits of v < DIGITS_8, zeros in front included. */
static inline char *digits_put_8(char *to, uint32_t v)
{
    return digits_put_word(to, digits_of(v) | DIGITS_ASCII);
}

static inline char *digits_put_16(char *to, uint64_t v)
{
    return digits_put_8(digits_put_8(to, (uint32_t)(v / DIGITS_8)), (uint32_t)(v % DIGITS_8));
}

/* "00" to "99" */
extern const char value_pairs[100][2];

static inline uint32_t digits_pair(uint32_t v)
{
    uint16_t pair;
    memcpy(&pair, value_pairs[v], sizeof pair);
    return pair;
}

/* v < 10000 without zeros in front; 0 is one digit. */
static inline char *digits_put_tiny(char *to, uint32_t v)
{
    uint32_t hundreds = v * 5243 >> 19;
    uint32_t word = digits_pair(hundreds) | digits_pair(v - hundreds * 100) << 16;
    unsigned skipped = (unsigned)(v < 10) + (v < 100) + (v < 1000);
    word >>= 8 * skipped;
    memcpy(to, &word, sizeof word);
    return to + 4 - skipped;
}

/* v < DIGITS_8 without zeros in front; 0 is one digit. */
static inline char *digits_put_short(char *to, uint32_t v)
{
    if (v < 10000)
        return digits_put_tiny(to, v);
    uint64_t digits = digits_of(v);
    unsigned skipped = (unsigned)__builtin_ctzll(digits | (uint64_t)1 << 56) / 8;
    digits_put_word(to, (digits | DIGITS_ASCII) >> (8 * skipped));
    return to + 8 - skipped;
}

static inline char *digits_put(char *to, uint64_t v)
{
    if (v < DIGITS_8)
        return digits_put_short(to, (uint32_t)v);
    if (v < DIGITS_16)
        return digits_put_8(digits_put_short(to, (uint32_t)(v / DIGITS_8)), (uint32_t)(v % DIGITS_8));
    return digits_put_16(digits_put_short(to, (uint32_t)(v / DIGITS_16)), v % DIGITS_16);
}

/* Exactly `count` digits, 1 to 18; v is smaller than ten to that power. */
static inline char *digits_put_padded(char *to, uint64_t v, unsigned count)
{
    if (count <= 8) {
        digits_put_8(to, (uint32_t)(v * value_powers_of_ten[8 - count]));
        return to + count;
    }
    if (count <= 16) {
        digits_put_16(to, v * value_powers_of_ten[16 - count]);
        return to + count;
    }
    digits_put_8(to, (uint32_t)(v / DIGITS_16 * value_powers_of_ten[24 - count]));
    return digits_put_16(to + count - 16, v % DIGITS_16);
}

/* Eight digits of v < DIGITS_8 but for the zeros at the end; at least one. */
static inline char *digits_put_trimmed(char *to, uint32_t v)
{
    uint64_t digits = digits_of(v);
    digits_put_word(to, digits | DIGITS_ASCII);
    return to + 8 - (unsigned)__builtin_clzll(digits | 1) / 8;
}

#endif
