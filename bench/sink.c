/* An S3 server that throws everything away: it shows how fast we are where the store costs nothing.
 *
 *     build/bench/sink [PORT]        127.0.0.1, plain http; 0 or none: any free port; path style; any bucket
 *
 * The first line on standard output is "listens on 127.0.0.1:PORT". SIGTERM and SIGINT end it, and it prints what
 * it counted as one line of JSON; GET /stats answers the same at any time, and GET /stats?reset from then on counts
 * from zero:
 *
 *     {"create":1,"part":61,"complete":1,"abort":0,"put":0,"get":1,"head":0,"list":0,"delete":0,"other":0,
 *      "requests":64,"refused":0,"connections":4,"body_bytes":N,"first_body_us":T,"first_stored_us":T,
 *      "last_stored_us":T,"cpu_user_us":N,"cpu_system_us":N,"reads":N}
 *
 * body_bytes are those of parts and PUTs; the T are CLOCK_REALTIME in microseconds (0: not yet): the first byte of a
 * body came; the first and the latest part or object was whole. `reads` are its recv() calls; /stats itself is not
 * counted.
 *
 * It keeps what a client asks back to be sure of its work: the size and the last byte of each object. It remembers
 * nothing else, looks at no signature, and does no hashing: ETags are numbers. Complete checks that as many parts are
 * named as there are. One thread with epoll; bodies are dropped inside the kernel (recv with MSG_TRUNC, tcp(7)),
 * so what it costs is the kernel's own work. A client must send Content-Length, and one request at a time.
 *
 * Bounds: CONNECTIONS_MAX connections, UPLOADS_MAX open uploads, OBJECTS_MAX objects (further ones are 503). */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"

#define CONNECTIONS_MAX 4096
#define UPLOADS_MAX 4096
#define OBJECTS_MAX 200000
#define BUCKETS 65536   /* of the table of objects */
#define PARTS_MAX 10000 /* of an upload, as S3 has it */
#define HEAD_MAX 16384  /* bytes of a request's head */
#define NAME_SIZE 2048  /* of bucket and key, decoded, with a NUL */
#define ANSWER_MAX 65536
#define PATIENCE_MS 5000 /* for a client that does not take its answer */

enum kind { CREATE, PART, COMPLETE, ABORT, PUT, GET, HEAD, LIST, DELETE, OTHER, KINDS };

static const char *const kind_names[KINDS] = {"create", "part", "complete", "abort",  "put",
                                              "get",    "head", "list",     "delete", "other"};

struct stored {
    uint64_t size;
    uint8_t last_byte;
};

struct object {
    struct object *next; /* in its bucket of the table */
    struct stored stored;
    char name[]; /* "bucket/key" */
};

struct upload {
    char *name; /* NULL: this place is free */
    uint64_t id;
    struct stored *parts;
    uint32_t part_count, room; /* part_count: those that are there */
};

struct connection {
    int fd;
    char head[HEAD_MAX];
    size_t have; /* bytes in `head` */
    size_t head_length;

    /* The request whose body is coming; body_left 0: none. */
    enum kind kind;
    uint64_t body_left, body_size;
    uint8_t last_byte;
    bool in_body, is_last;
    char name[NAME_SIZE];
    uint64_t upload_id;
    uint32_t part;
    uint32_t named_parts; /* in the body of Complete */
    unsigned matched;     /* of "<PartNumber>" */
};

static struct {
    uint64_t requests[KINDS], refused, connections, body_bytes, reads;
    int64_t first_body_us, first_stored_us, last_stored_us;
    struct rusage from;
} stats;

static struct object *objects[BUCKETS];
static unsigned object_count, connection_count;
static struct upload uploads[UPLOADS_MAX];
static uint64_t last_id;
static int epoll;

/* What is stored */

static struct object **object_find(const char *name)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *c = name; *c; c++)
        hash = (hash ^ (uint8_t)*c) * 1099511628211u;
    struct object **link = &objects[(hash ^ hash >> 32) % BUCKETS];
    while (*link && strcmp((*link)->name, name) != 0)
        link = &(*link)->next;
    return link;
}

