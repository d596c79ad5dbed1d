#include "object/s3_xml.h"

#include <stdint.h>
#include <string.h>

#include "base/digest.h"
#include "base/utf8.h"

#define NAME_MAX_LEN 64

/* A reader of one document. Element by element it tells the names above it and the text inside it. */
struct reader {
    const char *at, *end;
    unsigned depth;
    char names[S3_XML_DEPTH_MAX][NAME_MAX_LEN + 1]; /* of the open elements, without prefixes */
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct reader *r)
{
    while (r->at < r->end && is_blank(*r->at))
        r->at++;
}

static bool take(struct reader *r, const char *text)
{
    size_t length = strlen(text);
    if ((size_t)(r->end - r->at) < length || memcmp(r->at, text, length) != 0)
        return false;
    r->at += length;
    return true;
}

/* Goes behind the next `text`. */
static bool skip_behind(struct reader *r, const char *text)
{
    const char *found = memmem(r->at, (size_t)(r->end - r->at), text, strlen(text));
    if (!found)
        return false;
    r->at = found + strlen(text);
    return true;
}

static bool is_name_char(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':';
}

static bool read_name(struct reader *r, char ret[NAME_MAX_LEN + 1])
{
    const char *begin = r->at;
    while (r->at < r->end && is_name_char(*r->at)) {
        if (*r->at++ == ':')
            begin = r->at;
    }
    size_t length = (size_t)(r->at - begin);
    if (length == 0 || length > NAME_MAX_LEN)
        return false;
    memcpy(ret, begin, length);
    ret[length] = '\0';
    return true;
}

/* Behind a name: attributes, then ">" or "/>". */
static bool read_tag_end(struct reader *r, bool *ret_is_empty)
{
    for (;;) {
        skip_blanks(r);
        *ret_is_empty = take(r, "/>");
        if (*ret_is_empty || take(r, ">"))
            return true;
        char name[NAME_MAX_LEN + 1];
        if (!read_name(r, name))
            return false;
        skip_blanks(r);
        if (!take(r, "="))
            return false;
        skip_blanks(r);
        if (!(take(r, "\"") ? skip_behind(r, "\"") : take(r, "'") && skip_behind(r, "'")))
            return false;
    }
}

static bool skip_comments(struct reader *r)
{
    while (take(r, "<!--"))
        if (!skip_behind(r, "-->"))
            return false;
    return true;
}

/* The declaration and the first tag. */
static bool begin(struct reader *r, const char *text, size_t length, const char *root)
{
    *r = (struct reader){.at = text, .end = text + length};
    if (!utf8_valid(text, length) || memchr(text, '\0', length))
        return false;
    take(r, "\xEF\xBB\xBF");
    skip_blanks(r);
    if (take(r, "<?xml") && !skip_behind(r, "?>"))
        return false;
    skip_blanks(r);
    if (!skip_comments(r))
        return false;
    skip_blanks(r);
    bool is_empty;
    if (!take(r, "<") || !read_name(r, r->names[0]) || strcmp(r->names[0], root) != 0 ||
        !read_tag_end(r, &is_empty))
        return false;
    r->depth = is_empty ? 0 : 1;
    return true;
}

/* Text of an element on its way to a buffer. */
struct text {
    char *to;
    size_t size, length;
    bool too_long;
};

static void text_put(struct text *t, const char *bytes, size_t length)
{
    if (length >= t->size - t->length) {
        t->too_long = true;
        return;
    }
    memcpy(t->to + t->length, bytes, length);
    t->length += length;
}

