/* The client alone: `cli_get ...` is `downloads-server get ...`. */
#include "cli/get.h"

int main(int argc, char **argv)
{
    return cli_get_main(argc, argv);
}