static bool object_put(const char *name, struct stored stored)
{
    struct object **link = object_find(name);
    if (!*link) {
        size_t length = strlen(name) + 1;
        struct object *o = object_count < OBJECTS_MAX ? calloc(1, sizeof *o + length) : NULL;
        if (!o)
            return false;
        memcpy(o->name, name, length);
        object_count++;
        *link = o;
    }
    (*link)->stored = stored;
    return true;
}

static void object_delete(const char *name)
{
    struct object **link = object_find(name), *o = *link;
    if (!o)
        return;
    *link = o->next;
    object_count--;
    free(o);
}

/* An id says where its upload is. */
static struct upload *upload_find(uint64_t id, const char *name)
{
    struct upload *u = &uploads[id % UPLOADS_MAX];
    return u->name && u->id == id && strcmp(u->name, name) == 0 ? u : NULL;
}

static struct upload *upload_new(const char *name)
{
    for (unsigned tries = 0; tries < UPLOADS_MAX; tries++) {
        uint64_t id = ++last_id;
        struct upload *u = &uploads[id % UPLOADS_MAX];
        if (u->name)
            continue;
        *u = (struct upload){.name = strdup(name), .id = id};
        return u->name ? u : NULL;
    }
    return NULL;
}

static void upload_free(struct upload *u)
{
    free(u->parts);
    free(u->name);
    *u = (struct upload){0};
}

static bool upload_put(struct upload *u, uint32_t number, struct stored stored)
{
    if (number > u->room) {
        uint32_t room = number < 64 ? 64 : 2 * number;
        struct stored *larger = realloc(u->parts, room * sizeof *larger);
        if (!larger)
            return false;
        memset(larger + u->room, 0, (room - u->room) * sizeof *larger);
        u->parts = larger;
        u->room = room;
    }
    u->part_count += u->parts[number - 1].size == 0;
    u->parts[number - 1] = stored;
    return true;
}

/* False: others are named than there are. */
static bool upload_complete(const struct upload *u, uint32_t named, struct stored *ret)
{
    struct stored whole = {0};
    if (named == 0 || named != u->part_count)
        return false;
    for (uint32_t i = 0; i < named; i++) {
        if (u->parts[i].size == 0)
            return false;
        whole.size += u->parts[i].size;
        whole.last_byte = u->parts[i].last_byte;
    }
    *ret = whole;
    return true;
}

/* Answers */

static void close_connection(struct connection *c)
{
    close(c->fd);
    free(c);
    connection_count--;
}

/* An answer is short; a client that does not take it is let go, later, by its own end. */
static void send_all(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = send(fd, data, length, MSG_NOSIGNAL);
        struct pollfd writable = {.fd = fd, .events = POLLOUT};
        if (n < 0 && (errno != EAGAIN || poll(&writable, 1, PATIENCE_MS) != 1)) {
            shutdown(fd, SHUT_RDWR);
            return;
        }
        if (n > 0) {
            data += n;
            length -= (size_t)n;
        }
    }
}

PRINTF_LIKE(4, 5)
static void answer(const struct connection *c, const char *status, const char *headers, const char *body, ...)
{
    static char text[ANSWER_MAX], whole[ANSWER_MAX + 1024];
    va_list arguments;
    va_start(arguments, body);
    int body_length = vsnprintf(text, sizeof text, body, arguments);
    va_end(arguments);
    if (body_length >= (int)sizeof text)
        body_length = sizeof text - 1;
    char content_length[64] = ""; /* a 204 has none (RFC 9110, 8.6) */
    if (strncmp(status, "204", 3) != 0)
        snprintf(content_length, sizeof content_length, "Content-Length: %d\r\n", body_length);
    int length = snprintf(whole, sizeof whole, "HTTP/1.1 %s\r\nServer: sink\r\n%s%s\r\n%s", status, headers, content_length, text);
    send_all(c->fd, whole, (size_t)length);
}

