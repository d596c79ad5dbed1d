/* What every object store must do, told through its interface alone; each backend runs it. */
#ifndef TESTS_OBJECT_STORE_SUITE_H
#define TESTS_OBJECT_STORE_SUITE_H

#include "base/buf.h"
#include "object/store.h"

/* What the suite cannot know: how to start from nothing, and how to look behind the interface. */
struct object_store_backend {
    const char *name;
    struct object_store *(*open)(struct mailbox *done); /* an empty store */
    void (*closed)(void);                               /* after each close: takes everything away */
    bool (*fetch)(const char *key, struct buf *ret);    /* the object's bytes; false: no such object */
    unsigned (*unfinished)(void);                       /* uploads that have left something behind */
};

/* The number of failed tests. */
int object_store_suite_run(const struct object_store_backend *backend);

/* For a backend's own tests too. An upload and all that it was told. */
struct watched {
    struct object_upload *upload; /* NULL when it has ended */
    uint32_t parts_done;
    uint64_t done_buffers; /* a bit each: a part is done once */
    bool finished, failed, aborted;
    struct error error;
};

/* Begins; the test fails if the store does not. */
void watched_begin(struct watched *w, struct object_store *s, const char *key);

/* A part with its digest. */
void send_part(struct object_store *s, struct object_upload *u, uint32_t buffer, const void *data, size_t length);

/* Drains the mailbox until *flag is true; the test fails after 20 s. */
void wait_for(struct mailbox *m, const bool *flag);

/* Begin, one part, finish, finished. */
void put_object(struct object_store *s, struct mailbox *m, const char *key, const char *text);

/* Removes and waits; the test fails if the store refuses. */
void remove_object(struct object_store *s, struct mailbox *m, const char *key);

#endif
