/* Typed values as text: byte for byte what DuckDB 1.5.5 gives for CAST(value AS VARCHAR).
 *
 * Each function writes at `to`, without a NUL, and returns the byte behind the text. `to` has room for
 * VALUE_TEXT_MAX bytes, all of which may be overwritten, whatever the length of the text is; TEXT_MAX_... are
 * the lengths of the texts themselves, so that a row needs their sum and VALUE_TEXT_MAX more behind it.
 *
 * Pure, without allocation or locks: any thread, any value. A value that its type cannot hold (a TIME of 30
 * hours, a DECIMAL of too many digits), or whose cast the engine refuses, gets some text within the bounds.
 *
 * The values are what stands in the engine's vectors: 128 bits as (upper, lower), a UUID with its top bit
 * flipped, a TIMETZ as bits. */
#ifndef WORKER_VALUE_TEXT_H
#define WORKER_VALUE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "worker/value_digits.h"

#define VALUE_TEXT_MAX 80

#define TEXT_MAX_BOOL 5          /* false */
#define TEXT_MAX_INT8 4          /* -128 */
#define TEXT_MAX_INT16 6         /* -32768 */
#define TEXT_MAX_INT32 11        /* -2147483648 */
#define TEXT_MAX_INT64 20        /* -9223372036854775808 */
#define TEXT_MAX_INT128 40       /* -170141183460469231731687303715884105728 */
#define TEXT_MAX_UINT8 3         /* 255 */
#define TEXT_MAX_UINT16 5        /* 65535 */
#define TEXT_MAX_UINT32 10       /* 4294967295 */
#define TEXT_MAX_UINT64 20       /* 18446744073709551615 */
#define TEXT_MAX_UINT128 39      /* 340282366920938463463374607431768211455 */
#define TEXT_MAX_FLOAT 24        /* a few have the digits of a DOUBLE */
#define TEXT_MAX_DOUBLE 24       /* -2.2250738585072014e-308 */
#define TEXT_MAX_JSON_DOUBLE 26  /* -0.0000022250738585072014 */
#define TEXT_MAX_DECIMAL 21      /* up to 18 digits, the sign, the point; one more that does not fit its type */
#define TEXT_MAX_DECIMAL128 42   /* up to 38 digits */
#define TEXT_MAX_DATE 18         /* 5877642-06-25 (BC) */
#define TEXT_MAX_TIME 24         /* 23:59:59.999999; more where it is none */
#define TEXT_MAX_TIME_NS 24      /* 23:59:59.999999999 */
#define TEXT_MAX_TIME_TZ 33      /* 23:59:59.999999-15:59:59 */
#define TEXT_MAX_TIMESTAMP 33    /* 290309-12-22 (BC) 00:00:00.000001 */
#define TEXT_MAX_TIMESTAMP_TZ 36 /* the same, and +00 */
#define TEXT_MAX_INTERVAL 69     /* -178956970 years -8 months -2147483648 days -2562047788:00:54.775808 */
#define TEXT_MAX_UUID 36

static inline char *text_of_bool(char *to, bool v);
static inline char *text_of_int32(char *to, int32_t v); /* and what is shorter */
static inline char *text_of_int64(char *to, int64_t v);
static inline char *text_of_uint32(char *to, uint32_t v); /* and what is shorter */
static inline char *text_of_uint64(char *to, uint64_t v);
char *text_of_int128(char *to, int64_t upper, uint64_t lower);
char *text_of_uint128(char *to, uint64_t upper, uint64_t lower);

/* The fewest digits that read back as the same number; value_float.c has the engine's few exceptions. */
char *text_of_float(char *to, float v);
char *text_of_double(char *to, double v);

/* The same digits as the engine's JSON writer lays them out; finite numbers only. */
char *text_of_json_double(char *to, double v);

/* DECIMAL(width, scale) by that writer, which keeps all digits from a width of 16 on. */
#define JSON_DECIMAL_MAX_WIDTH 15
char *text_of_json_decimal(char *to, int64_t v, unsigned scale);

