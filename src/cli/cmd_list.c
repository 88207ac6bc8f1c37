/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "cli/cli.h"

static const char doc[] =
    "List the snapshots of DOMAIN, or of all, by guest, the newest last.\v"
    "STORED is what had to be stored for a snapshot when it was made: what it "
    "shares with others counts for the first of them.\n"
    "Exit status 1: DOMAIN has none.";

static const struct argp_option options[] = {CLI_REPO_OPTION, {0}};

struct request {
    const char *repo, *domain;
};

struct result {
    bool listed;
    struct snapshot_list list;
    json_t *restoring;
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
        if (strchr(arg, '@'))
            argp_error(state,
                       "\"%s\" is one snapshot: `domsnap show` shows it; list takes a DOMAIN", arg);
        r->domain = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* "3 d", of a time as records have it. */
static const char *age(const char *created)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"y", 365.25 * 86400}, {"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    static char text[32];
    struct tm tm = {0};
    double seconds;
    size_t i = 0;

    if (!strptime(created, "%Y-%m-%dT%H:%M:%SZ", &tm))
        return "?";
    seconds = difftime(time(NULL), timegm(&tm));
    if (seconds < 0)
        return "0 s";
    while (i < 4 && seconds < units[i].seconds)
        i++;
    snprintf(text, sizeof text, "%d %s", (int)(seconds / units[i].seconds), units[i].unit);
    return text;
}

/* How many columns it takes, in UTF-8: names are not of wide characters, as a rule. */
static int columns(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static int ref_columns(const struct view_snapshot *s)
{
    return columns(s->domain) + 1 + columns(s->name);
}

static void print_snapshots(const struct snapshot_list *list)
{
    int width = 8;

    for (size_t i = 0; i < list->count; i++)
        if (ref_columns(&list->items[i]) > width)
            width = ref_columns(&list->items[i]);
    printf("%-*s  %-20s  %6s  %3s  %5s  %10s  %10s\n", width, "SNAPSHOT", "CREATED", "AGE", "RAM",
           "DISKS", "SIZE", "STORED");
    for (size_t i = 0; i < list->count; i++) {
        const struct view_snapshot *s = &list->items[i];

        printf("%s@%s%*s  %-20s  %6s  %3s  %5u  %10s  %10s\n", s->domain, s->name,
               width - ref_columns(s), "", s->created, age(s->created), s->ram ? "yes" : "-",
               s->disks, cli_size(s->bytes), cli_size(s->stored_bytes));
    }
}

static void print(void *arg)
{
    const struct result *r = arg;
    const json_t *name;
    size_t n;

    json_array_foreach (r->restoring, n, name)
        printf("%s: a restore has begun and is not complete; if none is at work on it, run "
               "`domsnap recover`\n",
               json_string_value(name));
    if (r->list.count)
        print_snapshots(&r->list);
    else if (r->listed)
        puts("no snapshots");
}

static json_t *snapshot_to_json(const struct view_snapshot *s)
{
    AUTO_FREE char *ref = format_text("%s@%s", s->domain, s->name);

    return json_pack("{s:o, s:o, s:s, s:s, s:b, s:I, s:I, s:I, s:O*}", "ref",
                     cli_text(ref ? ref : ""), "domain", cli_text(s->domain), "name", s->name,
                     "created", s->created, "ram", s->ram, "disks", (json_int_t)s->disks, "bytes",
                     (json_int_t)s->bytes, "stored_bytes", (json_int_t)s->stored_bytes, "notes",
                     s->notes);
}

static json_t *to_json(const struct result *r)
{
    json_t *list = json_array();

    for (size_t i = 0; i < r->list.count; i++)
        json_array_append_new(list, snapshot_to_json(&r->list.items[i]));
    return json_pack("{s:o, s:O}", "snapshots", list, "restoring", r->restoring);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "[DOMAIN]", doc, common_options, NULL, NULL};
    struct request request = {0};
    struct result r = {0};
    struct engine *engine = cli_engine();
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    /* First, and said even if there is no repository: it may be what such a guest waits for. */
    rc = engine_restoring(engine, &r.restoring, &e);
    if (rc == OK)
        rc = engine_list(cli_repo(request.repo), request.domain, &r.list, &e);
    r.listed = rc == OK;
    status = cli_finish(rc, &e, r.restoring ? to_json(&r) : NULL, r.restoring ? print : NULL, &r);
    engine_list_release(&r.list);
    json_decref(r.restoring);
    return status;
}

const struct command command_list = {"list", "the snapshots in a repository", run};