static void refuse(const struct connection *c, const char *status, const char *code)
{
    stats.refused++;
    answer(c, status, "Content-Type: application/xml\r\n", "<Error><Code>%s</Code><Message>says the sink</Message></Error>", code);
}

static void answer_stats(const struct connection *c_or_null)
{
    char text[2048];
    uint64_t total = 0;
    size_t at = 0;
    struct rusage now;
    getrusage(RUSAGE_SELF, &now);
    text[at++] = '{';
    for (int i = 0; i < KINDS; i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "\"%s\":%" PRIu64 ",", kind_names[i], stats.requests[i]);
        total += stats.requests[i];
    }
    struct timeval user, system;
    timersub(&now.ru_utime, &stats.from.ru_utime, &user);
    timersub(&now.ru_stime, &stats.from.ru_stime, &system);
    snprintf(text + at, sizeof text - at,
             "\"requests\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"body_bytes\":%" PRIu64
             ",\"first_body_us\":%" PRId64 ",\"first_stored_us\":%" PRId64 ",\"last_stored_us\":%" PRId64
             ",\"cpu_user_us\":%lld,\"cpu_system_us\":%lld,\"reads\":%" PRIu64 "}",
             total, stats.refused, stats.connections, stats.body_bytes, stats.first_body_us, stats.first_stored_us,
             stats.last_stored_us, user.tv_sec * 1000000ll + user.tv_usec, system.tv_sec * 1000000ll + system.tv_usec,
             stats.reads);
    if (c_or_null)
        answer(c_or_null, "200 OK", "Content-Type: application/json\r\n", "%s\n", text);
    else
        puts(text);
}

static void answer_xml(const struct connection *c, const char *root, const char *inside)
{
    answer(c, "200 OK", "Content-Type: application/xml\r\n",
           "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<%s xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s</%s>\n", root,
           inside, root);
}

static size_t append_escaped(char *to, size_t size, const char *text)
{
    size_t at = 0;
    for (; *text && at + 8 < size; text++)
        if (strchr("<>&\"\r\n\t", *text))
            at += (size_t)snprintf(to + at, size - at, "&#%d;", *text);
        else
            to[at++] = *text;
    to[at] = '\0';
    return at;
}

/* The open uploads of a bucket whose keys begin with `prefix`, some of them. */
static void answer_uploads(const struct connection *c, const char *prefix)
{
    static char text[ANSWER_MAX - 1024];
    char name[2 * NAME_SIZE];
    size_t at = (size_t)snprintf(text, sizeof text, "<IsTruncated>false</IsTruncated>");
    size_t length = (size_t)snprintf(name, sizeof name, "%s/%s", c->name, prefix), key_at = strlen(c->name) + 1;
    for (unsigned i = 0; i < UPLOADS_MAX && at + 8 * NAME_SIZE < sizeof text; i++) {
        if (!uploads[i].name || strncmp(uploads[i].name, name, length) != 0)
            continue;
        at += (size_t)snprintf(text + at, sizeof text - at, "<Upload><Key>");
        at += append_escaped(text + at, sizeof text - at - 128, uploads[i].name + key_at);
        at += (size_t)snprintf(text + at, sizeof text - at, "</Key><UploadId>%016" PRIx64 "</UploadId></Upload>", uploads[i].id);
    }
    answer_xml(c, "ListMultipartUploadsResult", text);
}

static void answer_object(const struct connection *c, const char *range)
{
    char headers[256];
    const struct object *o = *object_find(c->name);
    uint64_t from, to;
    if (!o) {
        if (c->kind == HEAD)
            answer(c, "404 Not Found", "", "%s", "");
        else
            refuse(c, "404 Not Found", "NoSuchKey");
        return;
    }
    if (c->kind == HEAD) { /* its length is the object's, so answer() cannot write it */
        char head[256];
        int length = snprintf(head, sizeof head,
                              "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nETag: \"1\"\r\nContent-Length: %" PRIu64 "\r\n\r\n",
                              o->stored.size);
        send_all(c->fd, head, (size_t)length);
        return;
    }
    /* It has the last byte, and no other. */
    if (!range || sscanf(range, "bytes=%" SCNu64 "-%" SCNu64, &from, &to) != 2 || from != to || from + 1 != o->stored.size) {
        refuse(c, "416 Range Not Satisfiable", "InvalidRange");
        return;
    }
    snprintf(headers, sizeof headers, "ETag: \"1\"\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", from, to,
             o->stored.size);
    char whole[512]; /* the byte may be a NUL */
    int length = snprintf(whole, sizeof whole, "HTTP/1.1 206 Partial Content\r\nServer: sink\r\n%sContent-Length: 1\r\n\r\n%c", headers,
                          o->stored.last_byte);
    send_all(c->fd, whole, (size_t)length);
}

