/* sha256_pair.h against OpenSSL: random bytes, pieces, parts and alignments, with and without SHA instructions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256_pair.h"

#define SIZE (1u << 20)

static uint8_t data[SIZE + 64], copy[SIZE + 128];
static uint64_t seed;

static uint64_t next(uint64_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % below;
}

static void fill(uint64_t with)
{
    seed = with;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)next(256);
}

static void assert_digest(const uint8_t *got, const void *bytes, size_t length)
{
    uint8_t wanted[SHA256_BYTES];
    assert_true(sha256_of(bytes, length, wanted));
    assert_memory_equal(got, wanted, SHA256_BYTES);
}

/* Lengths around the edges of a block are as likely as others. */
static size_t piece(size_t left)
{
    static const size_t edges[] = {0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129};
    size_t n = next(2) ? edges[next(ARRAY_SIZE(edges))] : next(4) ? next(5000) : next(200000);
    return n < left ? n : left;
}

/* One file in parts of `part_size` bytes, 0: of random ones, in random pieces from and to random alignments. */
static void run(size_t length, size_t part_size, bool parts, bool copies)
{
    struct sha256_pair *p = sha256_pair_new(parts);
    assert_non_null(p);
    uint8_t digest[SHA256_BYTES], *from = data + next(64), *to = copy + 32 + next(32);
    memset(copy, 0xA5, sizeof copy);
    size_t at = 0, part_at = 0;
    while (at < length) {
        size_t part_end = part_size ? part_at + part_size : at + piece(length - at);
        if (part_end > length)
            part_end = length;
        while (at < part_end) {
            size_t n = piece(part_end - at);
            if (copies)
                sha256_pair_copy(p, to + at, from + at, n);
            else
                sha256_pair_update(p, from + at, n);
            at += n;
            if (next(50) == 0) { /* a look at the file's hash changes nothing */
                sha256_pair_final(p, digest);
                assert_digest(digest, from, at);
            }
        }
        if (parts) {
            sha256_pair_cut(p, digest);
            assert_digest(digest, from + part_at, at - part_at);
        }
        part_at = at;
    }
    sha256_pair_final(p, digest);
    assert_digest(digest, from, length);
    sha256_pair_free(p);
    if (copies) {
        assert_memory_equal(to, from, length);
        for (size_t i = 0; i < sizeof copy; i++)
            if (copy + i < to || copy + i >= to + length)
                assert_int_equal(copy[i], 0xA5);
    }
}

static void run_all(void)
{
    static const size_t part_sizes[] = {0, 64, 4096, 1000, 65536, 99999, SIZE};
    for (uint64_t i = 0; i < 24; i++) {
        fill(i);
        for (size_t j = 0; j < ARRAY_SIZE(part_sizes); j++) {
            size_t length = i < 4 ? i * 64 + next(3) : next(SIZE / 4);
            if (part_sizes[j] == 64)
                length = next(5000);
            run(length, part_sizes[j], true, next(2));
            run(length, part_sizes[j], false, next(2));
        }
    }
    run(SIZE, SIZE, true, true);
}

static void test_native(void **state)
{
    (void)state;
    if (!sha256_pair_is_native())
        skip();
    run_all();
}

static void test_openssl(void **state)
{
    (void)state;
    sha256_pair_use_openssl(true);
    run_all();
    sha256_pair_use_openssl(false);
}

/* FIPS 180-4's own examples; whatever computes. */
static void test_known(void **state)
{
    (void)state;
    static const struct {
        const char *text, *hex;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < 2 * ARRAY_SIZE(known); i++) {
        uint8_t digest[SHA256_BYTES];
        char hex[SHA256_HEX_SIZE];
        sha256_pair_use_openssl(i % 2);
        struct sha256_pair *p = sha256_pair_new(true);
        sha256_pair_update(p, "part", 4);
        sha256_pair_cut(p, digest);
        sha256_pair_update(p, known[i / 2].text, strlen(known[i / 2].text));
        sha256_pair_cut(p, digest);
        hex_encode(digest, sizeof digest, hex);
        assert_string_equal(hex, known[i / 2].hex);
        sha256_pair_free(p);
    }
    sha256_pair_use_openssl(false);
    sha256_pair_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_openssl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
