/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const char doc[] =
    "Read snapshots, one, all of DOMAIN, or all, and hold every byte against its sum.\v"
    "Exit status 0: each of them can be restored. With --sample, which takes less time, damage "
    "that "
    "is not rare is found.";

enum { OPTION_FROM = 256, OPTION_SAMPLE };

static const struct argp_option options[] = {
    {"from", OPTION_FROM, "DIR", 0,
     "not in a repository: the folder that `create --to` made, or `import`", 0},
    CLI_REPO_OPTION,
    {"sample", OPTION_SAMPLE, "PERCENT", 0, "only so much of them, taken at random", 0},
    {0},
};

struct request {
    struct snapshot_ref ref;
    unsigned percent;
};

struct result {
    json_t *verified, *damaged;
    bool looked; /* at all that there is */
};

static unsigned parse_percent(const char *arg, struct argp_state *state)
{
    char *end;
    long percent = strtol(arg, &end, 10);

    if (end == arg || *end || percent < 1 || percent > 100)
        argp_error(state, "\"%s\" is not a number from 1 to 100", arg);
    return (unsigned)percent;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;
    struct snapshot_ref *ref = &r->ref;

    switch (key) {
    case OPTION_FROM:
        ref->folder = arg;
        return 0;
    case OPTION_SAMPLE:
        r->percent = parse_percent(arg, state);
        return 0;
    case 'r':
        ref->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (ref->domain)
            argp_error(state, "one at a time");
        cli_split_ref(arg, &ref->domain, &ref->name);
        return 0;
    case ARGP_KEY_END:
        if (ref->folder && (ref->domain || ref->repo))
            argp_error(state, "DOMAIN and --repo are for a repository, not a folder (--from)");
        if (ref->folder && r->percent < 100)
            argp_error(state, "--sample is for a repository; of a folder every byte is read");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    const struct result *r = arg;
    const json_t *item;
    size_t i;

    json_array_foreach (r->verified, i, item)
        printf("good      %s\n", json_string_value(item));
    json_array_foreach (r->damaged, i, item)
        cli_print_damage(item, "snapshot");
    if (r->looked && json_array_size(r->verified) + json_array_size(r->damaged) == 0)
        puts("no snapshots");
}

static void add(void *arg, const char *snapshot, const struct error *why)
{
    struct result *r = arg;

    if (why)
        json_array_append_new(r->damaged, cli_damage("snapshot", snapshot, why));
    else
        json_array_append_new(r->verified, cli_text(snapshot));
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, "[DOMAIN[@NAME]]\n--from DIR", doc, common_options, NULL, NULL};
    struct result r = {.verified = json_array(), .damaged = json_array()};
    struct engine *engine = cli_engine();
    struct request request = {.percent = 100};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    if (!request.ref.folder)
        request.ref.repo = cli_repo(request.ref.repo);
    cli_progress_start(engine);
    rc = engine_verify(engine, &request.ref, request.percent, add, &r, &e);
    r.looked = rc == OK;
    status = cli_finish(
        rc, &e, json_pack("{s:O, s:O}", "verified", r.verified, "damaged", r.damaged), print, &r);
    json_decref(r.verified);
    json_decref(r.damaged);
    return status;
}

const struct command command_verify = {"verify", "read and check snapshots", run};
