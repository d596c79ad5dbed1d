#include "server/http_listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void cleanup_addrinfo(struct addrinfo **list)
{
    if (*list)
        freeaddrinfo(*list);
}

static void set_port(struct sockaddr *address, uint16_t port)
{
    if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)address)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)address)->sin_port = htons(port);
}

/* -1: see errno. */
static int bind_one(const struct addrinfo *a, bool both_families)
{
    _cleanup_close_ int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    const int on = 1, v6_only = !both_families;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        /* Accepted connections inherit it: an event must leave at once. */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        (a->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) < 0) ||
        bind(fd, a->ai_addr, a->ai_addrlen) < 0)
        return -1;
    return TAKE_FD(fd);
}

/* True if `errnum` says that the machine has no such address or family. */
static bool is_absent(int errnum)
{
    return errnum == EADDRNOTAVAIL || errnum == EAFNOSUPPORT;
}

bool http_listen_bind(const char *host, uint16_t port, int ret_fds[HTTP_LISTEN_MAX], size_t *ret_count,
                      struct error *e)
{
    bool everywhere = !*host || !strcmp(host, "*");
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    _cleanup_(cleanup_addrinfo) struct addrinfo *list = NULL;
    int failed = getaddrinfo(everywhere ? "::" : host, service, &hints, &list);
    if (failed && everywhere)
        failed = getaddrinfo("0.0.0.0", service, &hints, &list);
    if (failed)
        return error_set(e, ERROR_CONFIG, "cannot listen on %s: %s", host, gai_strerror(failed));

    size_t count = 0;
    int errnum = 0;
    for (const struct addrinfo *a = list; a && count < HTTP_LISTEN_MAX; a = a->ai_next) {
        set_port(a->ai_addr, port);
        int fd = bind_one(a, everywhere);
        if (fd >= 0) {
            char text[HTTP_ADDRESS_SIZE];
            port = http_listen_address(fd, text);
            ret_fds[count++] = fd;
            continue;
        }
        errnum = errno;
        if (!is_absent(errnum))
            break;
    }
    if (count == 0 && everywhere && is_absent(errnum) && list->ai_family == AF_INET6)
        return http_listen_bind("0.0.0.0", port, ret_fds, ret_count, e); /* a system without IPv6 */
    if (count == 0 || (errnum && !is_absent(errnum))) {
        while (count > 0)
            close(ret_fds[--count]);
        return error_set_errno(e, ERROR_CONFIG, errnum, "cannot listen on %s port %u",
                               everywhere ? "any address" : host, port);
    }
    *ret_count = count;
    return true;
}

uint16_t http_listen_address(int fd, char ret_text[HTTP_ADDRESS_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    char text[INET6_ADDRSTRLEN] = "?";
    getsockname(fd, (struct sockaddr *)&address, &length);
    if (address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        snprintf(ret_text, HTTP_ADDRESS_SIZE, "[%s]:%u", text, ntohs(in6->sin6_port));
        return ntohs(in6->sin6_port);
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
    inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    snprintf(ret_text, HTTP_ADDRESS_SIZE, "%s:%u", text, ntohs(in->sin_port));
    return ntohs(in->sin_port);
}
