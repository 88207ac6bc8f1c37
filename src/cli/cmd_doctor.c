/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "cli/cli.h"

static const char doc[] =
    "Say what this host, and DOMAIN, allow; what `create` would do, and what is missing. Of a "
    "snapshot: whether it could be restored here.\v"
    "Changes nothing. Exit status 0: nothing here is in the way of `domsnap create`, with --cold "
    "where the line of a disk says so, or of `domsnap restore --replace`. The room in a "
    "repository is not looked at, and content is not read.";

enum { OPTION_FROM = 256 };

static const struct argp_option options[] = {
    {"from", OPTION_FROM, "DIR", 0,
     "a snapshot that is not in a repository: the folder that `create --to` made, or `import`", 0},
    CLI_REPO_OPTION,
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct snapshot_ref *what = state->input;

    switch (key) {
    case OPTION_FROM:
        what->folder = arg;
        return 0;
    case 'r':
        what->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (what->domain)
            argp_error(state, "one DOMAIN at a time");
        cli_split_ref(arg, &what->domain, &what->name);
        return 0;
    case ARGP_KEY_END:
        if (what->folder && (what->domain || what->repo))
            argp_error(state, "the folder says which guest it is: give either");
        if (what->repo && !what->name)
            argp_error(state, "which snapshot? Give DOMAIN@NAME");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
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
    static const struct argp argp = {
        options, parse, "[DOMAIN[@NAME]]\n--from DIR", doc, common_options, NULL, NULL};
    struct engine *engine = cli_engine();
    json_t *findings = json_array();
    struct snapshot_ref what = {0};
    struct error e = {0};
    int rc;

    argp_parse(&argp, argc, argv, 0, NULL, &what);
    what.repo = cli_repo(what.repo);
    rc = engine_doctor(engine, &what, collect, findings, &e);
    return cli_finish(rc, &e, json_pack("{s:o}", "findings", findings), print, findings);
}

const struct command command_doctor = {"doctor", "what this host and a guest allow", run, true};
