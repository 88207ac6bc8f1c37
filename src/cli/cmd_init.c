/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] = "Make a repository: a folder that holds snapshots of any number of "
                          "guests, each piece of them once.\v"
                          "The folder must be empty or not exist. Chunks are what images are cut "
                          "into: smaller ones find more "
                          "that is known and cost more memory.";

enum { OPTION_CHUNK = 256 };

static const struct argp_option options[] = {
    CLI_REPO_OPTION,
    {"chunk-size", OPTION_CHUNK, "KIB", 0, "64, 128, 256 (the usual), 512 or 1024", 0},
    {0},
};

struct request {
    const char *repo;
    uint32_t chunk_bytes;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;
    unsigned long kib;
    char *end;

    switch (key) {
    case 'r':
    case ARGP_KEY_ARG:
        if (r->repo)
            argp_error(state, "one repository at a time");
        r->repo = arg;
        return 0;
    case OPTION_CHUNK:
        kib = strtoul(arg, &end, 10);
        if (*end || kib < 64 || kib > 1024)
            argp_error(state, "\"%s\" is not a size of chunks", arg);
        r->chunk_bytes = (uint32_t)kib << 10;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    printf("%s is a repository now\n", (const char *)arg);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "[DIR]", doc, common_options, NULL, NULL};
    struct request request = {0};
    struct error e = {0};
    const char *repo;
    int rc;

    cli_engine();
    argp_parse(&argp, argc, argv, 0, NULL, &request);
    repo = cli_repo(request.repo);
    rc = engine_init(repo, request.chunk_bytes, &e);
    return cli_finish(rc, &e, json_pack("{s:o}", "repository", cli_text(repo)),
                      rc == OK ? print : NULL, (void *)repo);
}

const struct command command_init = {"init", "make a repository", run};
