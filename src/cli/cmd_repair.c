/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] = "Take out of damaged packs what can still be read, and store it anew.\v"
                          "Nothing is removed by it. First `domsnap check --read-data` finds what "
                          "is damaged; then this; then a "
                          "`domsnap create` of each guest stores what the guests still have; then "
                          "`domsnap check` says which "
                          "snapshots are hurt for good.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    const char **repo = state->input;

    switch (key) {
    case 'r':
        *repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": it takes no arguments; the repository is --repo", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    const struct repair_counts *n = arg;

    if (n->packs == 0) {
        puts("no pack is known to be damaged (`domsnap check --read-data` looks for damage)");
        return;
    }
    printf("%" PRIu64 " damaged pack%s: %" PRIu64 " pieces are whole (%s), %" PRIu64
           " are not; all that was in %" PRIu64 " of them is elsewhere now\n",
           n->packs, n->packs == 1 ? "" : "s", n->salvaged_pieces, cli_size(n->salvaged_bytes),
           n->lost_pieces, n->emptied_packs);
    puts("`domsnap check` says which snapshots are hurt");
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "", doc, common_options, NULL, NULL};
    struct engine *engine = cli_engine();
    struct repair_counts n = {0};
    const char *repo = NULL;
    struct error e = {0};
    int rc;

    argp_parse(&argp, argc, argv, 0, NULL, &repo);
    cli_progress_start(engine);
    rc = engine_repair(engine, cli_repo(repo), &n, &e);
    return cli_finish(rc, &e,
                      json_pack("{s:I, s:I, s:I, s:I, s:I}", "damaged_packs", (json_int_t)n.packs,
                                "emptied_packs", (json_int_t)n.emptied_packs, "salvaged_pieces",
                                (json_int_t)n.salvaged_pieces, "salvaged_bytes",
                                (json_int_t)n.salvaged_bytes, "lost_pieces",
                                (json_int_t)n.lost_pieces),
                      rc == OK ? print : NULL, &n);
}

const struct command command_repair = {"repair", "save what can be read of damaged packs", run};
