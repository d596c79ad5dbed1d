/* The poller: what other instances did on the same job store, twice a second, and the leases of the jobs that run here.
 * Only where the store has poll() and renew().
 *
 * It stops jobs that are no longer ours, tells our subscribers of jobs that run elsewhere how they go, and the dispatcher
 * that something waits. No notification of the database is used: there is nothing to lose behind a connection pooler.
 * On the event loop. */
#ifndef SERVER_POLLER_H
#define SERVER_POLLER_H

#include "server/dispatcher.h"

struct poller;

struct poller_options {
    struct event_base *base;
    struct store_threads *store;
    struct hub *hub;
    struct dispatcher *dispatcher;
    unsigned workers; /* jobs that run here at once, at most */
    uint64_t renewal_ms;
};

struct poller *poller_new(const struct poller_options *options, struct error *e);

/* Asks no more; the answer to what is under way is dropped. */
void poller_stop(struct poller *p);

void poller_free(struct poller *p); /* when the store's threads have ended; NULL is fine */

#endif
