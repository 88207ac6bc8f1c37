/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Finish or undo what interrupted runs left behind.\v"
    "Resumes guests that domsnap left suspended, removes snapshots and "
    "half-written files that it made, by its "
    "own journal and tags, and finishes restores that had begun to write. "
    "Runs that are alive are left alone; "
    "run twice, it finds nothing. Without DOMAIN it looks after all guests. "
    "--boot and --abandon are the ways out where a restore can't be finished.";

enum { OPTION_BOOT = 256, OPTION_ABANDON };

static const struct argp_option options[] = {
    {"boot", OPTION_BOOT, NULL, 0,
     "finish the restore of DOMAIN without its RAM: it boots from its disks", 0},
    {"abandon", OPTION_ABANDON, NULL, 0,
     "forget what was interrupted; what is left of it is said, and for you to deal with", 0},
    {0},
};

struct result {
    struct recovery *list;
    size_t count;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct recover_params *p = state->input;

    switch (key) {
    case OPTION_BOOT:
    case OPTION_ABANDON:
        if (p->way != RECOVER_FINISH)
            argp_error(state, "either --boot or --abandon");
        p->way = key == OPTION_BOOT ? RECOVER_BOOT : RECOVER_ABANDON;
        return 0;
    case ARGP_KEY_ARG:
        if (p->domain)
            argp_error(state, "one DOMAIN at a time");
        p->domain = arg;
        return 0;
    case ARGP_KEY_END:
        if (p->way != RECOVER_FINISH && !p->domain)
            argp_error(state, "which DOMAIN?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    const struct result *r = arg;

    if (r->count == 0)
        puts("nothing to recover");
    for (size_t i = 0; i < r->count; i++)
        printf("%s: %s\n", r->list[i].domain, r->list[i].done);
}

static json_t *to_json(const struct result *r)
{
    json_t *runs = json_array();

    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(runs, json_pack("{s:s, s:s, s:o}", "domain", r->list[i].domain,
                                              "status", status_name(r->list[i].error.status),
                                              "done", cli_text(r->list[i].done)));
    return json_pack("{s:o}", "runs", runs);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "[DOMAIN]", doc, common_options, NULL, NULL};
    struct recover_params params = {0};
    struct engine *engine = cli_engine();
    struct result r = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &params);
    cli_progress_start(engine);
    rc = engine_recover(engine, &params, &r.list, &r.count, &e);
    status = cli_finish(rc, &e, to_json(&r), rc == OK || r.count ? print : NULL, &r);
    recovery_release(r.list, r.count);
    return status;
}

const struct command command_recover = {"recover", "clean up after interrupted runs", run, true};
