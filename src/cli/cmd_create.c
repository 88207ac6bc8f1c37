/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "engine/turn.h"

static const char doc[] =
    "Snapshot a running guest, its RAM and all its disks at one instant, into a repository, or, "
    "with "
    "--to, into a folder of plain files; or, with --config, the disks of a guest that does not "
    "run.\v"
    "The snapshot is called NAME, or by the time. DIR is made if it does not exist, and nothing in "
    "it is overwritten. It gets "
    "DOMAIN.sav, which `xl restore` takes, one sparse raw image a disk, DOMAIN.cfg, which `xl "
    "create` takes, and manifest.json. The guest is paused for the last of its RAM (a PV guest, "
    "where Xen can't follow its writes, for all of it) and one instant on its disks; with --cold "
    "until its disks are copied too, which needs no LVM; with --disks-only not at all, and what "
    "comes back from that is a guest that boots as after a power cut. `domsnap doctor DOMAIN` "
    "tells beforehand.";

enum {
    OPTION_COLD = 256,
    OPTION_DISKS_ONLY,
    OPTION_TO,
    OPTION_CONFIG,
    OPTION_LIMIT,
    OPTION_DEADLINE,
    OPTION_MAX_PAUSE,
    OPTION_GO_ON,
    OPTION_LVM_SNAPSHOT,
    OPTION_ENCRYPT,
    OPTION_AT_ONCE
};

#define DEADLINE_DEFAULT_MS 10000

static const struct argp_option options[] = {
    {"to", OPTION_TO, "DIR", 0, "into plain files in this folder, not into a repository", 0},
    {"config", OPTION_CONFIG, "FILE", 0,
     "the guest does not run: the disks that this xl configuration names", 0},
    CLI_REPO_OPTION,
    {"limit", OPTION_LIMIT, "MB/S", 0, "read the disks no faster", 0},
    {"at-once", OPTION_AT_ONCE, "COUNT", 0,
     "wait until fewer than so many snapshots are taken on this host (2)", 0},
    {"cold", OPTION_COLD, NULL, 0, "copy the disks while the guest is paused", 0},
    {"disks-only", OPTION_DISKS_ONLY, NULL, 0,
     "no RAM; without --cold the guest does not stop at all", 0},
    {"lvm-snapshot", OPTION_LVM_SNAPSHOT, NULL, 0,
     "take LVM's own snapshots, which it knows of; they take longer", 0},
    {"encrypt-stores", OPTION_ENCRYPT, NULL, 0,
     "what the guest overwrites meanwhile is kept under a key that is forgotten after; else it "
     "stays behind in free extents of the volume group",
     0},
    {"deadline", OPTION_DEADLINE, "SECONDS", 0,
     "how long the guest may be paused for its disks and the end of its RAM, before it is "
     "resumed and the snapshot dropped (10); not with --cold, nor --max-pause without --go-on",
     0},
    {"max-pause", OPTION_MAX_PAUSE, "MS", 0,
     "drop the snapshot rather than let the guest be paused for more milliseconds in all; if "
     "possible, before it stops",
     0},
    {"go-on", OPTION_GO_ON, NULL, 0, "with --max-pause: only warn of it, and go on", 0},
    {0},
};

/* A length of time in units of `unit_ms`, to milliseconds. */
static uint32_t parse_time(const char *arg, double unit_ms, const char *unit,
                           struct argp_state *state)
{
    char *end;
    double ms = strtod(arg, &end) * unit_ms;

    if (end == arg || *end || !(ms >= 1) || ms > 86400000)
        argp_error(state, "\"%s\" is not a number of %s", arg, unit);
    return (uint32_t)ms;
}

struct request {
    struct create_params running;
    const char *config_file;
    const char *domain;
    bool of_running; /* an option was given that is of no use to a guest that does not run */
};

struct result {
    struct manifest m;
    struct store_stats stats;
};

static bool parse_running(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;
    struct create_params *p = &r->running;

    switch (key) {
    case OPTION_TO:
        p->to.folder = arg;
        return true;
    case OPTION_COLD:
        p->method = CREATE_COLD;
        break;
    case OPTION_DISKS_ONLY:
        p->disks_only = true;
        break;
    case OPTION_LVM_SNAPSHOT:
        cli_engine()->snapshots = volume_drivers_lvm_snapshot;
        break;
    case OPTION_ENCRYPT:
        p->encrypt_stores = true;
        break;
    case OPTION_DEADLINE:
        p->deadline_ms = parse_time(arg, 1000, "seconds", state);
        break;
    case OPTION_MAX_PAUSE:
        p->max_pause_ms = parse_time(arg, 1, "milliseconds", state);
        break;
    case OPTION_GO_ON:
        p->go_on = true;
        break;
    default:
        return false;
    }
    r->of_running = true;
    return true;
}

