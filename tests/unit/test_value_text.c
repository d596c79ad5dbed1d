/* The text of typed values: what is known of each type's edges, every length of number, and that nothing is
 * written beyond the bounds, whatever the value. That it all equals the engine's is for
 * worker/test_value_differential.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "worker/value_text.h"

#define GUARD 16
#define MARK '\x7e'

static char text[VALUE_TEXT_MAX + GUARD];

/* Compares what was written up to `end`. */
static void expect(const char *end, const char *expected)
{
    assert_in_range(end - text, 0, VALUE_TEXT_MAX);
    text[end - text] = '\0';
    assert_string_equal(text, expected);
}

static void booleans_and_integers(void **state)
{
    (void)state;
    expect(text_of_bool(text, true), "true");
    expect(text_of_bool(text, false), "false");
    expect(text_of_int32(text, INT32_MIN), "-2147483648");
    expect(text_of_int32(text, INT32_MAX), "2147483647");
    expect(text_of_int32(text, -1), "-1");
    expect(text_of_uint32(text, UINT32_MAX), "4294967295");
    expect(text_of_int64(text, INT64_MIN), "-9223372036854775808");
    expect(text_of_int64(text, 0), "0");
    expect(text_of_uint64(text, UINT64_MAX), "18446744073709551615");
    expect(text_of_int128(text, INT64_MIN, 0), "-170141183460469231731687303715884105728");
    expect(text_of_int128(text, INT64_MAX, UINT64_MAX), "170141183460469231731687303715884105727");
    expect(text_of_int128(text, -1, UINT64_MAX), "-1");
    expect(text_of_int128(text, 1, 0), "18446744073709551616");
    expect(text_of_uint128(text, UINT64_MAX, UINT64_MAX), "340282366920938463463374607431768211455");
}

/* 9, 10, 11, 99, 100, 101, ... and the same below zero. */
static void numbers_of_every_length(void **state)
{
    (void)state;
    char expected[64];
    for (uint64_t power = 10, digits = 1; digits <= 19; digits++, power *= 10)
        for (int step = -1; step <= 1; step++) {
            uint64_t v = power + (uint64_t)(int64_t)step;
            snprintf(expected, sizeof expected, "%" PRIu64, v);
            expect(text_of_uint64(text, v), expected);
            expect(text_of_uint128(text, 0, v), expected);
            snprintf(expected, sizeof expected, "%" PRId64, -(int64_t)v);
            if (v <= INT64_MAX)
                expect(text_of_int64(text, -(int64_t)v), expected);
            snprintf(expected, sizeof expected, "%" PRIu32, (uint32_t)v);
            expect(text_of_uint32(text, (uint32_t)v), expected);
            snprintf(expected, sizeof expected, "%" PRId32, (int32_t)v);
            expect(text_of_int32(text, (int32_t)v), expected);
        }
    unsigned __int128 v = 1;
    memset(expected, '0', sizeof expected);
    expected[0] = '1';
    for (size_t digits = 1; digits <= 39; digits++, v *= 10) {
        expected[digits] = '\0';
        expect(text_of_uint128(text, (uint64_t)(v >> 64), (uint64_t)v), expected);
        expected[digits] = '0';
    }
}

static void decimals(void **state)
{
    (void)state;
    expect(text_of_decimal(text, 150, 4, 2), "1.50");
    expect(text_of_decimal(text, 5, 4, 2), "0.05");
    expect(text_of_decimal(text, -5, 4, 2), "-0.05");
    expect(text_of_decimal(text, 50, 2, 2), ".50"); /* no room for a digit before the point */
    expect(text_of_decimal(text, -5, 2, 2), "-.05");
    expect(text_of_decimal(text, 0, 2, 2), ".00");
    expect(text_of_decimal(text, -7, 9, 0), "-7");
    expect(text_of_decimal(text, 0, 9, 0), "0");
    expect(text_of_decimal(text, 999999999999999999, 18, 18), ".999999999999999999");
    expect(text_of_decimal(text, -999999999999999999, 18, 17), "-9.99999999999999999");
    expect(text_of_decimal(text, 123456789012345678, 18, 9), "123456789.012345678");
    expect(text_of_decimal(text, 123456789012345678, 18, 16), "12.3456789012345678");
    expect(text_of_decimal128(text, 0, 150, 38, 2), "1.50");
    expect(text_of_decimal128(text, -1, (uint64_t)-150, 38, 2), "-1.50");
    expect(text_of_decimal128(text, 0, 5, 38, 37), "0.0000000000000000000000000000000000005");
    expect(text_of_decimal128(text, 0, 5, 38, 38), ".00000000000000000000000000000000000005");
    expect(text_of_decimal128(text, -1, (uint64_t)-5, 38, 38), "-.00000000000000000000000000000000000005");
    expect(text_of_decimal128(text, 1, 0, 38, 0), "18446744073709551616");
    expect(text_of_decimal128(text, 1, 0, 38, 5), "184467440737095.51616");
    expect(text_of_decimal128(text, 0, 0, 38, 38), ".00000000000000000000000000000000000000");
}

