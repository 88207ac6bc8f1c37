/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Free the space of what no snapshot needs, and of what interrupted runs have left.\v"
    "`domsnap delete` does that, too. Nobody waits for it: what a run may still be reading is "
    "freed "
    "by the next one after that has ended.";

json_t *cli_gc_to_json(const struct gc_stats *stats)
{
    return json_pack("{s:I, s:I}", "freed_bytes", (json_int_t)stats->freed_bytes, "waiting_bytes",
                     (json_int_t)stats->waiting_bytes);
}

void cli_print_gc(void *arg)
{
    const struct gc_stats *stats = arg;

    printf("%s freed\n", cli_size(stats->freed_bytes));
    if (stats->waiting_bytes)
        printf("%s more will be freed once the runs have ended that may be reading it (`domsnap "
               "stats` shows them)\n",
               cli_size(stats->waiting_bytes));
}

static int run(int argc, char **argv)
{
    struct engine *engine = cli_engine();
    struct gc_stats stats = {0};
    const char *repo;
    struct error e = {0};
    int rc;

    repo = cli_parse_repo(argc, argv, doc);
    cli_progress_start(engine);
    rc = engine_gc(engine, repo, &stats, &e);
    return cli_finish(rc, &e, cli_gc_to_json(&stats), rc == OK ? cli_print_gc : NULL, &stats);
}

const struct command command_gc = {"gc", "free space", run};