static void text_put_character(struct text *t, uint32_t c)
{
    char bytes[4];
    if (c < 0x80) {
        bytes[0] = (char)c;
        text_put(t, bytes, 1);
    } else if (c < 0x800) {
        bytes[0] = (char)(0xC0 | c >> 6);
        bytes[1] = (char)(0x80 | (c & 63));
        text_put(t, bytes, 2);
    } else if (c < 0x10000) {
        bytes[0] = (char)(0xE0 | c >> 12);
        bytes[1] = (char)(0x80 | (c >> 6 & 63));
        bytes[2] = (char)(0x80 | (c & 63));
        text_put(t, bytes, 3);
    } else {
        bytes[0] = (char)(0xF0 | c >> 18);
        bytes[1] = (char)(0x80 | (c >> 12 & 63));
        bytes[2] = (char)(0x80 | (c >> 6 & 63));
        bytes[3] = (char)(0x80 | (c & 63));
        text_put(t, bytes, 4);
    }
}

/* Behind "&#". */
static bool read_character_reference(struct reader *r, struct text *t)
{
    uint32_t base = take(r, "x") ? 16 : 10, value = 0;
    const char *begin_at = r->at;
    for (; r->at < r->end && (uint32_t)hex_digit_value(*r->at) < base; r->at++) {
        value = value * base + (uint32_t)hex_digit_value(*r->at);
        if (value > 0x10FFFF)
            return false;
    }
    if (r->at == begin_at || !take(r, ";") || value == 0 || (value >= 0xD800 && value <= 0xDFFF))
        return false;
    text_put_character(t, value);
    return true;
}

static bool read_entity(struct reader *r, struct text *t)
{
    static const struct {
        const char *name, *value;
    } named[] = {{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}, {"&quot;", "\""}, {"&apos;", "'"}};
    if (take(r, "&#"))
        return read_character_reference(r, t);
    for (size_t i = 0; i < ARRAY_SIZE(named); i++)
        if (take(r, named[i].name)) {
            text_put(t, named[i].value, 1);
            return true;
        }
    return false;
}

/* Up to the next tag. */
static bool read_text(struct reader *r, struct text *t)
{
    while (r->at < r->end) {
        if (*r->at == '&') {
            if (!read_entity(r, t))
                return false;
        } else if (take(r, "<![CDATA[")) {
            const char *from = r->at;
            if (!skip_behind(r, "]]>"))
                return false;
            text_put(t, from, (size_t)(r->at - 3 - from));
        } else if (*r->at == '<') {
            if ((size_t)(r->end - r->at) < 4 || memcmp(r->at, "<!--", 4) != 0)
                return true;
            if (!skip_comments(r))
                return false;
        } else {
            text_put(t, r->at++, 1);
        }
    }
    return false;
}

/* Only blanks and comments are behind the document. */
static bool at_end(struct reader *r)
{
    skip_blanks(r);
    if (!skip_comments(r))
        return false;
    skip_blanks(r);
    return r->at == r->end;
}

/* Goes on to the next end of an element. On true: depth 0: the document is over; else `ret` holds the text of
 * the element that ended (names[depth]; those that have elements inside end with the text behind the last of
 * them), NUL-terminated, and ret->too_long says whether it was cut. */
static bool next_end(struct reader *r, struct text *ret)
{
    while (r->depth > 0) {
        ret->length = 0;
        ret->too_long = false;
        if (!read_text(r, ret))
            return false;
        ret->to[ret->length] = '\0';
        if (take(r, "</")) {
            char name[NAME_MAX_LEN + 1];
            bool is_empty;
            if (!read_name(r, name) || strcmp(name, r->names[r->depth - 1]) != 0 ||
                !read_tag_end(r, &is_empty) || is_empty)
                return false;
            r->depth--;
            return r->depth > 0 || at_end(r);
        }
        bool is_empty;
        if (r->depth == S3_XML_DEPTH_MAX || !take(r, "<") || !read_name(r, r->names[r->depth]) ||
            !read_tag_end(r, &is_empty))
            return false;
        if (is_empty) {
            ret->length = 0;
            ret->too_long = false;
            ret->to[0] = '\0';
            return true;
        }
        r->depth++;
    }
    return at_end(r);
}

