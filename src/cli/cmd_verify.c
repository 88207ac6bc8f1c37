/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Read snapshots, one, all of DOMAIN, or all, and hold every byte against its sum.\v"
    "Exit status 0: each of them can be restored.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

struct result {
    json_t *verified, *damaged;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct snapshot_ref *ref = state->input;

    switch (key) {
    case 'r':
        ref->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (ref->domain)
            argp_error(state, "one at a time");
        cli_split_ref(arg, &ref->domain, &ref->name);
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
        printf("DAMAGED   %s\n", json_string_value(json_object_get(item, "snapshot")));
}

/* The first error is kept; all are looked at. */
static int verify_one(struct engine *engine, const struct snapshot_ref *ref, struct result *r,
                      struct error *e)
{
    struct error why = {0};
    int rc = engine_verify(engine, ref, &why);

    if (rc == OK)
        json_array_append_new(r->verified, json_sprintf("%s@%s", ref->domain, ref->name));
    else
        json_array_append_new(r->damaged, json_pack("{s:o, s:s}", "snapshot",
                                                    json_sprintf("%s@%s", ref->domain, ref->name),
                                                    "message", why.text));
    if (rc < 0 && e->status == OK)
        *e = why;
    return e->status;
}

static int verify(struct engine *engine, const struct snapshot_ref *ref, struct result *r,
                  struct error *e)
{
    struct manifest *list = NULL;
    size_t count = 0;

    if (ref->name)
        return verify_one(engine, ref, r, e);
    if (engine_list(ref->repo, ref->domain, &list, &count, e) < 0)
        return e->status;
    for (size_t i = 0; i < count && e->status != CANCELLED; i++) {
        struct snapshot_ref one = {
            .repo = ref->repo, .domain = list[i].domain_name, .name = list[i].name};

        verify_one(engine, &one, r, e);
    }
    engine_list_release(list, count);
    return e->status;
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "[DOMAIN[@NAME]]", doc, common_options,
                                     NULL,    NULL};
    struct result r = {json_array(), json_array()};
    struct engine *engine = cli_engine();
    struct snapshot_ref ref = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &ref);
    ref.repo = cli_repo(ref.repo);
    cli_progress_start(engine);
    rc = verify(engine, &ref, &r, &e);
    status = cli_finish(
        rc, &e, json_pack("{s:O, s:O}", "verified", r.verified, "damaged", r.damaged), print, &r);
    json_decref(r.verified);
    json_decref(r.damaged);
    return status;
}

const struct command command_verify = {"verify", "read and check snapshots", run};
