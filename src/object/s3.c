#include "object/s3.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "object/s3_internal.h"

#define DEFAULT_PART_SIZE ((size_t)16 << 20)
#define DEFAULT_PARTS_A_JOB 4
#define DEFAULT_TIMEOUT_MS 300000
#define DEFAULT_CONNECT_MS 10000
#define DEFAULT_SILENCE_S 30
#define DEFAULT_ABORT_MS 10000
#define DEFAULT_CONNECTIONS 256
#define DEFAULT_GROW_AT 5000
#define GROWTH 16
#define GROWN_MAX ((size_t)256 << 20) /* a job has parts_a_job of them */

/* How long close() may take to tidy up what is under way. */
#define CLOSE_MS 1500

/* One answer of a healthy store to a request of check(); start asks again by itself. */
#define CHECK_TIMEOUT_MS 2000

/* "/<id>-<attempt>.<format>" follows an organisation in a key. */
#define KEY_REST_MAX 64

/* Credentials of a session end some time after a minute to 36 hours, and do not say when. An hour is the
 * shortest that is usual: https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp.html */
#define SESSION_LINK_SECONDS_MAX 3600

#define PROBE_PREFIX ".downloads-server/check-"

static struct s3 *s3_of(const struct object_store *s)
{
    return CONTAINER_OF(s, struct s3, store);
}

void s3_ask_for_object(const struct s3 *s3, struct s3_ask *ask, const char *content_type)
{
    ask->headers[ask->header_count++] = (struct sigv4_pair){"content-type", content_type};
    if (s3->sse)
        ask->headers[ask->header_count++] = (struct sigv4_pair){"x-amz-server-side-encryption", s3->sse};
    if (s3->kms_key_id)
        ask->headers[ask->header_count++] =
            (struct sigv4_pair){"x-amz-server-side-encryption-aws-kms-key-id", s3->kms_key_id};
}

static bool s3_organisation_ok(const char *organisation, struct error *e)
{
    struct error why;
    if (strlen(organisation) > OBJECT_KEY_MAX - KEY_REST_MAX)
        return error_set(e, ERROR_INVALID, "the organization ID has more than %d bytes",
                         OBJECT_KEY_MAX - KEY_REST_MAX);
    return s3_key_ok(organisation, &why) || error_set(e, ERROR_INVALID,
                                                      "the organization ID must be UTF-8 without control "
                                                      "characters, and no part of it between slashes "
                                                      "empty, \".\" or \"..\"");
}

static struct object_upload *s3_begin(struct object_store *s, const struct object_upload_options *o,
                                      struct error *e)
{
    return s3_upload_begin(s3_of(s), o, e);
}

static char *s3_link(struct object_store *s, const char *key, const char *file_name, const char *content_type,
                     int64_t expires_at, int64_t *ret_expires_at, struct error *e)
{
    const struct s3 *s3 = s3_of(s);
    if (!s3_key_ok(key, e))
        return NULL;
    int64_t now_s = clock_wall_us() / 1000000, seconds = expires_at / 1000000 - now_s;
    int64_t max = s3->site.session_token ? SESSION_LINK_SECONDS_MAX : SIGV4_LINK_SECONDS_MAX;
    seconds = seconds < 1 ? 1 : seconds > max ? max : seconds;
    char *link = s3_link_make(&s3->site, key, file_name, content_type, now_s, seconds);
    if (!link)
        error_set(e, ERROR_INTERNAL, "out of memory");
    else
        *ret_expires_at = (now_s + seconds) * 1000000;
    return link;
}

/* Removal: a sweep whose end is told through the mailbox, also when the store is being closed. */
struct removal {
    struct task task;
    void (*done)(void *context, const struct error *e_or_null);
    void *context;
    bool failed;
    struct error error;
};

static void removal_over(struct task *t)
{
    struct removal *r = CONTAINER_OF(t, struct removal, task);
    r->done(r->context, r->failed ? &r->error : NULL);
    free(r);
}

static void on_removed(void *context, const struct error *e_or_null)
{
    struct removal *r = context;
    r->failed = e_or_null != NULL;
    if (e_or_null)
        r->error = *e_or_null;
    mailbox_post(r->task.reply_to, &r->task);
}

