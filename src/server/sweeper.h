/* The sweeper: turns completed downloads into expired ones when their link is over, and clears away what attempts left: objects of
 * attempts that are over and were never published, and, in a store that is ours (local), files whose link is over.
 *
 * Runs every few seconds on the event loop; what fails is tried again the next time. */
#ifndef SERVER_SWEEPER_H
#define SERVER_SWEEPER_H

#include <event2/event.h>

#include "job/store_thread.h"
#include "object/store.h"

struct sweeper;

struct sweeper *sweeper_new(struct event_base *base, struct store_threads *store, struct object_store *objects,
                            struct error *e);

/* Begins no new round, and nothing more of the one that is under way: what was submitted only comes back. */
void sweeper_stop(struct sweeper *s);
void sweeper_free(struct sweeper *s); /* when nothing is under way any more; NULL is fine */

#endif
