#include "base/http_curl.h"

#include <pthread.h>

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void global_init(void)
{
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

bool http_curl_init(void)
{
    pthread_once(&global_once, global_init);
    return global_result == CURLE_OK;
}

bool http_curl_append_header(struct curl_slist **list, const char *line)
{
    for (const unsigned char *p = (const unsigned char *)line; *p; p++)
        if (*p < 0x20 || *p == 0x7F)
            return false;
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

void http_curl_prepare(CURL *easy, const char *url, int64_t connect_ms)
{
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, HTTP_CURL_USER_AGENT);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
}

enum http_outcome http_curl_outcome(CURLcode code, bool connected, struct error *e)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        error_set(e, ERROR_CONFIG, "its certificate is not trusted");
        return HTTP_IMPOSSIBLE;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_OUT_OF_MEMORY:
        error_set(e, ERROR_INTERNAL, "%s", curl_easy_strerror(code));
        return HTTP_IMPOSSIBLE;
    case CURLE_OPERATION_TIMEDOUT:
        error_set(e, ERROR_UNAVAILABLE, "no answer in time");
        break;
    default:
        error_set(e, ERROR_UNAVAILABLE, "%s", curl_easy_strerror(code));
    }
    return connected ? HTTP_BROKEN : HTTP_UNREACHABLE;
}
