/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Bring a guest back to the instant that a folder holds: its disks, its RAM, running.\v"
    "From a folder without RAM (`create --disks-only`) it boots. "
    "Every checksum is verified before anything is touched. The volumes must exist, with the sizes "
    "of the "
    "images, and are overwritten.";

enum { OPTION_FROM = 256, OPTION_PAUSED, OPTION_REPLACE };

static const struct argp_option options[] = {
    {"from", OPTION_FROM, "DIR", 0, "the folder that `create --to` made, or `import`", 0},
    {"replace", OPTION_REPLACE, NULL, 0, "destroy the guest if it is running", 0},
    {"paused", OPTION_PAUSED, NULL, 0, "leave the guest paused (xl unpause)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct restore_params *p = state->input;

    switch (key) {
    case OPTION_FROM:
        p->folder = arg;
        return 0;
    case OPTION_REPLACE:
        p->replace = true;
        return 0;
    case OPTION_PAUSED:
        p->start = START_PAUSED;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected \"%s\"; the folder says which guest it is", arg);
        return 0;
    case ARGP_KEY_END:
        if (!p->folder)
            argp_error(state, "from where? Give --from DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    const struct manifest *m = arg;

    printf("%s is back as of %s\n", m->domain_name, m->created);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "--from DIR", doc, common_options, NULL, NULL};
    struct restore_params params = {.start = START_RUNNING};
    struct engine *engine = cli_engine();
    struct manifest m = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &params);
    cli_progress_start(engine);
    rc = engine_restore(engine, &params, &m, &e);
    status =
        cli_finish(rc, &e, rc == OK ? manifest_to_json(&m) : NULL, rc == OK ? print : NULL, &m);
    manifest_release(&m);
    return status;
}

const struct command command_restore = {"restore", "bring a guest back to a snapshot", run};
