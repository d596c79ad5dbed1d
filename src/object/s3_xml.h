/* The few XML documents that S3 answers with, read strictly: no DTD, no processing instruction but the first,
 * UTF-8 only, the five named entities and character references, a bounded depth. Element names are compared
 * without their prefix, and attributes are skipped. What is not of interest is skipped; what is cut off or
 * malformed is refused.
 *
 * Shapes: https://docs.aws.amazon.com/AmazonS3/latest/API/ (API_CreateMultipartUpload,
 * API_CompleteMultipartUpload, API_ListMultipartUploads, ErrorResponses). Pure. */
#ifndef OBJECT_S3_XML_H
#define OBJECT_S3_XML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

#define S3_XML_DEPTH_MAX 16
#define S3_UPLOAD_ID_MAX 1024 /* bytes of an upload id; AWS's have 128 */
#define S3_CODE_MAX 64        /* bytes of an error's code */
#define S3_KEY_TEXT_MAX 1024

/* The text of elements, whole: at most `size - 1` bytes. A longer one is a malformed document. */

struct s3_error_document {
    char code[S3_CODE_MAX + 1];   /* [A-Za-z0-9._-]; "" where it has another form */
    char region[S3_CODE_MAX + 1]; /* of AuthorizationHeaderMalformed and PermanentRedirect; "": not told */
};

/* <Error>. False: anything else. */
MUST_CHECK bool s3_xml_error(const char *text, size_t length, struct s3_error_document *ret);

/* <InitiateMultipartUploadResult>: its UploadId, printable ASCII. */
MUST_CHECK bool s3_xml_upload_id(const char *text, size_t length, char ret_upload_id[S3_UPLOAD_ID_MAX + 1]);

/* <CompleteMultipartUploadResult>, whole. White space before it is what a slow store sends meanwhile. */
MUST_CHECK bool s3_xml_is_completed(const char *text, size_t length);

struct s3_uploads_page {
    bool more; /* IsTruncated: go on behind these two */
    char next_key[S3_KEY_TEXT_MAX + 1], next_upload_id[S3_UPLOAD_ID_MAX + 1];
};

/* <ListMultipartUploadsResult>: calls `upload` for each, with a text that lives as long as the call. */
MUST_CHECK bool s3_xml_uploads(const char *text, size_t length,
                               void (*upload)(void *context, const char *key, const char *upload_id),
                               void *context, struct s3_uploads_page *ret);

#endif
