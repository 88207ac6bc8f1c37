/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Show what is in a repository, how much room it takes, and who is at work on it.";

/* What it was told, to be printed once the repository is closed. */
struct result {
    struct repository_stats stats;
    json_t *json;
};

static void take(void *arg, const struct repository_stats *s)
{
    struct result *r = arg;

    r->stats = *s;
    r->json = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "id", s->id,
                        "chunk_bytes", (json_int_t)s->chunk_bytes, "snapshots",
                        (json_int_t)s->snapshots, "domains", (json_int_t)s->domains, "image_bytes",
                        (json_int_t)s->image_bytes, "packs", (json_int_t)s->packs, "stored_bytes",
                        (json_int_t)s->stored_bytes, "damaged_packs", (json_int_t)s->damaged_packs,
                        "waiting_bytes", (json_int_t)s->waiting_bytes, "log_entries",
                        (json_int_t)s->log_entries, "runs", s->runs);
    if (s->free_bytes != UINT64_MAX)
        json_object_set_new(r->json, "free_bytes", json_integer((json_int_t)s->free_bytes));
}

static const char *text_of(const json_t *run, const char *key)
{
    const char *text = json_string_value(json_object_get(run, key));

    return text ? text : "";
}

static void print(void *arg)
{
    const struct result *r = arg;
    const struct repository_stats *s = &r->stats;
    const json_t *run;
    size_t i;

    printf("snapshots    %" PRIu64 " of %" PRIu64 " guests, %s in all\n", s->snapshots, s->domains,
           cli_size(s->image_bytes));
    printf("stored       %s in %" PRIu64 " packs", cli_size(s->stored_bytes), s->packs);
    if (s->stored_bytes)
        printf(", %.1f times less", (double)s->image_bytes / (double)s->stored_bytes);
    putchar('\n');
    if (s->damaged_packs)
        printf("damaged      %" PRIu64
               " packs (`domsnap check` names the snapshots that are hurt)\n",
               s->damaged_packs);
    if (s->waiting_bytes)
        printf("to be freed  %s, once the runs below have ended\n", cli_size(s->waiting_bytes));
    if (s->free_bytes != UINT64_MAX)
        printf("free         %s\n", cli_size(s->free_bytes));
    json_array_foreach (json_object_get(r->json, "runs"), i, run)
        printf("at work      %s%s%s, process %" JSON_INTEGER_FORMAT " on %s\n",
               text_of(run, "command"), *text_of(run, "reads") ? " " : "", text_of(run, "reads"),
               json_integer_value(json_object_get(run, "pid")), text_of(run, "host"));
}

static int run(int argc, char **argv)
{
    struct result r = {0};
    const char *repo;
    struct error e = {0};
    int rc;

    cli_engine();
    repo = cli_parse_repo(argc, argv, doc);
    rc = engine_stats(repo, take, &r, &e);
    return cli_finish(rc, &e, r.json, rc == OK ? print : NULL, &r);
}

const struct command command_stats = {"stats", "what a repository holds and takes", run};
