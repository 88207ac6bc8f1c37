/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domsnap-xen: the same as domsnap, for one version of Xen. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv, &domain_xen);
}