static uint64_t parse_rate(const char *arg, struct argp_state *state)
{
    char *end;
    double mb = strtod(arg, &end);

    if (end == arg || *end || !(mb >= 0.1) || mb > 1e6)
        argp_error(state, "\"%s\" is not a number of MB/s", arg);
    return (uint64_t)(mb * 1e6);
}

static unsigned parse_count(const char *arg, struct argp_state *state)
{
    char *end;
    unsigned long count = strtoul(arg, &end, 10);

    if (*arg < '0' || *arg > '9' || *end || count < 1 || count > TURNS_MAX)
        argp_error(state, "\"%s\" is not a number from 1 to %d", arg, TURNS_MAX);
    return (unsigned)count;
}

static void check(const struct request *r, struct argp_state *state)
{
    const struct snapshot_target *to = &r->running.to;

    if (r->config_file && r->of_running)
        argp_error(state, "a guest that does not run (--config) has no RAM, and is not paused");
    if (!r->config_file && !r->domain)
        argp_error(state, "which DOMAIN?");
    if (to->folder && (to->name || to->repo))
        argp_error(state, "@NAME and --repo are for a repository, not a folder (--to)");
    if (r->running.encrypt_stores && r->running.method == CREATE_COLD)
        argp_error(state, "--encrypt-stores is for snapshots, and --cold takes none");
    if (r->running.go_on && !r->running.max_pause_ms)
        argp_error(state, "--go-on says what to do past --max-pause, which was not given");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct request *r = state->input;
    struct snapshot_target *to = &r->running.to;

    switch (key) {
    case OPTION_CONFIG:
        r->config_file = arg;
        return 0;
    case OPTION_LIMIT:
        to->bytes_per_second = parse_rate(arg, state);
        return 0;
    case OPTION_AT_ONCE:
        cli_engine()->at_once = parse_count(arg, state);
        return 0;
    case 'r':
        to->repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (r->domain)
            argp_error(state, "one DOMAIN at a time");
        cli_split_ref(arg, &r->domain, &to->name);
        return 0;
    case ARGP_KEY_END:
        check(r, state);
        return 0;
    default:
        return parse_running(key, arg, state) ? 0 : ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    const struct result *r = arg;

    cli_print_manifest(&r->m);
    if (r->m.name)
        printf("  %s read, %s of that known already, %s stored\n", cli_size(r->stats.put_bytes),
               cli_size(r->stats.known_bytes), cli_size(r->stats.stored_bytes));
}

static json_t *to_json(const struct result *r)
{
    json_t *json = manifest_to_json(&r->m);

    if (json && r->m.name)
        json_object_set_new(json, "stats",
                            json_pack("{s:I, s:I, s:I}", "put_bytes",
                                      (json_int_t)r->stats.put_bytes, "known_bytes",
                                      (json_int_t)r->stats.known_bytes, "stored_bytes",
                                      (json_int_t)r->stats.stored_bytes));
    return json;
}

static int create(struct request *r, struct result *result, struct error *e)
{
    struct engine *engine = cli_engine();
    struct snapshot_target *to = &r->running.to;
    struct create_off_params off = {.config_file = r->config_file, .domain = r->domain};

    r->running.domain = r->domain;
    if (!to->folder)
        to->repo = cli_repo(to->repo);
    if (!r->config_file)
        return engine_create(engine, &r->running, &result->m, &result->stats, e);
    off.to = *to;
    return engine_create_off(engine, &off, &result->m, &result->stats, e);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {
        options,
        parse,
        "DOMAIN[@NAME]\nDOMAIN --to DIR\n--config FILE [DOMAIN[@NAME]]\n--config FILE --to DIR",
        doc,
        common_options,
        NULL,
        NULL};
    struct request request = {
        .running = {.method = CREATE_SNAPSHOT, .deadline_ms = DEADLINE_DEFAULT_MS},
    };
    struct result r = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &request);
    cli_progress_start(cli_engine());
    rc = create(&request, &r, &e);
    status = cli_finish(rc, &e, rc == OK ? to_json(&r) : NULL, rc == OK ? print : NULL, &r);
    manifest_release(&r.m);
    return status;
}

const struct command command_create = {"create", "take a snapshot of a guest", run, true};
