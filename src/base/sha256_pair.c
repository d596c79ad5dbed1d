#include "base/sha256_pair.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#define BLOCK 64

/* One of the two hashes, between updates. */
struct stream {
    uint32_t state[8]; /* A to H of FIPS 180-4, 6.2 */
    uint64_t length;
    uint8_t tail[BLOCK]; /* length % BLOCK bytes that are not hashed yet */
};

struct sha256_pair {
    bool parts;
    bool same; /* the part began with the file: the file's hash is the part's as well */
    struct stream file, part;
    struct sha256 *file_openssl, *part_openssl; /* instead of the above; NULL: not */
};

static bool openssl_only;

static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

#if defined(__x86_64__)

static const uint32_t constants[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define WITH_SHA __attribute__((target("sha,sse4.1")))

/* The instructions want A, B, E, F in one register and C, D, G, H in another, the first named on top. */
struct registers {
    __m128i abef, cdgh;
};

WITH_SHA static inline struct registers load(const uint32_t state[8])
{
    __m128i dcba = _mm_loadu_si128((const __m128i *)state), hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
    __m128i badc = _mm_shuffle_epi32(dcba, 0xB1), efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    return (struct registers){_mm_alignr_epi8(badc, efgh, 8), _mm_blend_epi16(efgh, badc, 0xF0)};
}

WITH_SHA static inline void store(struct registers r, uint32_t state[8])
{
    __m128i feba = _mm_shuffle_epi32(r.abef, 0x1B), dchg = _mm_shuffle_epi32(r.cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* Four rounds with four words of the message schedule, to which their constants have been added. */
WITH_SHA static inline void rounds(struct registers *r, __m128i words)
{
    r->cdgh = _mm_sha256rnds2_epu32(r->cdgh, r->abef, words);
    r->abef = _mm_sha256rnds2_epu32(r->abef, r->cdgh, _mm_shuffle_epi32(words, 0x0E));
}

/* Hashes whole blocks into `a`, and into `b` as well where it is one, from one schedule: `w` holds its latest four quads
 * of words. Where `to` is not NULL the blocks are copied there, which costs nothing beside the waits of the rounds. */
WITH_SHA static inline __attribute__((always_inline)) void compress(uint32_t *a, uint32_t *b, const uint8_t *data,
                                                                    size_t blocks, uint8_t *to)
{
    const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    struct registers x = load(a), y = b ? load(b) : x;
    for (; blocks > 0; blocks--, data += BLOCK) {
        struct registers x_before = x, y_before = y;
        __m128i w[4];
#pragma GCC unroll 16
        for (unsigned i = 0; i < 16; i++) {
            __m128i *now = &w[i % 4], last = w[(i + 3) % 4];
            if (i < 4) {
                __m128i bytes = _mm_loadu_si128((const __m128i *)data + i);
                if (to)
                    _mm_storeu_si128((__m128i *)to + i, bytes);
                *now = _mm_shuffle_epi8(bytes, big_endian);
            } else {
                *now = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) % 4]),
                                                          _mm_alignr_epi8(last, w[(i + 2) % 4], 4)),
                                            last);
            }
            __m128i words = _mm_add_epi32(*now, _mm_load_si128((const __m128i *)constants + i));
            rounds(&x, words);
            if (b)
                rounds(&y, words);
        }
        if (to)
            to += BLOCK;
        x.abef = _mm_add_epi32(x.abef, x_before.abef);
        x.cdgh = _mm_add_epi32(x.cdgh, x_before.cdgh);
        y.abef = _mm_add_epi32(y.abef, y_before.abef);
        y.cdgh = _mm_add_epi32(y.cdgh, y_before.cdgh);
    }
    store(x, a);
    if (b)
        store(y, b);
}

/* Each of the four becomes a loop of its own. */
WITH_SHA static void hash_blocks(uint32_t *a, uint32_t *b_or_null, const uint8_t *data, size_t blocks, uint8_t *to_or_null)
{
    if (b_or_null && to_or_null)
        compress(a, b_or_null, data, blocks, to_or_null);
    else if (b_or_null)
        compress(a, b_or_null, data, blocks, NULL);
    else if (to_or_null)
        compress(a, NULL, data, blocks, to_or_null);
    else
        compress(a, NULL, data, blocks, NULL);
}

bool sha256_pair_is_native(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_1) && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA);
}

#else

static void hash_blocks(uint32_t *a, uint32_t *b_or_null, const uint8_t *data, size_t blocks, uint8_t *to_or_null)
{
    (void)a, (void)b_or_null, (void)data, (void)blocks, (void)to_or_null;
    abort(); /* OpenSSL does it all */
}

