/* The two stores, as the configuration chooses them: opened, waited for, checked.
 *
 * A service that does not answer yet is waited for (GOPIE_DS_STARTUP_WAIT); one that refuses us is not. All calls
 * block: at the start, before the event loop runs, and for --check-config. */
#ifndef SERVER_STORES_H
#define SERVER_STORES_H

#include "job/store_thread.h"
#include "object/store.h"
#include "server/data_dir.h"
#include "server/settings.h"

struct stores {
    struct store_threads *jobs;
    struct object_store *objects;
};

struct stores_options {
    const struct settings *settings;
    const struct data_dir *data;
    const char *public_url; /* base of the local store's links, no slash at its end */
    struct mailbox *done;
};

/* Half of it may be open after a failure: the caller closes what is there. */
MUST_CHECK bool stores_open(struct stores *s, const struct stores_options *o, struct error *e);

/* In a few words, for the log: "jobs in sqlite, files in /srv/data". Appends. */
void stores_describe(const struct settings *settings, const struct data_dir *data, struct buf *out);

/* Looks only, changes nothing. `report` is told of each store once, and gives `ok` back. */
typedef bool stores_report(const char *what, bool ok, const char *text);
bool stores_check(const struct settings *settings, const struct data_dir *data_or_null, stores_report *report);

#endif
