#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/secret_scan.h"

static const char token[] = "eyJhbGciOi.eyJlbWFpbCI6.AbCd-EfGh_IjKlMnOpQrStUvWxYz0123456789";

static struct secret_patterns *patterns(const char *secret)
{
    struct error e = {0};
    struct secret_patterns *p = secret_patterns_new(secret, &e);
    assert_non_null(p);
    return p;
}

/* Feeds `text` in pieces of every size up to 70. */
static void expect(const char *text, size_t length, bool found)
{
    struct secret_patterns *p = patterns(token);
    assert_int_equal(secret_in_text(p, text, length), found);
    for (size_t piece = 1; piece <= 70; piece++) {
        struct secret_scan scan;
        secret_scan_init(&scan, p);
        bool got = false;
        for (size_t at = 0; at < length; at += piece)
            got = secret_scan_feed(&scan, text + at, length - at < piece ? length - at : piece) || got;
        assert_int_equal(got, found);
    }
    secret_patterns_free(p);
}

static void it_is_found_in_every_form(void **state)
{
    (void)state;
    /* What Python's codecs make of it, with other bytes before and behind. */
    static const char *const texts[] = {
        "eyJhbGciOi.eyJlbWFpbCI6.AbCd-EfGh_IjKlMnOpQrStUvWxYz0123456789",
        "some,\"eyJhbGciOi.eyJlbWFpbCI6.AbCd-EfGh_IjKlMnOpQrStUvWxYz0123456789\"\n and more of it, longer than a window",
        "EYJHBGCIOI.EYJLBWFPBCI6.ABCD-EFGH_IJKLMNOPQRSTUVWXYZ0123456789",
        "9876543210zYxWvUtSrQpOnMlKjI_hGfE-dCbA.6ICbpFWblJye.iOicGbhJye",
        "65794a68624763694f692e65794a6c62574670624349362e416243642d4566"
        "47685f496a4b6c4d6e4f705172537455765778597a30313233343536373839",
        "65794A68624763694F692E65794A6C62574670624349362E416243642D4566"
        "47685F496A4B6C4D6E4F705172537455765778597A30313233343536373839",
        "ZXlKaGJHY2lPaS5leUpsYldGcGJDSTYuQWJDZC1FZkdoX0lqS2xNbk9wUXJTdFV2V3hZejAxMjM0NTY3ODk=",
        "YWV5SmhiR2NpT2kuZXlKbGJXRnBiQ0k2LkFiQ2QtRWZHaF9JaktsTW5PcFFyU3RVdld4WXowMTIzNDU2Nzg5", /* behind "a" */
        "YWJleUpoYkdjaU9pLmV5SmxiV0ZwYkNJNi5BYkNkLUVmR2hfSWpLbE1uT3BRclN0VXZXeFl6MDEyMzQ1Njc4OWM=", /* between "ab" and "c" */
        "Pz8-ZXlKaGJHY2lPaS5leUpsYldGcGJDSTYuQWJDZC1FZkdoX0lqS2xNbk9wUXJTdFV2V3hZejAxMjM0NTY3ODk=",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect(texts[i], strlen(texts[i]), true);
    /* its end is enough */
    expect(token + sizeof token - 1 - SECRET_WINDOW, SECRET_WINDOW, true);
}

static void honest_data_is_not(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "x", "eyJhbGciOi.eyJlbWFpbCI6.AbCd-EfGh_IjKlMnOpQrStUvWxYz012345678", /* one short */
        "eyJhbGciOi.eyJlbWFpbCI6.AbCd-EfGh_IjKlMnOpQrStUvWxYz0123456788",
        "MnOpQrStUvWxYz0123456789 and MnOpQrStUvWxYz0123456789 and MnOpQrStUvWxYz0123456789",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        expect(texts[i], strlen(texts[i]), false);
    struct secret_scan none;
    secret_scan_init(&none, NULL);
    assert_false(secret_scan_feed(&none, token, sizeof token));
    assert_false(secret_in_text(NULL, token, sizeof token));
}

static void lengths_have_limits(void **state)
{
    (void)state;
    struct error e = {0};
    assert_null(secret_patterns_new("fifteen bytes..", &e));
    assert_int_equal(e.code, ERROR_CONFIG);
    struct secret_patterns *p = patterns("sixteen bytes...");
    assert_true(secret_in_text(p, "it is sixteen bytes... long", 27));
    assert_true(secret_in_text(p, "c2l4dGVlbiBieXRlcy4uLg==", 24));
    secret_patterns_free(p);
    char *longest = calloc(1, SECRET_MAX + 2);
    memset(longest, 'a', SECRET_MAX);
    secret_patterns_free(patterns(longest));
    longest[SECRET_MAX] = 'a';
    assert_null(secret_patterns_new(longest, &e));
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_found_in_every_form),
        cmocka_unit_test(honest_data_is_not),
        cmocka_unit_test(lengths_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
