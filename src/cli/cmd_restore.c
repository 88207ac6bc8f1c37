/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Bring a guest back to the instant that a snapshot holds: its disks, its RAM, running.\v"
    "From a snapshot without RAM (`create --disks-only`) it boots; from one of when it did not run "
    "(`create --config`) only its disks come back. "
    "Every checksum is verified before anything is touched. Volumes must exist, with the sizes of "
    "the images, and are overwritten; an image file that is "
    "gone is made anew.";

enum {
    OPTION_FROM = 256,
    OPTION_PAUSED,
    OPTION_REPLACE,
    OPTION_BOOT,
    OPTION_EJECT,
    OPTION_ANY_CPU,
    OPTION_SKIP_DAMAGED
};

static const struct argp_option options[] = {
    {"from", OPTION_FROM, "DIR", 0,
     "not from a repository: the folder that `create --to` made, or `import`", 0},
    CLI_REPO_OPTION,
    {"replace", OPTION_REPLACE, NULL, 0, "destroy the guest if it is running", 0},
    {"boot", OPTION_BOOT, NULL, 0, "without its RAM: the guest boots from its disks", 0},
    {"skip-damaged", OPTION_SKIP_DAMAGED, NULL, 0,
     "what is damaged of the disks becomes zeros, and is listed", 0},
    {"eject", OPTION_EJECT, NULL, 0, "leave CD-ROM drives empty whose image is gone", 0},
    {"any-cpu", OPTION_ANY_CPU, NULL, 0,
     "although its RAM was saved on a different kind of processor", 0},
    {"paused", OPTION_PAUSED, NULL, 0, "leave the guest paused (xl unpause)", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct restore_params *p = state->input;

    switch (key) {
    case OPTION_FROM:
        p->from.folder = arg;
        return 0;
    case 'r':
        p->from.repo = arg;
        return 0;
    case OPTION_REPLACE:
        p->replace = true;
        return 0;
    case OPTION_EJECT:
        p->eject = true;
        return 0;
    case OPTION_SKIP_DAMAGED:
        p->skip_damaged = true;
        return 0;
    case OPTION_ANY_CPU:
        p->any_cpu = true;
        return 0;
    case OPTION_BOOT:
        p->boot = true;
        return 0;
    case OPTION_PAUSED:
        p->paused = true;
        return 0;
    case ARGP_KEY_ARG:
        if (p->from.domain)
            argp_error(state, "one snapshot at a time");
        cli_split_ref(arg, &p->from.domain, &p->from.name);
        return 0;
    case ARGP_KEY_END:
        if (p->from.folder && p->skip_damaged)
            argp_error(state, "--skip-damaged is for a repository");
        if (p->from.folder && p->from.domain)
            argp_error(state, "the folder says which guest it is: give either");
        if (p->from.folder && p->from.repo)
            argp_error(state, "--repo is for a repository, not a folder (--from)");
        if (!p->from.folder && (!p->from.domain || !p->from.name))
            argp_error(state,
                       "which one? Give DOMAIN@NAME (`domsnap list` shows them), or --from DIR");
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
    static const struct argp argp = {options, parse, "DOMAIN@NAME\n--from DIR", doc, common_options,
                                     NULL,    NULL};
    struct restore_params params = {0};
    struct engine *engine = cli_engine();
    struct manifest m = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &params);
    params.from.repo = cli_repo(params.from.repo);
    cli_progress_start(engine);
    rc = engine_restore(engine, &params, &m, &e);
    status =
        cli_finish(rc, &e, rc == OK ? manifest_to_json(&m) : NULL, rc == OK ? print : NULL, &m);
    manifest_release(&m);
    return status;
}

const struct command command_restore = {"restore", "bring a guest back to a snapshot", run, true};