/* Did the element end that is `name`, `depth` elements below the root? */
static bool ended(const struct reader *r, unsigned depth, const char *name)
{
    return r->depth == depth && strcmp(r->names[depth], name) == 0;
}

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if (*text < 0x21 || *text > 0x7E)
            return false;
    return true;
}

static bool is_code(const char *text)
{
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == strlen(text);
}

static void keep_code(char to[S3_CODE_MAX + 1], const struct text *t)
{
    if (!t->too_long && t->length <= S3_CODE_MAX && is_code(t->to))
        memcpy(to, t->to, t->length + 1);
}

/* Room for the longest text of interest. */
#define TEXT_SIZE (S3_KEY_TEXT_MAX + 1)

bool s3_xml_error(const char *text, size_t length, struct s3_error_document *ret)
{
    struct reader r;
    char room[TEXT_SIZE];
    struct text t = {.to = room, .size = sizeof room};
    struct s3_error_document found = {0};
    if (!begin(&r, text, length, "Error"))
        return false;
    while (r.depth > 0) {
        if (!next_end(&r, &t))
            return false;
        if (ended(&r, 1, "Code"))
            keep_code(found.code, &t);
        else if (ended(&r, 1, "Region"))
            keep_code(found.region, &t);
    }
    if (!at_end(&r))
        return false;
    *ret = found;
    return true;
}

bool s3_xml_upload_id(const char *text, size_t length, char ret_upload_id[S3_UPLOAD_ID_MAX + 1])
{
    struct reader r;
    char room[TEXT_SIZE], found[S3_UPLOAD_ID_MAX + 1] = "";
    struct text t = {.to = room, .size = sizeof room};
    if (!begin(&r, text, length, "InitiateMultipartUploadResult"))
        return false;
    while (r.depth > 0) {
        if (!next_end(&r, &t))
            return false;
        if (ended(&r, 1, "UploadId")) {
            if (t.too_long || !is_printable(room))
                return false;
            memcpy(found, room, t.length + 1);
        }
    }
    if (!at_end(&r) || !found[0])
        return false;
    memcpy(ret_upload_id, found, sizeof found);
    return true;
}

bool s3_xml_is_completed(const char *text, size_t length)
{
    struct reader r;
    char room[TEXT_SIZE];
    struct text t = {.to = room, .size = sizeof room};
    if (!begin(&r, text, length, "CompleteMultipartUploadResult"))
        return false;
    while (r.depth > 0)
        if (!next_end(&r, &t))
            return false;
    return at_end(&r);
}

bool s3_xml_uploads(const char *text, size_t length,
                    void (*upload)(void *context, const char *key, const char *upload_id), void *context,
                    struct s3_uploads_page *ret)
{
    struct reader r;
    char room[TEXT_SIZE], key[TEXT_SIZE] = "", id[S3_UPLOAD_ID_MAX + 1] = "";
    struct text t = {.to = room, .size = sizeof room};
    struct s3_uploads_page page = {0};
    if (!begin(&r, text, length, "ListMultipartUploadsResult"))
        return false;
    while (r.depth > 0) {
        if (!next_end(&r, &t))
            return false;
        bool inside = r.depth == 2 && strcmp(r.names[1], "Upload") == 0;
        char *to = NULL;
        if (inside && strcmp(r.names[2], "Key") == 0)
            to = key;
        else if (inside && strcmp(r.names[2], "UploadId") == 0)
            to = id;
        else if (ended(&r, 1, "NextKeyMarker"))
            to = page.next_key;
        else if (ended(&r, 1, "NextUploadIdMarker"))
            to = page.next_upload_id;
        else if (ended(&r, 1, "IsTruncated"))
            page.more = strcmp(room, "true") == 0;
        else if (ended(&r, 1, "Upload")) {
            if (key[0] && id[0] && is_printable(id))
                upload(context, key, id);
            key[0] = id[0] = '\0';
        }
        if (to) {
            if (t.too_long)
                return false;
            memcpy(to, room, t.length + 1);
        }
    }
    if (!at_end(&r))
        return false;
    *ret = page;
    return true;
}
