/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"

static const char doc[] =
    "Snapshot a running guest, its RAM and all its disks at one instant, into a folder.\v"
    "DIR is made if it does not exist, and nothing in it is overwritten. It gets DOMAIN.sav, which "
    "`xl restore` takes, one "
    "sparse raw image a disk, DOMAIN.cfg, which `xl create` takes, and manifest.json. The guest "
    "stands still "
    "for the last of its RAM (a PV guest, where Xen can't follow its writes, for all of it) and "
    "one instant on its "
    "disks; with --cold until its disks are copied too, which needs no LVM; with --disks-only not "
    "at all, and what comes back "
    "from that is a guest that boots as after a power cut. `domsnap doctor DOMAIN` tells "
    "beforehand.";

enum {
    OPTION_COLD = 256,
    OPTION_DISKS_ONLY,
    OPTION_TO,
    OPTION_DEADLINE,
    OPTION_MAX_PAUSE,
    OPTION_GO_ON,
    OPTION_LVM_SNAPSHOT
};

#define DEADLINE_DEFAULT_MS 10000

static const struct argp_option options[] = {
    {"to", OPTION_TO, "DIR", 0, "the folder for the files", 0},
    {"cold", OPTION_COLD, NULL, 0, "copy the disks while the guest stands still", 0},
    {"disks-only", OPTION_DISKS_ONLY, NULL, 0,
     "no RAM; without --cold the guest does not stop at all", 0},
    {"lvm-snapshot", OPTION_LVM_SNAPSHOT, NULL, 0,
     "take LVM's own snapshots, which it knows of; they take longer", 0},
    {"deadline", OPTION_DEADLINE, "SECONDS", 0,
     "how long the guest may stand still for its disks and the end of its RAM, before it is "
     "resumed and the snapshot "
     "dropped (10)",
     0},
    {"max-pause", OPTION_MAX_PAUSE, "MS", 0,
     "drop the snapshot rather than let the guest stand still for more milliseconds in all; if "
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

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct create_params *p = state->input;

    switch (key) {
    case OPTION_TO:
        p->folder = arg;
        return 0;
    case OPTION_COLD:
        p->method = CREATE_COLD;
        return 0;
    case OPTION_DISKS_ONLY:
        p->disks_only = true;
        return 0;
    case OPTION_LVM_SNAPSHOT:
        cli_engine()->volumes = volume_drivers_lvm_snapshot;
        return 0;
    case OPTION_DEADLINE:
        p->deadline_ms = parse_time(arg, 1000, "seconds", state);
        return 0;
    case OPTION_MAX_PAUSE:
        p->max_pause_ms = parse_time(arg, 1, "milliseconds", state);
        return 0;
    case OPTION_GO_ON:
        p->go_on = true;
        return 0;
    case ARGP_KEY_ARG:
        if (p->domain)
            argp_error(state, "one DOMAIN at a time");
        p->domain = arg;
        return 0;
    case ARGP_KEY_END:
        if (!p->domain)
            argp_error(state, "which DOMAIN?");
        if (!p->folder)
            argp_error(state, "where to? Give --to DIR");
        if (p->go_on && !p->max_pause_ms)
            argp_error(state, "--go-on says what to do past --max-pause, which was not given");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print(void *arg)
{
    cli_print_manifest(arg);
}

static int run(int argc, char **argv)
{
    static const struct argp argp = {options, parse, "DOMAIN --to DIR", doc, common_options,
                                     NULL,    NULL};
    struct create_params params = {.method = CREATE_SNAPSHOT, .deadline_ms = DEADLINE_DEFAULT_MS};
    struct engine *engine = cli_engine();
    struct manifest m = {0};
    struct error e = {0};
    int rc, status;

    argp_parse(&argp, argc, argv, 0, NULL, &params);
    cli_progress_start(engine);
    rc = engine_create(engine, &params, &m, &e);
    status =
        cli_finish(rc, &e, rc == OK ? manifest_to_json(&m) : NULL, rc == OK ? print : NULL, &m);
    manifest_release(&m);
    return status;
}

const struct command command_create = {"create", "take a snapshot of a running guest", run};
