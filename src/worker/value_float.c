/* The shortest decimal number that reads back as a given binary one, and of these the closest: R. Giulietti's
 * Schubfach ("The Schubfach way to render doubles", 2021). The interval of all numbers that read back is scaled
 * by a power of ten so that it holds at least one integer and at most one multiple of ten; three products of 64
 * by 128 bits, rounded to odd, keep every comparison exact. */
#include "worker/value_float.h"

#include "worker/value_text.h"

typedef unsigned __int128 uint128;

#define DOUBLE_BITS 52 /* of the fraction */
#define DOUBLE_BIAS 1075
#define FLOAT_BITS 23
#define FLOAT_BIAS 150

#define DIGITS_MAX 17 /* that a double may need */

/* Part of its caller: otherwise a number takes a fifth longer. */
#define INLINE static inline __attribute__((always_inline))

/* digits x 10^exponent */
struct decimal {
    uint64_t digits;
    int exponent;
};

/* floor(log10(2^e)), and of three quarters of that; |e| <= 1500. */
static int log10_of_power_of_2(int e)
{
    return (e * 1262611) >> 22;
}

static int log10_of_three_quarters(int e)
{
    return (e * 1262611 - 524031) >> 22;
}

/* floor(log2(10^k)); |k| <= 400. */
static int log2_of_power_of_10(int k)
{
    return (k * 1741647) >> 19;
}

/* g x v / 2^128, rounded down but to odd where that is not exact. */
static uint64_t scale_to_odd(const struct value_significand *g, uint64_t v)
{
    uint128 lower = (uint128)g->lower * v;
    uint128 upper = (uint128)g->upper * v + (uint64_t)(lower >> 64);
    return (uint64_t)(upper >> 64) | ((uint64_t)upper > 1);
}

/* Of c x 2^q. `regular`: the next smaller number is as far away as the next larger one. `ret_close`, unless NULL,
 * tells whether the answer lies on a border of the interval, is as close as another one, or would lie on a border
 * if these belonged to it. */
INLINE struct decimal shortest(uint64_t c, int q, bool regular, bool *ret_close)
{
    /* numbers on the border read back where c is even */
    const uint64_t outside = c & 1;
    int k = regular ? log10_of_power_of_2(q) : log10_of_three_quarters(q);
    const struct value_significand *g = &value_significands[-k - VALUE_SIGNIFICANDS_FIRST];
    int shift = q + log2_of_power_of_10(-k) + 1;

    /* four times everything: borders lie at halves and quarters */
    uint64_t lower_border = scale_to_odd(g, (4 * c - 2 + !regular) << shift);
    uint64_t upper_border = scale_to_odd(g, (4 * c + 2) << shift);
    uint64_t value = scale_to_odd(g, 4 * c << shift);
    uint64_t lower = lower_border + outside, upper = upper_border - outside;

    uint64_t below = value / 4;
    if (below >= 10) {
        uint64_t tens = below / 10;
        bool low_fits = lower <= 40 * tens, high_fits = 40 * tens + 40 <= upper;
        if (ret_close)
            *ret_close = (lower_border == 40 * tens) | (upper_border == 40 * tens + 40);
        if (low_fits != high_fits)
            return (struct decimal){10 * (tens + high_fits), k};
    }
    bool low_fits = lower <= 4 * below, high_fits = 4 * below + 4 <= upper;
    if (low_fits != high_fits)
        return (struct decimal){below + high_fits, k};
    uint64_t middle = 4 * below + 2;
    bool up = value > middle || (value == middle && (below & 1));
    if (ret_close)
        *ret_close |= value == middle;
    return (struct decimal){below + up, k};
}

static unsigned count_digits(uint64_t v)
{
    unsigned estimate = (unsigned)(64 - __builtin_clzll(v | 1)) * 1233 >> 12;
    return estimate + (v >= value_powers_of_ten[estimate]);
}

static char *put_exponent(char *to, int exponent)
{
    unsigned absolute = (unsigned)(exponent < 0 ? -exponent : exponent);
    to[0] = 'e';
    to[1] = exponent < 0 ? '-' : '+';
    to += 2;
    if (absolute >= 100)
        *to++ = (char)('0' + absolute / 100);
    memcpy(to, value_pairs[absolute % 100], 2);
    return to + 2;
}

/* A digit and two words of eight, zeros at the end included, as the engine lays digits out: as they are from
 * 0.0001 to below 10^16, always with a point; else with an exponent of at least two digits. `exponent` is the
 * first digit's. */
