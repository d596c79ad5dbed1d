/* A limit for the benchmark: the bytes of a file that is finished, sent to an S3 server with nothing else to do.
 *
 *     send_parts PORT FILE CONNECTIONS < REQUESTS
 *
 * Each line of REQUESTS is "OFFSET LENGTH TARGET": a part of FILE and the request target of its PUT, signed by whoever
 * made it (pre-signed, UNSIGNED-PAYLOAD). The parts are shared out over CONNECTIONS keep-alive connections to
 * 127.0.0.1, a thread each, and go from the page cache to the socket by sendfile(2). Plain http, no retries: what is
 * not answered by 200 ends the program with status 1.
 *
 * Standard output has a line for each part, in the order of REQUESTS, with its ETag as the server told it, and then
 * one line of JSON: wall_us, user_us and system_us from the first connect to the last answer. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PARTS_MAX 10000 /* of an upload, as S3 has it */
#define CONNECTIONS_MAX 64
#define LINE_MAX_BYTES 4096
#define ANSWER_MAX 65536

static struct part {
    off_t offset;
    size_t length;
    char *target;
    char etag[128];
} parts[PARTS_MAX];
static unsigned part_count;
static _Atomic unsigned next_part;
static int file;
static uint16_t port;

__attribute__((format(printf, 1, 2))) _Noreturn static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("send_parts: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void read_requests(void)
{
    char line[LINE_MAX_BYTES];
    while (fgets(line, sizeof line, stdin)) {
        if (part_count == PARTS_MAX)
            fail("more than %d parts", PARTS_MAX);
        struct part *p = &parts[part_count++];
        char *at;
        p->offset = strtoll(line, &at, 10);
        p->length = strtoull(at, &at, 10);
        if (*at++ != ' ' || *at != '/')
            fail("not OFFSET LENGTH TARGET: %s", line);
        at[strcspn(at, "\n")] = 0;
        p->target = strdup(at);
        if (!p->target)
            fail("no memory");
    }
}

static int connect_to_store(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("no connection to port %u", port);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* Reads one answer; its body is dropped. */
static void take_answer(int fd, struct part *p)
{
    char text[ANSWER_MAX + 1];
    size_t have = 0, body = 0;
    char *end = NULL;
    while (!end || have < (size_t)(end - text) + 4 + body) {
        ssize_t n = recv(fd, text + have, ANSWER_MAX - have, 0);
        if (n <= 0)
            fail("the store closed the connection, or its answer is too long");
        have += (size_t)n;
        text[have] = 0;
        if (!end && (end = strstr(text, "\r\n\r\n"))) {
            char *length = strcasestr(text, "\r\ncontent-length:");
            body = length && length < end ? strtoull(length + 17, NULL, 10) : 0;
        }
    }
    if (strncmp(text, "HTTP/1.1 200", 12) != 0)
        fail("%s", text);
    char *etag = strcasestr(text, "\r\netag:");
    if (!etag || etag > end)
        fail("no ETag: %s", text);
    etag += 7 + strspn(etag + 7, " ");
    snprintf(p->etag, sizeof p->etag, "%.*s", (int)strcspn(etag, "\r\n"), etag);
}

static void *send_some(void *unused)
{
    int fd = connect_to_store();
    unsigned i;
    while ((i = atomic_fetch_add(&next_part, 1)) < part_count) {
        struct part *p = &parts[i];
        char head[LINE_MAX_BYTES + 256];
        int length = snprintf(head, sizeof head,
                              "PUT %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nContent-Length: %zu\r\n\r\n", p->target, port,
                              p->length);
        if (send(fd, head, (size_t)length, MSG_MORE | MSG_NOSIGNAL) != length)
            fail("a request's head was not taken");
        off_t at = p->offset, ends = p->offset + (off_t)p->length;
        while (at < ends)
            if (sendfile(fd, file, &at, (size_t)(ends - at)) <= 0)
                fail("a part was not taken");
        take_answer(fd, p);
    }
    close(fd);
    return unused;
}

static int64_t us(struct timeval t)
{
    return t.tv_sec * INT64_C(1000000) + t.tv_usec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        fail("usage: send_parts PORT FILE CONNECTIONS < REQUESTS");
    port = (uint16_t)strtoul(argv[1], NULL, 10);
    unsigned connections = (unsigned)strtoul(argv[3], NULL, 10);
    file = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (file < 0 || port == 0 || connections == 0 || connections > CONNECTIONS_MAX)
        fail("file, port or connections are no good");
    read_requests();

    struct timespec begun, ended;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    pthread_t threads[CONNECTIONS_MAX];
    for (unsigned i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, send_some, NULL) != 0)
            fail("no thread");
    for (unsigned i = 0; i < connections; i++)
        pthread_join(threads[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &ended);

    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    for (unsigned i = 0; i < part_count; i++)
        puts(parts[i].etag);
    printf("{\"wall_us\":%" PRId64 ",\"user_us\":%" PRId64 ",\"system_us\":%" PRId64 "}\n",
           (ended.tv_sec - begun.tv_sec) * INT64_C(1000000) + (ended.tv_nsec - begun.tv_nsec) / 1000,
           us(used.ru_utime), us(used.ru_stime));
    return 0;
}