static void doubles(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } known[] = {
        {0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-1, "-1.0"},
        {0.1, "0.1"},
        {0.3, "0.3"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100, "100.0"},
        {1e6, "1000000.0"},
        {999999999, "999999999.0"},
        {999999999.5, "999999999.5"},
        {1000000000.5, "1000000000.5"},
        {1e15, "1000000000000000.0"},
        {999999999999999, "999999999999999.0"},
        {1e15 + 0.5, "1000000000000000.5"},
        {9007199254740993, "9007199254740992.0"},
        {9999999999999998, "9999999999999998.0"},
        {1e16, "1e+16"},
        {1.5e16, "1.5e+16"},
        {1e23, "1e+23"},
        {9.5e-5, "9.5e-05"},
        {1e-5, "1e-05"},
        {0.0001, "0.0001"},
        {0.00012, "0.00012"},
        {0.000123456, "0.000123456"},
        {0.99999999999999989, "0.9999999999999999"},
        {123456.789012, "123456.789012"},
        {1234567.8901234, "1234567.8901234"},
        {12345678.901234, "12345678.901234"},
        {1e100, "1e+100"},
        {1e-100, "1e-100"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {-DBL_MIN, "-2.2250738585072014e-308"},
        {5e-324, "5e-324"},
        {HUGE_VAL, "inf"},
        {-HUGE_VAL, "-inf"},
        {0x1p51 + 0.5, "2251799813685248.5"},
        {0x1p80, "1.2089258196146292e+24"},
        /* the engine's mistakes */
        {0x1p81, "4.835703278458517e+24"},
        {-0x1p81, "-4.835703278458517e+24"},
        {0x1p91, "4.951760157141521e+27"},
        {0x1p807, "A.070116948172427e+242"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        expect(text_of_double(text, known[i].v), known[i].text);
    expect(text_of_double(text, copysign(NAN, 1)), "nan");
    expect(text_of_double(text, copysign(NAN, -1)), "-nan");
}

static void numbers_of_json(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *text;
    } known[] = {
        {0, "0.0"}, {-0.0, "-0.0"}, {1, "1.0"}, {-1.5, "-1.5"}, {0.1, "0.1"}, {0.1 + 0.2, "0.30000000000000004"},
        {(double)0.1f, "0.10000000149011612"}, {1e15, "1000000000000000.0"}, {1e16, "10000000000000000.0"},
        {1.5e20, "150000000000000000000.0"}, {123456789012345678901.0, "123456789012345680000.0"}, {1e21, "1e21"},
        {-1.25e21, "-1.25e21"}, {0.0001, "0.0001"}, {0.00001, "0.00001"}, {0.000001, "0.000001"},
        {-0.0000012345678901234567, "-0.0000012345678901234567"}, {9.9e-7, "9.9e-7"}, {1e-10, "1e-10"},
        {5e-324, "5e-324"}, {2.2250738585072014e-308, "2.2250738585072014e-308"}, {-1.7976931348623157e308, "-1.7976931348623157e308"},
        {0x1p81, "2.4178516392292583e24"}, /* where the engine's cast is mistaken, its JSON is not */
    };
    static const struct {
        int64_t v;
        unsigned scale;
        const char *text;
    } decimals_known[] = {
        {0, 0, "0.0"}, {0, 15, "0.0"}, {-7, 0, "-7.0"}, {100, 0, "100.0"}, {150, 2, "1.5"}, {-100, 2, "-1.0"}, {5, 2, "0.05"},
        {1, 6, "0.000001"}, {1, 7, "1e-7"}, {-12, 8, "-1.2e-7"}, {1, 15, "1e-15"}, {999999999999999, 15, "0.999999999999999"},
        {999999999999999, 0, "999999999999999.0"}, {-999999999999990, 1, "-99999999999999.0"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        expect(text_of_json_double(text, known[i].v), known[i].text);
    for (size_t i = 0; i < sizeof decimals_known / sizeof *decimals_known; i++)
        expect(text_of_json_decimal(text, decimals_known[i].v, decimals_known[i].scale), decimals_known[i].text);
}

static void floats(void **state)
{
    (void)state;
    static const struct {
        float v;
        const char *text;
    } known[] = {
        {0, "0.0"},
        {-0.0f, "-0.0"},
        {0.1f, "0.1"},
        {16777216, "16777216.0"},
        {3.4e38f, "3.4e+38"},
        {FLT_MAX, "3.4028235e+38"},
        {FLT_MIN, "1.1754944e-38"},
        {1e-45f, "1e-45"},
        {1e15f, "1000000000000000.0"},
        {1e16f, "1e+16"},
        {0.0001f, "0.0001"},
        {0.00001f, "1e-05"},
        {HUGE_VALF, "inf"},
        {-HUGE_VALF, "-inf"},
        /* where the engine gives the double's digits */
        {4194303.75f, "4194303.75"},
        {100000016, "100000016.0"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        expect(text_of_float(text, known[i].v), known[i].text);
    expect(text_of_float(text, copysignf(NAN, 1)), "nan");
    expect(text_of_float(text, copysignf(NAN, -1)), "-nan");
}

/* Every number of up to four digits, wherever its point is, is its own shortest text. */
static void short_decimals(void **state)
{
    (void)state;
    char expected[32];
    for (int places = 1; places <= 6; places++)
        for (int n = 1; n < 10000; n++) {
            if (n % 10 == 0)
                continue;
            snprintf(expected, sizeof expected, "%.*f", places, n / pow(10, places));
            double v = strtod(expected, NULL);
            if (v < 0.0001)
                continue;
            expect(text_of_double(text, v), expected);
            expect(text_of_float(text, strtof(expected, NULL)), expected);
        }
}

static void dates(void **state)
{
    (void)state;
    expect(text_of_date(text, 0), "1970-01-01");
    expect(text_of_date(text, -1), "1969-12-31");
    expect(text_of_date(text, 11016), "2000-02-29");
    expect(text_of_date(text, 11017), "2000-03-01");
    expect(text_of_date(text, VALUE_DAYS_0001), "0001-01-01");
    expect(text_of_date(text, VALUE_DAYS_0001 - 1), "0001-12-31 (BC)");
    expect(text_of_date(text, VALUE_DAYS_9999), "9999-12-31");
    expect(text_of_date(text, VALUE_DAYS_9999 + 1), "10000-01-01");
    expect(text_of_date(text, INT32_MAX - 1), "5881580-07-10");
    expect(text_of_date(text, -INT32_MAX + 1), "5877642-06-25 (BC)");
    expect(text_of_date(text, INT32_MAX), "infinity");
    expect(text_of_date(text, -INT32_MAX), "-infinity");
}

/* Against the C library's calendar, every day of the years 0001 to 9999. */
static void every_day(void **state)
{
    (void)state;
    for (int32_t day = VALUE_DAYS_0001; day <= VALUE_DAYS_9999; day++) {
        char expected[64];
        struct tm t;
        time_t seconds = (time_t)day * 86400;
        gmtime_r(&seconds, &t);
        snprintf(expected, sizeof expected, "%04d-%02d-%02d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday);
        expect(text_of_date(text, day), expected);
    }
}

static void times(void **state)
{
    (void)state;
    const int64_t day = 86400000000;
    expect(text_of_time(text, 0), "00:00:00");
    expect(text_of_time(text, 1), "00:00:00.000001");
    expect(text_of_time(text, 100000), "00:00:00.1");
    expect(text_of_time(text, day - 1), "23:59:59.999999");
    expect(text_of_time(text, day), "24:00:00");
    expect(text_of_time_ns(text, 1), "00:00:00.000000001");
    expect(text_of_time_ns(text, 1000), "00:00:00.000001");
    expect(text_of_time_ns(text, 120), "00:00:00.00000012");
    expect(text_of_time_ns(text, day * 1000 - 1), "23:59:59.999999999");
    expect(text_of_time_tz(text, 57599), "00:00:00+00");
    expect(text_of_time_tz(text, (uint64_t)(day - 1) << 24 | (57599 - 5400)), "23:59:59.999999+01:30");
    expect(text_of_time_tz(text, 0), "00:00:00+15:59:59");
    expect(text_of_time_tz(text, 57599 * 2), "00:00:00-15:59:59");
    expect(text_of_time_tz(text, 57599 - 18006), "00:00:00+05:06"); /* the engine's way: no minutes of zero */
}

/* The clock's word against arithmetic, every second of a day. */
static void every_second(void **state)
{
    (void)state;
    for (unsigned s = 0; s <= 86400; s++) {
        char expected[64];
        snprintf(expected, sizeof expected, "%02u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
        expect(text_of_time(text, (int64_t)s * 1000000), expected);
    }
}

static void timestamps(void **state)
{
    (void)state;
    expect(text_of_timestamp(text, 0), "1970-01-01 00:00:00");
    expect(text_of_timestamp(text, -1), "1969-12-31 23:59:59.999999");
    expect(text_of_timestamp(text, 1704164645500000), "2024-01-02 03:04:05.5");
    expect(text_of_timestamp(text, INT64_MAX), "infinity");
    expect(text_of_timestamp(text, -INT64_MAX), "-infinity");
    expect(text_of_timestamp(text, INT64_MAX - 1), "294247-01-10 04:00:54.775806");
    expect(text_of_timestamp(text, -9223372022400000000), "290309-12-22 (BC) 00:00:00");
    expect(text_of_timestamp(text, -62135596800000000), "0001-01-01 00:00:00");
    expect(text_of_timestamp(text, -62135596800000001), "0001-12-31 (BC) 23:59:59.999999");
    expect(text_of_timestamp(text, 253402300799999999), "9999-12-31 23:59:59.999999");
    expect(text_of_timestamp(text, 253402300800000000), "10000-01-01 00:00:00");
    expect(text_of_timestamp_s(text, 1704164645), "2024-01-02 03:04:05");
    expect(text_of_timestamp_s(text, INT64_MAX), "infinity");
    expect(text_of_timestamp_s(text, -INT64_MAX + 1), "292277022658-01-27 (BC) 08:29:54");
    expect(text_of_timestamp_ms(text, -1), "1969-12-31 23:59:59.999");
    expect(text_of_timestamp_ms(text, -INT64_MAX), "-infinity");
    expect(text_of_timestamp_ns(text, -1), "1969-12-31 23:59:59.999999999");
    expect(text_of_timestamp_ns(text, 1000), "1970-01-01 00:00:00.000001");
    expect(text_of_timestamp_ns(text, INT64_MAX), "infinity");
    expect(text_of_timestamp_ns(text, INT64_MAX - 1), "2262-04-11 23:47:16.854775806");
    expect(text_of_timestamp_tz(text, 1704164645500000), "2024-01-02 03:04:05.5+00");
    expect(text_of_timestamp_tz(text, -INT64_MAX), "-infinity");
    /* the engine's calendar has no odd milliseconds here */
    expect(text_of_timestamp_tz(text, 9007199254740993000), "287396-10-12 08:59:00.992+00");
    expect(text_of_timestamp(text, 9007199254740993000), "287396-10-12 08:59:00.993");
}

static void intervals(void **state)
{
    (void)state;
    expect(text_of_interval(text, 0, 0, 0), "00:00:00");
    expect(text_of_interval(text, 14, 3, 14706500000), "1 year 2 months 3 days 04:05:06.5");
    expect(text_of_interval(text, -1, -1, -1), "-1 month -1 day -00:00:00.000001");
    expect(text_of_interval(text, 12, 0, 0), "1 year");
    expect(text_of_interval(text, 0, 2, 0), "2 days");
    expect(text_of_interval(text, 0, 0, 90000000000), "25:00:00");
    expect(text_of_interval(text, 0, 0, 3600000000 * 1234), "1234:00:00");
    expect(text_of_interval(text, INT32_MIN, INT32_MIN, INT64_MIN),
           "-178956970 years -8 months -2147483648 days -2562047788:00:54.775808");
}

static void uuids(void **state)
{
    (void)state;
    expect(text_of_uuid(text, INT64_MIN, 0), "00000000-0000-0000-0000-000000000000");
    expect(text_of_uuid(text, INT64_MAX, UINT64_MAX), "ffffffff-ffff-ffff-ffff-ffffffffffff");
    expect(text_of_uuid(text, (int64_t)(0x0123456789abcdefull ^ 1ull << 63), 0xfedcba9876543210),
           "01234567-89ab-cdef-fedc-ba9876543210");
}

/* Any bits, also such as are no value of their type. */
static void nothing_is_written_beyond_the_bounds(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252; /* xorshift */
    memset(text, MARK, sizeof text);
    for (int i = 0; i < 2000000; i++) {
        uint64_t bits[2];
        for (int j = 0; j < 2; j++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            bits[j] = seed;
        }
        unsigned shorter = (unsigned)(bits[1] >> 58);
        int64_t n = i % 3 == 0 ? INT64_MIN + (int64_t)(bits[0] % 5) : (int64_t)bits[0] >> shorter;
        int32_t small = i % 3 == 0 ? INT32_MIN + (int32_t)(bits[0] % 5) : (int32_t)n;
        double twice;
        float single;
        memcpy(&twice, &bits[0], 8);
        memcpy(&single, &bits[0], 4);
        unsigned width = 1 + (unsigned)(bits[1] % 38), scale = (unsigned)(bits[1] / 64 % (width + 1));
        unsigned width_64 = 1 + (unsigned)(bits[1] % 18), scale_64 = (unsigned)(bits[1] / 64 % (width_64 + 1));
        assert_true(text_of_int32(text, small) - text <= TEXT_MAX_INT32);
        assert_true(text_of_int64(text, n) - text <= TEXT_MAX_INT64);
        assert_true(text_of_uint32(text, (uint32_t)small) - text <= TEXT_MAX_UINT32);
        assert_true(text_of_uint64(text, (uint64_t)n) - text <= TEXT_MAX_UINT64);
        assert_true(text_of_int128(text, n, bits[1]) - text <= TEXT_MAX_INT128);
        assert_true(text_of_uint128(text, (uint64_t)n, bits[1]) - text <= TEXT_MAX_UINT128);
        assert_true(text_of_float(text, single) - text <= TEXT_MAX_FLOAT);
        assert_true(text_of_double(text, twice) - text <= TEXT_MAX_DOUBLE);
        if (isfinite(twice))
            assert_true(text_of_json_double(text, twice) - text <= TEXT_MAX_JSON_DOUBLE);
        assert_true(text_of_json_decimal(text, n, scale_64) - text <= TEXT_MAX_JSON_DOUBLE);
        assert_true(text_of_decimal(text, n, width_64, scale_64) - text <= TEXT_MAX_DECIMAL);
        assert_true(text_of_decimal128(text, n, bits[1], width, scale) - text <= TEXT_MAX_DECIMAL128);
        assert_true(text_of_decimal128(text, -(n < 0), (uint64_t)n, width, scale) - text <= TEXT_MAX_DECIMAL128);
        assert_true(text_of_date(text, small) - text <= TEXT_MAX_DATE);
        assert_true(text_of_time(text, n) - text <= TEXT_MAX_TIME);
        assert_true(text_of_time_ns(text, n) - text <= TEXT_MAX_TIME_NS);
        assert_true(text_of_time_tz(text, (uint64_t)n) - text <= TEXT_MAX_TIME_TZ);
        assert_true(text_of_timestamp(text, n) - text <= TEXT_MAX_TIMESTAMP);
        assert_true(text_of_timestamp_s(text, n) - text <= TEXT_MAX_TIMESTAMP);
        assert_true(text_of_timestamp_ms(text, n) - text <= TEXT_MAX_TIMESTAMP);
        assert_true(text_of_timestamp_ns(text, n) - text <= TEXT_MAX_TIMESTAMP);
        assert_true(text_of_timestamp_tz(text, n) - text <= TEXT_MAX_TIMESTAMP_TZ);
        assert_true(text_of_interval(text, small, (int32_t)(bits[1]), n) - text <= TEXT_MAX_INTERVAL);
        assert_true(text_of_uuid(text, n, bits[1]) - text == TEXT_MAX_UUID);
    }
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(text[VALUE_TEXT_MAX + i], MARK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(booleans_and_integers),
        cmocka_unit_test(numbers_of_every_length),
        cmocka_unit_test(decimals),
        cmocka_unit_test(doubles),
        cmocka_unit_test(numbers_of_json),
        cmocka_unit_test(floats),
        cmocka_unit_test(short_decimals),
        cmocka_unit_test(dates),
        cmocka_unit_test(every_day),
        cmocka_unit_test(times),
        cmocka_unit_test(every_second),
        cmocka_unit_test(timestamps),
        cmocka_unit_test(intervals),
        cmocka_unit_test(uuids),
        cmocka_unit_test(nothing_is_written_beyond_the_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
