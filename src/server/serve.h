/* `downloads-server serve`: builds the parts, runs the event loop, takes everything down again. */
#ifndef SERVER_SERVE_H
#define SERVER_SERVE_H

#include "server/settings.h"

/* Until a signal ends it. The program's exit status. */
int serve(const struct settings *s);

#endif
