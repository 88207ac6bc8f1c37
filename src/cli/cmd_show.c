/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] = "Show everything about one snapshot.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct snapshot_ref *ref = state->input;

    switch (key) {
    case 'r':
        ref->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (ref->domain)
            argp_error(state, "one snapshot at a time");
        cli_split_ref(arg, &ref->domain, &ref->name);
        return 0;
    case ARGP_KEY_END:
        if (!ref->domain || !ref->name)
            argp_error(state, "which one? Give DOMAIN@NAME; `domsnap list` shows them");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct result {
    struct manifest m;
    json_t *line;
};

static void print(void *arg)
{
    const struct result *r = arg;
    const char *key;
    json_t *note;

    cli_print_manifest(&r->m);
    printf("  %s stored\n",
           cli_size((uint64_t)json_integer_value(json_object_get(r->line, "stored_bytes"))));
    json_object_foreach (json_object_get(r->line, "notes"), key, note) {
        char *text = json_dumps(note, JSON_ENCODE_ANY | JSON_COMPACT);

        printf("  %s: %s\n", key, text ? text : "");
        free(text);
    }
}

static json_t *to_json(const struct result *r)
{
    json_t *json = manifest_to_json(&r->m);

    if (json && r->line)
        json_object_update(json, r->line);
    return json;
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options,        parse, "DOMAIN@NAME", doc,
                                     common_options, NULL,  NULL};
    struct snapshot_ref ref = {0};
    struct result r = {0};
    struct error e = {0};
    int rc, status;

    cli_engine();
    argp_parse(&argp, argc, argv, 0, NULL, &ref);
    ref.repo = cli_repo(ref.repo);
    rc = engine_show(&ref, &r.m, &r.line, &e);
    status = cli_finish(rc, &e, rc == OK ? to_json(&r) : NULL, rc == OK ? print : NULL, &r);
    json_decref(r.line);
    manifest_release(&r.m);
    return status;
}

const struct command command_show = {"show", "everything about one snapshot", run};
