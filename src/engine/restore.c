/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * restore: a domain back to the instant that a snapshot holds.
 *
 *     read     the record, and what it names; the volumes; everything compared; nothing is touched
 *     verify   every byte against its sum
 *     aside    the volumes get names by which nobody finds them (aside.h)
 *     replace  commit point: the journal says so; a running domain of this name is destroyed
 *     write    the images onto the volumes, which are whole then, and get their names back
 *     start    RAM through a pipe into the toolstack's own restore; without RAM, a boot from the
 *              configuration; not at all if the domain did not run. It stays paused until the
 *              journal says that what is on the disks from then on is its own
 *
 * Past the commit point there is only forward: the journal names the snapshot, and recover does it
 * again. Image files that do not exist yet have no names until all of it is written, so for them
 * alone nothing needs to be verified before, or finished after.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/time.h"
#include "engine/aside.h"
#include "engine/journal.h"
#include "engine/launch.h"

#define RELEASE_TIMEOUT_NS (30 * UINT64_C(1000000000))
#define RELEASE_POLL_US    20000

struct restoration {
    struct engine *engine;
    const struct restore_params *params;
    char *path; /* absolute: of the folder, or the repository */
    const struct source_driver *driver;
    struct source *source;
    struct manifest m;
    struct volume **volumes; /* one a disk of the manifest; NULL: a file that is to be made */
    struct target *targets;
    uint64_t *marks; /* volume_mark() of those volumes that were open while all was verified */
    struct domain_id running; /* destroyed before; domid 0: there is none */
    struct journal journal;
};

/* A domain that did not run when it was snapshotted is not started, and needs no hypervisor. */
static bool was_off(const struct restoration *r)
{
    return strcmp(r->m.method, "off") == 0;
}

/* Who has the domain's lock is alive: recover must not begin beside a toolstack that outlives us.
 */
static struct launch launch_of(const struct restoration *r)
{
    return (struct launch){
        .engine = r->engine,
        .driver = r->driver,
        .source = r->source,
        .m = &r->m,
        .boot = r->params->boot,
        .eject = r->params->eject,
        .any_cpu = r->params->any_cpu,
        .held_fd = r->journal.lock,
    };
}

/* Nothing that is there is touched; nor has anything been before. */
static bool all_new(const struct restoration *r)
{
    if (r->journal.entry)
        return false;
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (r->volumes[i])
            return false;
    return was_off(r);
}

/* ---- read ---- */

static int open_source(struct restoration *r, struct error *e)
{
    struct snapshot_ref ref = r->params->from;

    if (shelf_resolve(ref.folder ? ref.folder : ref.repo, &r->path, e) < 0)
        return e->status;
    r->driver = source_driver_of(&ref);
    *(ref.folder ? &ref.folder : &ref.repo) = r->path;
    return r->driver->open(&r->source, &ref, &r->m, e);
}

static int connect(struct restoration *r, struct error *e)
{
    if (engine_connect(r->engine, e) == OK || (e->status == UNSUPPORTED && was_off(r)))
        return OK;
    return e->status;
}

static int allocate(struct restoration *r, struct error *e)
{
    r->volumes = calloc(r->m.disk_count + 1, sizeof *r->volumes);
    r->targets = calloc(r->m.disk_count + 1, sizeof *r->targets);
    r->marks = calloc(r->m.disk_count + 1, sizeof *r->marks);
    if (!r->volumes || !r->targets || !r->marks)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < r->m.disk_count; i++)
        r->targets[i].fd = -1;
    return OK;
}

/* Where a restore that was cut short has left it, if it has. */
static int find_volume(struct restoration *r, size_t i, struct error *e)
{
    const char *path = r->m.disks[i].path;
    const char *aside = aside_name(json_object_get(r->journal.entry, "aside"), path);

    if (aside && volume_open(r->engine->volumes, aside, &r->volumes[i], e) == OK)
        return OK;
    if (aside && e->status != NOT_FOUND)
        return e->status;
    return volume_open(r->engine->volumes, path, &r->volumes[i], e);
}

/* A file that is to be made takes the place of nothing. */
static int check_no_link(const struct manifest_disk *d, struct error *e)
{
    struct stat st;

    if (lstat(d->path, &st) < 0)
        return OK;
    return error_set(
        e, UNSUPPORTED,
        "disk %s: %s is a symbolic link to what does not exist: make that, or remove the "
        "link",
        d->vdev, d->path);
}

