/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] = "Show everything about one snapshot.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct snapshot_ref *ref = state->input;

    switch (key) {
    case 'r':
        ref->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (ref->domain)
            argp_error(state, "one snapshot at a time");
        cli_split_ref(arg, &ref->domain, &ref->name);
        return 0;
    case ARGP_KEY_END:
        if (!ref->domain || !ref->name)
            argp_error(state, "which one? Give DOMAIN@NAME; `domsnap list` shows them");
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
    static const struct argp argp = {options,        parse, "DOMAIN@NAME", doc,
                                     common_options, NULL,  NULL};
    struct snapshot_ref ref = {0};
    struct manifest m = {0};
    struct error e = {0};
    int rc, status;

    cli_engine();
    argp_parse(&argp, argc, argv, 0, NULL, &ref);
    ref.repo = cli_repo(ref.repo);
    rc = engine_show(&ref, &m, &e);
    status =
        cli_finish(rc, &e, rc == OK ? manifest_to_json(&m) : NULL, rc == OK ? print : NULL, &m);
    manifest_release(&m);
    return status;
}

const struct command command_show = {"show", "everything about one snapshot", run};
