#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "object/s3_internal.h"
#include "object/s3_parts.h"

/* One upload, as a state machine on the loop.
 *
 *     FILLING --finish--> PUTTING -------------------------------v
 *        `--second part--> CREATING -> NOTING -> SENDING -> COMPLETING -> LOOKING -> (TIDYING) -> finished
 *
 * The first part waits for a second one, or for the end: only then it is known whether one PUT will do.
 *
 * What an attempt leaves when it goes wrong. The key is this attempt's alone, and no record names it unless
 * `finished` was said: so the object under it may always be removed by an owner that aborts. The multipart
 * upload may not always be aborted: a Complete whose answer never came may still be at work in the store, and
 * an abort that meets it leaves, on some stores, an object that HEAD shows and GET cannot read. Then the
 * upload is left alone, unless the look at the object has shown that the Complete did not happen; the owner's
 * later cleaning (remove(), some time after) ends it. If the store completes it yet later still, the object
 * bears a key that nobody names, and that cleaning removes it. */
enum phase { FILLING, PUTTING, CREATING, NOTING, SENDING, COMPLETING, LOOKING, TIDYING };

#define COMPLETE_MAX ((size_t)4 << 20) /* bytes of its body: 10,000 parts of some 250 */

struct part {
    uint32_t buffer;
    const void *data;
    size_t length;
    uint8_t sha256[SHA256_BYTES];
    bool has_sha256;
};

/* A part under way. */
struct sending {
    struct s3_call *call;
    struct object_upload *upload;
    struct sending *next, **link;
    struct part part;
    uint32_t number;
    char number_text[12];
};

struct object_upload {
    struct s3 *s3;
    struct object_upload *next, **link; /* in s3->uploads */
    const struct object_upload_events *events;
    void *context;
    char *key, *content_type;

    enum phase phase;
    struct part parts[OBJECT_PARTS_MAX]; /* a ring of what waits */
    unsigned first_part, part_count;
    uint32_t parts_taken, parts_given; /* by us of the owner; to the store */
    uint64_t bytes, total;
    uint8_t last_byte;
    bool finishing;

    char upload_id[S3_UPLOAD_ID_MAX + 1]; /* "": none */
    struct s3_parts stored;
    struct buf complete;
    uint8_t complete_sha256[SHA256_BYTES];
    char range[80];

    struct sending *sending; /* parts under way */
    uint32_t sending_count;
    struct s3_call *call; /* any other request under way */
    struct s3_sweep *sweep;

    bool create_unclear;   /* an upload without a name may be open for our key */
    bool object_possible;  /* the store may have an object under our key */
    bool completed;        /* the multipart upload is no more */
    bool complete_unclear; /* a Complete may still be at work */

    bool failed;        /* said, or about to be */
    bool ending, quiet; /* aborted; and nobody is to hear of it (close) */
    bool swept;
    int64_t end_at;

    struct task soon; /* events do not come from within the owner's calls */
    bool soon_pending, failure_pending, aborted_pending, dropped;
    struct error error;
};

static void advance(struct object_upload *u);

static void upload_free(struct object_upload *u)
{
    s3_parts_release(&u->stored);
    buf_release(&u->complete);
    free(u->key);
    free(u->content_type);
    free(u);
}

/* The store knows it no more. */
static void upload_unlink(struct object_upload *u)
{
    *u->link = u->next;
    if (u->next)
        u->next->link = u->link;
}

static void on_soon(struct task *t)
{
    struct object_upload *u = CONTAINER_OF(t, struct object_upload, soon);
    u->soon_pending = false;
    if (u->dropped) {
        upload_free(u);
    } else if (u->aborted_pending) {
        upload_unlink(u);
        u->events->aborted(u->context);
        upload_free(u);
    } else if (u->ending) {
        advance(u);
    } else if (u->failure_pending) {
        u->failure_pending = false;
        u->events->failed(u->context, &u->error);
    }
}

static void come_back_soon(struct object_upload *u)
{
    if (u->soon_pending)
        return;
    u->soon_pending = true;
    u->soon = (struct task){.done = on_soon};
    mailbox_post(u->s3->done, &u->soon);
}