static int open_volume(struct restoration *r, size_t i, struct error *e)
{
    const struct manifest_disk *d = &r->m.disks[i];

    if (find_volume(r, i, e) < 0) {
        /* A file can be made; a volume is for its owner to make. */
        if (e->status == NOT_FOUND && d->path[0] == '/' && strncmp(d->path, "/dev/", 5) != 0)
            return check_no_link(d, e);
        if (e->status == NOT_FOUND)
            error_append(e, "make it first, with %" PRIu64 " bytes (lvcreate)", d->image.bytes);
        return error_prefix(e, "disk %s", d->vdev);
    }
    if (r->volumes[i]->size_bytes == d->image.bytes)
        return OK;
    return error_set(e, UNSUPPORTED,
                     "disk %s: the image has %" PRIu64 " bytes, and %s has %" PRIu64
                     "; they must be the same (lvresize, truncate)",
                     d->vdev, d->image.bytes, d->path, r->volumes[i]->size_bytes);
}

/* A volume that an interrupted restore has set aside is not whole; this one must make it so. */
static int check_all_covered(const struct restoration *r, struct error *e)
{
    const json_t *aside = json_object_get(r->journal.entry, "aside"), *record;
    size_t i;

    json_array_foreach (aside, i, record) {
        const char *path = json_string_value(json_object_get(record, "path"));
        bool found = false;

        for (size_t d = 0; path && d < r->m.disk_count; d++)
            found |= strcmp(r->m.disks[d].path, path) == 0;
        if (!found)
            return error_set(e, NEEDS_RECOVER,
                             "an earlier restore of %s has begun to write to %s, which is not in "
                             "this snapshot; run `domsnap recover` first",
                             r->m.domain_name, path ? path : "a disk");
    }
    return OK;
}

/* Find whom we would replace, and whether we may. */
static int look_for_running(struct restoration *r, struct error *e)
{
    if (!r->engine->host)
        return OK;
    if (r->engine->domains->check_keeper(r->engine->host, r->m.domain_name, e) < 0)
        return e->status;
    if (engine_find_domain(r->engine, r->m.domain_name, &r->running, e) < 0)
        return e->status;
    if (!r->running.domid || r->params->replace)
        return OK;
    return error_set(e, BUSY, "%s is running; --replace destroys it and takes its place",
                     r->m.domain_name);
}

/* A file without a name, in the folder where it will get its own. */
static int begin_file(const char *path, int *fd, struct error *e)
{
    AUTO_FREE char *copy = strdup(path);

    if (!copy)
        return error_set(e, NO_SPACE, "out of memory");
    *fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd < 0)
        return error_errno(e, "%s: make it (or make it first: truncate)", path);
    return OK;
}

/* That a domain can be started on volumes that we hold open is what it is called for again. */
static int check_unused(struct restoration *r, struct error *e)
{
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (r->volumes[i] && engine_check_unused(r->engine, r->volumes[i], r->running.domid, e) < 0)
            return error_prefix(e, "disk %s", r->m.disks[i].vdev);
    return OK;
}

/* Volumes that are in use are opened once they are not. */
enum which { ALL, ONLY_NEW };

/* Those that are not open yet. */
static int open_targets(struct restoration *r, enum which which, struct error *e)
{
    for (size_t i = 0; i < r->m.disk_count; i++) {
        struct target *t = &r->targets[i];

        if (t->fd >= 0 || (which == ONLY_NEW && r->volumes[i]))
            continue;
        t->kind = r->volumes[i] ? TARGET_OLD : TARGET_NEW;
        t->name = r->m.disks[i].path;
        if ((r->volumes[i] ? volume_open_idle(r->volumes[i], O_RDWR, &t->fd, e)
                           : begin_file(r->m.disks[i].path, &t->fd, e)) < 0)
            return error_prefix(e, "disk %s", r->m.disks[i].vdev);
    }
    return OK;
}

static bool is_open_volume(const struct restoration *r, size_t i)
{
    return r->volumes[i] && r->targets[i].fd >= 0;
}

static int mark_volumes(struct restoration *r, struct error *e)
{
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (is_open_volume(r, i) && volume_mark(r->targets[i].fd, &r->marks[i], e) < 0)
            return error_prefix(e, "disk %s", r->m.disks[i].vdev);
    return OK;
}

/* By a guest that has come and gone, say: what was found on it is not there any more. */
static int check_unwritten(struct restoration *r, struct error *e)
{
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (is_open_volume(r, i) &&
            volume_check_mark(r->volumes[i], r->targets[i].fd, r->marks[i], e) < 0) {
            error_append(e, "nothing was touched");
            return error_prefix(e, "disk %s", r->m.disks[i].vdev);
        }
    return OK;
}

