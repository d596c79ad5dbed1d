/* Drives the S3 store for the tests and the benchmark: what the server does, without the server.
 *
 *     s3_driver upload [--abort-after MS] [--close-after MS] KEY=BYTES...   all at once; one line each as it
 * ends: KEY finished|failed|aborted MS PARTS-DONE CODE MESSAGE     (failed is followed by its aborted)
 *     s3_driver check [TIMES] | remove KEY [UPLOAD-ID] | link KEY FILE-NAME SECONDS
 *
 * S3_* variables say where the store is. Byte i of an object is (i / 4096 + i) % 251; with SAME_BYTES in the
 * environment what is in the buffers. With TORN_PART the second part is changed behind its digest. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "object/s3.h"

#define UPLOADS_MAX 64
#define BUFFERS_MAX 16

static struct mailbox *mailbox;
static struct object_store *store;
static int64_t begun_at;
static unsigned running;

struct upload {
    const char *key;
    uint64_t size, sent;
    struct object_upload *upload;
    char *buffers;
    uint32_t free_buffers[BUFFERS_MAX], free_count;
    unsigned parts_done;
    bool finishing, failed, aborting;
};

static void report(const struct upload *u, const char *what, const struct error *e)
{
    printf("%s %s %" PRId64 " %u %s %s\n", u->key, what, clock_monotonic_ms() - begun_at, u->parts_done,
           e ? error_code_name(e->code) : "-", e ? e->message : "-");
    fflush(stdout);
}

static void fill(char *to, uint64_t from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] = (char)(((from + i) / 4096 + from + i) % 251);
}

/* As a worker does: while there is a free buffer, and then the end. */
static void feed(struct upload *u)
{
    while (!u->failed && !u->aborting && u->free_count > 0 && u->sent < u->size) {
        uint32_t buffer = u->free_buffers[--u->free_count];
        char *data = u->buffers + buffer * store->part_size;
        size_t length = u->size - u->sent < store->part_size ? (size_t)(u->size - u->sent) : store->part_size;
        uint8_t sha256[SHA256_BYTES];
        if (!getenv("SAME_BYTES"))
            fill(data, u->sent, length);
        if (store->sign_parts && !sha256_of(data, length, sha256))
            abort();
        if (getenv("TORN_PART") && u->sent == store->part_size)
            data[length / 2] ^= 1;
        u->sent += length;
        store->api->part(u->upload, buffer, data, length, store->sign_parts ? sha256 : NULL);
    }
    if (!u->failed && !u->aborting && !u->finishing && u->sent == u->size) {
        u->finishing = true;
        store->api->finish(u->upload, u->size);
    }
}

static void on_part_done(void *context, uint32_t buffer)
{
    struct upload *u = context;
    u->parts_done++;
    u->free_buffers[u->free_count++] = buffer;
    feed(u);
}

static void on_finished(void *context)
{
    report(context, "finished", NULL);
    running--;
}

static void on_failed(void *context, const struct error *e)
{
    struct upload *u = context;
    report(u, "failed", e);
    u->failed = u->aborting = true;
    store->api->abort(u->upload);
}

static void on_aborted(void *context)
{
    report(context, "aborted", NULL);
    running--;
}

static void on_begun(void *context, const char *upload_id)
{
    struct upload *u = context;
    if (upload_id[0])
        store->api->noted(u->upload);
}

static const struct object_upload_events events = {on_part_done, on_finished, on_failed, on_aborted,
                                                   on_begun};

static void turn(int64_t wait_ms)
{
    struct pollfd readable = {.fd = mailbox_fd(mailbox), .events = POLLIN};
    if (poll(&readable, 1, (int)wait_ms) == 1)
        mailbox_drain(mailbox);
}

/* With uploads under way: how long it takes is reported. */
static void close_store(void)
{
    int64_t at = clock_monotonic_ms();
    store->api->close(store);
    store = NULL;
    printf("- closed %" PRId64 " 0 - -\n", clock_monotonic_ms() - at);
}