/* It failed; the owner will hear of it, and abort. What is under way is of no use any more. */
static void fail_soon(struct object_upload *u, const struct error *e)
{
    if (u->failed || u->ending)
        return;
    u->failed = u->failure_pending = true;
    u->error = *e;
    for (struct sending *s = u->sending; s; s = s->next)
        transfer_stop(u->s3->transfer, s->call, 0);
    come_back_soon(u);
}

static void fail_text(struct object_upload *u, enum error_code code, const char *text)
{
    struct error e;
    error_set(&e, code, "%s", text);
    fail_soon(u, &e);
}

static void out_of_memory(struct object_upload *u)
{
    fail_text(u, ERROR_INTERNAL, "out of memory");
}

/* The requests */

static struct s3_call *new_call(struct object_upload *u, const char *method, void (*done)(struct s3_call *))
{
    struct s3_call *c = s3_call_new();
    if (!c) {
        out_of_memory(u);
        return NULL;
    }
    c->ask.method = method;
    c->ask.key = u->key;
    c->timeout_ms = u->s3->timeout_ms;
    c->done = done;
    c->context = u;
    return c;
}

static void submit(struct object_upload *u, enum phase phase, struct s3_call *c)
{
    u->phase = phase;
    u->call = c;
    transfer_submit(u->s3->transfer, c);
}

/* A request is back. False: it is of no interest any more; the upload may be gone. */
static bool is_heard(struct object_upload *u)
{
    u->call = NULL;
    if (!u->ending && !u->failed)
        return true;
    advance(u);
    return false;
}

static void on_look(struct s3_call *c);

/* Is the object there, whole? A HEAD can lie: on some stores it shows an object that cannot be read. So the
 * last byte is fetched; its Content-Range tells the size too. An empty object has no last byte. */
static void look(struct object_upload *u)
{
    struct s3_call *c = new_call(u, u->total > 0 ? "GET" : "HEAD", on_look);
    if (!c)
        return;
    if (u->total > 0) {
        snprintf(u->range, sizeof u->range, "bytes=%" PRIu64 "-%" PRIu64, u->total - 1, u->total - 1);
        c->ask.headers[c->ask.header_count++] = (struct sigv4_pair){"range", u->range};
    }
    submit(u, LOOKING, c);
}

static bool is_whole(const struct object_upload *u, const struct s3_call *c)
{
    if (u->total == 0)
        return c->content_length == 0;
    char range[80];
    snprintf(range, sizeof range, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, u->total - 1, u->total - 1,
             u->total);
    bool is_range = c->status == 206 ? strcmp(c->content_range, range) == 0 : u->total == 1;
    return is_range && c->answer.len == 1 && (uint8_t)c->answer.data[0] == u->last_byte;
}

static void on_finished(struct object_upload *u)
{
    upload_unlink(u);
    u->events->finished(u->context);
    upload_free(u);
}

static void on_tidied(void *context, const struct error *e_or_null)
{
    (void)e_or_null; /* the object stands; a stray upload is the bucket's to expire */
    struct object_upload *u = context;
    u->sweep = NULL;
    if (u->ending)
        advance(u);
    else
        on_finished(u);
}

static void on_look(struct s3_call *c)
{
    struct object_upload *u = c->context;
    bool whole = c->ok && is_whole(u, c), conclusive = c->ok || c->status == 404 || c->status == 416;
    bool missing = c->status == 404;
    struct error e = c->error;
    s3_call_free(c);
    /* After an ambiguous Complete this decides. */
    if (whole)
        u->completed = true;
    if (conclusive)
        u->complete_unclear = false;
    if (!is_heard(u))
        return;
    if (!whole) {
        if (missing)
            fail_text(u, ERROR_STORAGE, "the S3 store does not have the object that it was sent");
        else if (conclusive)
            fail_text(u, ERROR_STORAGE, "the S3 store has another object than the one that it was sent");
        else
            fail_soon(u, &e);
        return;
    }
    if (u->create_unclear && u->upload_id[0]) {
        const struct s3_sweep_options strays = {
            .key = u->key, .list = true, .timeout_ms = u->s3->abort_ms, .done = on_tidied, .context = u};
        u->phase = TIDYING;
        u->sweep = s3_sweep_start(u->s3, &strays);
        if (u->sweep)
            return;
    }
    on_finished(u);
}