INLINE char *put_digits(char *to, uint32_t first_digit, uint64_t upper, uint64_t lower, int exponent)
{
    /* how many are not zeros at the end */
    unsigned used = lower   ? 17 - (unsigned)__builtin_clzll(lower) / 8
                    : upper ? 9 - (unsigned)__builtin_clzll(upper) / 8
                            : 1;
    char first = (char)('0' + first_digit);
    upper |= DIGITS_ASCII;
    lower |= DIGITS_ASCII;
    if (exponent >= 0 && exponent < 7) {
        /* in registers: all digits one byte late, and over the first eight bytes those before the point */
        unsigned point = 8 * (unsigned)(exponent + 1);
        uint64_t digits = (uint64_t)(unsigned char)first | upper << 8;
        uint64_t before = ((uint64_t)1 << point) - 1;
        digits_put_word(digits_put_word(to + 2, upper), lower);
        digits_put_word(to, (digits & before) | (uint64_t)'.' << point | (digits & ~before) << 8);
        return to + ((int)used > exponent + 2 ? (int)used + 1 : exponent + 3);
    }
    if (exponent >= 0 && exponent < 16) {
        char *point = to + 1 + exponent;
        *to = first;
        digits_put_word(digits_put_word(to + 1, upper), lower);
        char behind[16];
        memcpy(behind, point, 16);
        memcpy(point + 1, behind, 16);
        *point = '.';
        return (int)used > exponent + 2 ? to + used + 1 : point + 2;
    }
    if (exponent < 0 && exponent >= -4) {
        memcpy(to, "0.000", 5);
        to += 1 - exponent;
        *to = first;
        digits_put_word(digits_put_word(to + 1, upper), lower);
        return to + used;
    }
    to[0] = first;
    to[1] = '.';
    digits_put_word(digits_put_word(to + 2, upper), lower);
    return put_exponent(to + 1 + (used > 1 ? used : 0), exponent);
}

/* The same number with more digits. */
static inline struct decimal lengthen(struct decimal d, unsigned more)
{
    return (struct decimal){d.digits * value_powers_of_ten[more], d.exponent - (int)more};
}

static inline char *put_17_digits(char *to, struct decimal d)
{
    uint64_t first_9 = d.digits / DIGITS_8;
    return put_digits(to, (uint32_t)(first_9 / DIGITS_8), digits_of((uint32_t)(first_9 % DIGITS_8)),
                      digits_of((uint32_t)(d.digits % DIGITS_8)), d.exponent + 16);
}

static inline char *put_9_digits(char *to, struct decimal d)
{
    return put_digits(to, (uint32_t)(d.digits / DIGITS_8), digits_of((uint32_t)(d.digits % DIGITS_8)), 0,
                      d.exponent + 8);
}

static char *put_special(char *to, bool negative, bool nan)
{
    static const char names[4][8] = {"inf", "-inf", "nan", "-nan"};
    memcpy(to, names[2 * nan + negative], 8);
    return to + 3 + negative;
}

/* Most numbers that people store are whole, or have few decimals. Where one divided by a power of ten, both exact,
 * gives v, it reads back as v; and of the decimal numbers of at most 15 digits no other one does, so it is the
 * shortest. NULL if v is none of these. */
static inline char *put_short(char *to, double v)
{
    if (v < 1e9) {
        int64_t millionths = (int64_t)(v * 1e6 + 0.5);
        if (millionths < 100 || (double)millionths / 1e6 != v) /* below 0.0001 there is an exponent */
            return NULL;
        to = text_of_uint32(to, (uint32_t)(millionths / 1000000));
        *to = '.';
        return digits_put_trimmed(to + 1, (uint32_t)(millionths % 1000000 * 100));
    }
    if (v >= 1e15 || (double)(int64_t)v != v)
        return NULL;
    to = digits_put(to, (uint64_t)v);
    memcpy(to, ".0", 2);
    return to + 2;
}

/* The engine is wrong about three powers of two: it writes twice the number (and 17 as a digit), and so must we.
 * Its exact algorithm is wrong about any from 2^53 on, but is asked about these only. */
static const char *mistaken(int exponent)
{
    return exponent == 0x450   ? "4.835703278458517e+24" /* 2^81 */
           : exponent == 0x45A ? "4.951760157141521e+27" /* 2^91 */
           : exponent == 0x726 ? "A.070116948172427e+242" /* 2^807 */
                               : NULL;
}

/* 17 digits, zeros at the end included, of a number that is finite and not 0. */
INLINE struct decimal digits_of_double(uint64_t fraction, int exponent)
{
    bool subnormal = exponent == 0, regular = fraction != 0 || exponent == 1;
    struct decimal d = shortest(fraction | (uint64_t)!subnormal << DOUBLE_BITS, exponent + subnormal - DOUBLE_BIAS,
                                regular, NULL);
    if (subnormal)
        return lengthen(d, 17 - count_digits(d.digits));
    return d.digits < DIGITS_16 ? lengthen(d, 1) : d; /* from 2^52, which has 16 */
}

