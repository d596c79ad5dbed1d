#include "link/message.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER_SIZE offsetof(struct link_message, text)

bool link_decode(const void *data, size_t size, struct link_message *ret_message, struct error *e)
{
    if (size < HEADER_SIZE || size > sizeof(struct link_message))
        return error_set(e, ERROR_WORKER, "a message of %zu bytes", size);
    struct link_message m;
    memcpy(&m, data, HEADER_SIZE);
    if (m.type < LINK_OPEN || m.type > LINK_FAILED)
        return error_set(e, ERROR_WORKER, "a message of unknown type %u", m.type);
    if (m.text_length >= ERROR_MESSAGE_MAX || size != HEADER_SIZE + m.text_length)
        return error_set(e, ERROR_WORKER, "a message whose text has the wrong length");
    if (m.type == LINK_FAILED && (m.code == ERROR_NONE || m.code >= ERROR_CODE_COUNT))
        return error_set(e, ERROR_WORKER, "a message with unknown error code %u", m.code);
    if (m.type == LINK_PROGRESS && (isnan(m.percent) || m.percent > 100))
        return error_set(e, ERROR_WORKER, "a message with a percentage out of range");
    memcpy(m.text, (const char *)data + HEADER_SIZE, m.text_length);
    m.text[m.text_length] = '\0';
    memcpy(ret_message, &m, HEADER_SIZE + m.text_length + 1);
    return true;
}

enum link_result link_send(int fd, const struct link_message *m, const int *fds, int fd_count, struct error *e)
{
    struct iovec part = {.iov_base = (void *)m, .iov_len = HEADER_SIZE + m->text_length};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(LINK_MAX_FDS * sizeof(int))];
    } control = {.bytes = {0}};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, (size_t)fd_count * sizeof(int));
    }
    for (;;) {
        if (sendmsg(fd, &message, MSG_NOSIGNAL) >= 0)
            return LINK_OK;
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN)
            return LINK_AGAIN;
        if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN)
            return LINK_CLOSED;
        error_set_errno(e, ERROR_WORKER, errno, "cannot send to the peer process");
        return LINK_BROKEN;
    }
}

/* Takes the descriptors out of the control data: into `fds`, or closes those that have no place. */
static void take_fds(struct msghdr *message, int *fds)
{
    int kept = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (fds && kept < LINK_MAX_FDS)
                fds[kept++] = fd;
            else
                close(fd);
        }
    }
}

enum link_result link_receive(int fd, struct link_message *ret_message, int *ret_fds, struct error *e)
{
    struct link_message raw;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(LINK_MAX_FDS * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = &raw, .iov_len = sizeof raw};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t n;
    /* A peer that ended before it read all of ours is reported once as a reset, ahead of what it has sent: its last
     * message (DONE) still waits behind that. */
    do
        n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    for (int i = 0; ret_fds && i < LINK_MAX_FDS; i++)
        ret_fds[i] = -1;
    if (n < 0 && errno == EAGAIN)
        return LINK_AGAIN;
    if (n == 0)
        return LINK_CLOSED;
    if (n < 0) {
        error_set_errno(e, ERROR_WORKER, errno, "cannot receive from the peer process");
        return LINK_BROKEN;
    }
    take_fds(&message, ret_fds);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        error_set(e, ERROR_WORKER, "a message that is too long");
        return LINK_BROKEN;
    }
    return link_decode(&raw, (size_t)n, ret_message, e) ? LINK_OK : LINK_BROKEN;
}