static void s3_remove(struct object_store *s, const char *key, const char *upload_id,
                      void (*done)(void *context, const struct error *e_or_null), void *context)
{
    struct s3 *s3 = s3_of(s);
    struct error e;
    struct removal *r = calloc(1, sizeof *r);
    if (!r) {
        error_set(&e, ERROR_INTERNAL, "out of memory");
        done(context, &e);
        return;
    }
    *r = (struct removal){
        .task = {.reply_to = s3->done, .done = removal_over}, .done = done, .context = context};
    const struct s3_sweep_options sweep = {.key = key,
                                           .upload_id = upload_id,
                                           .list = true, /* there are more where a Create was sent again */
                                           .object = true,
                                           .timeout_ms = s3->timeout_ms,
                                           .done = on_removed,
                                           .context = r};
    if (!s3_key_ok(key, &e)) {
        on_removed(r, &e);
    } else if (!s3_sweep_start(s3, &sweep)) {
        error_set(&e, ERROR_INTERNAL, "out of memory");
        on_removed(r, &e);
    }
}

/* The check */

struct probe {
    char key[sizeof PROBE_PREFIX + UUID_SIZE];
    char upload_id[S3_UPLOAD_ID_MAX + 1];
    bool done;
    struct s3_call *call;
    bool swept, sweep_failed;
    struct error sweep_error;
};

static void on_probe(struct s3_call *c)
{
    struct probe *p = c->context;
    p->done = true;
}

static void on_probe_swept(void *context, const struct error *e_or_null)
{
    struct probe *p = context;
    p->swept = true;
    p->sweep_failed = e_or_null != NULL;
    if (e_or_null)
        p->sweep_error = *e_or_null;
}

/* What went wrong, for whoever starts the server. */
static bool explain_check(const struct s3 *s3, const struct s3_call *c, struct error *e)
{
    const char *separator = c->detail[0] ? ": " : "";
    if (!c->passing)
        return error_set(e, ERROR_CONFIG, "bucket \"%s\" at %s: %s%s%s", s3->site.bucket, s3->endpoint_text,
                         c->error.message, separator, c->detail);
    return error_set(e, ERROR_UNAVAILABLE,
                     "bucket \"%s\" at %s: %s: check that it runs there, and GOPIE_DS_S3_ENDPOINT",
                     s3->site.bucket, s3->endpoint_text, c->error.message);
}

/* Opens an upload for a key that nobody has: that needs the bucket, the keys, the clock, the region and the
 * right to write. It is found by a list and aborted, as later cleaning does. */
static bool probe_create(struct s3 *s3, struct probe *p, struct error *e)
{
    p->call->ask.method = "POST";
    p->call->ask.key = p->key;
    p->call->ask.query[p->call->ask.query_count++] = (struct sigv4_pair){"uploads", ""};
    s3_ask_for_object(s3, &p->call->ask, "application/octet-stream");
    p->call->timeout_ms = CHECK_TIMEOUT_MS;
    p->call->once = true;
    p->call->done = on_probe;
    p->call->context = p;
    transfer_submit(s3->transfer, p->call);
    while (!p->done)
        transfer_wait(s3->transfer, 1000);
    if (!p->call->ok)
        return explain_check(s3, p->call, e);
    return s3_xml_upload_id(p->call->answer.data ? p->call->answer.data : "", p->call->answer.len,
                            p->upload_id) ||
           error_set(e, ERROR_CONFIG, "%s does not answer as an S3 store does: check GOPIE_DS_S3_ENDPOINT",
                     s3->endpoint_text);
}

static bool s3_check(struct object_store *s, struct error *e)
{
    struct s3 *s3 = s3_of(s);
    struct probe p = {0};
    /* The same for all checks of a start: each takes away what those before it had to leave. */
    if (!s3->probe_id[0] && !uuid_random(s3->probe_id, e))
        return false;
    snprintf(p.key, sizeof p.key, PROBE_PREFIX "%s", s3->probe_id);
    p.call = s3_call_new();
    if (!p.call)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    bool created = probe_create(s3, &p, e);
    bool unclear = p.call->unclear;
    s3_call_free(p.call);
    if (!created && !unclear)
        return false;

    const struct s3_sweep_options sweep = {.key = p.key,
                                           .upload_id = created ? p.upload_id : NULL,
                                           .list = true,
                                           .timeout_ms = CHECK_TIMEOUT_MS,
                                           .done = on_probe_swept,
                                           .context = &p};
    if (!s3_sweep_start(s3, &sweep))
        return created && error_set(e, ERROR_INTERNAL, "out of memory");
    while (!p.swept)
        transfer_wait(s3->transfer, 1000);
    if (created && p.sweep_failed)
        return error_set(e, p.sweep_error.code == ERROR_UNAVAILABLE ? ERROR_UNAVAILABLE : ERROR_CONFIG,
                         "bucket \"%s\" at %s: uploads can be opened, but not listed and aborted: %s",
                         s3->site.bucket, s3->endpoint_text, p.sweep_error.message);
    return created;
}