/* DECIMAL(width, scale); 64 bits up to width 18, 128 bits up to 38. */
static inline char *text_of_decimal(char *to, int64_t v, unsigned width, unsigned scale);
char *text_of_decimal128(char *to, int64_t upper, uint64_t lower, unsigned width, unsigned scale);

static inline char *text_of_date(char *to, int32_t days);
char *text_of_time(char *to, int64_t micros);
char *text_of_time_ns(char *to, int64_t nanos);
char *text_of_time_tz(char *to, uint64_t bits);
static inline char *text_of_timestamp(char *to, int64_t micros);
char *text_of_timestamp_s(char *to, int64_t seconds);
char *text_of_timestamp_ms(char *to, int64_t millis);
char *text_of_timestamp_ns(char *to, int64_t nanos);
char *text_of_timestamp_tz(char *to, int64_t micros); /* in a session whose time zone is UTC */
char *text_of_interval(char *to, int32_t months, int32_t days, int64_t micros);

char *text_of_uuid(char *to, int64_t upper, uint64_t lower);

/* --- The short ones, to be part of the caller's loop. What follows is no interface. --- */

static inline char *text_of_bool(char *to, bool v)
{
    memcpy(to, v ? "true\0\0\0" : "false\0\0", 8);
    return to + 5 - v;
}

static inline char *text_of_uint32(char *to, uint32_t v)
{
    if (v < DIGITS_8)
        return digits_put_short(to, v);
    return digits_put_8(digits_put_short(to, v / DIGITS_8), v % DIGITS_8);
}

static inline char *text_of_int32(char *to, int32_t v)
{
    *to = '-';
    return text_of_uint32(to + (v < 0), v < 0 ? 0 - (uint32_t)v : (uint32_t)v);
}

static inline char *text_of_uint64(char *to, uint64_t v)
{
    return digits_put(to, v);
}

