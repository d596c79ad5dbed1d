/* What an answer of an S3 store means: done, try again, or give up and say why. Pure.
 *
 * https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the codes of other stores are among
 * those that are known. Messages name the store's code and what to do, and nothing that is secret: no URL, no
 * key. */
#ifndef OBJECT_S3_ANSWER_H
#define OBJECT_S3_ANSWER_H

#include <stdint.h>

#include "base/error.h"
#include "object/s3_xml.h"

struct s3_answer {
    int status;
    const char *body;
    size_t body_len;
    bool may_hide_error;     /* a status of 200 may come with an <Error> (Complete) */
    const char *retry_after; /* the headers, NULL where they are absent */
    const char *region;      /* x-amz-bucket-region */
    const char *date;        /* Date, for the clock's skew */
};

enum s3_verdict { S3_DONE, S3_AGAIN, S3_GIVE_UP };

struct s3_judgement {
    enum s3_verdict verdict;
    char code[S3_CODE_MAX + 1]; /* the store's code, "" where it named none */
    int64_t wait_ms; /* S3_AGAIN: what Retry-After asks for, at most S3_RETRY_AFTER_MAX_MS; else 0 */
    bool slow_down;  /* S3_AGAIN: the store has too much to do */
};

#define S3_RETRY_AFTER_MAX_MS 60000

/* `now_s` is this machine's clock. `e` is filled unless the verdict is S3_DONE; its code is ERROR_CONFIG
 * where only the configuration can help, ERROR_TOO_LARGE, or ERROR_STORAGE. */
void s3_answer_judge(const struct s3_answer *a, int64_t now_s, struct s3_judgement *ret, struct error *e);

/* How long to wait before try number `tries` + 1 (tries >= 1), with `random` any number: exponential, with
 * full jitter, so that many clients do not come back together. 200 ms doubling to 1 s, to 10 s where the
 * store has too much to do. */
int64_t s3_backoff_ms(unsigned tries, bool slow_down, uint32_t random);

#endif