static int read_all(struct restoration *r, struct error *e)
{
    struct launch launch = launch_of(r);

    progress_begin(&r->engine->progress, "read", 0);
    if (allocate(r, e) < 0 || r->driver->check(r->source, &r->m, e) < 0)
        return error_prefix(e, "%s", r->path);
    for (size_t i = 0; i < r->m.disk_count; i++)
        if (open_volume(r, i, e) < 0)
            return e->status;
    if (check_all_covered(r, e) < 0)
        return e->status;
    if (look_for_running(r, e) < 0)
        return e->status;
    if (check_unused(r, e) < 0)
        return e->status;
    if (open_targets(r, r->running.domid ? ONLY_NEW : ALL, e) < 0)
        return e->status;
    if (!was_off(r) && launch_check(&launch, r->running.domid, e) < 0)
        return e->status;
    return mark_volumes(r, e);
}

/* ---- verify, write ---- */

static uint64_t images_bytes(const struct restoration *r)
{
    uint64_t total = 0;

    for (size_t i = 0; i < r->m.disk_count; i++)
        total += r->m.disks[i].image.bytes;
    return total;
}

static uint64_t ram_bytes(const struct restoration *r)
{
    return r->m.ram.bytes + r->m.ram_types.bytes + r->m.ram_frames.bytes;
}

static int verify(struct restoration *r, struct error *e)
{
    struct source_verify how = {.sample = {.percent = 100},
                                .without_ram = r->params->boot,
                                .skip_damaged = r->params->skip_damaged,
                                .targets = r->running.domid ? NULL : r->targets};

    if (all_new(r) && !how.skip_damaged)
        return OK;
    progress_begin(&r->engine->progress, "verify",
                   images_bytes(r) + (manifest_has(&r->m.ram) ? ram_bytes(r) : r->m.config.bytes));
    if (r->driver->verify(r->source, &r->m, &how, &r->engine->progress, e) < 0)
        return error_prefix(e, "%s", r->path);
    return OK;
}

/* Others may own files where only root may give them away. */
static int give_back(const struct manifest_owner *o, const char *path, int fd, struct error *e)
{
    if (!o->known)
        return OK;
    if (fchown(fd, o->uid, o->gid) < 0 && errno != EPERM)
        return error_errno(e, "%s: its owner", path);
    return fchmod(fd, o->mode) < 0 ? error_errno(e, "%s: its mode", path) : OK;
}

static int end_file(const struct manifest_disk *d, int fd, struct error *e)
{
    AUTO_FREE char *self = format_text("/proc/self/fd/%d", fd);
    const char *path = d->path;

    if (!self)
        return error_set(e, NO_SPACE, "out of memory");
    if (give_back(&d->owner, path, fd, e) < 0)
        return e->status;
    if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
        return error_errno(e, "%s: give it its name", path);
    if (FAULT("restore-file-named", e) < 0)
        return e->status;
    return sync_parent(path) < 0 ? error_errno(e, "%s: make it durable", path) : OK;
}

static void close_targets(struct restoration *r)
{
    for (size_t i = 0; r->targets && i < r->m.disk_count; i++) {
        if (r->targets[i].fd >= 0)
            close(r->targets[i].fd);
        r->targets[i].fd = -1;
    }
}

/* What a guest that was destroyed had for a disk, the kernel lets go a moment after the toolstack
 * has: a loop device goes when xen-blkback has closed it, which nobody tells. */
static int open_released(struct restoration *r, struct error *e)
{
    uint64_t deadline_ns = time_monotonic_ns() + RELEASE_TIMEOUT_NS;

    while (open_targets(r, ALL, e) < 0) {
        if (e->status != BUSY || !r->running.domid || time_monotonic_ns() >= deadline_ns)
            return e->status;
        usleep(RELEASE_POLL_US);
    }
    return OK;
}

static int write_images(struct restoration *r, struct error *e)
{
    int rc;

    progress_begin(&r->engine->progress, "write", images_bytes(r));
    rc = check_unused(r, e) < 0 ? e->status : open_released(r, e);
    if (rc == OK)
        rc = r->driver->write(r->source, &r->m, r->targets, &r->engine->progress, e);
    for (size_t i = 0; i < r->m.disk_count; i++) {
        if (rc == OK && !r->volumes[i])
            rc = end_file(&r->m.disks[i], r->targets[i].fd, e);
    }
    close_targets(r);
    return rc < 0 ? rc : check_unused(r, e);
}

