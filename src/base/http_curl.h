/* What http_client.c and http_transfers.c share, and the one place that sees libcurl: for these two only. */
#ifndef BASE_HTTP_CURL_H
#define BASE_HTTP_CURL_H

#include <curl/curl.h>

#include "base/error.h"

/* Once a process. False: libcurl does not start. */
bool http_curl_init(void);

/* Appends "Name: value". False: a control character, or out of memory. */
bool http_curl_append_header(struct curl_slist **list, const char *line);

/* What holds for every request: only http and https, no proxy of the environment, no signals, our name. */
void http_curl_prepare(CURL *easy, const char *url, int64_t connect_ms);

#endif