/* Opening and closing */

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void s3_free(struct s3 *s3)
{
    free(s3->site.bucket);
    free(s3->site.region);
    wipe(s3->site.access_key);
    wipe(s3->site.secret_key);
    wipe(s3->site.session_token);
    free(s3->sse);
    free(s3->kms_key_id);
    free(s3->endpoint_text);
    free(s3);
}

/* What is under way is taken back as far as the time allows; the rest is for the cleaning of the next start,
 * which finds key and upload id where `begun` had them noted. */
static void s3_close(struct object_store *s)
{
    struct s3 *s3 = s3_of(s);
    int64_t end_at = clock_monotonic_ms() + CLOSE_MS;
    for (struct s3_sweep *w = s3->sweeps; w; w = s3_sweep_next(w))
        s3_sweep_stop(w, CLOSE_MS);
    s3_uploads_drop(s3, CLOSE_MS);
    for (int64_t left; (s3->uploads || s3->sweeps) && (left = end_at - clock_monotonic_ms()) > 0;)
        transfer_wait(s3->transfer, left);
    s3->closing = true;
    transfer_free(s3->transfer);
    s3_free(s3);
}

static const struct object_store_api s3_api = {
    .name = "s3",
    .close = s3_close,
    .check = s3_check,
    .organisation_ok = s3_organisation_ok,
    .begin = s3_begin,
    .part = s3_upload_part,
    .noted = s3_upload_noted,
    .finish = s3_upload_finish,
    .abort = s3_upload_abort,
    .link = s3_link,
    .remove = s3_remove,
};

static bool is_given(const char *text)
{
    return text && text[0];
}

static const char *text_or(const char *text, const char *otherwise)
{
    return is_given(text) ? text : otherwise;
}

static bool is_line(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c < 0x20 || *c == 0x7F)
            return false;
    return true;
}

