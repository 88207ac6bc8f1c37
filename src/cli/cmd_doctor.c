/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Say what this host, and DOMAIN, allow; what `create` would do, and what is missing.\v"
    "Changes nothing. Exit status 0: nothing here is in the way of `domsnap create`, with --cold "
    "where "
    "the line of a disk says so. The room in a repository is not looked at.";

struct request {
    const char *domain;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;

    if (key != ARGP_KEY_ARG)
        return ARGP_ERR_UNKNOWN;
    if (r->domain)
        argp_error(state, "one DOMAIN at a time");
    r->domain = arg;
    return 0;
}

static const char *const words[] = {
    [FINDING_GOOD] = "good",
    [FINDING_NOTE] = "note",
    [FINDING_BAD] = "bad",
};

static void collect(void *arg, enum finding_level level, const char *subject, const char *text)
{
    json_array_append_new(arg, json_pack("{s:s, s:o, s:o}", "level", words[level], "subject",
                                         cli_text(subject), "text", cli_text(text)));
}

static void print(void *arg)
{
    const json_t *finding;
    size_t i;

    json_array_foreach ((json_t *)arg, i, finding)
        printf("%-5s %-12s %s\n", json_string_value(json_object_get(finding, "level")),
               json_string_value(json_object_get(finding, "subject")),
               json_string_value(json_object_get(finding, "text")));
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {NULL, parse, "[DOMAIN]", doc, common_options, NULL, NULL};
    struct engine *engine = cli_engine();
    json_t *findings = json_array();
    struct request request = {0};
    struct error e = {0};
    int rc;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    rc = engine_doctor(engine, request.domain, collect, findings, &e);
    return cli_finish(rc, &e, json_pack("{s:o}", "findings", findings), print, findings);
}

const struct command command_doctor = {"doctor", "what this host and a guest allow", run, true};
