/* Many event streams at once, for bench/streams.py: one thread, epoll, a fixed buffer, so that it is not what is measured.
 *
 *   stream_client PORT, with commands on stdin, each answered by one line of JSON:
 *   open PATH COUNT     asks for PATH so often, at most 4,000 requests under way; answers when each stream had its first bytes
 *   measure SECONDS     reads what comes; answers with counts and with the delays of progress events
 *   close               closes all streams
 *
 * The delay of a progress event is from its `rows`, which bench/stream_stamp.c made the worker's clock (CLOCK_MONOTONIC, microseconds) when
 * it sent the event, to the moment at which read(2) returned it here. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAMS_MAX 60000
#define UNDER_WAY_MAX 4000
#define EVENTS_AT_ONCE 256

struct stream {
    int fd;
    bool asked, open;
};

static struct stream streams[STREAMS_MAX];
static size_t stream_count, asked_count, open_count, failed_count;
static uint32_t *delays;
static size_t delay_count, delay_room, heartbeats;
static int epoll_fd;
static uint16_t port;

static void fail(const char *what)
{
    fprintf(stderr, "stream_client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void note_delay(int64_t us)
{
    if (delay_count == delay_room) {
        delay_room = delay_room ? 2 * delay_room : 65536;
        delays = realloc(delays, delay_room * sizeof *delays);
        if (!delays)
            fail("realloc");
    }
    delays[delay_count++] = us < 0 ? 0 : (uint32_t)us;
}

static void look_at(const char *text, int64_t now)
{
    static const char rows[] = "\"rows\":";
    for (const char *p = text; (p = strstr(p, "data: ")); p += 6) {
        const char *end = strchr(p, '\n'), *type = strstr(p, "\"type\":\"progress\""), *at = strstr(p, rows);
        if (end && type && type < end && at && at < end)
            note_delay(now - strtoll(at + sizeof rows - 1, NULL, 10));
    }
    for (const char *p = text; (p = strstr(p, ": heartbeat")); p += 11)
        heartbeats++;
}

static void ask(struct stream *s, const char *path)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nx-user-id: bench\r\n"
                     "x-organization-id: bench\r\n\r\n", path);
    if (send(s->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
        failed_count++;
    s->asked = true;
    asked_count++;
}

static void take(struct stream *s)
{
    static char text[64 * 1024 + 1];
    ssize_t n = recv(s->fd, text, sizeof text - 1, MSG_DONTWAIT);
    int64_t now = now_us();
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        close(s->fd);
        s->fd = -1;
        failed_count++;
        return;
    }
    text[n] = '\0';
    if (!s->open) {
        s->open = true;
        open_count++;
        failed_count += strncmp(text, "HTTP/1.1 200", 12) != 0;
    }
    look_at(text, now);
}

/* False: nothing came for `wait_ms`. */
static bool step(const char *path, int wait_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, wait_ms);
    for (int i = 0; i < n; i++) {
        struct stream *s = events[i].data.ptr;
        if (!s->asked) {
            ask(s, path);
            epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = s});
        } else {
            take(s);
        }
    }
    return n > 0;
}

static void begin(struct stream *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    *s = (struct stream){.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (s->fd < 0)
        fail("socket");
    if (connect(s->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        fail("connect");
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &(struct epoll_event){.events = EPOLLOUT, .data.ptr = s}) < 0)
        fail("epoll_ctl");
}

static void open_streams(const char *path, size_t count)
{
    int64_t begun = now_us();
    size_t wanted = stream_count + count;
    failed_count = 0;
    while (open_count + failed_count < wanted && now_us() - begun < 120 * INT64_C(1000000)) {
        while (stream_count < wanted && stream_count < STREAMS_MAX && stream_count - open_count < UNDER_WAY_MAX)
            begin(&streams[stream_count++]);
        step(path, 100);
    }
    printf("{\"open\": %zu, \"failed\": %zu, \"seconds\": %.3f}\n", open_count, failed_count, (double)(now_us() - begun) / 1e6);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static double delay_ms(double part)
{
    if (!delay_count)
        return -1;
    size_t i = (size_t)(part * (double)delay_count);
    return delays[i < delay_count ? i : delay_count - 1] / 1e3;
}

static void measure(double seconds)
{
    while (step(NULL, 0)) /* what lay here while nobody looked */
        ;
    delay_count = heartbeats = failed_count = 0;
    int64_t end = now_us() + (int64_t)(seconds * 1e6), left;
    while ((left = end - now_us()) > 0)
        step(NULL, (int)(left / 1000) + 1);
    qsort(delays, delay_count, sizeof *delays, compare);
    printf("{\"events\": %zu, \"p50\": %.2f, \"p99\": %.2f, \"max\": %.2f, \"heartbeats\": %zu, \"lost\": %zu}\n", delay_count,
           delay_ms(0.5), delay_ms(0.99), delay_ms(1), heartbeats, failed_count);
}

static void close_streams(void)
{
    for (size_t i = 0; i < stream_count; i++)
        if (streams[i].fd >= 0)
            close(streams[i].fd);
    printf("{\"closed\": %zu}\n", stream_count);
    stream_count = asked_count = open_count = 0;
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (argc != 2 || epoll_fd < 0)
        fail("usage: stream_client PORT");
    port = (uint16_t)strtoul(argv[1], NULL, 10);
    char line[512], path[256];
    while (fgets(line, sizeof line, stdin)) {
        size_t count;
        double seconds;
        if (sscanf(line, "open %255s %zu", path, &count) == 2)
            open_streams(path, count);
        else if (sscanf(line, "measure %lf", &seconds) == 1)
            measure(seconds);
        else if (!strncmp(line, "close", 5))
            close_streams();
        else
            return 1;
        fflush(stdout);
    }
    return 0;
}