bool sha256_pair_is_native(void)
{
    return false;
}

#endif

static void stream_begin(struct stream *s)
{
    memcpy(s->state, initial, sizeof s->state);
    s->length = 0;
}

/* `b` is NULL, or a stream that is as far from its next block as `a`; `to` is NULL, or where the bytes are copied. */
static void feed(struct stream *a, struct stream *b, const uint8_t *data, size_t length, uint8_t *to)
{
    size_t begun = a->length % BLOCK, n = 0;
    a->length += length;
    if (b)
        b->length += length;
    if (begun > 0) {
        n = length < BLOCK - begun ? length : BLOCK - begun;
        memcpy(a->tail + begun, data, n);
        if (b)
            memcpy(b->tail + begun, data, n);
        if (to)
            to = (uint8_t *)memcpy(to, data, n) + n;
        if (begun + n < BLOCK)
            return;
        hash_blocks(a->state, b ? b->state : NULL, a->tail, 1, NULL);
    }
    size_t blocks = (length - n) / BLOCK, rest = (length - n) % BLOCK;
    hash_blocks(a->state, b ? b->state : NULL, data + n, blocks, to);
    data += n + blocks * BLOCK;
    memcpy(a->tail, data, rest);
    if (b)
        memcpy(b->tail, data, rest);
    if (to)
        memcpy(to + blocks * BLOCK, data, rest);
}

static void put_big_endian(uint8_t *to, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

/* Pads as FIPS 180-4, 5.1.1 has it. */
static void stream_digest(const struct stream *s, uint8_t digest[SHA256_BYTES])
{
    uint8_t end[2 * BLOCK] = {0};
    uint32_t state[8];
    size_t tail = s->length % BLOCK, size = tail < BLOCK - 8 ? BLOCK : 2 * BLOCK;
    memcpy(state, s->state, sizeof state);
    memcpy(end, s->tail, tail);
    end[tail] = 0x80;
    put_big_endian(end + size - 8, 8 * s->length, 8);
    hash_blocks(state, NULL, end, size / BLOCK, NULL);
    for (unsigned i = 0; i < 8; i++)
        put_big_endian(digest + 4 * i, state[i], 4);
}

struct sha256_pair *sha256_pair_new(bool parts)
{
    struct sha256_pair *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->parts = parts;
    p->same = true;
    stream_begin(&p->file);
    if (openssl_only || !sha256_pair_is_native()) {
        p->file_openssl = sha256_new();
        p->part_openssl = parts ? sha256_new() : NULL;
        if (!p->file_openssl || (parts && !p->part_openssl)) {
            sha256_pair_free(p);
            return NULL;
        }
    }
    return p;
}

void sha256_pair_free(struct sha256_pair *p)
{
    if (!p)
        return;
    sha256_free(p->file_openssl);
    sha256_free(p->part_openssl);
    free(p);
}

void sha256_pair_copy(struct sha256_pair *p, void *to, const void *data, size_t length)
{
    bool two = p->parts && !p->same;
    if (length == 0)
        return;
    if (p->file_openssl) {
        sha256_update(p->file_openssl, data, length);
        if (two)
            sha256_update(p->part_openssl, data, length);
        if (to)
            memcpy(to, data, length);
    } else if (!two) {
        feed(&p->file, NULL, data, length, to);
    } else if (p->file.length % BLOCK == p->part.length % BLOCK) {
        feed(&p->file, &p->part, data, length, to);
    } else {
        feed(&p->file, NULL, data, length, to);
        feed(&p->part, NULL, data, length, NULL);
    }
}

void sha256_pair_update(struct sha256_pair *p, const void *data, size_t length)
{
    sha256_pair_copy(p, NULL, data, length);
}

void sha256_pair_cut(struct sha256_pair *p, uint8_t ret_part[SHA256_BYTES])
{
    if (p->same)
        sha256_pair_final(p, ret_part);
    else if (p->part_openssl)
        sha256_final(p->part_openssl, ret_part);
    else
        stream_digest(&p->part, ret_part);
    p->same = false;
    stream_begin(&p->part);
    if (p->part_openssl)
        sha256_clear(p->part_openssl);
}

void sha256_pair_final(struct sha256_pair *p, uint8_t ret_file[SHA256_BYTES])
{
    if (p->file_openssl)
        sha256_final(p->file_openssl, ret_file);
    else
        stream_digest(&p->file, ret_file);
}

void sha256_pair_use_openssl(bool on)
{
    openssl_only = on;
}
