/* The messages between the server and a worker: one datagram each on a socket pair of type SOCK_SEQPACKET.
 *
 * The worker runs other people's SQL, so the server takes nothing on trust: link_receive() checks the shape of every
 * message, and src/server/attempt.c checks that it makes sense at that moment. Both programs come from one build, so
 * a message is the struct itself, cut behind the text.
 *
 *   server -> worker   OPEN     descriptor: what the worker is to be, and its source (worker_spec.h)
 *                      START    descriptors: the job's specification (job_spec.h) and the part buffers (parts.h). After READY
 *                      FREE     buffer: may be filled again
 *                      BUFFERS  descriptor: larger part buffers, `buffer` of them with `length` bytes each. They are
 *                               numbered behind the first, which are used no more once they are full or free
 *                      CANCEL   stop the engine; answered by FAILED or by the process's end
 *                      FORK     to a template only, after READY. Descriptors: the job's own socket, which becomes the
 *                               new process's LINK_WORKER_FD; where it prints; the directory of its temporary files
 *   worker -> server   READY    the box is shut and the source open: a job may come, at any time. Not from the processes
 *                               that a template makes
 *                      FORKED   `pid`: of the process that was made, a child of the server; 0: none could be made. In
 *                               the order of the FORKs
 *                      COLUMNS  text: the next piece of the columns' names and types as JSON (worker/export.h), at most
 *                               LINK_COLUMNS_MAX bytes in all; before the first part
 *                     STREAMING the first rows are there
 *                      PART     buffer, length, digest (where the specification has hash_parts): filled. Every
 *                               part but the last is full. Parts come in file order.
 *                      PROGRESS rows, bytes, percent
 *                      DONE     rows, bytes, digest, cpu_us, altered, truncated: the file is complete; every part was sent before
 *                      FAILED   code, text
 * After DONE or FAILED the worker sends nothing and ends. */
#ifndef LINK_MESSAGE_H
#define LINK_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"

#define LINK_WORKER_FD 3 /* the worker's end of the pair, from exec on */
#define LINK_MAX_FDS 3
#define LINK_COLUMNS_MAX ((size_t)2 << 20)

enum link_type {
    LINK_OPEN = 1,
    LINK_START,
    LINK_FREE,
    LINK_BUFFERS,
    LINK_CANCEL,
    LINK_FORK,
    LINK_READY,
    LINK_FORKED,
    LINK_COLUMNS,
    LINK_STREAMING,
    LINK_PART,
    LINK_PROGRESS,
    LINK_DONE,
    LINK_FAILED,
};

/* Where a job's processor time went: in the query itself (what is not in the others, the start of the process
 * included), in encoding its rows, in compressing them on threads of its own (not zstd's, which is in the query's share:
 * the library's threads cannot be asked), in hashing the file's bytes and copying them into parts, which is one pass. */
enum link_stage { LINK_QUERY, LINK_ENCODE, LINK_PACK, LINK_HASH, LINK_STAGES };

struct link_message {
    uint32_t type;   /* enum link_type */
    uint32_t buffer; /* PART, FREE: index of a part buffer; BUFFERS: how many */
    uint64_t length; /* PART: bytes in it, 1 to the buffer's size; BUFFERS: bytes of each */
    uint64_t rows;   /* PROGRESS, DONE: rows encoded so far */
    uint64_t bytes;  /* PROGRESS, DONE: bytes encoded so far */
    double percent;  /* PROGRESS: 0 to 100 from the engine, negative where it cannot tell */
    uint32_t pid;    /* FORKED: as the server sees it; 0: none */
    uint8_t digest[SHA256_BYTES]; /* PART: SHA-256 of its bytes; DONE: of the whole file */
    uint64_t cpu_us[LINK_STAGES]; /* DONE: microseconds of processor time, user and system */
    uint64_t altered;             /* DONE: cells that are not as they were: guarded (CSV), cut (XLSX) */
    uint32_t truncated;           /* DONE: 1: a limit was reached, and there was more; else 0 */
    uint32_t code;                /* FAILED: enum error_code, not ERROR_NONE */
    uint32_t text_length;         /* FAILED, COLUMNS: bytes of `text` without the NUL */
    char text[ERROR_MESSAGE_MAX]; /* UTF-8, NUL-terminated after link_receive() */
};

enum link_result {
    LINK_OK,
    LINK_AGAIN,  /* nothing there (non-blocking descriptor) */
    LINK_CLOSED, /* the peer is gone */
    LINK_BROKEN, /* the peer broke the protocol, or the system refused; `e` says how */
};

/* Sends one message with up to LINK_MAX_FDS descriptors, which stay the caller's. Any thread; never raises SIGPIPE. */
MUST_CHECK enum link_result link_send(int fd, const struct link_message *m, const int *fds, int fd_count,
                                      struct error *e);

/* Receives one message. `ret_fds` has room for LINK_MAX_FDS descriptors, close-on-exec, -1 where none came; they are
 * the caller's. Pass NULL to refuse (and close) whatever comes. */
MUST_CHECK enum link_result link_receive(int fd, struct link_message *ret_message, int *ret_fds, struct error *e);

/* The check of shape behind link_receive(): `data` is one datagram. Pure. */
MUST_CHECK bool link_decode(const void *data, size_t size, struct link_message *ret_message, struct error *e);

#endif
