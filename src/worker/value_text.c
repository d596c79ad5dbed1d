#include "worker/value_text.h"

typedef unsigned __int128 uint128;

#define SECONDS_PER_DAY 86400
#define NANOS_PER_DAY 86400000000000
#define TIME_TZ_OFFSET_MAX 57599 /* 15:59:59 in seconds */

static char *put_text(char *to, const char *text)
{
    size_t length = strlen(text);
    memcpy(to, text, length);
    return to + length;
}

/* --- 128 bits --- */

static uint128 join(uint64_t upper, uint64_t lower)
{
    return (uint128)upper << 64 | lower;
}

static char *put_128(char *to, uint128 v)
{
    if (v >> 64 == 0)
        return digits_put(to, (uint64_t)v);
    uint128 upper = v / DIGITS_16;
    return digits_put_16(put_128(to, upper), (uint64_t)(v % DIGITS_16));
}

/* The sign of a number in two's complement, and its absolute value. */
static char *put_sign(char *to, int64_t upper, uint64_t lower, uint128 *ret_absolute)
{
    uint128 v = join((uint64_t)upper, lower);
    *ret_absolute = upper < 0 ? 0 - v : v;
    *to = '-';
    return to + (upper < 0);
}

char *text_of_uint128(char *to, uint64_t upper, uint64_t lower)
{
    return put_128(to, join(upper, lower));
}

char *text_of_int128(char *to, int64_t upper, uint64_t lower)
{
    uint128 v;
    to = put_sign(to, upper, lower, &v);
    return put_128(to, v);
}

char *text_of_decimal128(char *to, int64_t upper, uint64_t lower, unsigned width, unsigned scale)
{
    uint128 v;
    if (scale < 19 && upper == (int64_t)lower >> 63 && lower != (uint64_t)INT64_MIN)
        return text_of_decimal(to, (int64_t)lower, width, scale);
    to = put_sign(to, upper, lower, &v);
    if (scale == 0)
        return put_128(to, v);
    /* All digits, with zeros in front, so that the point has its place. */
    char digits[48 + 8];
    char *end = digits_put_16(digits, (uint64_t)(v / DIGITS_16 / DIGITS_16));
    end = digits_put_16(end, (uint64_t)(v / DIGITS_16 % DIGITS_16));
    end = digits_put_16(end, (uint64_t)(v % DIGITS_16));
    const char *point = end - scale, *first = digits;
    while (first < point && *first == '0')
        first++;
    if (first == point && width > scale)
        first--;
    memcpy(to, first, (size_t)(point - first));
    to += point - first;
    *to++ = '.';
    memcpy(to, point, scale);
    return to + scale;
}

/* --- dates and times --- */

/* A year that is not 0001 to 9999, and with it the day of the year. `days` since 1970. */
static char *put_far_day(char *to, int64_t days, const char **ret_era)
{
    /* so much later all is positive, even what 64 bits of seconds hold; 400 years are 146,097 days */
    const int64_t later = 1000000000;
    uint64_t day = (uint64_t)(days - VALUE_DAYS_0001 + 306 + later * 146097);
    uint64_t quarters = 4 * day + 3;
    uint64_t product = (uint64_t)2939745 * ((quarters % 146097) | 3);
    uint32_t day_of_year = (uint32_t)product / (2939745 * 4);
    int64_t year =
        (int64_t)(100 * (quarters / 146097) + (product >> 32)) + (day_of_year >= 306) - later * 400;
    *ret_era = year <= 0 ? " (BC)" : "";
    if (year <= 0)
        year = 1 - year;
    to = year < 10000 ? digits_put_padded(to, (uint64_t)year, 4) : digits_put(to, (uint64_t)year);
    memcpy(to, value_month_days[day_of_year], 8);
    return to + 6;
}

char *value_text_far_date(char *to, int32_t days)
{
    const char *era;
    if (days == INT32_MAX)
        return put_text(to, "infinity");
    if (days == -INT32_MAX)
        return put_text(to, "-infinity");
    to = put_far_day(to, days, &era);
    return put_text(to, era);
}

