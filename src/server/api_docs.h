/* The documentation of the API: Swagger UI at /swagger/index.html, and the OpenAPI document that it shows,
 * /swagger/openapi.yaml.
 *
 * For everybody: no identity is asked for. All files are in the program (api_docs_files.h); no path of the file
 * system is opened, and an answer takes no memory of its own. */
#ifndef SERVER_API_DOCS_H
#define SERVER_API_DOCS_H

#include "server/http.h"

#define API_DOCS_PATH "/swagger"

/* Answers a request whose path is API_DOCS_PATH, or begins with it and a slash: GET and HEAD. */
void api_docs_handle(struct http_request *r);

#endif
