/* Calls that no file of this project may use, each because a bounded or checked form exists.
 * Included by the compiler's command line (-include), so that no file can forget it. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok
#pragma GCC poison atoi atol atoll tmpnam mktemp gmtime localtime ctime asctime

#endif
