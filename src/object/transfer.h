/* The transfer thread: signs, sends and tries again the requests of all uploads, over one http_transfers.
 *
 * The loop fills a `struct s3_call` and submits it; from then on it is the thread's, until `done` is called
 * on the loop. The two share two lists of calls behind a lock, nothing else. */
#ifndef OBJECT_TRANSFER_H
#define OBJECT_TRANSFER_H

#include <stdatomic.h>

#include "base/http_transfers.h"
#include "base/mailbox.h"
#include "object/s3_answer.h"
#include "object/s3_request.h"

#define S3_ETAG_MAX 128

/* Of an answer that is no list. */
#define S3_ANSWER_MAX ((size_t)64 * 1024)

/* One request, tried until it is answered or given up. */
struct s3_call {
    /* Asked: unchanged until `done`, as is what it points to. */
    struct s3_ask ask; /* where there is no body, its digest is not needed */
    const void *body;
    size_t body_len;
    bool once;                       /* libcurl must not send it twice by itself */
    bool may_hide_error;             /* a 200 may carry an <Error> */
    size_t answer_max;               /* 0: S3_ANSWER_MAX */
    int64_t timeout_ms;              /* since the first try; a try that runs by then is not ended by it */
    unsigned patience;               /* may be silent for so many times as long as other requests; 0 is 1 */
    void (*done)(struct s3_call *c); /* on the loop; may free the call */
    void *context;

    /* Answered. */
    bool ok;      /* a status of success; else `error` says why not */
    bool stopped; /* by s3_call_stop() */
    bool passing; /* not ok, but what it ended with may pass: no answer, or one that asks to try again */
    bool unclear; /* a try, the last or one before it, may have been done by the store without our hearing of
                     it */
    int status;   /* of the last answer; 0: none */
    unsigned tries;
    char code[S3_CODE_MAX + 1];
    struct buf answer;
    char etag[S3_ETAG_MAX + 1]; /* "" where it is absent or too long; as sent, with its quotes */
    char content_range[64];
    int64_t content_length; /* -1: absent */
    struct error error;
    char detail[256]; /* where the certificate is not trusted: more, for operators; else "" */

    /* The thread's. */
    struct s3_call *next;
    struct transfer *transfer;
    struct http_transfer *http; /* NULL between tries */
    int64_t due, give_up_at;
    _Atomic int64_t stop_at; /* the loop's wish */
};

struct s3_call *s3_call_new(void); /* NULL: out of memory */
void s3_call_free(struct s3_call *c);

struct transfer;

struct transfer_options {
    const struct s3_site *site; /* outlives the thread */
    const char *ca_file;
    unsigned connections;
    int64_t connect_ms, silence_s;
    struct mailbox *done;
};

struct transfer *transfer_new(const struct transfer_options *o, struct error *e);

/* Stops what runs, ends the thread, calls the remaining `done`s from within, frees. Drain the mailbox
 * afterwards. */
void transfer_free(struct transfer *t);

void transfer_submit(struct transfer *t, struct s3_call *c);

/* Gives a submitted call up in `in_ms` at the latest (0: now); `done` still comes. On the loop. */
void transfer_stop(struct transfer *t, struct s3_call *c, int64_t in_ms);

/* Waits up to `wait_ms` for calls to be done, and calls their `done`s from within: for the few places that
 * may block. The loop itself does not need it. */
void transfer_wait(struct transfer *t, int64_t wait_ms);

#endif
