#include <sys/queue.h> /* first: keyvalq_struct.h then leaves its macros alone */

#include "server/http_gate.h"

#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

struct framing {
    const char *content_length, *transfer_encoding, *host; /* the last one; NULL: none */
    unsigned content_lengths, transfer_encodings, hosts, users, organizations;
};

/* RFC 9110 section 5.6.2. */
static bool is_token(const char *text)
{
    return *text && !text[strspn(text, "!#$%&'*+-.^_`|~" DIGITS LETTERS)];
}

static bool is_digits(const char *text)
{
    return *text && !text[strspn(text, DIGITS)];
}

/* uri-host [":" port], RFC 3986 section 3.2; an empty host means nothing here. */
static bool is_host(const char *text)
{
    size_t length;
    if (*text == '[') {
        length = 1 + strspn(text + 1, "abcdefABCDEF.:" DIGITS);
        if (length == 1 || text[length] != ']')
            return false;
        length++;
    } else {
        length = strspn(text, "-._~%!$&'()*+,;=" DIGITS LETTERS);
        if (length == 0)
            return false;
    }
    text += length;
    return !*text || (*text == ':' && !text[1 + strspn(text + 1, DIGITS)]);
}

static const char *check_target(const struct http_gate_request *r, const char *host)
{
    const char *target = r->target;
    if (strlen(target) > HTTP_TARGET_MAX)
        return "the request target is too long";
    for (const char *p = target; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7F || *p == '#')
            return "the request target has a byte that may not be there";
    if (strstr(target, "%00"))
        return "the request target has a NUL";
    if (*target == '/')
        return NULL;
    if (!strcmp(target, "*"))
        return r->is_options ? NULL : "the target * is for OPTIONS";

    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
        size_t scheme = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], scheme) != 0)
            continue;
        size_t length = strcspn(target + scheme, "/?");
        if (!host || strlen(host) != length || strncasecmp(target + scheme, host, length) != 0)
            return "the request target names another host than the Host header";
        return NULL;
    }
    return "the request target is neither a path nor an http URL";
}

static const char *check_length(const struct http_gate_request *r, const struct framing *f)
{
    if (f->content_lengths > 1)
        return "more than one Content-Length";
    if (f->content_length && !is_digits(f->content_length))
        return "Content-Length is not a number";
    if (f->transfer_encodings) {
        if (f->transfer_encodings > 1 || strcasecmp(f->transfer_encoding, "chunked") != 0)
            return "no Transfer-Encoding but chunked is understood";
        if (f->content_length)
            return "both Content-Length and Transfer-Encoding";
        if (r->minor == 0)
            return "Transfer-Encoding in an HTTP/1.0 request";
    }
    bool has_body =
        f->transfer_encodings || (f->content_length && f->content_length[strspn(f->content_length, "0")]);
    if (has_body && !r->body_is_read)
        return "a body with a method that takes none";
    return NULL;
}

const char *http_gate_check(const struct http_gate_request *r)
{
    if (r->major != 1 || r->minor < 0 || r->minor > 1)
        return "only HTTP/1.0 and HTTP/1.1 are understood";

    struct framing f = {0};
    const struct evkeyval *header;
    TAILQ_FOREACH(header, r->headers, next)
    {
        if (!is_token(header->key))
            return "a malformed header name";
        if (!strcasecmp(header->key, "Content-Length")) {
            f.content_length = header->value;
            f.content_lengths++;
        } else if (!strcasecmp(header->key, "Transfer-Encoding")) {
            f.transfer_encoding = header->value;
            f.transfer_encodings++;
        } else if (!strcasecmp(header->key, "Host")) {
            f.host = header->value;
            f.hosts++;
        } else if (!strcasecmp(header->key, "x-user-id")) {
            f.users++;
        } else if (!strcasecmp(header->key, "x-organization-id")) {
            f.organizations++;
        }
    }
    if (f.users > 1 || f.organizations > 1) /* which of them the one before us checked nobody can tell */
        return "more than one x-user-id or x-organization-id";
    if (f.hosts > 1)
        return "more than one Host";
    if (f.hosts == 0 && r->minor == 1)
        return "no Host";
    if (f.host && !is_host(f.host))
        return "a malformed Host";
    const char *why = check_target(r, f.host);
    return why ? why : check_length(r, &f);
}
