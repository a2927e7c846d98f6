#include "ctl/identity.h"

#include "os/process.h"

int identity_take(const struct command *c)
{
    struct os_identity identity;
    struct err err;
    if (!os_is_root())
        return EXIT_DONE;
    if (os_find_user(c->conf->run_as, &identity, &err) && os_become(&identity, &err))
        return EXIT_DONE;
    return command_error(c, &err);
}
