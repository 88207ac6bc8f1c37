/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domsnap: no hypervisor's library is in it, so that it serves a backup server too. What may need
 * one it hands over to a domsnap-xen: to the one beside it, as after a build, or else to the
 * installed one that fits the Xen that runs, or, where none does, to the newest. Without any it
 * does what can be done without.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/cli.h"

static char *find_program(void)
{
    AUTO_FREE char *self = realpath("/proc/self/exe", NULL);
    char *beside = self ? format_text("%s-xen", self) : NULL;
    char version[DOMAIN_XEN_VERSION_TEXT];
    struct error ignored;

    if (beside && access(beside, X_OK) == 0)
        return beside;
    free(beside);
    return domain_xen_program(DOMSNAP_PROGRAMS,
                              domain_xen_version(version, &ignored) == OK ? version : NULL);
}

int main(int argc, char **argv)
{
    const struct command *command = argc > 1 ? cli_command(argv[1]) : NULL;
    AUTO_FREE char *program = command && command->hypervisor ? find_program() : NULL;

    if (program) {
        execv(program, argv);
        fprintf(stderr, "domsnap: %s: %m\n", program);
        return 1;
    }
    return cli_main(argc, argv, &domain_none);
}
