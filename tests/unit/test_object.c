#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "object/file_link.h"
#include "object/store.h"

#define EXPIRES 1700000000

/* Computed with: printf '1700000000\nacme/a.csv' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f
 */
#define SIGNATURE "3e7aa7566552a70c25d234eaf5501e1bf8977141042a313c22c12f7fb18d163e"

static uint8_t secret[FILE_LINK_SECRET_SIZE];

static int fill_secret(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof secret; i++)
        secret[i] = (uint8_t)i;
    return 0;
}

static void a_link_is_signed_with_hmac(void **state)
{
    (void)state;
    _cleanup_free_ char *link = file_link_make(secret, "http://h:8000", "acme/a.csv", EXPIRES);
    assert_string_equal(link, "http://h:8000/files/acme/a.csv?expires=1700000000&signature=" SIGNATURE);
}

static void a_key_is_encoded_and_decoded(void **state)
{
    (void)state;
    const char *key = "a b+c%/\xC3\xA4?#&=~._-.csv";
    _cleanup_free_ char *link = file_link_make(secret, "", key, EXPIRES);
    const char *encoded = "/files/a%20b%2Bc%25/%C3%A4%3F%23%26%3D~._-.csv";
    assert_memory_equal(link, encoded, strlen(encoded));
    assert_int_equal(link[strlen(encoded)], '?');

    char decoded[64];
    assert_true(file_link_decode_key(encoded + strlen(FILE_LINK_PATH), decoded, sizeof decoded));
    assert_string_equal(decoded, key);
    assert_true(file_link_decode_key("a%2f+%c3%A4", decoded, sizeof decoded));
    assert_string_equal(decoded, "a/+\xC3\xA4");
    assert_true(file_link_decode_key("abc", decoded, 4));
    assert_false(file_link_decode_key("abcd", decoded, 4));
    const char *broken[] = {"", "%", "%4", "a%4", "%4g", "%g4", "%%", "a%00b", "%00", "% 1", "%+1"};
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
        assert_false(file_link_decode_key(broken[i], decoded, sizeof decoded));
}

static void a_link_holds_for_its_key_and_time(void **state)
{
    (void)state;
    struct error e;
    assert_true(file_link_verify(secret, "acme/a.csv", "1700000000", SIGNATURE, EXPIRES - 1, &e));
    assert_true(file_link_verify(secret, "acme/a.csv", "1700000000", SIGNATURE, 0, &e));
    assert_false(file_link_verify(secret, "acme/a.csv", "1700000000", SIGNATURE, EXPIRES, &e));
    assert_int_equal(e.code, ERROR_FORBIDDEN);
    assert_string_equal(e.message, "the link has expired");
}

static void an_altered_link_is_refused(void **state)
{
    (void)state;
    char upper[] = SIGNATURE, changed[] = SIGNATURE;
    for (char *c = upper; *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'f' ? *c - 32 : *c);
    assert_string_not_equal(upper, SIGNATURE);
    changed[63] = changed[63] == '0' ? '1' : '0';
    const struct {
        const char *key, *expires, *signature;
    } cases[] = {
        {"acme/b.csv", "1700000000", SIGNATURE},
        {"acme/a.csv\n", "1700000000", SIGNATURE},
        {"acme/a.csv", "1700000001", SIGNATURE},
        {"acme/a.csv", "01700000000", SIGNATURE},
        {"acme/a.csv", "+1700000000", SIGNATURE},
        {"acme/a.csv", " 1700000000", SIGNATURE},
        {"acme/a.csv", "1700000000 ", SIGNATURE},
        {"acme/a.csv", "-1", SIGNATURE},
        {"acme/a.csv", "", SIGNATURE},
        {"acme/a.csv", NULL, SIGNATURE},
        {"acme/a.csv", "99999999999999999999999999", SIGNATURE},
        {"acme/a.csv", "1700000000", changed},
        {"acme/a.csv", "1700000000", upper},
        {"acme/a.csv", "1700000000", SIGNATURE "0"},
        {"acme/a.csv", "1700000000", ""},
        {"acme/a.csv", "1700000000", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct error e = {0};
        if (file_link_verify(secret, cases[i].key, cases[i].expires, cases[i].signature, 0, &e))
            fail_msg("case %zu was taken", i);
        assert_int_equal(e.code, ERROR_FORBIDDEN);
        assert_string_equal(e.message, "the link's signature does not match");
    }
    uint8_t other[FILE_LINK_SECRET_SIZE] = {0};
    struct error e;
    assert_false(file_link_verify(other, "acme/a.csv", "1700000000", SIGNATURE, 0, &e));
}

static void segments(void **state)
{
    (void)state;
    char longest[OBJECT_LOCAL_SEGMENT_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[OBJECT_LOCAL_SEGMENT_MAX] = '\0';
    const char *good[] = {"a", "acme", "A-Z_09.csv", ".a", "a.", "-", longest};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(object_local_segment_ok(good[i]));
    char too_long[sizeof longest];
    memset(too_long, 'a', sizeof too_long);
    too_long[OBJECT_LOCAL_SEGMENT_MAX + 1] = '\0';
    const char *bad[] = {"",         ".",   "..",  "...",  "a/b", "/",     "a b",
                         "\xC3\xA4", "a\n", "a:b", "a\\b", "~",   too_long};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(object_local_segment_ok(bad[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_signed_with_hmac),
        cmocka_unit_test(a_key_is_encoded_and_decoded),
        cmocka_unit_test(a_link_holds_for_its_key_and_time),
        cmocka_unit_test(an_altered_link_is_refused),
        cmocka_unit_test(segments),
    };
    return cmocka_run_group_tests(tests, fill_secret, NULL);
}