static void on_put(struct s3_call *c)
{
    struct object_upload *u = c->context;
    bool ok = c->ok;
    struct error e = c->error;
    s3_call_free(c);
    uint32_t buffer = u->part_count > 0 ? u->parts[u->first_part].buffer : 0;
    bool had_part = u->part_count > 0;
    u->part_count = 0;
    if (!is_heard(u))
        return;
    if (!ok) {
        fail_soon(u, &e);
        return;
    }
    if (had_part)
        u->events->part_done(u->context, buffer);
    advance(u);
}

static void put(struct object_upload *u)
{
    struct part *p = u->part_count > 0 ? &u->parts[u->first_part] : NULL;
    struct s3_call *c = new_call(u, "PUT", on_put);
    if (!c)
        return;
    s3_ask_for_object(u->s3, &c->ask, u->content_type);
    c->body = p ? p->data : "";
    c->body_len = p ? p->length : 0;
    c->ask.sha256 = p && p->has_sha256 ? p->sha256 : NULL;
    u->object_possible = true;
    submit(u, PUTTING, c);
}

static void on_created(struct s3_call *c)
{
    struct object_upload *u = c->context;
    bool ok = c->ok && s3_xml_upload_id(c->answer.data ? c->answer.data : "", c->answer.len, u->upload_id);
    u->create_unclear = c->unclear || (c->ok && !ok);
    bool not_understood = c->ok && !ok;
    struct error e = c->error;
    s3_call_free(c);
    if (!is_heard(u))
        return;
    if (not_understood) {
        fail_text(u, ERROR_STORAGE, "the S3 store's answer to the start of an upload is not understood");
    } else if (!ok) {
        fail_soon(u, &e);
    } else if (u->events->begun) {
        u->phase = NOTING;
        u->events->begun(u->context, u->upload_id);
    } else {
        u->phase = SENDING;
        advance(u);
    }
}

static void create(struct object_upload *u)
{
    struct s3_call *c = new_call(u, "POST", on_created);
    if (!c)
        return;
    c->ask.query[c->ask.query_count++] = (struct sigv4_pair){"uploads", ""};
    s3_ask_for_object(u->s3, &c->ask, u->content_type);
    c->once = true; /* each request that arrives opens an upload */
    submit(u, CREATING, c);
}

static void on_part_sent(struct s3_call *c)
{
    struct sending *s = c->context;
    struct object_upload *u = s->upload;
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    u->sending_count--;
    uint32_t buffer = s->part.buffer, number = s->number;
    bool ok = c->ok;
    char etag[S3_ETAG_MAX + 1];
    memcpy(etag, c->etag, sizeof etag);
    struct error e = c->error;
    s3_call_free(c);
    free(s);
    if (u->ending || u->failed) {
        advance(u);
        return;
    }
    if (!ok) {
        fail_soon(u, &e);
    } else if (!s3_etag_ok(etag)) {
        fail_text(u, ERROR_STORAGE, "the S3 store took a part without telling its ETag");
    } else if (!s3_parts_set(&u->stored, number, etag)) {
        out_of_memory(u);
    } else {
        u->events->part_done(u->context, buffer);
        advance(u);
    }
}

