/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char doc[] = "Write the manifest for files made by hand, so that `restore` can check "
                          "them and bring them back.\v"
                          "DIR holds a save file of `xl save` (or `xl save -p`, `xl save -c`) and "
                          "an image of each writable disk. "
                          "Images are expected as DOMAIN.VDEV.img; name others with --disk.";

enum { OPTION_DISK = 256, OPTION_SAV };

static const struct argp_option options[] = {
    {"disk", OPTION_DISK, "VDEV=FILE", 0, "FILE in DIR is the image of disk VDEV (repeatable)", 0},
    {"sav", OPTION_SAV, "FILE", 0, "the save file in DIR, if there are several", 0},
    {0},
};

static error_t add_disk(struct import_params *p, char *arg, struct argp_state *state)
{
    char *equals = strchr(arg, '=');
    struct import_disk *grown;

    if (!equals || equals == arg || !equals[1] || strchr(equals, '/'))
        argp_error(state, "--disk wants VDEV=FILE, a file of the folder, as in xvda=linux01.img");
    grown = realloc((void *)p->disks, (p->disk_count + 1) * sizeof *grown);
    if (!grown)
        return ENOMEM;
    *equals = '\0';
    grown[p->disk_count++] = (struct import_disk){arg, equals + 1};
    p->disks = grown;
    return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct import_params *p = state->input;

    switch (key) {
    case OPTION_DISK:
        return add_disk(p, arg, state);
    case OPTION_SAV:
        if (strchr(arg, '/'))
            argp_error(state, "--sav wants the name of a file in the folder");
        p->save_file = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (p->folder)
            argp_error(state, "one DIR at a time");
        p->folder = arg;
        return 0;
    case ARGP_KEY_END:
        if (!p->folder)
            argp_error(state, "which DIR?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    cli_print_manifest(arg);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "DIR", doc, common_options, NULL, NULL};
    struct import_params params = {0};
    struct engine *engine = cli_engine();
    struct manifest m = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &params);
    cli_progress_start(engine);
    rc = engine_import(engine, &params, &m, &e);
    status =
        cli_finish(rc, &e, rc == OK ? manifest_to_json(&m) : NULL, rc == OK ? print : NULL, &m);
    manifest_release(&m);
    free((void *)params.disks);
    return status;
}

const struct command command_import = {"import", "take in files made by hand (xl save, dd)", run};