/* They go into headers. */
static bool check_texts(const struct object_s3_options *o, struct error *e)
{
    const struct {
        const char *name, *value;
        bool needed;
    } texts[] = {
        {"GOPIE_DS_S3_ENDPOINT", o->endpoint, true},
        {"GOPIE_DS_S3_BUCKET", o->bucket, true},
        {"GOPIE_DS_S3_REGION", o->region, true},
        {"GOPIE_DS_S3_ACCESS_KEY", o->access_key, true},
        {"GOPIE_DS_S3_SECRET_KEY", o->secret_key, true},
        {"GOPIE_DS_S3_SESSION_TOKEN", o->session_token, false},
        {"GOPIE_DS_S3_SSE_KMS_KEY_ID", o->kms_key_id, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (texts[i].needed && !is_given(texts[i].value))
            return error_set(e, ERROR_CONFIG, "%s: is needed", texts[i].name);
        if (is_given(texts[i].value) && (!is_line(texts[i].value) || strlen(texts[i].value) > 4096))
            return error_set(e, ERROR_CONFIG, "%s: has control characters, or more than 4,096 bytes",
                             texts[i].name);
    }
    if (strpbrk(o->region, " /") || strpbrk(o->access_key, " /,"))
        return error_set(e, ERROR_CONFIG,
                         "GOPIE_DS_S3_REGION and GOPIE_DS_S3_ACCESS_KEY have no blanks, slashes or commas");
    if (!s3_bucket_ok(o->bucket, o->addressing))
        return error_set(e, ERROR_CONFIG, "GOPIE_DS_S3_BUCKET: is not the name of a bucket%s",
                         o->addressing == S3_ADDRESSING_VIRTUAL ? " that can be part of a host's name" : "");
    if (o->part_size && o->part_size < S3_PART_SIZE_MIN)
        return error_set(e, ERROR_CONFIG,
                         "GOPIE_DS_S3_PART_SIZE: is less than 5 MiB, the least that S3 takes");
    return true;
}

static bool set_address(const char *variable, const char *text, const struct object_s3_options *o,
                        struct s3_address *ret, struct error *e)
{
    struct s3_address endpoint;
    struct error why;
    if (s3_address_parse(text, o->ssl, &endpoint, &why) &&
        s3_address_of_bucket(&endpoint, o->bucket, o->addressing, ret, &why))
        return true;
    return error_set(e, ERROR_CONFIG, "%s: %s", variable, why.message);
}

static bool copy_text(char **to, const char *text)
{
    *to = is_given(text) ? strdup(text) : NULL;
    return *to || !is_given(text);
}

static bool set_site(struct s3 *s3, const struct object_s3_options *o, struct error *e)
{
    static const char *const sse_names[] = {
        [S3_SSE_NONE] = NULL, [S3_SSE_AES256] = "AES256", [S3_SSE_KMS] = "aws:kms"};
    struct s3_site *site = &s3->site;
    const char *public_endpoint = text_or(o->public_endpoint, o->endpoint);
    if (!set_address("GOPIE_DS_S3_ENDPOINT", o->endpoint, o, &site->address, e) ||
        !set_address("GOPIE_DS_S3_PUBLIC_ENDPOINT", public_endpoint, o, &site->link, e))
        return false;
    site->addressing = o->addressing;
    bool ok = copy_text(&site->bucket, o->bucket) && copy_text(&site->region, o->region) &&
              copy_text(&site->access_key, o->access_key) && copy_text(&site->secret_key, o->secret_key) &&
              copy_text(&site->session_token, o->session_token) && copy_text(&s3->sse, sse_names[o->sse]) &&
              copy_text(&s3->kms_key_id, o->sse == S3_SSE_KMS ? o->kms_key_id : NULL) &&
              asprintf(&s3->endpoint_text, "%s://%s", site->address.tls ? "https" : "http",
                       site->address.authority) >= 0;
    return ok || error_set(e, ERROR_INTERNAL, "out of memory");
}

#define OR_DEFAULT(value, otherwise) ((value) ? (value) : (otherwise))

static void set_limits(struct s3 *s3, const struct object_s3_options *o)
{
    size_t part_size = OR_DEFAULT(o->part_size, DEFAULT_PART_SIZE);
    uint32_t parts_a_job = OR_DEFAULT(o->parts_a_job, DEFAULT_PARTS_A_JOB);
    size_t grown = GROWTH * part_size < GROWN_MAX ? GROWTH * part_size : GROWN_MAX;
    bool grows = !o->equal_parts && grown > part_size;
    s3->store = (struct object_store){
        .api = &s3_api,
        .part_size = part_size,
        .parts_a_job = parts_a_job < 2                  ? 2
                       : parts_a_job > OBJECT_PARTS_MAX ? OBJECT_PARTS_MAX
                                                        : parts_a_job,
        .sign_parts = o->sign_payload == S3_SIGN_PAYLOAD_ON ||
                      (o->sign_payload == S3_SIGN_PAYLOAD_AUTO && !s3->site.address.tls),
        .grow_at = grows ? OR_DEFAULT(o->grow_at, DEFAULT_GROW_AT) : 0,
        .grown_part_size = grows ? grown : 0,
    };
    s3->timeout_ms = OR_DEFAULT(o->timeout_ms, DEFAULT_TIMEOUT_MS);
    s3->abort_ms = OR_DEFAULT(o->abort_ms, DEFAULT_ABORT_MS);
    s3->parts_max = OR_DEFAULT(o->parts_max, S3_PARTS_MAX);
    s3->done = o->done;
}

struct object_store *object_store_s3_open(const struct object_s3_options *o, struct error *e)
{
    if (!check_texts(o, e))
        return NULL;
    struct s3 *s3 = calloc(1, sizeof *s3);
    if (!s3) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    if (set_site(s3, o, e)) {
        set_limits(s3, o);
        const struct transfer_options transfer = {
            .site = &s3->site,
            .ca_file = is_given(o->ca_file) ? o->ca_file : NULL,
            .connections = OR_DEFAULT(o->connections, DEFAULT_CONNECTIONS),
            .connect_ms = OR_DEFAULT(o->connect_ms, DEFAULT_CONNECT_MS),
            .silence_s = OR_DEFAULT(o->silence_s, DEFAULT_SILENCE_S),
            .done = o->done,
        };
        s3->transfer = transfer_new(&transfer, e);
    }
    if (!s3->transfer) {
        s3_free(s3);
        return NULL;
    }
    return &s3->store;
}
