#include "base/digest.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

struct sha256 {
    EVP_MD_CTX *running;
    EVP_MD_CTX *copy; /* kept so that sha256_final cannot run out of memory */
};

struct sha256 *sha256_new(void)
{
    struct sha256 *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->running = EVP_MD_CTX_new();
    h->copy = EVP_MD_CTX_new();
    if (!h->running || !h->copy || !EVP_DigestInit_ex(h->running, EVP_sha256(), NULL)) {
        sha256_free(h);
        return NULL;
    }
    return h;
}

void sha256_free(struct sha256 *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->running);
    EVP_MD_CTX_free(h->copy);
    free(h);
}

void sha256_clear(struct sha256 *h)
{
    EVP_DigestInit_ex(h->running, NULL, NULL);
}

void sha256_update(struct sha256 *h, const void *data, size_t len)
{
    EVP_DigestUpdate(h->running, data, len);
}

void sha256_final(struct sha256 *h, uint8_t ret_digest[SHA256_BYTES])
{
    EVP_MD_CTX_copy_ex(h->copy, h->running);
    EVP_DigestFinal_ex(h->copy, ret_digest, NULL);
}

bool sha256_of(const void *data, size_t len, uint8_t ret_digest[SHA256_BYTES])
{
    return EVP_Digest(data, len, ret_digest, NULL, EVP_sha256(), NULL) == 1;
}

bool hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t ret_mac[SHA256_BYTES])
{
    return HMAC(EVP_sha256(), key, (int)key_len, data, len, ret_mac, NULL) != NULL;
}

void hex_encode(const uint8_t *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[data[i] >> 4];
        out[2 * i + 1] = digits[data[i] & 15];
    }
    out[2 * len] = '\0';
}

int hex_digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool equal_constant_time(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

bool random_bytes(void *out, size_t len, struct error *e)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = getrandom((char *)out + got, len - got, 0);
        if (n < 0 && errno != EINTR)
            return error_set_errno(e, ERROR_INTERNAL, errno, "cannot get random bytes");
        if (n > 0)
            got += (size_t)n;
    }
    return true;
}

bool uuid_random(char out[UUID_SIZE], struct error *e)
{
    uint8_t b[16];
    if (!random_bytes(b, sizeof b, e))
        return false;
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    char hex[33];
    hex_encode(b, sizeof b, hex);
    snprintf(out, UUID_SIZE, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return true;
}

bool uuid_parse(const char *text, char ret_uuid[UUID_SIZE])
{
    char lower[UUID_SIZE];
    for (size_t i = 0; i < UUID_SIZE - 1; i++) {
        char c = text[i];
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (c >= 'A' && c <= 'F')
            c = (char)(c - 'A' + 'a');
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (dash ? c != '-' : !hex) /* the final NUL is neither */
            return false;
        lower[i] = c;
    }
    if (text[UUID_SIZE - 1] != '\0')
        return false;
    lower[UUID_SIZE - 1] = '\0';
    memcpy(ret_uuid, lower, UUID_SIZE);
    return true;
}
