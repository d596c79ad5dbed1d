/* Sockets that the HTTP server listens on. */
#ifndef SERVER_HTTP_LISTEN_H
#define SERVER_HTTP_LISTEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define HTTP_LISTEN_MAX 16   /* addresses that one name may have */
#define HTTP_ADDRESS_SIZE 64 /* "[IPv6]:port" and a NUL */

/* Binds non-blocking sockets to all addresses of `host` ("" or "*": every address, by one socket for both
 * families where the system has IPv6), without listening yet. With port 0 all get the same free port. An
 * address that this machine does not have is left out; the descriptors are the caller's. */
MUST_CHECK bool http_listen_bind(const char *host, uint16_t port, int ret_fds[HTTP_LISTEN_MAX],
                                 size_t *ret_count, struct error *e);

/* Where a bound socket listens: "127.0.0.1:8000", "[::]:8000". Returns the port. */
uint16_t http_listen_address(int fd, char ret_text[HTTP_ADDRESS_SIZE]);

#endif