static void send_part(struct object_upload *u)
{
    struct sending *s = calloc(1, sizeof *s);
    struct s3_call *c = s ? new_call(u, "PUT", on_part_sent) : NULL;
    if (!c) {
        free(s);
        out_of_memory(u);
        return;
    }
    s->call = c;
    s->upload = u;
    s->part = u->parts[u->first_part];
    s->number = ++u->parts_given;
    snprintf(s->number_text, sizeof s->number_text, "%" PRIu32, s->number);
    u->first_part = (u->first_part + 1) % OBJECT_PARTS_MAX;
    u->part_count--;
    s->next = u->sending;
    s->link = &u->sending;
    if (s->next)
        s->next->link = &s->next;
    u->sending = s;
    u->sending_count++;

    c->context = s;
    c->ask.query[c->ask.query_count++] = (struct sigv4_pair){"partNumber", s->number_text};
    c->ask.query[c->ask.query_count++] = (struct sigv4_pair){"uploadId", u->upload_id};
    c->ask.sha256 = s->part.has_sha256 ? s->part.sha256 : NULL;
    c->body = s->part.data;
    c->body_len = s->part.length;
    transfer_submit(u->s3->transfer, c);
}

static void on_completed(struct s3_call *c)
{
    struct object_upload *u = c->context;
    bool ok = c->ok && s3_xml_is_completed(c->answer.data ? c->answer.data : "", c->answer.len);
    /* NoSuchUpload is also what a second request is told after a first that did its work and whose answer was
     * lost, be it sent again by us or by libcurl. */
    bool unclear =
        !ok && (c->ok || c->unclear || c->passing || c->stopped || strcmp(c->code, "NoSuchUpload") == 0);
    struct error e = c->error;
    s3_call_free(c);
    u->completed = ok;
    u->complete_unclear = unclear;
    if (!is_heard(u))
        return;
    if (ok || unclear)
        look(u);
    else
        fail_soon(u, &e);
}

static void complete(struct object_upload *u)
{
    s3_parts_append_complete(&u->stored, u->parts_given, &u->complete);
    if (!buf_ok(&u->complete) || !sha256_of(u->complete.data, u->complete.len, u->complete_sha256)) {
        out_of_memory(u);
        return;
    }
    struct s3_call *c = new_call(u, "POST", on_completed);
    if (!c)
        return;
    c->ask.query[c->ask.query_count++] = (struct sigv4_pair){"uploadId", u->upload_id};
    c->ask.headers[c->ask.header_count++] = (struct sigv4_pair){"content-type", "application/xml"};
    c->ask.sha256 = u->complete_sha256;
    c->body = u->complete.data;
    c->body_len = u->complete.len;
    c->may_hide_error = true;
    c->patience = 4; /* putting many parts together takes a while */
    u->object_possible = true;
    submit(u, COMPLETING, c);
}

/* The end without an object */

static void on_swept(void *context, const struct error *e_or_null)
{
    (void)e_or_null; /* what is left is the later cleaning's */
    struct object_upload *u = context;
    u->sweep = NULL;
    u->swept = true;
    advance(u);
}

static bool sweep(struct object_upload *u)
{
    bool known = u->upload_id[0] && !u->completed && !u->complete_unclear;
    const struct s3_sweep_options o = {.key = u->key,
                                       .upload_id = known ? u->upload_id : NULL,
                                       .list = u->create_unclear && !u->complete_unclear,
                                       .object = u->object_possible,
                                       .timeout_ms = u->end_at - clock_monotonic_ms(),
                                       .done = on_swept,
                                       .context = u};
    bool needed = o.upload_id || o.list || o.object;
    if (!needed || u->swept || u->s3->closing || o.timeout_ms <= 0)
        return false;
    u->sweep = s3_sweep_start(u->s3, &o);
    if (u->sweep)
        s3_sweep_stop(u->sweep, o.timeout_ms);
    return u->sweep != NULL;
}

static void end(struct object_upload *u)
{
    if (u->call || u->sending || u->sweep || sweep(u))
        return;
    if (!u->quiet) {
        u->aborted_pending = true;
        come_back_soon(u);
        return;
    }
    upload_unlink(u);
    if (u->soon_pending)
        u->dropped = true;
    else
        upload_free(u);
}

