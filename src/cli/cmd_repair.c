/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] = "Take out of damaged packs what can still be read, and store it anew. A "
                          "log that is lost is made "
                          "anew of what is there.\v"
                          "A pack is dropped only once all that was in it is elsewhere, or if it "
                          "is missing. In this order: "
                          "`domsnap check --read-data` finds what is damaged; then this; then "
                          "`domsnap create` of each guest "
                          "stores what the guests still have; then `domsnap check` says which "
                          "snapshots are hurt for good.";

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
    struct engine *engine = cli_engine();
    struct repair_counts n = {0};
    const char *repo;
    struct error e = {0};
    int rc;

    repo = cli_parse_repo(argc, argv, doc);
    cli_progress_start(engine);
    rc = engine_repair(engine, repo, &n, &e);
    return cli_finish(rc, &e,
                      json_pack("{s:I, s:I, s:I, s:I, s:I}", "damaged_packs", (json_int_t)n.packs,
                                "emptied_packs", (json_int_t)n.emptied_packs, "salvaged_pieces",
                                (json_int_t)n.salvaged_pieces, "salvaged_bytes",
                                (json_int_t)n.salvaged_bytes, "lost_pieces",
                                (json_int_t)n.lost_pieces),
                      rc == OK ? print : NULL, &n);
}

const struct command command_repair = {"repair", "save what can be read of damaged packs", run};