/* A body has come to its end. */

static void part_is_here(const struct connection *c)
{
    const struct stored stored = {.size = c->body_size, .last_byte = c->last_byte};
    struct upload *u = c->kind == PART ? upload_find(c->upload_id, c->name) : NULL;
    char headers[64];
    stats.body_bytes += c->body_size;
    if (c->kind == PART && !u) {
        refuse(c, "404 Not Found", "NoSuchUpload");
        return;
    }
    if (c->kind == PART ? !upload_put(u, c->part, stored) : !object_put(c->name, stored)) {
        refuse(c, "503 Service Unavailable", "SlowDown");
        return;
    }
    stats.last_stored_us = clock_wall_us();
    if (stats.first_stored_us == 0)
        stats.first_stored_us = stats.last_stored_us;
    snprintf(headers, sizeof headers, "ETag: \"%016" PRIx64 "\"\r\n", ++last_id);
    answer(c, "200 OK", headers, "%s", "");
}

static void complete(const struct connection *c)
{
    struct upload *u = upload_find(c->upload_id, c->name);
    struct stored whole;
    if (!u)
        refuse(c, "404 Not Found", "NoSuchUpload");
    else if (!upload_complete(u, c->named_parts, &whole))
        refuse(c, "400 Bad Request", "InvalidPart");
    else if (!object_put(c->name, whole))
        refuse(c, "503 Service Unavailable", "SlowDown");
    else {
        upload_free(u);
        answer_xml(c, "CompleteMultipartUploadResult", "<ETag>&quot;1&quot;</ETag>");
    }
}

static void body_is_here(struct connection *c)
{
    c->in_body = false;
    switch (c->kind) {
    case PART:
    case PUT:
        part_is_here(c);
        break;
    case COMPLETE:
        complete(c);
        break;
    default:
        refuse(c, "501 Not Implemented", "NotImplemented");
    }
}

/* Requests */

static void decode(char *to, size_t size, const char *from, size_t length)
{
    size_t at = 0;
    for (size_t i = 0; i < length && at + 1 < size; i++) {
        int high = -1, low = -1;
        if (from[i] == '%' && i + 2 < length) {
            high = hex_digit_value(from[i + 1]);
            low = hex_digit_value(from[i + 2]);
        }
        if (high >= 0 && low >= 0)
            i += 2;
        to[at++] = high >= 0 && low >= 0 ? (char)(high << 4 | low) : from[i];
    }
    to[at] = '\0';
}

/* A parameter of a query, NULL if it is absent. */
static const char *parameter(const char *query, const char *name, char value[NAME_SIZE])
{
    size_t name_length = strlen(name);
    for (const char *at = query; at && *at; at = strchr(at, '&')) {
        at += *at == '&';
        size_t length = strcspn(at, "&");
        if (strncmp(at, name, name_length) == 0 && (at[name_length] == '=' || name_length == length)) {
            size_t skip = name_length + (at[name_length] == '=');
            decode(value, NAME_SIZE, at + skip, length - skip);
            return value;
        }
    }
    return NULL;
}

/* The value of a header in the NUL-terminated head; it ends with a CR. */
static const char *header(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
    }
    return NULL;
}

