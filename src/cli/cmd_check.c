/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] =
    "Check that all is there that the snapshots of a repository need, and (--read-data) that it is "
    "what was stored; or "
    "read DOMAIN's snapshots, or one, or the folder DIR.\v"
    "What is found damaged is remembered, and stored anew by the next create of a guest that still "
    "has it. A part is taken by content, and is another one each day.\n"
    "Exit status 1: something is damaged.";

enum { OPTION_FROM = 256, OPTION_READ_DATA };

static const struct argp_option options[] = {
    {"from", OPTION_FROM, "DIR", 0,
     "not a repository: the folder that `create --to` made, or `import`", 0},
    {"read-data", OPTION_READ_DATA, "PERCENT", OPTION_ARG_OPTIONAL,
     "read the content, too: all of it, or so much", 0},
    CLI_REPO_OPTION,
    {0},
};

struct result {
    struct check_counts counts;
    json_t *good, *damaged;
    bool whole; /* a repository, not snapshots that are named */
    unsigned percent;
};

static unsigned parse_percent(const char *arg, struct argp_state *state)
{
    char *end;
    long percent = strtol(arg, &end, 10);

    if (end == arg || (*end && !(*end == '%' && !end[1])) || percent < 1 || percent > 100)
        argp_error(state, "\"%s\" is not a number from 1 to 100", arg);
    return (unsigned)percent;
}

static void check_request(struct check_params *p, struct argp_state *state)
{
    if (p->what.folder && (p->what.domain || p->what.repo))
        argp_error(state, "DOMAIN and --repo are for a repository, not a folder (--from)");
    if (p->what.folder && p->percent && p->percent < 100)
        argp_error(state, "a folder is always read as a whole: leave out the percentage");
    if ((p->what.folder || p->what.domain) && p->percent == 0)
        p->percent = 100;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct check_params *p = state->input;

    switch (key) {
    case OPTION_FROM:
        p->what.folder = arg;
        return 0;
    case OPTION_READ_DATA:
        p->percent = arg ? parse_percent(arg, state) : 100;
        return 0;
    case 'r':
        p->what.repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (p->what.domain)
            argp_error(state, "one at a time");
        cli_split_ref(arg, &p->what.domain, &p->what.name);
        return 0;
    case ARGP_KEY_END:
        check_request(p, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void add(void *arg, enum check_kind kind, const char *name, const struct error *why)
{
    static const char *const kinds[] = {
        [CHECKED_PACK] = "pack", [CHECKED_RECORD] = "record", [CHECKED_SNAPSHOT] = "snapshot"};
    struct result *r = arg;

    if (kind == CHECKED_GOOD)
        json_array_append_new(r->good, cli_text(name));
    else
        json_array_append_new(r->damaged, cli_fault(kinds[kind], name, why));
}

/* Of a repository in which nothing hurts a snapshot. */
static const char *verdict(const struct result *r)
{
    static char text[80];

    if (r->percent == 0)
        return "all there (content: --read-data)";
    if (r->counts.damaged_packs)
        return "all there";
    if (r->percent == 100)
        return "all there, and its content is good";
    snprintf(text, sizeof text, "all there, and the %u %% of its content that were read are good",
             r->percent);
    return text;
}

static void print(void *arg)
{
    const struct result *r = arg;
    const json_t *item;
    size_t i;

    json_array_foreach (r->good, i, item)
        printf("good     %s\n", json_string_value(item));
    json_array_foreach (r->damaged, i, item)
        cli_print_fault(item);
    if (r->whole && (r->counts.packs || r->counts.snapshots || json_array_size(r->damaged) == 0))
        printf("%" PRIu64 " snapshots, %s in %" PRIu64 " packs: %s\n", r->counts.snapshots,
               cli_size(r->counts.pack_bytes), r->counts.packs,
               json_array_size(r->damaged) ? "something is damaged" : verdict(r));
    if (r->counts.damaged_packs && json_array_size(r->damaged) == 0)
        printf("damage that hurts no snapshot: in %" PRIu64 " packs (next: `domsnap repair`)\n",
               r->counts.damaged_packs);
}

static json_t *to_json(const struct result *r)
{
    return json_pack("{s:O, s:O, s:I, s:I, s:I, s:I, s:I, s:I}", "good", r->good, "faults",
                     r->damaged, "snapshots", (json_int_t)r->counts.snapshots, "packs",
                     (json_int_t)r->counts.packs, "stored_bytes", (json_int_t)r->counts.pack_bytes,
                     "damaged_bytes", (json_int_t)r->counts.bad_bytes, "mended",
                     (json_int_t)r->counts.mended, "damaged_packs",
                     (json_int_t)r->counts.damaged_packs);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {
        options, parse, "\nDOMAIN[@NAME]\n--from DIR", doc, common_options, NULL, NULL};
    struct result r = {.good = json_array(), .damaged = json_array()};
    struct engine *engine = cli_engine();
    struct check_params params = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &params);
    if (!params.what.folder)
        params.what.repo = cli_repo(params.what.repo);
    r.whole = !params.what.folder && !params.what.domain;
    r.percent = params.percent;
    cli_progress_start(engine);
    rc = engine_check(engine, &params, add, &r, &r.counts, &e);
    status =
        cli_finish(rc, &e, to_json(&r), rc == OK || json_array_size(r.damaged) ? print : NULL, &r);
    json_decref(r.good);
    json_decref(r.damaged);
    return status;
}

const struct command command_check = {"check", "see whether all is there, and whole", run};