static int upload(int argc, char **argv)
{
    static struct upload uploads[UPLOADS_MAX];
    int64_t abort_after = INT64_MAX, close_after = INT64_MAX;
    int count = 0;
    begun_at = clock_monotonic_ms();
    for (int i = 0; i < argc && count < UPLOADS_MAX; i++) {
        if (strcmp(argv[i], "--abort-after") == 0 && i + 1 < argc) {
            abort_after = strtoll(argv[++i], NULL, 10);
            continue;
        }
        if (strcmp(argv[i], "--close-after") == 0 && i + 1 < argc) {
            close_after = strtoll(argv[++i], NULL, 10);
            continue;
        }
        struct upload *u = &uploads[count++];
        char *size = strrchr(argv[i], '=');
        if (!size)
            return 2;
        *size++ = '\0';
        u->key = argv[i];
        u->size = strtoull(size, NULL, 10);
        u->buffers = malloc(store->parts_a_job * store->part_size);
        if (u->buffers) /* else a benchmark would send the kernel's one page of zeros over and over */
            memset(u->buffers, 'x', store->parts_a_job * store->part_size);
        for (uint32_t b = 0; b < store->parts_a_job; b++)
            u->free_buffers[u->free_count++] = b;
        struct error e;
        const struct object_upload_options o = {
            .key = u->key, .content_type = "text/csv; charset=utf-8", .events = &events, .context = u};
        u->upload = store->api->begin(store, &o, &e);
        if (!u->upload || !u->buffers) {
            report(u, "refused", &e);
            return 1;
        }
        running++;
    }
    for (int i = 0; i < count; i++)
        feed(&uploads[i]);
    while (running > 0) {
        int64_t passed = clock_monotonic_ms() - begun_at;
        int64_t next = abort_after < close_after ? abort_after : close_after;
        turn(next == INT64_MAX ? 1000 : next > passed ? next - passed : 0);
        if (clock_monotonic_ms() - begun_at >= close_after) {
            close_store();
            break;
        }
        if (clock_monotonic_ms() - begun_at < abort_after)
            continue;
        abort_after = INT64_MAX;
        for (int i = 0; i < count; i++)
            if (!uploads[i].aborting) {
                uploads[i].aborting = true;
                store->api->abort(uploads[i].upload);
            }
    }
    for (int i = 0; i < count; i++)
        free(uploads[i].buffers);
    return 0;
}

static void on_removed(void *context, const struct error *e_or_null)
{
    *(bool *)context = true;
    printf("%s %s\n", e_or_null ? error_code_name(e_or_null->code) : "ok",
           e_or_null ? e_or_null->message : "-");
}

static int run(int argc, char **argv)
{
    struct error e;
    if (argc >= 2 && strcmp(argv[1], "upload") == 0)
        return upload(argc - 2, argv + 2);
    if (argc >= 2 && strcmp(argv[1], "check") == 0) {
        for (long times = argc > 2 ? strtol(argv[2], NULL, 10) : 1; times > 0; times--) {
            bool ok = store->api->check(store, &e);
            printf("%s %s\n", ok ? "ok" : error_code_name(e.code), ok ? "-" : e.message);
        }
        return 0;
    }
    if (argc >= 3 && strcmp(argv[1], "remove") == 0) {
        bool done = false;
        store->api->remove(store, argv[2], argc > 3 ? argv[3] : NULL, on_removed, &done);
        while (!done)
            turn(1000);
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "link") == 0) {
        int64_t expires_at, asked = clock_wall_us() + strtoll(argv[4], NULL, 10) * 1000000;
        char *link =
            store->api->link(store, argv[2], argv[3], "text/csv; charset=utf-8", asked, &expires_at, &e);
        if (link)
            printf("%" PRId64 " %s\n", expires_at / 1000000, link);
        free(link);
        return link ? 0 : 1;
    }
    return 2;
}

static long long number(const char *name, long long otherwise)
{
    return getenv(name) ? strtoll(getenv(name), NULL, 10) : otherwise;
}

static int choice(const char *name, const char *const *choices)
{
    for (int i = 0; getenv(name) && choices[i]; i++)
        if (strcmp(getenv(name), choices[i]) == 0)
            return i;
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const addressings[] = {"path", "virtual", NULL},
                             *const signs[] = {"auto", "on", "off", NULL},
                             *const sses[] = {"none", "AES256", "aws:kms", NULL};
    struct error e;
    mailbox = mailbox_new(&e);
    const struct object_s3_options o = {
        .endpoint = getenv("S3_ENDPOINT"),
        .public_endpoint = getenv("S3_PUBLIC_ENDPOINT"),
        .addressing = choice("S3_ADDRESSING", addressings),
        .region = getenv("S3_REGION"),
        .bucket = getenv("S3_BUCKET"),
        .access_key = getenv("S3_ACCESS_KEY"),
        .secret_key = getenv("S3_SECRET_KEY"),
        .session_token = getenv("S3_SESSION_TOKEN"),
        .ca_file = getenv("S3_CA_FILE"),
        .sse = choice("S3_SSE", sses),
        .kms_key_id = getenv("S3_SSE_KMS_KEY_ID"),
        .sign_payload = choice("S3_SIGN_PAYLOAD", signs),
        .part_size = (size_t)number("S3_PART_SIZE", 5 << 20),
        .parts_a_job = (uint32_t)number("S3_PARTS_A_JOB", 0),
        .timeout_ms = number("S3_TIMEOUT_MS", 20000),
        .connect_ms = number("S3_CONNECT_MS", 0),
        .silence_s = number("S3_SILENCE_S", 0),
        .abort_ms = number("S3_ABORT_MS", 0),
        .connections = (unsigned)number("S3_CONNECTIONS", 0),
        .done = mailbox,
    };
    store = mailbox ? object_store_s3_open(&o, &e) : NULL;
    if (!store) {
        printf("%s %s\n", error_code_name(e.code), e.message);
        mailbox_free(mailbox);
        return 1;
    }
    int status = run(argc, argv);
    if (store)
        store->api->close(store);
    mailbox_drain(mailbox);
    mailbox_free(mailbox);
    return status;
}
