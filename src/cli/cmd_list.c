/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "List the snapshots of DOMAIN, or of all, by guest, the newest last.\v"
    "Exit status 1: DOMAIN has none, or the record of one can't be read; the others are listed.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

struct request {
    const char *repo, *domain;
};

struct result {
    bool listed;
    struct manifest *list;
    size_t count;
    json_t *restoring, *damaged;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;

    switch (key) {
    case 'r':
        r->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (r->domain)
            argp_error(state, "one DOMAIN at a time");
        r->domain = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static uint64_t disks_bytes(const struct manifest *m)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < m->disk_count; i++)
        sum += m->disks[i].image.bytes;
    return sum;
}

static void print(void *arg)
{
    const struct result *r = arg;
    const json_t *name, *item;
    size_t n;

    json_array_foreach (r->restoring, n, name)
        printf("%s: a restore has begun and is not complete; if none is at work on it, run "
               "`domsnap recover`\n",
               json_string_value(name));
    for (size_t i = 0; i < r->count; i++) {
        const struct manifest *m = &r->list[i];
        char ref[200];

        snprintf(ref, sizeof ref, "%s@%s", m->domain_name, m->name);
        printf("%-40s %s  %-8s  RAM %10s  %zu disk%s %10s\n", ref, m->created, m->method,
               manifest_has(&m->ram) ? cli_size(m->memory_bytes) : "-", m->disk_count,
               m->disk_count == 1 ? " " : "s", cli_size(disks_bytes(m)));
    }
    json_array_foreach (r->damaged, n, item)
        cli_print_damage(item, "snapshot");
    if (r->listed && r->count == 0)
        puts("no snapshots");
}

static json_t *to_json(const struct result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->count; i++)
        json_array_append_new(list, manifest_to_json(&r->list[i]));
    return json_pack("{s:o, s:O, s:O}", "snapshots", list, "restoring", r->restoring, "damaged",
                     r->damaged);
}

static void add_bad(void *arg, const char *snapshot, const struct error *why)
{
    struct result *r = arg;

    json_array_append_new(r->damaged, cli_damage("snapshot", snapshot, why));
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "[DOMAIN]", doc, common_options, NULL, NULL};
    struct request request = {0};
    struct result r = {.damaged = json_array()};
    struct engine *engine = cli_engine();
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    /* First, and said even if there is no repository: it may be what such a guest waits for. */
    rc = engine_restoring(engine, &r.restoring, &e);
    if (rc == OK)
        rc =
            engine_list(cli_repo(request.repo), request.domain, add_bad, &r, &r.list, &r.count, &e);
    r.listed = rc == OK;
    status = cli_finish(rc, &e, r.restoring ? to_json(&r) : NULL, r.restoring ? print : NULL, &r);
    engine_list_release(r.list, r.count);
    json_decref(r.restoring);
    json_decref(r.damaged);
    return status;
}

const struct command command_list = {"list", "the snapshots in a repository", run};
