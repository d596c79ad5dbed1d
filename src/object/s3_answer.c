#include "object/s3_answer.h"

#include <stdio.h>
#include <string.h>

#include "base/http_transfers.h"

#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS 1000
#define BACKOFF_SLOW_MAX_MS 10000

struct known_code {
    const char *code;
    enum error_code error;
    const char *advice;
};

#define KEYS "check GOPIE_DS_S3_ACCESS_KEY, GOPIE_DS_S3_SECRET_KEY and GOPIE_DS_S3_SESSION_TOKEN"

static const struct known_code known_codes[] = {
    {"AccessDenied", ERROR_CONFIG,
     "the access key may not do this: it needs s3:PutObject, s3:GetObject, s3:DeleteObject, "
     "s3:AbortMultipartUpload and "
     "s3:ListBucketMultipartUploads on the bucket"},
    {"AccountProblem", ERROR_CONFIG, "look at the store's account"},
    {"AllAccessDisabled", ERROR_CONFIG, "the store has closed this bucket or account"},
    {"AuthorizationHeaderMalformed", ERROR_CONFIG, "check GOPIE_DS_S3_REGION, and " KEYS},
    {"BadDigest", ERROR_STORAGE, "the bytes were changed on their way"},
    {"EntityTooLarge", ERROR_TOO_LARGE,
     "the file or a part of it is larger than the store takes: check GOPIE_DS_S3_PART_SIZE"},
    {"EntityTooSmall", ERROR_CONFIG, "the store wants larger parts: raise GOPIE_DS_S3_PART_SIZE"},
    {"ExpiredToken", ERROR_CONFIG,
     "the session token is over: set new temporary keys (GOPIE_DS_S3_ACCESS_KEY, "
     "GOPIE_DS_S3_SECRET_KEY, GOPIE_DS_S3_SESSION_TOKEN) and restart"},
    {"InvalidAccessKeyId", ERROR_CONFIG, "the store does not know the access key: " KEYS},
    {"InvalidBucketName", ERROR_CONFIG, "check GOPIE_DS_S3_BUCKET"},
    {"InvalidPart", ERROR_STORAGE, "the store lost a part, or took another for it"},
    {"InvalidPartOrder", ERROR_STORAGE, "the store has the parts in another order"},
    {"InvalidSecurity", ERROR_CONFIG, KEYS},
    {"InvalidToken", ERROR_CONFIG, "the session token is wrong: " KEYS},
    {"KMS.DisabledException", ERROR_CONFIG, "check GOPIE_DS_S3_SSE_KMS_KEY_ID"},
    {"KMS.NotFoundException", ERROR_CONFIG, "check GOPIE_DS_S3_SSE_KMS_KEY_ID"},
    {"NoSuchBucket", ERROR_CONFIG, "the bucket does not exist: create it, or check GOPIE_DS_S3_BUCKET"},
    {"NoSuchUpload", ERROR_STORAGE, "the upload was taken away"},
    {"NotImplemented", ERROR_CONFIG, "the store lacks something that is asked for: check GOPIE_DS_S3_SSE"},
    {"QuotaExceeded", ERROR_STORAGE, "the store is full"},
    {"RequestExpired", ERROR_CONFIG, "set the clock of this machine (NTP)"},
    {"SignatureDoesNotMatch", ERROR_CONFIG,
     "the secret key does not fit the access key, or the store does not know it: " KEYS},
    {"TokenRefreshRequired", ERROR_CONFIG, "the session token is over: " KEYS},
    {"XAdminUserNotFound", ERROR_CONFIG, "the store does not know the access key: " KEYS},
    {"XAmzContentSHA256Mismatch", ERROR_STORAGE, "the bytes were changed on their way"},
    {"XMinioStorageFull", ERROR_STORAGE, "the store is full"},
};

/* Codes that pass, whatever the status they come with. */
static const char *const passing_codes[] = {"InternalError",
                                            "OperationAborted",
                                            "RequestTimeout",
                                            "ServiceUnavailable",
                                            "SlowDown",
                                            "SlowDownRead",
                                            "SlowDownWrite",
                                            "Throttling",
                                            "ThrottlingException",
                                            "XMinioServerNotInitialized"};

static bool is_passing_status(int status)
{
    switch (status) {
    case 408:
    case 429:
    case 499: /* nginx: it lost its client, which we are not */
    case 500:
    case 502:
    case 503:
    case 504:
    case 520: /* a proxy got an empty answer */
        return true;
    default:
        return false;
    }
}

static bool is_passing_code(const char *code)
{
    for (size_t i = 0; i < ARRAY_SIZE(passing_codes); i++)
        if (strcmp(code, passing_codes[i]) == 0)
            return true;
    return false;
}