static enum kind kind_of(const char *method, bool has_key, const char *query, struct connection *c)
{
    char value[NAME_SIZE];
    c->upload_id = parameter(query, "uploadId", value) ? strtoull(value, NULL, 16) : 0;
    c->part = parameter(query, "partNumber", value) ? (uint32_t)strtoul(value, NULL, 10) : 0;
    bool of_upload = has_key && c->upload_id > 0;
    if (strcmp(method, "PUT") == 0)
        return of_upload ? PART : has_key ? PUT : OTHER;
    if (strcmp(method, "POST") == 0)
        return of_upload ? COMPLETE : has_key && parameter(query, "uploads", value) ? CREATE : OTHER;
    if (strcmp(method, "DELETE") == 0)
        return of_upload ? ABORT : DELETE;
    if (strcmp(method, "HEAD") == 0)
        return HEAD;
    return strcmp(method, "GET") == 0 ? (has_key ? GET : LIST) : OTHER;
}

static void answer_bucket(const struct connection *c, const char *query)
{
    char value[NAME_SIZE];
    if (parameter(query, "uploads", value))
        answer_uploads(c, parameter(query, "prefix", value) ? value : "");
    else if (parameter(query, "location", value))
        answer_xml(c, "LocationConstraint", "");
    else
        answer_xml(c, "ListBucketResult", "<KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>");
}

static void answer_without_body(struct connection *c, bool has_key, const char *query, const char *range)
{
    char text[128];
    struct upload *u;
    switch (c->kind) {
    case CREATE:
        u = upload_new(c->name);
        if (!u) {
            refuse(c, "503 Service Unavailable", "SlowDown");
            break;
        }
        snprintf(text, sizeof text, "<UploadId>%016" PRIx64 "</UploadId>", u->id);
        answer_xml(c, "InitiateMultipartUploadResult", text);
        break;
    case ABORT:
        u = upload_find(c->upload_id, c->name);
        if (u) {
            upload_free(u);
            answer(c, "204 No Content", "", "%s", "");
        } else
            refuse(c, "404 Not Found", "NoSuchUpload");
        break;
    case GET:
        answer_object(c, range);
        break;
    case HEAD:
        if (has_key)
            answer_object(c, range);
        else
            answer(c, "200 OK", "", "%s", "");
        break;
    case DELETE:
        object_delete(c->name);
        answer(c, "204 No Content", "", "%s", "");
        break;
    case LIST:
        answer_bucket(c, query);
        break;
    default:
        body_is_here(c);
    }
}

static void begin_body(struct connection *c, bool continues)
{
    c->in_body = true;
    c->body_left = c->body_size;
    c->named_parts = c->matched = 0;
    if (continues)
        send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    if (stats.first_body_us == 0 && (c->kind == PART || c->kind == PUT))
        stats.first_body_us = clock_wall_us();
}

/* The head of a request is whole, and ends with a NUL. False: it cannot be answered. */
static bool on_head(struct connection *c)
{
    char method[16], target[HEAD_MAX];
    if (sscanf(c->head, "%15s %16383s HTTP/1.1", method, target) != 2 || target[0] != '/')
        return false;
    const char *range = header(c->head, "Range"), *length = header(c->head, "Content-Length");
    const char *connection = header(c->head, "Connection");
    c->is_last = connection && strncasecmp(connection, "close", 5) == 0;
    if (header(c->head, "Transfer-Encoding") || (length && strspn(length, "0123456789") == 0))
        return false;
    c->body_size = length ? strtoull(length, NULL, 10) : 0;

    char *query = strchr(target, '?');
    if (query)
        *query++ = '\0';
    if (strcmp(target, "/stats") == 0 && strcmp(method, "GET") == 0) {
        answer_stats(c);
        if (query && strcmp(query, "reset") == 0) {
            memset(&stats, 0, sizeof stats);
            getrusage(RUSAGE_SELF, &stats.from);
        }
        return c->body_size == 0;
    }
    decode(c->name, sizeof c->name, target + 1, strlen(target + 1));
    const char *slash = strchr(c->name, '/');
    bool has_key = slash && slash[1];
    if (slash && !has_key)
        c->name[slash - c->name] = '\0';
    c->kind = kind_of(method, has_key, query, c);
    stats.requests[c->kind]++;
    if (c->kind == PART && (c->part < 1 || c->part > PARTS_MAX || c->body_size == 0))
        c->kind = OTHER; /* refused behind its body */
    bool takes_body = c->kind == PART || c->kind == PUT || c->kind == COMPLETE || c->kind == OTHER;
    if (c->body_size > 0 && takes_body)
        begin_body(c, header(c->head, "Expect"));
    else
        answer_without_body(c, has_key, query, range);
    return c->body_size == 0 || takes_body;
}

