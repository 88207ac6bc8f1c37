/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "See whether a repository fits together: everything that its snapshots name is there.\v"
    "The content itself is not read; `domsnap verify` does that. The index is only a cache, and a "
    "damaged one is made good by itself; --rebuild-index drops all of it first.";

enum { OPTION_REBUILD = 256 };

static const struct argp_option options[] = {
    CLI_REPO_OPTION,
    {"rebuild-index", OPTION_REBUILD, NULL, 0, "make the index anew, from the packs", 0},
    {0},
};

struct request {
    const char *repo;
    bool rebuild;
};

struct result {
    struct repository_stats stats;
    json_t *damaged;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;

    switch (key) {
    case 'r':
        r->repo = arg;
        return 0;
    case OPTION_REBUILD:
        r->rebuild = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": it takes no arguments; the repository is --repo", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void add_damage(void *arg, const char *what, const struct error *why)
{
    struct result *r = arg;

    json_array_append_new(r->damaged, cli_damage("what", what, why));
}

static void print(void *arg)
{
    const struct result *r = arg;
    const json_t *item;
    size_t i;

    printf("%" PRIu64 " snapshots in %" PRIu64 " packs, %s\n", r->stats.snapshots, r->stats.packs,
           cli_size(r->stats.pack_bytes));
    json_array_foreach (r->damaged, i, item)
        cli_print_damage(item, "what");
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "", doc, common_options, NULL, NULL};
    struct result r = {.damaged = json_array()};
    struct engine *engine = cli_engine();
    struct request request = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    cli_progress_start(engine);
    rc =
        engine_check(engine, cli_repo(request.repo), request.rebuild, add_damage, &r, &r.stats, &e);
    status =
        cli_finish(rc, &e,
                   json_pack("{s:I, s:I, s:I, s:O}", "snapshots", (json_int_t)r.stats.snapshots,
                             "packs", (json_int_t)r.stats.packs, "pack_bytes",
                             (json_int_t)r.stats.pack_bytes, "damaged", r.damaged),
                   rc == OK || json_array_size(r.damaged) ? print : NULL, &r);
    json_decref(r.damaged);
    return status;
}

const struct command command_check = {"check", "see whether a repository fits together", run};