static int64_t retry_after_ms(const char *text, int64_t now_s)
{
    if (!text)
        return 0;
    size_t digits = strspn(text, "0123456789");
    int64_t seconds = 0;
    if (digits > 0 && !text[digits]) {
        for (size_t i = 0; i < digits && seconds < S3_RETRY_AFTER_MAX_MS; i++)
            seconds = seconds * 10 + (text[i] - '0');
    } else {
        int64_t date = http_date_parse(text);
        seconds = date > now_s ? date - now_s : 0;
    }
    return seconds > S3_RETRY_AFTER_MAX_MS / 1000 ? S3_RETRY_AFTER_MAX_MS : seconds * 1000;
}

static void explain_skew(const struct s3_answer *a, int64_t now_s, struct error *e)
{
    int64_t store_s = a->date ? http_date_parse(a->date) : -1;
    if (store_s < 0) {
        error_set(e, ERROR_CONFIG,
                  "the clocks of this machine and of the S3 store differ too much (RequestTimeTooSkewed): "
                  "set the clock (NTP)");
        return;
    }
    int64_t ahead_s = now_s - store_s;
    error_set(e, ERROR_CONFIG,
              "the clock of this machine is %lld s %s that of the S3 store (RequestTimeTooSkewed): set the "
              "clock (NTP)",
              (long long)(ahead_s < 0 ? -ahead_s : ahead_s), ahead_s < 0 ? "behind" : "ahead of");
}

static void explain_region(const struct s3_answer *a, const struct s3_error_document *d, struct error *e)
{
    char region[S3_CODE_MAX + 1];
    snprintf(region, sizeof region, "%s", a->region ? a->region : d->region);
    if (region[0] &&
        strspn(region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == strlen(region))
        error_set(e, ERROR_CONFIG,
                  "the bucket is in the region %s: set GOPIE_DS_S3_REGION (and the endpoint of that region)",
                  region);
    else
        error_set(e, ERROR_CONFIG,
                  "the S3 store sends us elsewhere (%d): check GOPIE_DS_S3_ENDPOINT and GOPIE_DS_S3_REGION",
                  a->status);
}

static void explain(const struct s3_answer *a, const struct s3_error_document *d, int64_t now_s,
                    struct error *e)
{
    if (strcmp(d->code, "RequestTimeTooSkewed") == 0) {
        explain_skew(a, now_s, e);
        return;
    }
    bool wrong_region = strcmp(d->code, "AuthorizationHeaderMalformed") == 0 && d->region[0];
    if ((a->status >= 300 && a->status < 400) || wrong_region) {
        explain_region(a, d, e);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(known_codes); i++)
        if (strcmp(d->code, known_codes[i].code) == 0) {
            error_set(e, known_codes[i].error, "the S3 store answers %d %s: %s", a->status, d->code,
                      known_codes[i].advice);
            return;
        }
    if (d->code[0])
        error_set(e, ERROR_STORAGE, "the S3 store answers %d %s", a->status, d->code);
    else if (a->status == 401 || a->status == 403)
        error_set(e, ERROR_CONFIG, "the S3 store answers %d: %s", a->status, known_codes[0].advice);
    else
        error_set(e, ERROR_STORAGE, "the S3 store answers %d", a->status);
}

void s3_answer_judge(const struct s3_answer *a, int64_t now_s, struct s3_judgement *ret, struct error *e)
{
    *ret = (struct s3_judgement){.verdict = S3_DONE};
    bool is_success = a->status >= 200 && a->status < 300;
    struct s3_error_document d = {0};
    bool has_error = (!is_success || a->may_hide_error) && s3_xml_error(a->body, a->body_len, &d);
    if (is_success && !has_error)
        return;
    memcpy(ret->code, d.code, sizeof ret->code);
    /* An <Error> without a code that came with a 200 has no status to go by: it may pass. */
    bool again = is_passing_status(a->status) || is_passing_code(d.code) || (is_success && !d.code[0]);
    ret->verdict = again ? S3_AGAIN : S3_GIVE_UP;
    if (again) {
        ret->wait_ms = retry_after_ms(a->retry_after, now_s);
        ret->slow_down = a->status == 429 || a->status == 503 || strncmp(d.code, "SlowDown", 8) == 0 ||
                         strncmp(d.code, "Throttling", 10) == 0;
    }
    explain(a, &d, now_s, e);
}

int64_t s3_backoff_ms(unsigned tries, bool slow_down, uint32_t random)
{
    int64_t max = slow_down ? BACKOFF_SLOW_MAX_MS : BACKOFF_MAX_MS, span = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < tries && span < max; i++)
        span *= 2;
    return (int64_t)(random % (uint32_t)((span < max ? span : max) + 1));
}