static inline char *text_of_int64(char *to, int64_t v)
{
    *to = '-';
    return digits_put(to + (v < 0), v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* A divisor d = 10^i as a product: v / d is the upper 64 bits of v times `factor`, shifted. Exact for v < 2^63:
 * factor is 2^(63 + b) / d rounded up, where b is the bits of d, and so errs by less than d < 2^b. */
struct value_reciprocal {
    uint64_t factor;
    unsigned shift; /* b - 1 */
};
extern const struct value_reciprocal value_reciprocals[19]; /* but for i = 0 */

static inline char *text_of_decimal(char *to, int64_t v, unsigned width, unsigned scale)
{
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    *to = '-';
    to += v < 0;
    if (u < 10000 && scale == 2 && width > 2) { /* small amounts of money */
        uint32_t whole = (uint32_t)u * 5243 >> 19, skipped = whole < 10;
        uint16_t digits = (uint16_t)(digits_pair(whole) >> (8 * skipped));
        uint16_t fraction = (uint16_t)digits_pair((uint32_t)u - whole * 100);
        memcpy(to, &digits, sizeof digits);
        to += 2 - skipped;
        *to = '.';
        memcpy(to + 1, &fraction, sizeof fraction);
        return to + 3;
    }
    if (u < DIGITS_8 && scale < 8) { /* all digits at once, moved apart for the point */
        uint64_t digits = digits_of((uint32_t)u);
        unsigned zeros = (unsigned)__builtin_ctzll(digits | (uint64_t)1 << 63) / 8;
        unsigned kept = 8 - scale - (width > scale); /* at most so many zeros in front are left out */
        unsigned skipped = zeros < kept ? zeros : kept, whole = 8 - scale - skipped;
        digits |= DIGITS_ASCII;
        digits_put_word(to, digits >> (8 * skipped));
        if (scale == 0)
            return to + whole;
        to[whole] = '.';
        digits_put_word(to + whole + 1, digits >> (64 - 8 * scale));
        return to + whole + 1 + scale;
    }
    if (scale == 0)
        return digits_put(to, u);
    const struct value_reciprocal *r = &value_reciprocals[scale];
    uint64_t whole = (uint64_t)((unsigned __int128)u * r->factor >> 64) >> r->shift;
    if (width > scale)
        to = digits_put(to, whole);
    *to++ = '.';
    return digits_put_padded(to, u - whole * value_powers_of_ten[scale], scale);
}

#define VALUE_DAYS_0001 (-719162) /* 0001-01-01 and */
#define VALUE_DAYS_9999 2932896   /* 9999-12-31, in days since 1970 */
#define VALUE_MICROS_DAY 86400000000

/* Days of a year that begins with March, as "-MM-DD" and two bytes more. */
extern const char value_month_days[366][8];

char *value_text_far_date(char *to, int32_t days);
char *value_text_far_timestamp(char *to, int64_t micros);

/* Year and day of the year by multiplication (C. Neri, L. Schneider, "Euclidean affine functions and their
 * application to calendar algorithms", 2022); the day of the year by table. `day` counts from 0000-03-01, and
 * is not before 0001-01-01 nor behind 9999-12-31. */
static inline char *value_text_day(char *to, uint32_t day)
{
    uint32_t quarters = 4 * day + 3;
    uint32_t century = quarters / 146097;
    uint64_t product = (uint64_t)2939745 * ((quarters % 146097) | 3);
    uint32_t day_of_year = (uint32_t)product / (2939745 * 4);
    uint32_t year = 100 * century + (uint32_t)(product >> 32) + (day_of_year >= 306);
    memcpy(to, value_pairs[year / 100], 2);
    memcpy(to + 2, value_pairs[year % 100], 2);
    memcpy(to + 4, value_month_days[day_of_year], 8);
    return to + 10;
}

static inline char *text_of_date(char *to, int32_t days)
{
    if ((uint32_t)days - (uint32_t)VALUE_DAYS_0001 > VALUE_DAYS_9999 - VALUE_DAYS_0001)
        return value_text_far_date(to, days);
    return value_text_day(to, (uint32_t)(days - VALUE_DAYS_0001 + 306));
}

/* "HH:MM:SS" of less than 100 hours, in one word: bytes 0, 3 and 6 are the numbers first, then their tens. */
static inline char *value_text_clock(char *to, uint32_t seconds)
{
    uint32_t minutes = seconds / 60, hours = minutes / 60;
    uint64_t numbers =
        hours | (uint64_t)(minutes - hours * 60) << 24 | (uint64_t)(seconds - minutes * 60) << 48;
    uint64_t tens = (numbers * 103 >> 10) & 0x000F00000F00000Fu;
    return digits_put_word(to, (tens | (numbers - tens * 10) << 8) + 0x30303A30303A3030u);
}

/* The fraction of a second, if there is any; 6 digits, zeros at the end left out. */
static inline char *value_text_micros(char *to, uint32_t micros)
{
    if (micros == 0)
        return to;
    *to = '.';
    return digits_put_trimmed(to + 1, micros * 100);
}

static inline char *text_of_timestamp(char *to, int64_t micros)
{
    uint64_t since_0001 = (uint64_t)micros - (uint64_t)(VALUE_DAYS_0001 * VALUE_MICROS_DAY);
    if (since_0001 >= (VALUE_DAYS_9999 - VALUE_DAYS_0001 + 1) * (uint64_t)VALUE_MICROS_DAY)
        return value_text_far_timestamp(to, micros);
    uint32_t day = (uint32_t)(since_0001 / VALUE_MICROS_DAY);
    uint64_t of_day = since_0001 % VALUE_MICROS_DAY;
    uint32_t second = (uint32_t)(of_day / 1000000);
    to = value_text_day(to, day + 306);
    *to = ' ';
    to = value_text_clock(to + 1, second);
    return value_text_micros(to, (uint32_t)(of_day - second * (uint64_t)1000000));
}

#endif
