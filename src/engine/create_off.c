/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create, of a domain that does not run: its disks, into a folder or a repository. Nothing else is
 * changed.
 *
 *     describe   its configuration; that it does not run; the volumes, which nobody may use then
 *     put        the disks and the configuration; that it still does not run
 *     publish    commit point
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/deposit.h"
#include "engine/settle.h"

#define CONFIG_MAX_BYTES (1u << 20)

struct creation {
    struct engine *engine;
    const struct create_off_params *params;
    char *config; /* text: a copy, since the file may change meanwhile */
    struct description d;
    struct journal journal;
    int turn; /* of this host */
    struct deposit deposit;
    struct manifest m;
};

/* ---- describe ---- */

/* xl takes none either. It is what a file system may leave of a file after a power cut. */
static int check_is_text(const char *config, size_t bytes, struct error *e)
{
    const char *nul = memchr(config, '\0', bytes);
    size_t line = 1;

    if (!nul)
        return OK;
    for (const char *p = config; p < nul; p++)
        line += *p == '\n';
    return error_set(e, UNSUPPORTED, "line %zu: it has a NUL byte, so it is not whole", line);
}

static int read_config(struct creation *c, struct error *e)
{
    const char *file = c->params->config_file;
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    uint64_t bytes;

    /* Of a pipe nobody might ever write to the other end. */
    if (fd < 0)
        return error_errno(e, "%s: open", file);
    if (file_size(fd, file, &bytes, e) < 0)
        return e->status;
    if (bytes > CONFIG_MAX_BYTES)
        return error_set(e, UNSUPPORTED, "%s is too large for a configuration", file);
    c->config = calloc(1, bytes + 1);
    if (!c->config || read_full(fd, c->config, bytes) < 0)
        return error_errno(e, "%s: read", file);
    return check_is_text(c->config, bytes, e) < 0 ? error_prefix(e, "%s", file) : OK;
}

/* Neither it, nor another that has one of its disks. Without a hypervisor nobody runs. */
static int check_off(struct creation *c, struct error *e)
{
    struct domain_id running;

    if (engine_connect(c->engine, e) < 0)
        return e->status == UNSUPPORTED ? OK : e->status;
    if (engine_find_domain(c->engine, c->d.domain.name, &running, e) < 0)
        return e->status;
    if (running.domid)
        return error_set(e, BUSY, "%s is running; without --config it is snapshotted as it runs",
                         c->d.domain.name);
    for (size_t i = 0; i < c->d.disk_count; i++)
        if (engine_check_unused(c->engine, c->d.disks[i].volume, 0, e) < 0)
            return error_prefix(e, "disk %s", c->d.disks[i].disk->vdev);
    return OK;
}

/* Held to the end: no mount or loop device can take a block device then. */
static int open_sources(struct creation *c, struct error *e)
{
    for (size_t i = 0; i < c->d.disk_count; i++) {
        struct described_disk *d = &c->d.disks[i];

        if (volume_open_idle(d->volume, O_RDONLY, &d->source, e) < 0 ||
            volume_mark(d->source, &d->mark, e) < 0)
            return error_prefix(e, "disk %s", d->disk->vdev);
    }
    return OK;
}

/* By a guest that has ended again, say. */
static int check_unwritten(struct creation *c, struct error *e)
{
    for (size_t i = 0; i < c->d.disk_count; i++) {
        const struct described_disk *d = &c->d.disks[i];

        if (volume_check_mark(d->volume, d->source, d->mark, e) < 0)
            return error_prefix(e, "disk %s", d->disk->vdev);
    }
    return OK;
}

static int describe(struct creation *c, struct error *e)
{
    const char *wanted = c->params->domain;

    if (read_config(c, e) < 0 ||
        c->engine->domains->describe_config(c->config, strlen(c->config), c->params->config_file,
                                            &c->d.domain, e) < 0)
        return e->status;
    if (wanted && strcmp(wanted, c->d.domain.name) != 0)
        return error_set(e, USAGE, "%s is the configuration of %s", c->params->config_file,
                         c->d.domain.name);
    if (settle_open(&c->journal, c->engine, c->d.domain.name, e) < 0)
        return e->status;
    if (engine_take_turn(c->engine, &c->turn, e) < 0)
        return e->status;
    if (check_off(c, e) < 0)
        return e->status;
    if (description_open_disks(&c->d, c->engine, e) < 0)
        return e->status;
    if (description_to_manifest(&c->d, c->engine, "off", &c->m, e) < 0)
        return e->status;
    for (size_t i = 0; i < c->d.left_out_count; i++)
        log_note("disk %s is left out: %s", c->d.left_out[i].disk->vdev, c->d.left_out[i].why);
    if (description_check_any(&c->d, e) < 0)
        return error_prefix(e, "%s", c->params->config_file);
    return open_sources(c, e) < 0 ? e->status : check_off(c, e);
}

/* ---- put, publish ---- */

static int carry_out(struct creation *c, struct store_stats *stats, struct error *e)
{
    uint64_t total = strlen(c->config);

    for (size_t i = 0; i < c->d.disk_count; i++)
        total += c->d.disks[i].volume->size_bytes;
    progress_begin(&c->engine->progress, "copy", total);
    if (c->deposit.driver->prepare(c->deposit.sink, 0, c->config, e) < 0 ||
        deposit_put_disks(&c->deposit, &c->d, NULL, e) < 0)
        return e->status;
    /* A guest can be started on disks that we hold open. */
    if (check_off(c, e) < 0 || check_unwritten(c, e) < 0)
        return e->status == BUSY ? error_append(e, "what was copied is of no use") : e->status;
    progress_begin(&c->engine->progress, "publish", 0);
    return deposit_commit(&c->deposit, &c->journal, stats, e);
}

static int journalled(struct creation *c, struct store_stats *stats, struct error *e)
{
    json_t *kept;
    int rc;

    if (c->deposit.driver->journal(c->deposit.sink, &kept, e) < 0)
        return e->status;
    /* There may be nothing to undo. */
    if (!kept)
        return carry_out(c, stats, e);
    if (settle_begin(&c->journal, &c->d, "", false, kept, e) < 0)
        return e->status;
    rc = carry_out(c, stats, e);
    deposit_let_go(&c->deposit);
    return settle_create(c->engine, &c->journal, rc, e);
}

static void release(struct creation *c)
{
    deposit_close(&c->deposit);
    journal_release(&c->journal);
    if (c->turn >= 0)
        close(c->turn);
    description_release(&c->d);
    free(c->config);
}

int engine_create_off(struct engine *engine, const struct create_off_params *params,
                      struct manifest *m, struct store_stats *stats, struct error *e)
{
    struct creation c = {
        .engine = engine,
        .params = params,
        .deposit = {.driver = sink_driver_of(&params->to)},
        .journal = JOURNAL_NONE,
        .turn = -1,
    };
    int rc;

    progress_begin(&engine->progress, "describe", 0);
    rc = describe(&c, e);
    if (rc == OK)
        rc = deposit_open(&c.deposit, &params->to, &c.d, false, &engine->progress, &c.m, e);
    if (rc == OK)
        rc = journalled(&c, stats, e);
    release(&c);
    if (rc < 0) {
        manifest_release(&c.m);
        return error_prefix(e, "create");
    }
    *m = c.m;
    return OK;
}