/* ---- aside ---- */

static int write_journal(struct restoration *r, enum phase phase, json_t *aside, struct error *e)
{
    char started[sizeof "2026-11-23T01:55:03Z"];
    AUTO_JSON json_t *entry = NULL;

    time_utc_iso8601(started);
    entry =
        json_pack("{s:s, s:{s:s, s:s}, s:s, s:s*, s:b, s:b, s:b, s:b, s:b, s:O}", "started",
                  started, "domain", "name", r->m.domain_name, "uuid", r->m.domain_uuid,
                  r->params->from.folder ? "folder" : "repo", r->path, "name", r->m.name, "paused",
                  r->params->paused, "boot", r->params->boot, "eject", r->params->eject, "any_cpu",
                  r->params->any_cpu, "skip_damaged", r->params->skip_damaged, "aside", aside);
    if (!entry)
        return error_set(e, NO_SPACE, "out of memory");
    return journal_write(&r->journal, OPERATION_RESTORE, phase, entry, e);
}

/* The volumes that are there; one that an earlier restore has set aside, with the names it has. */
static int list_aside(struct restoration *r, json_t *aside, struct error *e)
{
    const json_t *earlier = json_object_get(r->journal.entry, "aside");

    for (size_t i = 0; i < r->m.disk_count; i++) {
        const char *path = r->m.disks[i].path;
        json_t *record = aside_record(earlier, path);

        if (!r->volumes[i])
            continue;
        if (record)
            json_array_append(aside, record);
        else if (aside_add(aside, path, r->volumes[i], e) < 0)
            return error_prefix(e, "disk %s", r->m.disks[i].vdev);
    }
    return OK;
}

/* Rename the volume, unless it is called `name` already. It is another one then to who looks for it
 * by name. */
static int rename_volume(struct restoration *r, size_t i, const char *name, struct error *e)
{
    const struct volume *v = r->volumes[i];

    if (strcmp(v->name, name) == 0)
        return OK;
    if (volume_rename(r->engine->volumes, v->driver->name, v->name, name, e) < 0)
        return e->status;
    if (FAULT("volume-set-aside", e) < 0)
        return e->status;
    volume_close(r->volumes[i]);
    r->volumes[i] = NULL;
    if (volume_open(r->engine->volumes, name, &r->volumes[i], e) < 0)
        return e->status;
    return r->targets[i].fd < 0 ? OK : volume_check_unbound(r->volumes[i], r->targets[i].fd, e);
}

/* Those that the journal has. `in_use`: the guest may run yet. */
static int rename_volumes(struct restoration *r, bool in_use, struct error *e)
{
    const json_t *aside = json_object_get(r->journal.entry, "aside");

    for (size_t i = 0; i < r->m.disk_count; i++) {
        const char *name = aside_name(aside, r->m.disks[i].path);

        if (!name || !r->volumes[i] || (in_use && !r->volumes[i]->driver->rename_in_use))
            continue;
        if (rename_volume(r, i, name, e) < 0)
            return e->status;
    }
    return check_unused(r, e);
}

/* Nothing has been touched, and the guest may run yet. */
static int undo_aside(struct restoration *r, struct error *e)
{
    AUTO_JSON json_t *aside = json_incref(json_object_get(r->journal.entry, "aside"));
    struct error why;

    if (aside_put_back(r->engine, aside, &why) == OK)
        return journal_close(&r->journal, &why) == OK ? e->status : error_append(e, "%s", why.text);
    error_append(e, "%s; run `domsnap recover`", why.text);
    return e->status = NEEDS_RECOVER;
}

/* An earlier restore that was cut short: its disks are not whole. */
static bool has_begun(const struct restoration *r)
{
    return r->journal.entry && journal_phase_of(r->journal.entry) != PHASE_ASIDE;
}

/* After it the journal says "aside", unless an earlier restore has begun to write. */
static int set_aside(struct restoration *r, struct error *e)
{
    bool begun = has_begun(r);
    AUTO_JSON json_t *aside = json_array();

    if (!aside)
        return error_set(e, NO_SPACE, "out of memory");
    if (list_aside(r, aside, e) < 0)
        return e->status;
    if (write_journal(r, begun ? PHASE_WRITING : PHASE_ASIDE, aside, e) < 0)
        return e->status;
    if (rename_volumes(r, r->running.domid != 0, e) == OK)
        return OK;
    if (begun)
        return e->status = NEEDS_RECOVER;
    return undo_aside(r, e);
}