char *text_of_double(char *to, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint64_t fraction = bits & (((uint64_t)1 << DOUBLE_BITS) - 1);
    int exponent = (int)(bits >> DOUBLE_BITS & 0x7FF);
    bool negative = bits >> 63;
    if (exponent == 0x7FF)
        return put_special(to, negative, fraction != 0);
    *to = '-';
    to += negative;
    if (exponent == 0 && fraction == 0)
        return (char *)memcpy(to, "0.0", 3) + 3;
    char *end = put_short(to, negative ? -v : v);
    if (end)
        return end;
    const char *mistake = fraction == 0 ? mistaken(exponent) : NULL;
    if (mistake) {
        size_t length = strlen(mistake);
        return (char *)memcpy(to, mistake, length) + length;
    }
    return put_17_digits(to, digits_of_double(fraction, exponent));
}

/* As the engine's JSON library lays digits out: as they are from 0.000001 to below 10^21, always with a point; else
 * with an exponent, and a point only between digits. */
static char *put_json_digits(char *to, struct decimal d)
{
    char digits[24];
    unsigned used = 17;
    digits_put_padded(digits, d.digits, 17);
    while (used > 1 && digits[used - 1] == '0')
        used--;
    int exponent = d.exponent + 16;
    unsigned whole = exponent < 0 ? 0 : exponent > 20 ? 1 : (unsigned)exponent + 1;
    unsigned copied = used < whole ? used : whole;
    if (exponent < 0 && exponent >= -6) {
        memcpy(to, "0.000000", 8);
        to += 1 - exponent;
    } else {
        whole += whole == 0;
        copied += copied == 0;
        memcpy(to, digits, copied);
        memset(to + copied, '0', whole - copied);
        to += whole;
        bool scientific = exponent < 0 || exponent > 20;
        if (used > whole || !scientific)
            *to++ = '.';
        if (used <= whole && !scientific)
            *to++ = '0';
    }
    memcpy(to, digits + copied, used - copied);
    to += used - copied;
    if (exponent >= -6 && exponent <= 20)
        return to;
    to[0] = 'e';
    to[1] = '-';
    return digits_put_short(to + 1 + (exponent < 0), (uint32_t)(exponent < 0 ? -exponent : exponent));
}

char *text_of_json_double(char *to, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint64_t fraction = bits & (((uint64_t)1 << DOUBLE_BITS) - 1);
    int exponent = (int)(bits >> DOUBLE_BITS & 0x7FF);
    *to = '-';
    to += bits >> 63;
    if (exponent == 0 && fraction == 0)
        return (char *)memcpy(to, "0.0", 3) + 3;
    char *end = put_short(to, bits >> 63 ? -v : v);
    if (end)
        return end;
    struct decimal d = digits_of_double(fraction, exponent);
    bool looks_the_same = d.exponent >= -16 - 4 && d.exponent < 0; /* as in text_of_double() */
    return looks_the_same ? put_17_digits(to, d) : put_json_digits(to, d);
}

/* The engine takes it for a double: of those numbers of at most 15 digits that read back as it, which is but one. */
char *text_of_json_decimal(char *to, int64_t v, unsigned scale)
{
    uint64_t power = value_powers_of_ten[scale], u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    if (u != 0 && u * 1000000 < power) /* has an exponent */
        return text_of_json_double(to, (double)v / (double)power);
    to = text_of_decimal(to, v, scale + 1, scale);
    if (scale == 0)
        *to++ = '.';
    while (scale > 0 && to[-1] == '0')
        to--;
    *to = '0';
    return to + (to[-1] == '.');
}

/* Where the shortest number is not clear without a look at the borders of the interval, the engine gives the
 * digits of the DOUBLE of this value instead, and so do we: 4194303.75, not 4194303.8. */
char *text_of_float(char *to, float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint32_t fraction = bits & ((1u << FLOAT_BITS) - 1);
    int exponent = (int)(bits >> FLOAT_BITS & 0xFF);
    bool negative = bits >> 31;
    if (exponent == 0xFF)
        return put_special(to, negative, fraction != 0);
    *to = '-';
    to += negative;
    if (exponent == 0 && fraction == 0)
        return (char *)memcpy(to, "0.0", 3) + 3;
    bool subnormal = exponent == 0, regular = fraction != 0 || exponent == 1, close = false;
    struct decimal d = shortest(fraction | (uint32_t)!subnormal << FLOAT_BITS, exponent + subnormal - FLOAT_BIAS,
                                regular, &close);
    if (close)
        return text_of_double(to, negative ? -(double)v : (double)v);
    if (subnormal)
        d = lengthen(d, 9 - count_digits(d.digits));
    else /* from 2^23, which has 7 */
        d = lengthen(d, (d.digits < DIGITS_8) + (d.digits < DIGITS_8 / 10));
    return put_9_digits(to, d);
}
