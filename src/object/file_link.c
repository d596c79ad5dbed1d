#include "object/file_link.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"

/* Far beyond any sensible time, and far from the end of int64_t. */
#define EXPIRES_MAX_DIGITS 15

/* Bytes of a link beyond its base and its key: path, names of the parameters, digits, signature. */
#define LINK_REST_MAX 128

/* RFC 3986's unreserved characters, and the slash between segments. Compared in ASCII, whatever the locale.
 */
static bool is_plain(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-_.~/", c);
}

static bool sign(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *expires, const char *key,
                 char ret_hex[SHA256_HEX_SIZE])
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, strlen(expires) + 1 + strlen(key));
    buf_printf(&text, "%s\n%s", expires, key);
    uint8_t mac[SHA256_BYTES];
    if (!buf_ok(&text) || !hmac_sha256(secret, FILE_LINK_SECRET_SIZE, text.data, text.len, mac))
        return false;
    hex_encode(mac, sizeof mac, ret_hex);
    return true;
}

char *file_link_make(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *base, const char *key,
                     int64_t expires_s)
{
    char expires[24], signature[SHA256_HEX_SIZE];
    snprintf(expires, sizeof expires, "%" PRId64, expires_s);
    if (!sign(secret, expires, key, signature))
        return NULL;

    _cleanup_buf_ struct buf link;
    buf_init(&link, strlen(base) + 3 * strlen(key) + LINK_REST_MAX);
    buf_printf(&link, "%s" FILE_LINK_PATH, base);
    for (const char *c = key; *c; c++) {
        if (is_plain((unsigned char)*c))
            buf_append(&link, c, 1);
        else
            buf_printf(&link, "%%%02X", (unsigned char)*c);
    }
    buf_printf(&link, "?expires=%s&signature=%s", expires, signature);
    return buf_take(&link);
}

bool file_link_decode_key(const char *encoded, char *ret_key, size_t size)
{
    size_t length = 0;
    for (const char *c = encoded; *c; c++) {
        char byte = *c;
        if (byte == '%') {
            int high = hex_digit_value(c[1]);
            int low = high < 0 ? -1 : hex_digit_value(c[2]);
            if (low < 0 || (high == 0 && low == 0))
                return false;
            byte = (char)(high * 16 + low);
            c += 2;
        }
        if (length + 1 >= size)
            return false;
        ret_key[length++] = byte;
    }
    ret_key[length] = '\0';
    return length > 0;
}

bool file_link_verify(const uint8_t secret[FILE_LINK_SECRET_SIZE], const char *key, const char *expires,
                      const char *signature, int64_t now_s, struct error *e)
{
    static const char altered[] = "the link's signature does not match";
    if (!expires || !signature)
        return error_set(e, ERROR_FORBIDDEN, altered);
    int64_t expires_s = 0;
    size_t digits = strspn(expires, "0123456789");
    if (digits == 0 || digits > EXPIRES_MAX_DIGITS || expires[digits] ||
        strlen(signature) != SHA256_HEX_SIZE - 1)
        return error_set(e, ERROR_FORBIDDEN, altered);
    for (size_t i = 0; i < digits; i++)
        expires_s = expires_s * 10 + (expires[i] - '0');

    char expected[SHA256_HEX_SIZE];
    if (!sign(secret, expires, key, expected))
        return error_set(e, ERROR_INTERNAL, "out of memory");
    if (!equal_constant_time(expected, signature, SHA256_HEX_SIZE - 1))
        return error_set(e, ERROR_FORBIDDEN, altered);
    if (now_s >= expires_s)
        return error_set(e, ERROR_FORBIDDEN, "the link has expired");
    return true;
}
