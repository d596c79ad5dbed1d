#include "object/sigv4.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

/* Ceiling of what is built on the way: a key of 1,024 bytes, encoded, is in it twice at the most. */
#define STAGE_MAX (64 * 1024)

void sigv4_time(int64_t time_s, char ret[SIGV4_TIME_SIZE])
{
    time_t t = (time_t)time_s;
    struct tm tm;
    if (!gmtime_r(&t, &tm) || strftime(ret, SIGV4_TIME_SIZE, "%Y%m%dT%H%M%SZ", &tm) != SIGV4_TIME_SIZE - 1)
        memcpy(ret, "19700101T000000Z", SIGV4_TIME_SIZE);
}

/* In ASCII, whatever the locale. */
static bool is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '~';
}

void sigv4_append_encoded(struct buf *b, const char *text, bool is_path)
{
    for (const char *c = text; *c; c++) {
        if (is_unreserved((unsigned char)*c) || (is_path && *c == '/'))
            buf_append(b, c, 1);
        else
            buf_printf(b, "%%%02X", (unsigned char)*c);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct sigv4_pair *)a)->name, ((const struct sigv4_pair *)b)->name);
}

void sigv4_append_query(struct buf *b, struct sigv4_pair *pairs, size_t count)
{
    if (count > 1)
        qsort(pairs, count, sizeof *pairs, compare_names);
    for (size_t i = 0; i < count; i++) {
        buf_append_text(b, i > 0 ? "&" : "");
        sigv4_append_encoded(b, pairs[i].name, false);
        buf_append_text(b, "=");
        sigv4_append_encoded(b, pairs[i].value, false);
    }
}

/* Without blanks around it, and with one for each run of them inside. */
static void append_trimmed(struct buf *b, const char *value)
{
    for (const char *c = value + strspn(value, " \t"); *c;) {
        size_t word = strcspn(c, " \t");
        buf_append(b, c, word);
        c += word;
        c += strspn(c, " \t");
        if (*c)
            buf_append_text(b, " ");
    }
}

static void append_signed_names(struct buf *b, const struct sigv4_request *r)
{
    for (size_t i = 0; i < r->header_count; i++)
        buf_printf(b, "%s%s", i > 0 ? ";" : "", r->headers[i].name);
}

void sigv4_append_canonical_request(struct buf *b, const struct sigv4_request *r)
{
    buf_printf(b, "%s\n%s\n%s\n", r->method, r->path, r->query);
    for (size_t i = 0; i < r->header_count; i++) {
        assert(i == 0 || strcmp(r->headers[i - 1].name, r->headers[i].name) < 0);
        buf_printf(b, "%s:", r->headers[i].name);
        append_trimmed(b, r->headers[i].value);
        buf_append_text(b, "\n");
    }
    buf_append_text(b, "\n");
    append_signed_names(b, r);
    buf_printf(b, "\n%s", r->payload);
}

static void append_scope(struct buf *b, const char *time, const char *region)
{
    buf_printf(b, "%.*s/%s/s3/aws4_request", SIGV4_DATE_LEN, time, region);
}

bool sigv4_append_string_to_sign(struct buf *b, const char *time, const char *region,
                                 const char *canonical_request, size_t length)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_SIZE];
    if (!sha256_of(canonical_request, length, digest))
        return false;
    hex_encode(digest, sizeof digest, hex);
    buf_printf(b, ALGORITHM "\n%s\n", time);
    append_scope(b, time, region);
    buf_printf(b, "\n%s", hex);
    return buf_ok(b);
}

static bool derive(uint8_t key[SHA256_BYTES], const char *text, size_t length)
{
    return hmac_sha256(key, SHA256_BYTES, text, length, key);
}

bool sigv4_signature(const struct sigv4_key *k, const char *time, const char *string_to_sign, size_t length,
                     char ret_hex[SHA256_HEX_SIZE])
{
    _cleanup_free_ char *secret = NULL;
    int secret_len = asprintf(&secret, "AWS4%s", k->secret_key);
    if (secret_len < 0) {
        secret = NULL;
        return false;
    }
    uint8_t key[SHA256_BYTES];
    bool ok = hmac_sha256(secret, (size_t)secret_len, time, SIGV4_DATE_LEN, key) &&
              derive(key, k->region, strlen(k->region)) && derive(key, "s3", 2) &&
              derive(key, "aws4_request", 12) && derive(key, string_to_sign, length);
    if (ok)
        hex_encode(key, sizeof key, ret_hex);
    explicit_bzero(secret, (size_t)secret_len);
    explicit_bzero(key, sizeof key);
    return ok;
}

static bool sign(const struct sigv4_key *key, const char *time, const struct sigv4_request *r,
                 char ret_hex[SHA256_HEX_SIZE])
{
    _cleanup_buf_ struct buf canonical, text;
    buf_init(&canonical, STAGE_MAX);
    buf_init(&text, STAGE_MAX);
    sigv4_append_canonical_request(&canonical, r);
    return buf_ok(&canonical) &&
           sigv4_append_string_to_sign(&text, time, key->region, canonical.data, canonical.len) &&
           sigv4_signature(key, time, text.data, text.len, ret_hex);
}

bool sigv4_append_authorization(struct buf *b, const struct sigv4_key *key, const char *time,
                                const struct sigv4_request *r)
{
    char signature[SHA256_HEX_SIZE];
    if (!sign(key, time, r, signature))
        return false;
    buf_printf(b, ALGORITHM " Credential=%s/", key->access_key);
    append_scope(b, time, key->region);
    buf_append_text(b, ", SignedHeaders=");
    append_signed_names(b, r);
    buf_printf(b, ", Signature=%s", signature);
    return buf_ok(b);
}

bool sigv4_append_link_query(struct buf *b, const struct sigv4_key *key, const char *time,
                             const struct sigv4_link *link)
{
    assert(link->seconds >= 1 && link->seconds <= SIGV4_LINK_SECONDS_MAX);
    assert(link->extra_count <= SIGV4_LINK_EXTRA_MAX);
    _cleanup_buf_ struct buf credential, query;
    buf_init(&credential, STAGE_MAX);
    buf_init(&query, STAGE_MAX);
    buf_printf(&credential, "%s/", key->access_key);
    append_scope(&credential, time, key->region);
    char seconds[24];
    snprintf(seconds, sizeof seconds, "%" PRId64, link->seconds);
    if (!buf_ok(&credential))
        return false;

    struct sigv4_pair pairs[6 + SIGV4_LINK_EXTRA_MAX] = {
        {"X-Amz-Algorithm", ALGORITHM}, {"X-Amz-Credential", credential.data}, {"X-Amz-Date", time},
        {"X-Amz-Expires", seconds},     {"X-Amz-SignedHeaders", "host"},
    };
    size_t count = 5;
    if (link->session_token)
        pairs[count++] = (struct sigv4_pair){"X-Amz-Security-Token", link->session_token};
    for (size_t i = 0; i < link->extra_count; i++)
        pairs[count++] = link->extra[i];
    sigv4_append_query(&query, pairs, count);
    if (!buf_ok(&query))
        return false;

    const struct sigv4_pair host = {"host", link->authority};
    const struct sigv4_request request = {.method = "GET",
                                          .path = link->path,
                                          .query = query.data,
                                          .headers = &host,
                                          .header_count = 1,
                                          .payload = SIGV4_UNSIGNED_PAYLOAD};
    char signature[SHA256_HEX_SIZE];
    if (!sign(key, time, &request, signature))
        return false;
    buf_printf(b, "%s&X-Amz-Signature=%s", query.data, signature);
    return buf_ok(b);
}
