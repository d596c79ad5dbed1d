/* GET and HEAD of /files/<key>?expires=...&signature=...: the files of the local object store, to whoever has
 * the link.
 *
 * All calls are made on the event loop. The disk is read by a pool of threads, one chunk at a time for each
 * reader, the next when the last has left for the socket: memory is one chunk a reader, however large the
 * file. A reader that takes nothing for a minute is dropped; an error in mid-file closes the connection, so
 * that the client can tell. */
#ifndef SERVER_API_FILES_H
#define SERVER_API_FILES_H

#include <event2/event.h>

#include "base/mailbox.h"
#include "object/store.h"
#include "server/http.h"

struct api_files;

struct api_files_options {
    const struct object_store *store; /* the local one; outlives this */
    struct mailbox *done;             /* the loop's */
    struct event_base *base;
    unsigned stall_ms; /* a reader that takes nothing for so long is dropped; 0: one minute */
};

/* NULL: `e` says why. */
struct api_files *api_files_new(const struct api_files_options *o, struct error *e);

/* Breaks off what is being read, ends the threads. Before http_server_free(); drain the mailbox afterwards.
 * NULL is fine. */
void api_files_free(struct api_files *f);

/* Answers a request whose path begins with FILE_LINK_PATH. */
void api_files_handle(struct api_files *f, struct http_request *r);

#endif
