/* What an S3 store, or whoever answers in its place, sends as XML. Each input is read as every document that
 * we know, and judged as an answer, its first line being Retry-After. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "object/s3_answer.h"
#include "object/s3_xml.h"
#include "fuzz.h"

static void on_upload(void *context, const char *key, const char *upload_id)
{
    assert(key[0] && strlen(key) <= S3_KEY_TEXT_MAX);
    assert(upload_id[0] && strlen(upload_id) <= S3_UPLOAD_ID_MAX);
    ++*(unsigned *)context;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    /* A copy of its own size, so that a sanitizer sees a read behind it. */
    char *text = malloc(length + 1);
    if (!text)
        return 0;
    memcpy(text, data, length);
    text[length] = '\0';
    char *exact = memcpy(malloc(length ? length : 1), data, length);

    struct s3_error_document d;
    if (s3_xml_error(exact, length, &d))
        assert(strlen(d.code) <= S3_CODE_MAX && strlen(d.region) <= S3_CODE_MAX);
    char id[S3_UPLOAD_ID_MAX + 1];
    if (s3_xml_upload_id(exact, length, id))
        assert(id[0] && strlen(id) <= S3_UPLOAD_ID_MAX);
    if (s3_xml_is_completed(exact, length))
        assert(!s3_xml_error(exact, length, &d));
    unsigned uploads = 0;
    struct s3_uploads_page page;
    if (s3_xml_uploads(exact, length, on_upload, &uploads, &page))
        assert(strlen(page.next_key) <= S3_KEY_TEXT_MAX && strlen(page.next_upload_id) <= S3_UPLOAD_ID_MAX);

    char *retry_after = strndup(text, strcspn(text, "\n"));
    for (int status = 200; retry_after && status <= 503; status += 101) {
        const struct s3_answer a = {.status = status,
                                    .body = exact,
                                    .body_len = length,
                                    .may_hide_error = true,
                                    .retry_after = retry_after,
                                    .region = retry_after,
                                    .date = retry_after};
        struct s3_judgement j;
        struct error e = {0};
        s3_answer_judge(&a, 1700000000, &j, &e);
        assert(j.wait_ms >= 0 && j.wait_ms <= S3_RETRY_AFTER_MAX_MS);
        assert((j.verdict == S3_DONE) == (e.code == ERROR_NONE));
    }
    free(retry_after);
    free(exact);
    free(text);
    return 0;
}
