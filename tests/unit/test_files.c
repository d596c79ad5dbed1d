/* The pure parts of /files: ranges and headers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/cleanup.h"
#include "server/byte_range.h"
#include "server/file_headers.h"

static void ranges_follow_rfc_9110(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        uint64_t size;
        enum byte_range_answer answer;
        uint64_t first, length;
    } cases[] = {
        {NULL, 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=0-0", 1000, BYTE_RANGE_PART, 0, 1},
        {"bytes=0-499", 1000, BYTE_RANGE_PART, 0, 500},
        {"BYTES=500-999", 1000, BYTE_RANGE_PART, 500, 500},
        {"bytes=999-999", 1000, BYTE_RANGE_PART, 999, 1},
        {"bytes=999-1000", 1000, BYTE_RANGE_PART, 999, 1},
        {"bytes=0-18446744073709551615", 1000, BYTE_RANGE_PART, 0, 1000},
        {"bytes=1-99999999999999999999999", 1000, BYTE_RANGE_PART, 1, 999},
        {"bytes=500-", 1000, BYTE_RANGE_PART, 500, 500},
        {"bytes=0-", 1000, BYTE_RANGE_PART, 0, 1000},
        {"bytes=-1", 1000, BYTE_RANGE_PART, 999, 1},
        {"bytes=-1000", 1000, BYTE_RANGE_PART, 0, 1000},
        {"bytes=-99999999999999999999999", 1000, BYTE_RANGE_PART, 0, 1000},
        {"bytes=007-08", 1000, BYTE_RANGE_PART, 7, 2},
        {"bytes=0-", UINT64_MAX, BYTE_RANGE_PART, 0, UINT64_MAX},

        {"bytes=1000-", 1000, BYTE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=1000-1001", 1000, BYTE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999-", 1000, BYTE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 1000, BYTE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, BYTE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-0", 0, BYTE_RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-5", 0, BYTE_RANGE_WHOLE, 0, 0},

        {"", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=-", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=--1", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=+1-2", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=2-1", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=1", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=1-2x", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=1-2,4-5", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=1-2, 4-5", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=-5,1-2", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes= 1-2", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes=0x1-2", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"items=1-2", 1000, BYTE_RANGE_WHOLE, 0, 1000},
        {"bytes =1-2", 1000, BYTE_RANGE_WHOLE, 0, 1000},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct byte_range range;
        enum byte_range_answer answer = byte_range_parse(cases[i].header, cases[i].size, &range);
        if (answer != cases[i].answer)
            fail_msg("case %zu, '%s': answer %d", i, cases[i].header, answer);
        if (answer == BYTE_RANGE_UNSATISFIABLE)
            continue;
        if (range.first != cases[i].first || range.length != cases[i].length)
            fail_msg("case %zu, '%s': the wrong bytes", i, cases[i].header);
    }
}

#define ID "0b4c2c1e-3f0e-4b7a-9a51-000000000001"

static void a_file_is_saved_under_the_downloads_name(void **state)
{
    (void)state;
    static const struct {
        const char *key, *name;
    } cases[] = {
        {"acme/" ID ".csv", "attachment; filename=\"" ID ".csv\""},
        {"acme/" ID "-2.csv", "attachment; filename=\"" ID ".csv\""},
        {"acme/" ID "-12.parquet", "attachment; filename=\"" ID ".parquet\""},
        {"acme/" ID ".csv.gz", "attachment; filename=\"" ID ".csv.gz\""},
        {"acme/" ID "-2.csv.gz", "attachment; filename=\"" ID ".csv.gz\""},
        {"acme/" ID "-4294967295.ndjson.zst", "attachment; filename=\"" ID ".ndjson.zst\""},
        {"acme/" ID, "attachment; filename=\"" ID "\""},
        {"a.cme/x", "attachment; filename=\"x\""},
        {"acme/x.csv", "attachment; filename=\"x.csv\""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char out[FILE_DISPOSITION_SIZE];
        file_disposition(cases[i].key, out);
        assert_string_equal(out, cases[i].name);
    }
}

static void dates_are_those_of_the_rfc(void **state)
{
    (void)state;
    char out[HTTP_DATE_SIZE];
    http_date_format(784111777, out);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
    http_date_format(1709210096, out);
    assert_string_equal(out, "Thu, 29 Feb 2024 12:34:56 GMT");
}

static void entity_tags_differ_and_are_found(void **state)
{
    (void)state;
    char a[FILE_ETAG_SIZE], b[FILE_ETAG_SIZE];
    file_etag(0x10, 0x20, 0x30, a);
    assert_string_equal(a, "\"10-20-30\"");
    file_etag(UINT64_MAX, -1, UINT64_MAX, b);
    assert_int_equal(strlen(b), 3 * 16 + 4);
    assert_true(etag_is_listed("\"10-20-30\"", a));
    assert_true(etag_is_listed("*", a));
    assert_true(etag_is_listed("W/\"10-20-30\"", a));
    assert_true(etag_is_listed("\"x\", W/\"y\" ,\"10-20-30\"", a));
    assert_true(etag_is_listed(" \"x,\",\"10-20-30\" ", a));
    const char *others[] = {"",   "\"",   "10-20-30", "\"10-20-3\"", "\"10-20-30", "\"x\" 10-20-30", ",",
                            "W/", "\"\"", b};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(etag_is_listed(others[i], a));

    const char *date = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_true(if_range_holds(NULL, a, date));
    assert_true(if_range_holds(a, a, date));
    assert_true(if_range_holds(date, a, date));
    assert_false(if_range_holds("W/\"10-20-30\"", a, date)); /* only a strong tag will do */
    assert_false(if_range_holds(b, a, date));
    assert_false(if_range_holds("Sun, 06 Nov 1994 08:49:38 GMT", a, date));
    assert_false(if_range_holds("", a, date));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_follow_rfc_9110),
        cmocka_unit_test(a_file_is_saved_under_the_downloads_name),
        cmocka_unit_test(dates_are_those_of_the_rfc),
        cmocka_unit_test(entity_tags_differ_and_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