/* Hours of as many digits as there are, minutes and seconds: for what is no time of a day. */
static char *put_long_clock(char *to, uint64_t seconds)
{
    char clock[8];
    uint64_t hours = seconds / 3600;
    if (hours < 100)
        return value_text_clock(to, (uint32_t)seconds);
    value_text_clock(clock, (uint32_t)(seconds % 3600));
    to = digits_put(to, hours);
    memcpy(to, clock + 2, 6);
    return to + 6;
}

/* Up to nine digits, zeros at the end left out. */
static char *put_nanos(char *to, uint32_t nanos)
{
    if (nanos % 1000 == 0)
        return value_text_micros(to, nanos / 1000);
    *to = '.';
    digits_put_8(to + 1, nanos / 10);
    to[9] = (char)('0' + nanos % 10);
    to += 10;
    while (to[-1] == '0')
        to--;
    return to;
}

char *text_of_time(char *to, int64_t micros)
{
    uint64_t v = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
    *to = '-';
    to = put_long_clock(to + (micros < 0), v / 1000000);
    return value_text_micros(to, (uint32_t)(v % 1000000));
}

char *text_of_time_ns(char *to, int64_t nanos)
{
    uint64_t v = nanos < 0 ? 0 - (uint64_t)nanos : (uint64_t)nanos;
    *to = '-';
    to = put_long_clock(to + (nanos < 0), v / 1000000000);
    return put_nanos(to, (uint32_t)(v % 1000000000));
}

/* The time of the day in 40 bits, above it 15:59:59 minus the offset, in 24 bits. */
char *text_of_time_tz(char *to, uint64_t bits)
{
    int32_t offset = TIME_TZ_OFFSET_MAX - (int32_t)(bits & 0xFFFFFF);
    uint32_t seconds = (uint32_t)(offset < 0 ? -offset : offset);
    char clock[8];
    to = text_of_time(to, (int64_t)(bits >> 24));
    *to++ = offset < 0 ? '-' : '+';
    if (seconds / 3600 >= 100)
        to = digits_put(to, seconds / 3600 / 100);
    value_text_clock(clock, seconds % 360000);
    memcpy(to, clock, 2);
    to += 2;
    if (seconds % 3600 >= 60) {
        memcpy(to, clock + 2, 3);
        to += 3;
    }
    if (seconds % 60) { /* the engine writes no minutes of zero even here: "+05:06" is five hours and six seconds */
        memcpy(to, clock + 5, 3);
        to += 3;
    }
    return to;
}

/* A timestamp of any year: days since 1970, and the time of that day. */
static char *put_far_timestamp(char *to, int64_t day, uint32_t second, uint32_t micros)
{
    const char *era;
    to = put_far_day(to, day, &era);
    to = put_text(to, era);
    *to++ = ' ';
    return value_text_micros(value_text_clock(to, second), micros);
}

/* v / divisor, rounded down, and the rest. */
static int64_t divide_floor(int64_t v, int64_t divisor, int64_t *ret_rest)
{
    int64_t quotient = v / divisor - (v % divisor < 0);
    *ret_rest = v % divisor + (v % divisor < 0 ? divisor : 0);
    return quotient;
}

/* NULL, or what is written of infinity. */
static char *put_infinite(char *to, int64_t v)
{
    return v == INT64_MAX ? put_text(to, "infinity") : v == -INT64_MAX ? put_text(to, "-infinity") : NULL;
}

char *value_text_far_timestamp(char *to, int64_t micros)
{
    char *end = put_infinite(to, micros);
    if (end)
        return end;
    int64_t of_day, day = divide_floor(micros, VALUE_MICROS_DAY, &of_day);
    return put_far_timestamp(to, day, (uint32_t)(of_day / 1000000), (uint32_t)(of_day % 1000000));
}

char *text_of_timestamp_s(char *to, int64_t seconds)
{
    int64_t micros, of_day;
    char *end = put_infinite(to, seconds);
    if (end)
        return end;
    if (!__builtin_mul_overflow(seconds, 1000000, &micros))
        return text_of_timestamp(to, micros);
    int64_t day = divide_floor(seconds, SECONDS_PER_DAY, &of_day);
    return put_far_timestamp(to, day, (uint32_t)of_day, 0);
}

