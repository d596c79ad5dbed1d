/* What http_client.c, http_transfers.c and http_upload.c share, and the one place that sees libcurl: for these only. */
#ifndef BASE_HTTP_CURL_H
#define BASE_HTTP_CURL_H

#include <curl/curl.h>

#include "base/error.h"
#include "base/http_client.h"

#define HTTP_CURL_USER_AGENT "downloads-server/" VERSION

/* Once a process. False: libcurl does not start. */
bool http_curl_init(void);

/* Appends "Name: value". False: a control character, or out of memory. */
bool http_curl_append_header(struct curl_slist **list, const char *line);

/* What holds for every request: only http and https, no proxy of the environment, no signals, our name. */
void http_curl_prepare(CURL *easy, const char *url, int64_t connect_ms);

/* What a request has come to that libcurl ended with `code`, other than CURLE_OK; `connected`: once the connection stood.
 * Fills `e` as http_transfers.h says. */
enum http_outcome http_curl_outcome(CURLcode code, bool connected, struct error *e);

#endif
