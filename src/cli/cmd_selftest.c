/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/cli.h"

/* A program beside this one (src/selftest/domsnap-selftest): it runs domsnap as a user would. */
static int run(int argc, char **argv)
{
    AUTO_FREE char *self = realpath("/proc/self/exe", NULL), *program = NULL;

    (void)argc;
    if (self && strrchr(self, '/')) {
        *strrchr(self, '/') = '\0';
        program = format_text("%s/domsnap-selftest", self);
    }
    if (program)
        execv(program, argv);
    fprintf(stderr, "domsnap selftest: %s: %m%s\n", program ? program : "it can't be found",
            errno == ENOENT ? "; it comes with domsnap-xen, for a Xen host" : "");
    return 1;
}

const struct command command_selftest = {"selftest", "try all of it, with a guest made for that",
                                         run, true};