/* They are whole. */
static int put_back(struct restoration *r, struct error *e)
{
    return aside_put_back(r->engine, json_object_get(r->journal.entry, "aside"), e);
}

/* ---- start ---- */

static int let_run(struct restoration *r, struct error *e)
{
    struct domain_id id;

    return engine_find_domain(r->engine, r->m.domain_name, &id, e) < 0 ||
                   r->engine->domains->unpause(r->engine->host, &id, e) < 0
               ? error_prefix(e, "let it run")
               : OK;
}

static int start(struct restoration *r, struct error *e)
{
    struct launch launch = launch_of(r);

    if (was_off(r))
        return OK;
    if (launch_start(&launch, e) < 0)
        return e->status;
    if (journal_phase(&r->journal, PHASE_STARTED, e) < 0)
        return e->status;
    return r->params->paused ? OK : let_run(r, e);
}

/* ---- the whole ---- */

/* Past the commit point: only forward. */
static int go_forward(struct restoration *r, struct error *e)
{
    if (r->running.domid && r->engine->domains->destroy(r->engine->host, &r->running, e) < 0)
        return e->status;
    if (r->running.domid && rename_volumes(r, false, e) < 0)
        return e->status;
    if (write_images(r, e) < 0)
        return e->status;
    if (journal_phase(&r->journal, PHASE_STARTING, e) < 0)
        return e->status;
    if (put_back(r, e) < 0)
        return e->status;
    if (start(r, e) < 0)
        return e->status;
    return journal_close(&r->journal, e);
}

static int replace_write_start(struct restoration *r, struct error *e)
{
    struct launch launch = launch_of(r);

    if (interrupt_check(e) < 0)
        return e->status;
    if (check_unwritten(r, e) < 0)
        return e->status;
    if (all_new(r))
        return write_images(r, e);
    if (!was_off(r) && launch_tell_losses(&launch, e) < 0)
        return e->status;
    if (check_unused(r, e) < 0)
        return e->status;
    if (set_aside(r, e) < 0)
        return e->status;
    /* The commit point, unless it was passed before. */
    if (!has_begun(r) && journal_phase(&r->journal, PHASE_WRITING, e) < 0)
        return undo_aside(r, e);
    if (go_forward(r, e) == OK)
        return OK;
    error_append(e,
                 "the restore of %s has begun and is not complete: don't start it by other means; "
                 "once the cause is gone, `domsnap recover` finishes it%s",
                 r->m.domain_name,
                 launch_has_ram(&launch)
                     ? "; without its RAM, from its disks, `domsnap recover --boot` does"
                     : "");
    return e->status = NEEDS_RECOVER;
}

static void release(struct restoration *r)
{
    close_targets(r);
    for (size_t i = 0; r->volumes && i < r->m.disk_count; i++)
        volume_close(r->volumes[i]);
    if (r->source)
        r->driver->close(r->source);
    journal_release(&r->journal);
    free(r->volumes);
    free(r->targets);
    free(r->marks);
    free(r->path);
}

static int read_snapshot(struct restoration *r, struct error *e)
{
    if (open_source(r, e) < 0)
        return e->status;
    if (domain_name_check(r->m.domain_name, e) < 0)
        return e->status;
    if (connect(r, e) < 0)
        return e->status;
    if (journal_open(&r->journal, r->engine, r->m.domain_name, OPERATION_RESTORE, e) < 0)
        return e->status;
    return read_all(r, e);
}

/* Its record is the caller's, unless it has failed. */
static int give_manifest(struct restoration *r, int rc, struct manifest *m, struct error *e)
{
    release(r);
    if (rc < 0) {
        manifest_release(&r->m);
        return error_prefix(e, "restore");
    }
    *m = r->m;
    return OK;
}

int engine_restore(struct engine *engine, const struct restore_params *params, struct manifest *m,
                   struct error *e)
{
    struct restoration r = {.engine = engine, .params = params, .journal = JOURNAL_NONE};
    int rc = read_snapshot(&r, e);

    if (rc == OK)
        rc = verify(&r, e);
    if (rc == OK)
        rc = replace_write_start(&r, e);
    return give_manifest(&r, rc, m, e);
}

int engine_check_restore(struct engine *engine, const struct restore_params *params,
                         struct manifest *m, struct error *e)
{
    struct restoration r = {.engine = engine, .params = params, .journal = JOURNAL_NONE};
    int rc = read_snapshot(&r, e);

    return give_manifest(&r, rc, m, e);
}
