/* The files of the documentation pages, as tools/embed puts them into the program. */
#ifndef SERVER_API_DOCS_FILES_H
#define SERVER_API_DOCS_FILES_H

#include <stddef.h>

struct api_docs_file {
    const char *name; /* below /swagger/ */
    const char *content_type;
    const char *etag; /* of the content, with its quotes */
    const char *begin, *end;
};

extern const struct api_docs_file api_docs_files[];
extern const size_t api_docs_file_count;

#endif