char *text_of_timestamp_ms(char *to, int64_t millis)
{
    int64_t micros, of_day;
    char *end = put_infinite(to, millis);
    if (end)
        return end;
    if (!__builtin_mul_overflow(millis, 1000, &micros))
        return text_of_timestamp(to, micros);
    int64_t day = divide_floor(millis, SECONDS_PER_DAY * INT64_C(1000), &of_day);
    return put_far_timestamp(to, day, (uint32_t)(of_day / 1000), (uint32_t)(of_day % 1000 * 1000));
}

/* Every one is of a year from 1677 to 2262. */
char *text_of_timestamp_ns(char *to, int64_t nanos)
{
    char *end = put_infinite(to, nanos);
    if (end)
        return end;
    int64_t of_day, day = divide_floor(nanos, NANOS_PER_DAY, &of_day);
    to = value_text_day(to, (uint32_t)(day - VALUE_DAYS_0001 + 306));
    *to = ' ';
    to = value_text_clock(to + 1, (uint32_t)(of_day / 1000000000));
    return put_nanos(to, (uint32_t)(of_day % 1000000000));
}

/* The engine's calendar counts milliseconds in a double, which beyond 2^53 (years 283396 (BC) and 287396) has no
 * odd ones. */
static char *put_far_timestamp_tz(char *to, int64_t micros)
{
    int64_t of_milli, of_day, milli = divide_floor(micros, 1000, &of_milli);
    int64_t day = divide_floor((int64_t)(double)milli, SECONDS_PER_DAY * INT64_C(1000), &of_day);
    return put_far_timestamp(to, day, (uint32_t)(of_day / 1000), (uint32_t)(of_day % 1000 * 1000 + of_milli));
}

char *text_of_timestamp_tz(char *to, int64_t micros)
{
    char *end = put_infinite(to, micros);
    if (end)
        return end;
    if (micros >= -(INT64_C(1000) << 53) && micros <= INT64_C(1000) << 53)
        end = text_of_timestamp(to, micros);
    else
        end = put_far_timestamp_tz(to, micros);
    return put_text(end, "+00");
}

/* " 5 months"; nothing of 0. */
static char *put_unit(char *to, const char *begin, int32_t v, const char *unit)
{
    if (v == 0)
        return to;
    if (to != begin)
        *to++ = ' ';
    to = put_text(text_of_int32(to, v), unit);
    if (v != 1 && v != -1)
        *to++ = 's';
    return to;
}

char *text_of_interval(char *to, int32_t months, int32_t days, int64_t micros)
{
    const char *begin = to;
    to = put_unit(to, begin, months / 12, " year");
    to = put_unit(to, begin, months % 12, " month");
    to = put_unit(to, begin, days, " day");
    if (micros == 0 && to != begin)
        return to;
    if (to != begin)
        *to++ = ' ';
    return text_of_time(to, micros);
}

/* --- bytes --- */

static char *put_hex_8(char *to, uint32_t v)
{
    uint64_t x = __builtin_bswap32(v); /* a nibble a byte, the first lowest */
    x = (x | x << 16) & 0x0000FFFF0000FFFFu;
    x = (x | x << 8) & 0x00FF00FF00FF00FFu;
    x = (x >> 4 | x << 8) & 0x0F0F0F0F0F0F0F0Fu;
    uint64_t letters = (x + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    return digits_put_word(to, x + DIGITS_ASCII + letters * ('a' - '0' - 10));
}

char *text_of_uuid(char *to, int64_t upper, uint64_t lower)
{
    uint64_t first = (uint64_t)upper ^ (uint64_t)1 << 63;
    put_hex_8(to, (uint32_t)(first >> 32));
    put_hex_8(to + 28, (uint32_t)lower);
    char middle[16];
    put_hex_8(put_hex_8(middle, (uint32_t)first), (uint32_t)(lower >> 32));
    to[8] = to[13] = to[18] = to[23] = '-';
    memcpy(to + 9, middle, 4);
    memcpy(to + 14, middle + 4, 4);
    memcpy(to + 19, middle + 8, 4);
    memcpy(to + 24, middle + 12, 4);
    return to + TEXT_MAX_UUID;
}
