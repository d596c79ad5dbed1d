#include "object/s3_address.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "object/sigv4.h"
#include "object/store.h"

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define SMALL_AND_DIGITS "abcdefghijklmnopqrstuvwxyz0123456789"
#define HOST_MAX 253
#define FILE_NAME_MAX 200 /* bytes; browsers and file systems end at 255 */

/* The characters of one host; its length in `ret`. */
static bool read_host(const char *at, size_t *ret, bool *ret_is_ip)
{
    if (*at == '[') {
        size_t inside = strspn(at + 1, "0123456789abcdefABCDEF:.");
        *ret = inside + 2;
        *ret_is_ip = true;
        return inside >= 2 && at[1 + inside] == ']';
    }
    *ret = strspn(at, LETTERS_AND_DIGITS ".-_");
    *ret_is_ip = *ret == strspn(at, "0123456789.");
    return *ret > 0 && *ret <= HOST_MAX && at[0] != '.' && at[0] != '-' && !memmem(at, *ret, "..", 2);
}

bool s3_address_parse(const char *text, bool tls_by_default, struct s3_address *ret, struct error *e)
{
    struct s3_address a = {.tls = tls_by_default};
    const char *at = text;
    if (strncasecmp(at, "http://", 7) == 0 || strncasecmp(at, "https://", 8) == 0) {
        a.tls = at[4] == 's' || at[4] == 'S';
        at += a.tls ? 8 : 7;
    } else if (strstr(at, "://")) {
        return error_set(e, ERROR_CONFIG, "only http:// and https:// are spoken");
    }
    size_t host;
    if (!read_host(at, &host, &a.is_ip))
        return error_set(e, ERROR_CONFIG,
                         "it has no host: \"host\", \"host:port\" or a URL of these is needed");
    const char *rest = at + host;
    unsigned port = 0;
    if (*rest == ':') {
        size_t digits = strspn(++rest, "0123456789");
        for (size_t i = 0; i < digits && port <= 65535; i++)
            port = port * 10 + (unsigned)(rest[i] - '0');
        if (port < 1 || port > 65535)
            return error_set(e, ERROR_CONFIG, "its port is not one from 1 to 65535");
        rest += digits;
    }
    if (*rest == '/')
        rest++;
    if (*rest)
        return error_set(e, ERROR_CONFIG,
                         "nothing may follow the host and its port (no user, path or query)");

    snprintf(a.authority, sizeof a.authority, "%.*s", (int)host, at);
    for (char *c = a.authority; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
    if (port != 0 && port != (a.tls ? 443 : 80))
        snprintf(a.authority + host, sizeof a.authority - host, ":%u", port);
    *ret = a;
    return true;
}

bool s3_bucket_ok(const char *bucket, enum s3_addressing addressing)
{
    size_t length = strlen(bucket);
    if (addressing == S3_ADDRESSING_PATH)
        return length >= 1 && length <= 255 && strspn(bucket, LETTERS_AND_DIGITS "._-") == length &&
               strspn(bucket, ".") < length;
    return length >= 3 && length <= 63 && strspn(bucket, SMALL_AND_DIGITS ".-") == length &&
           strspn(bucket, SMALL_AND_DIGITS) > 0 && strspn(bucket + length - 1, SMALL_AND_DIGITS) == 1 &&
           !strstr(bucket, "..");
}

bool s3_address_of_bucket(const struct s3_address *a, const char *bucket, enum s3_addressing addressing,
                          struct s3_address *ret, struct error *e)
{
    if (addressing == S3_ADDRESSING_PATH) {
        *ret = *a;
        return true;
    }
    if (a->is_ip)
        return error_set(e, ERROR_CONFIG, "an IP address has no sub-domains: use path addressing");
    struct s3_address b = {.tls = a->tls};
    int length = snprintf(b.authority, sizeof b.authority, "%s.%s", bucket, a->authority);
    if (length < 0 || (size_t)length >= sizeof b.authority)
        return error_set(e, ERROR_CONFIG, "bucket and host are too long for a host name");
    *ret = b;
    return true;
}

void s3_append_path(struct buf *b, const char *bucket, enum s3_addressing addressing, const char *key)
{
    buf_append_text(b, "/");
    if (addressing == S3_ADDRESSING_PATH) {
        sigv4_append_encoded(b, bucket, true);
        if (key)
            buf_append_text(b, "/");
    }
    if (key)
        sigv4_append_encoded(b, key, true);
}

bool s3_key_ok(const char *key, struct error *e)
{
    size_t length = strlen(key);
    if (length < 1 || length > OBJECT_KEY_MAX)
        return error_set(e, ERROR_INVALID, "an object's key has 1 to %d bytes", OBJECT_KEY_MAX);
    if (!utf8_valid(key, length))
        return error_set(e, ERROR_INVALID, "an object's key is UTF-8");
    for (const unsigned char *c = (const unsigned char *)key; *c; c++)
        if (*c < 0x20 || *c == 0x7F)
            return error_set(e, ERROR_INVALID, "an object's key has no control characters");
    for (const char *segment = key;;) {
        size_t n = strcspn(segment, "/");
        if (n == 0 || (n <= 2 && strspn(segment, ".") == n))
            return error_set(e, ERROR_INVALID,
                             "no part of an object's key between slashes is empty, \".\" or \"..\"");
        if (!segment[n])
            return true;
        segment += n + 1;
    }
}

static bool is_safe_in_quotes(unsigned char c)
{
    return c >= 0x20 && c < 0x7F && !strchr("\"\\/%", c);
}

void s3_append_disposition(struct buf *b, const char *name)
{
    size_t length = utf8_prefix(name, strlen(name), FILE_NAME_MAX);
    bool plain = true;
    buf_append_text(b, "attachment; filename=\"");
    for (size_t i = 0; i < length; i++) {
        bool safe = is_safe_in_quotes((unsigned char)name[i]);
        plain = plain && safe;
        if (safe)
            buf_append(b, name + i, 1);
        else if (((unsigned char)name[i] & 0xC0) != 0x80) /* one for each character */
            buf_append_text(b, "_");
    }
    buf_append_text(b, "\"");
    if (plain)
        return;
    buf_append_text(b, "; filename*=UTF-8''");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)name[i];
        /* A browser would make a path or a line of these. */
        if (c < 0x20 || c == 0x7F || c == '/' || c == '\\')
            buf_append_text(b, "_");
        else {
            char one[2] = {(char)c, '\0'};
            sigv4_append_encoded(b, one, false);
        }
    }
}