static void count_parts(struct connection *c, const char *data, size_t length)
{
    static const char tag[] = "<PartNumber>";
    for (size_t i = 0; i < length; i++) {
        c->matched = data[i] == tag[c->matched] ? c->matched + 1 : data[i] == tag[0];
        if (c->matched == sizeof tag - 1) {
            c->named_parts++;
            c->matched = 0;
        }
    }
}

static void take_body(struct connection *c, const char *data, size_t length)
{
    if (c->kind == COMPLETE)
        count_parts(c, data, length);
    c->body_left -= length;
    if (c->body_left > 0)
        return;
    c->last_byte = (uint8_t)data[length - 1];
    body_is_here(c);
}

/* What has been read: heads, and the beginnings of bodies. False: the connection is to be closed. */
static bool work_through_buffer(struct connection *c)
{
    while (c->have > 0) {
        size_t used;
        if (c->in_body) {
            used = c->body_left < c->have ? (size_t)c->body_left : c->have;
            take_body(c, c->head, used);
        } else {
            char *end = memmem(c->head, c->have, "\r\n\r\n", 4);
            if (!end)
                return c->have < sizeof c->head - 1;
            used = (size_t)(end + 4 - c->head);
            char behind = c->head[used]; /* there is always room for one more */
            c->head[used] = '\0';
            if (!on_head(c)) {
                refuse(c, "400 Bad Request", "BadRequest");
                return false;
            }
            c->head[used] = behind;
        }
        if (!c->in_body && c->is_last)
            return false;
        c->have -= used;
        memmove(c->head, c->head + used, c->have);
    }
    return true;
}

/* Reads while there is something. False: the connection is to be closed. */
static bool on_readable(struct connection *c)
{
    for (;;) {
        ssize_t n;
        /* All but the last byte of a body is dropped where it lies. */
        bool drop = c->in_body && c->kind != COMPLETE && c->body_left > sizeof c->head;
        stats.reads++;
        if (drop)
            n = recv(c->fd, NULL, c->body_left - 1, MSG_TRUNC);
        else
            n = recv(c->fd, c->head + c->have, sizeof c->head - 1 - c->have, 0);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        if (drop) {
            c->body_left -= (uint64_t)n;
            continue;
        }
        c->have += (size_t)n;
        if (!work_through_buffer(c))
            return false;
        if (!c->in_body)
            return true; /* the next request is told by epoll */
    }
}

static void on_connection(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
    if (fd < 0)
        return;
    struct connection *c = connection_count < CONNECTIONS_MAX ? malloc(sizeof *c) : NULL;
    if (!c) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->fd = fd;
    c->have = 0;
    c->in_body = false;
    c->body_left = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    connection_count++;
    stats.connections++;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        close_connection(c);
}

static int listen_on(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0) {
        perror("sink");
        exit(1);
    }
    printf("listens on 127.0.0.1:%u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static char is_listener, is_signal;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int listener = listen_on(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0), ends = signalfd(-1, &signals, SFD_CLOEXEC);
    struct epoll_event events[64] = {{.events = EPOLLIN, .data.ptr = &is_signal}};
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends, &events[0]);
    events[0].data.ptr = &is_listener;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &events[0]) < 0) {
        perror("sink");
        return 1;
    }
    for (;;) {
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &is_signal) {
                answer_stats(NULL);
                fflush(stdout);
                _exit(0); /* with whatever is open */
            }
            if (events[i].data.ptr == &is_listener)
                on_connection(listener);
            else if (!on_readable(events[i].data.ptr))
                close_connection(events[i].data.ptr);
        }
    }
}
