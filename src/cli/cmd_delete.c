/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] =
    "Forget snapshots, and free the space that only they needed.\v"
    "All of them or, if one is not there, none. `domsnap gc` frees space without forgetting any.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

struct request {
    const char *repo;
    struct snapshot_ref *refs;
    size_t count;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;
    struct snapshot_ref *ref;

    switch (key) {
    case 'r':
        r->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        ref = &r->refs[r->count++];
        cli_split_ref(arg, &ref->domain, &ref->name);
        if (!ref->name)
            argp_error(state, "which snapshot of %s? Give DOMAIN@NAME", ref->domain);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "which ones? Give DOMAIN@NAME; `domsnap gc` frees space");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "DOMAIN@NAME...", doc, common_options,
                                     NULL,    NULL};
    struct request request = {.refs = calloc((size_t)argc + 1, sizeof *request.refs)};
    struct engine *engine = cli_engine();
    struct gc_stats stats = {0};
    struct error e = {0};
    int rc;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    cli_progress_start(engine);
    rc = engine_delete(engine, cli_repo(request.repo), request.refs, request.count, &stats, &e);
    free(request.refs);
    return cli_finish(rc, &e, cli_gc_to_json(&stats), rc == OK ? cli_print_gc : NULL, &stats);
}

const struct command command_delete = {"delete", "forget snapshots", run};