/* The one place that decides what an upload does next. */
static void advance(struct object_upload *u)
{
    if (u->ending) {
        end(u);
        return;
    }
    if (u->failed)
        return;
    switch (u->phase) {
    case FILLING:
        if (u->part_count > 1)
            create(u);
        else if (u->finishing)
            put(u);
        break;
    case SENDING:
        while (!u->failed && u->part_count > 0 && u->sending_count < u->s3->store.parts_a_job)
            send_part(u);
        if (!u->failed && u->finishing && u->part_count == 0 && !u->sending)
            complete(u);
        break;
    case PUTTING:
        if (!u->call)
            look(u);
        break;
    case CREATING:
    case NOTING:
    case COMPLETING:
    case LOOKING:
    case TIDYING:
        break;
    }
}

/* The owner's calls */

struct object_upload *s3_upload_begin(struct s3 *s3, const struct object_upload_options *o, struct error *e)
{
    if (!s3_key_ok(o->key, e))
        return NULL;
    struct object_upload *u = calloc(1, sizeof *u);
    if (u) {
        u->key = strdup(o->key);
        u->content_type = strdup(o->content_type ? o->content_type : "application/octet-stream");
    }
    if (!u || !u->key || !u->content_type) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        if (u)
            upload_free(u);
        return NULL;
    }
    buf_init(&u->complete, COMPLETE_MAX);
    u->s3 = s3;
    u->events = o->events;
    u->context = o->context;
    u->next = s3->uploads;
    u->link = &s3->uploads;
    if (u->next)
        u->next->link = &u->next;
    s3->uploads = u;
    return u;
}

void s3_upload_part(struct object_upload *u, uint32_t buffer, const void *data, size_t length,
                    const uint8_t *sha256)
{
    assert(u->part_count < OBJECT_PARTS_MAX && !u->finishing && !u->ending);
    assert(sha256 || !u->s3->store.sign_parts);
    if (u->failed)
        return;
    if (u->parts_taken == u->s3->parts_max) {
        struct error e;
        error_set(&e, ERROR_TOO_LARGE,
                  "the file needs more than %" PRIu32
                  " parts, which is all that S3 allows: raise GOPIE_DS_S3_PART_SIZE",
                  u->s3->parts_max);
        fail_soon(u, &e);
        return;
    }
    struct part *p = &u->parts[(u->first_part + u->part_count++) % OBJECT_PARTS_MAX];
    *p = (struct part){.buffer = buffer, .data = data, .length = length};
    if (u->s3->store.sign_parts) {
        memcpy(p->sha256, sha256, SHA256_BYTES);
        p->has_sha256 = true;
    }
    u->parts_taken++;
    u->bytes += length;
    if (length > 0)
        u->last_byte = ((const uint8_t *)data)[length - 1];
    advance(u);
}

void s3_upload_noted(struct object_upload *u)
{
    if (u->phase != NOTING || u->ending || u->failed)
        return;
    u->phase = SENDING;
    advance(u);
}

void s3_upload_finish(struct object_upload *u, uint64_t total)
{
    assert(!u->finishing && !u->ending);
    u->finishing = true;
    u->total = total;
    if (total != u->bytes)
        fail_text(u, ERROR_STORAGE, "another number of bytes came than was announced");
    advance(u);
}

/* Parts and looks are broken off. What changes the store by itself is let come to its end, for half of the
 * time: broken off, it might still do its work after we have tidied up. */
static void begin_end(struct object_upload *u, int64_t in_ms)
{
    u->ending = true;
    u->end_at = clock_monotonic_ms() + in_ms;
    for (struct sending *s = u->sending; s; s = s->next)
        transfer_stop(u->s3->transfer, s->call, 0);
    if (u->call)
        transfer_stop(u->s3->transfer, u->call, u->phase == LOOKING ? 0 : in_ms / 2);
    if (u->sweep)
        s3_sweep_stop(u->sweep, in_ms / 2);
    advance(u);
}

void s3_upload_abort(struct object_upload *u)
{
    assert(!u->ending);
    begin_end(u, u->s3->abort_ms);
}

void s3_uploads_drop(struct s3 *s3, int64_t in_ms)
{
    for (struct object_upload *u = s3->uploads, *next; u; u = next) {
        next = u->next;
        u->quiet = true;
        if (!u->ending)
            begin_end(u, in_ms);
        else /* also where its owner has yet to hear that it has ended */
            advance(u);
    }
}
