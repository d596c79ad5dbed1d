/* `downloads-server serve --check-config`: says of each dependency whether it answers, and changes nothing. */
#ifndef SERVER_CHECK_CONFIG_H
#define SERVER_CHECK_CONFIG_H

#include "server/settings.h"

/* The program's exit status. */
int check_config(const struct settings *s);

#endif
