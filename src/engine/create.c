/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create: a running domain, its RAM and its disks at one instant, into a folder.
 *
 *     describe   what the domain is and what would be done; refuse early; nothing is touched
 *     prepare    journal, then make everything that can take time or fail
 *     stop       the guest stands still: its RAM, or the last of it, out; the instant fixed on the
 *                disks; it runs again
 *     copy       the disks, out of their snapshots
 *     discard    the snapshots
 *     publish    commit point; the files get their names
 *
 * Whatever fails, settle_create() leads back from the journal's entry alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/time.h"
#include "copy/copy.h"
#include "copy/spool.h"
#include "domain/xlcfg.h"
#include "engine/describe.h"
#include "engine/engine.h"
#include "engine/guardian.h"
#include "engine/journal.h"
#include "engine/precopy.h"
#include "engine/settle.h"
#include "repo/folder.h"

/* Room in the folder for the configuration, the manifest, the save stream's records and the file
 * system's own needs, beyond RAM and disks. */
#define FOLDER_SLACK_BYTES (UINT64_C(8) << 20)

/* Of a live save half is for what is written while the guest runs, half for the end, which must not
 * wait for the disk. */
#define LIVE_SPOOL_BYTES (UINT64_C(128) << 20)

struct creation {
    struct engine *engine;
    const struct create_params *params;
    struct description d;
    char id[9];    /* of this run: marks all that it makes */
    char *folder;  /* absolute */
    json_t *names; /* of the files, manifest.json last */
    struct journal journal;
    int dirfd;
    int ram_fd, save_fd; /* the save file; the pipe that libxl writes to */
    struct spool *spool;
    enum domain_save save;
    struct precopy precopy;
    bool too_long; /* RAM would take longer than the budget */
    struct guardian *guardian;
    struct copy *copies; /* one a disk */
    int *image_fds;      /* the staged images, one a disk */
    struct manifest m;
};

static bool is_cold(const struct creation *c)
{
    return c->params->method == CREATE_COLD;
}

/* Holding back the requests to all disks is an instant of its own: only RAM, or a copy that takes
 * long, needs the guest to stand still. */
static bool suspends(const struct creation *c)
{
    return is_cold(c) || c->save != SAVE_NOTHING;
}

static uint64_t ram_bytes(const struct creation *c)
{
    return c->save == SAVE_NOTHING ? 0 : c->d.domain.memory_bytes;
}

/* ---- describe ---- */

static int new_id(struct creation *c, struct error *e)
{
    uint32_t random;

    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return error_errno(e, "random number");
    snprintf(c->id, sizeof c->id, "%08" PRIx32, random);
    return OK;
}

/* The folder's path must hold in another process, with another working directory. */
static int absolute_folder(struct creation *c, struct error *e)
{
    AUTO_FREE char *copy = strdup(c->params->folder);
    AUTO_FREE char *parent = NULL;
    char *slash;
    size_t len;

    if (!copy || !*copy)
        return error_set(e, USAGE, "--to wants the path of a folder");
    for (len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
        copy[len - 1] = '\0';
    c->folder = realpath(copy, NULL);
    if (c->folder)
        return OK;
    slash = strrchr(copy, '/');
    if (errno != ENOENT || (slash && !slash[1]))
        return error_errno(e, "%s", copy);
    if (slash)
        *slash = '\0';
    parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
    if (!parent)
        return error_errno(e, "%s: the folder that is to hold the new one", slash ? copy : ".");
    c->folder = format_text("%s/%s", parent, slash ? slash + 1 : copy);
    return c->folder ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* Everything the manifest says that is known beforehand. */
static int begin_manifest(struct creation *c, struct error *e)
{
    const char *name = c->d.domain.name;
    struct manifest *m = &c->m;
    bool ok = true;

    if (description_to_manifest(&c->d, c->engine, is_cold(c) ? "cold" : "snapshot", m, e) < 0)
        return e->status;
    if (c->save != SAVE_NOTHING)
        ok = (m->ram.file = format_text("%s.sav", name)) != NULL;
    ok = (m->config.file = format_text("%s.cfg", name)) != NULL && ok;
    for (size_t i = 0; i < m->disk_count; i++)
        ok = (m->disks[i].image.file = format_text("%s.%s.img", name, m->disks[i].vdev)) != NULL &&
             ok;
    return ok ? OK : error_set(e, NO_SPACE, "out of memory");
}

static int list_names(struct creation *c, struct error *e)
{
    size_t count = c->m.disk_count + 2 + (c->m.ram.file != NULL);

    c->names = json_array();
    if (c->m.ram.file)
        json_array_append_new(c->names, json_string(c->m.ram.file));
    json_array_append_new(c->names, json_string(c->m.config.file));
    for (size_t i = 0; i < c->m.disk_count; i++)
        json_array_append_new(c->names, json_string(c->m.disks[i].image.file));
    json_array_append_new(c->names, json_string(FOLDER_MANIFEST));
    return json_array_size(c->names) == count ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* Live where it is possible. A cold copy stops the guest for long anyway, and does without the
 * second run over its RAM. */
static int choose_save(struct creation *c, struct error *e)
{
    struct error why;

    c->save = c->params->disks_only ? SAVE_NOTHING : SAVE_STILL;
    if (is_cold(c) || c->params->disks_only)
        return OK;
    if (c->engine->domains->can_save_live(c->engine->host, &c->d.domain, &why) == OK) {
        c->save = SAVE_LIVE;
        return OK;
    }
    if (why.status != UNSUPPORTED) {
        *e = why;
        return e->status;
    }
    log_note("%s stands still while its RAM is written: %s", c->d.domain.name, why.text);
    return OK;
}

static int describe(struct creation *c, struct error *e)
{
    if (new_id(c, e) < 0 || description_make(&c->d, c->engine, c->params->domain, e) < 0 ||
        choose_save(c, e) < 0 ||
        (suspends(c) && c->engine->domains->can_suspend(c->engine->host, &c->d.domain, e) < 0) ||
        (!is_cold(c) && description_plan_snapshots(&c->d, c->id, e) < 0) ||
        absolute_folder(c, e) < 0 || begin_manifest(c, e) < 0)
        return e->status;
    for (size_t i = 0; i < c->d.left_out_count; i++)
        log_note("disk %s is left out: %s", c->d.left_out[i].disk->vdev, c->d.left_out[i].why);
    return list_names(c, e);
}

/* ---- prepare ---- */

static int write_journal(struct creation *c, struct error *e)
{
    const struct domain *domain = &c->d.domain;
    char started[sizeof "2026-11-23T01:55:03Z"];
    AUTO_JSON json_t *volumes = json_array();
    AUTO_JSON json_t *entry = NULL;
    struct stat st;

    time_utc_iso8601(started);
    for (size_t i = 0; i < c->d.disk_count; i++)
        if (c->d.disks[i].volume->record)
            json_array_append(volumes, c->d.disks[i].volume->record);
    entry = json_pack(
        "{s:s, s:s, s:s, s:s, s:{s:s, s:s, s:I}, s:b, s:s, s:b, s:O, s:O}", "operation", "create",
        "phase", PHASE_PREPARED, "id", c->id, "started", started, "domain", "name", domain->name,
        "uuid", domain->uuid, "domid", (json_int_t)domain->domid, "suspends", suspends(c), "folder",
        c->folder, "folder_made", lstat(c->folder, &st) < 0, "files", c->names, "volumes", volumes);
    if (!entry)
        return error_set(e, NO_SPACE, "out of memory");
    return journal_write(&c->journal, entry, e);
}

static int check_space(const struct creation *c, struct error *e)
{
    uint64_t need = ram_bytes(c) + FOLDER_SLACK_BYTES, free_bytes;

    for (size_t i = 0; i < c->d.disk_count; i++)
        need += c->d.disks[i].volume->copy_bytes;
    if (folder_space(c->dirfd, &free_bytes, e) < 0)
        return e->status;
    if (free_bytes >= need)
        return OK;
    return error_set(e, NO_SPACE,
                     "the snapshot can take up to %" PRIu64 " MiB, and %" PRIu64 " MiB are free "
                     "there; nothing was done",
                     need >> 20, free_bytes >> 20);
}

static int prepare_folder(struct creation *c, struct error *e)
{
    if (mkdir(c->folder, 0700) < 0 && errno != EEXIST)
        return error_errno(e, "%s: mkdir", c->folder);
    if (folder_open(c->folder, &c->dirfd, e) < 0)
        return e->status;
    if (folder_check_free(c->dirfd, c->names, e) < 0 || check_space(c, e) < 0)
        return error_prefix(e, "%s", c->folder);
    return OK;
}

static int write_config(struct creation *c, struct error *e)
{
    AUTO_FREE char *text = NULL;
    struct manifest_file *f = &c->m.config;
    struct sha256 *sum = NULL;
    AUTO_CLOSE int fd = -1;

    if (xlcfg_from_json(c->d.domain.config, &text, e) < 0 ||
        folder_stage(c->dirfd, f->file, &fd, e) < 0)
        return e->status;
    f->bytes = strlen(text);
    if (write_full(fd, text, f->bytes) < 0 || fsync(fd) < 0)
        return error_errno(e, "%s: write", f->file);
    if (sha256_new(&sum, e) < 0)
        return e->status;
    sha256_update(sum, text, f->bytes);
    sha256_final(sum, f->sha256);
    sha256_free(sum);
    return OK;
}

static int stage_images(struct creation *c, struct error *e)
{
    for (size_t i = 0; i < c->m.disk_count; i++)
        if (folder_stage(c->dirfd, c->m.disks[i].image.file, &c->image_fds[i], e) < 0)
            return e->status;
    return OK;
}

/* As much of the RAM as dom0 can hold; what does not fit waits for the disk. Of a live save only
 * the end must fit. */
static size_t spool_bytes(const struct creation *c)
{
    uint64_t want =
        c->save == SAVE_LIVE ? LIVE_SPOOL_BYTES : c->d.domain.memory_bytes + (UINT64_C(16) << 20);
    uint64_t half = memory_available_bytes() / 2;
    uint64_t least = UINT64_C(16) << 20;

    if (want > half)
        want = half;
    return want > least ? want : least;
}

static int prepare_ram(struct creation *c, struct error *e)
{
    size_t bytes = spool_bytes(c);
    struct spool_config config;

    if (c->save == SAVE_NOTHING)
        return OK;
    if (folder_stage(c->dirfd, c->m.ram.file, &c->ram_fd, e) < 0)
        return e->status;
    config = (struct spool_config){
        .file = c->ram_fd,
        .name = c->m.ram.file,
        .memory_bytes = bytes,
        .reserve_bytes = c->save == SAVE_LIVE ? bytes / 2 : 0,
        .pace = c->save == SAVE_LIVE ? SPOOL_AT_ONCE : SPOOL_AFTERWARDS,
        .progress = &c->engine->progress,
    };
    return spool_start(&c->spool, &c->save_fd, &config, e);
}

static int prepare(struct creation *c, struct error *e)
{
    progress_begin(&c->engine->progress, "prepare", 0);
    if (prepare_folder(c, e) < 0 || write_config(c, e) < 0 || stage_images(c, e) < 0 ||
        (!is_cold(c) && description_prepare(&c->d, e) < 0) ||
        guardian_start(&c->guardian, c->engine, c->journal.entry, e) < 0 || prepare_ram(c, e) < 0)
        return e->status;
    return interrupt_check(e);
}

/* ---- copy ---- */

static int watch_snapshots(void *arg, struct error *e)
{
    const struct creation *c = arg;

    for (size_t i = 0; i < c->d.disk_count; i++) {
        struct volume *v = c->d.disks[i].volume;

        if (v->driver->watch(v, atomic_load(&c->copies[i].position), e) < 0)
            return e->status;
    }
    return OK;
}

static int open_sources(struct creation *c, struct error *e)
{
    for (size_t i = 0; i < c->d.disk_count; i++) {
        struct volume *v = c->d.disks[i].volume;
        struct copy *copy = &c->copies[i];

        *copy = (struct copy){
            .source = -1,
            .source_name = v->name,
            .target = c->image_fds[i],
            .target_name = c->m.disks[i].image.file,
            .size_bytes = v->size_bytes,
            .kind = COPY_TO_NEW,
            .progress = &c->engine->progress,
        };
        if ((is_cold(c) ? volume_open_live(v, &copy->source, e)
                        : v->driver->open_image(v, &copy->source, e)) < 0)
            return e->status;
    }
    return OK;
}

static void close_sources(struct creation *c)
{
    for (size_t i = 0; i < c->d.disk_count; i++)
        if (c->copies[i].source_name && c->copies[i].source >= 0) {
            close(c->copies[i].source);
            c->copies[i].source = -1;
        }
}

static int copy_disks(struct creation *c, struct error *e)
{
    uint64_t total = ram_bytes(c);
    int rc;

    for (size_t i = 0; i < c->d.disk_count; i++)
        total += c->d.disks[i].volume->size_bytes;
    atomic_store(&c->engine->progress.total_bytes, total);
    rc = open_sources(c, e);
    if (rc == OK)
        rc = copy_all(c->copies, c->d.disk_count, is_cold(c) ? NULL : watch_snapshots, c, e);
    close_sources(c);
    /* An image read from a snapshot that broke meanwhile is worth nothing. */
    if (rc == OK && !is_cold(c))
        rc = watch_snapshots(c, e);
    for (size_t i = 0; rc == OK && i < c->d.disk_count; i++)
        strcpy(c->m.disks[i].image.sha256, c->copies[i].sha256);
    return rc;
}

/* ---- stop: the guest stands still from its suspend until the end of stand_still() ---- */

static int close_save_fd(struct creation *c)
{
    int rc = c->save_fd >= 0 ? close(c->save_fd) : 0;

    c->save_fd = -1;
    return rc;
}

/* Wait until all that libxl wrote is in the file. */
static int finish_ram(struct creation *c, struct error *e)
{
    struct spool *spool = c->spool;

    c->spool = NULL;
    return !spool ? OK : spool_finish(spool, &c->m.ram.bytes, c->m.ram.sha256, e);
}

/* Within the save: let its end have all of the spool, and see whether the guest will stand still
 * for too long. */
static void watch_save(void *arg, const struct save_progress *at)
{
    struct creation *c = arg;
    uint64_t now_ns = time_monotonic_ns(), budget_ns = c->params->max_pause_ms * UINT64_C(1000000),
             pause_ns;
    struct error why;

    precopy_note(&c->precopy, at, now_ns);
    if (at->stands_still)
        spool_use_reserve(c->spool);
    pause_ns = at->last || at->stands_still ? precopy_pause_ns(&c->precopy, now_ns) : 0;
    if (!budget_ns || c->too_long || pause_ns <= budget_ns)
        return;
    c->too_long = true;
    error_set(&why, TIMED_OUT,
              "the guest %s for %.3f s for its RAM alone, and --max-pause allows %.3f s",
              at->stands_still ? "stands still" : "would stand still", (double)pause_ns / 1e9,
              (double)budget_ns / 1e9);
    if (c->params->go_on)
        log_warning("%s; going on, since --go-on was given", why.text);
    else
        spool_break(c->spool, &why);
}

/* libxl only sees that its pipe broke; the spool knows why: the user's wish, or a full disk. */
static int suspend_and_save(struct creation *c, struct error *e)
{
    const struct save_watcher watcher = {watch_save, c};
    struct error cause = {0};
    int rc;

    c->precopy.ram_pages = c->d.domain.memory_bytes / DOMAIN_PAGE_BYTES;
    rc = c->engine->domains->suspend_save(c->engine->host, &c->d.domain, c->save, c->save_fd,
                                          &watcher, e);
    close_save_fd(c);
    if (rc < 0 && finish_ram(c, &cause) < 0)
        *e = cause;
    return rc < 0 ? e->status : OK;
}

/* The budget is for all that the guest stands still for. The deadline runs from its stop too,
 * unless all of its RAM is written then: from the end of that. */
static uint32_t allowed_ms(const struct creation *c, bool ram_is_saved)
{
    if (c->params->max_pause_ms && !c->params->go_on)
        return ram_is_saved ? 0 : c->params->max_pause_ms;
    return !is_cold(c) && (c->save == SAVE_STILL) == ram_is_saved ? c->params->deadline_ms : 0;
}

static void set_deadline(struct creation *c, bool ram_is_saved)
{
    uint32_t ms = allowed_ms(c, ram_is_saved);

    if (ms)
        guardian_allow_ms(c->guardian, ms);
}

static int was_too_late(const struct creation *c, struct error *e)
{
    return error_set(e, TIMED_OUT,
                     "the guest had to be let go on, since it had been held up for as long as %s "
                     "allows; what was "
                     "saved is of no use",
                     c->params->max_pause_ms && !c->params->go_on ? "--max-pause" : "--deadline");
}

static int fix_instant(struct creation *c, uint64_t *saved_ns, struct error *e)
{
    int rc;

    set_deadline(c, false);
    rc = suspends(c) ? suspend_and_save(c, e) : OK;
    *saved_ns = time_monotonic_ns();
    set_deadline(c, true);
    if (rc < 0)
        return rc;
    if (guardian_has_fired(c->guardian))
        return was_too_late(c, e);
    return is_cold(c) ? copy_disks(c, e) : description_commit(&c->d, e);
}

static int stand_still(struct creation *c, struct error *e)
{
    uint64_t stopped, saved, fixed, resumed;
    struct error resume_error;
    bool in_time;
    int rc;

    progress_begin(&c->engine->progress, "save", ram_bytes(c));
    /* From here on a resume is owed, whoever dies. */
    if (suspends(c) && journal_phase(&c->journal, PHASE_SUSPENDED, e) < 0)
        return e->status;
    guardian_arm(c->guardian);
    stopped = time_monotonic_ns();
    rc = fix_instant(c, &saved, e);
    fixed = time_monotonic_ns();
    /* If that was too late, it is the guardian who has resumed it. */
    in_time = guardian_disarm(c->guardian);
    if (settle_resume(c->engine, c->journal.entry, &resume_error) < 0) {
        *e = resume_error;
        return e->status;
    }
    if (rc == OK && !in_time)
        rc = was_too_late(c, e);
    resumed = time_monotonic_ns();
    if (guardian_stopped_ns(c->guardian))
        stopped = guardian_stopped_ns(c->guardian);
    if (suspends(c))
        c->m.pause = (struct manifest_pause){saved - stopped, fixed - saved, resumed - fixed,
                                             resumed - stopped};
    else
        c->m.pause.disks_ns = fixed - saved;
    return rc == OK ? journal_phase(&c->journal, PHASE_RUNNING, e) : rc;
}

/* ---- after the resume ---- */

/* A guest that ended while it stood still (xl destroy) is no reason to drop a whole snapshot, but
 * the user must know. */
static void look_after(const struct creation *c)
{
    struct domain_id id = {c->d.domain.name, c->d.domain.domid, ""};
    enum domain_state state;
    struct error ignored;

    memcpy(id.uuid, c->d.domain.uuid, sizeof id.uuid);
    if (c->engine->domains->state(c->engine->host, &id, &state, &ignored) == OK &&
        state != DOMAIN_RUNNING)
        log_warning("%s was snapshotted, but is not running now: see `xl list`", id.name);
}

static int publish(struct creation *c, struct error *e)
{
    if (folder_write_manifest(c->dirfd, &c->m, e) < 0 || interrupt_check(e) < 0)
        return e->status;
    /* The commit point: from here on recover goes forward. */
    if (journal_phase(&c->journal, PHASE_PUBLISH, e) < 0)
        return e->status;
    return folder_publish(c->dirfd, c->names, e);
}

static int carry_out(struct creation *c, struct error *e)
{
    if (prepare(c, e) < 0 || stand_still(c, e) < 0)
        return e->status;
    guardian_stop(c->guardian);
    c->guardian = NULL;
    look_after(c);
    progress_begin(&c->engine->progress, "copy", 0);
    if ((!is_cold(c) && copy_disks(c, e) < 0) || finish_ram(c, e) < 0)
        return e->status;
    /* Each write of the guest pays for the snapshots: they go before anything else. */
    if (settle_volumes(c->engine, c->journal.entry, e) < 0)
        return e->status;
    progress_begin(&c->engine->progress, "publish", 0);
    return publish(c, e);
}

/* Let go of all that is only in this process, so that settle_create() finds what recover would
 * find. */
static void let_go(struct creation *c)
{
    struct error ignored;
    uint64_t bytes;
    char sum[SHA256_HEX];

    guardian_stop(c->guardian);
    close_save_fd(c);
    if (c->spool)
        spool_finish(c->spool, &bytes, sum, &ignored);
    for (size_t i = 0; i < c->d.disk_count; i++)
        if (c->image_fds[i] >= 0)
            close(c->image_fds[i]);
    if (c->ram_fd >= 0)
        close(c->ram_fd);
    if (c->dirfd >= 0)
        close(c->dirfd);
}

static int allocate(struct creation *c, struct error *e)
{
    c->copies = calloc(c->d.disk_count + 1, sizeof *c->copies);
    c->image_fds = calloc(c->d.disk_count + 1, sizeof *c->image_fds);
    if (!c->copies || !c->image_fds)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < c->d.disk_count; i++)
        c->image_fds[i] = -1;
    return OK;
}

/* The journal is open: whatever happens now ends in settle_create(). */
static int journalled(struct creation *c, struct error *e)
{
    struct error settle_error = {0};
    int rc;

    if (write_journal(c, e) < 0)
        return e->status;
    rc = carry_out(c, e);
    let_go(c);
    if (settle_create(c->engine, &c->journal, &settle_error) < 0) {
        if (rc < 0)
            error_append(&settle_error, "the first failure was: %s", e->text);
        *e = settle_error;
        return e->status;
    }
    return rc;
}

int engine_create(struct engine *engine, const struct create_params *params, struct manifest *m,
                  struct error *e)
{
    struct creation c = {
        .engine = engine,
        .params = params,
        .journal = JOURNAL_NONE,
        .dirfd = -1,
        .ram_fd = -1,
        .save_fd = -1,
    };
    int rc;

    progress_begin(&engine->progress, "describe", 0);
    rc = domain_name_check(params->domain, e);
    if (rc == OK)
        rc = engine_connect(engine, e);
    if (rc == OK)
        rc = journal_open(&c.journal, engine, params->domain, NULL, e);
    if (rc == OK)
        rc = describe(&c, e);
    if (rc == OK)
        rc = allocate(&c, e);
    if (rc == OK)
        rc = journalled(&c, e);
    journal_release(&c.journal);
    description_release(&c.d);
    json_decref(c.names);
    free(c.folder);
    free(c.copies);
    free(c.image_fds);
    if (rc < 0) {
        manifest_release(&c.m);
        *m = (struct manifest){0};
        return error_prefix(e, "create %s", params->domain);
    }
    *m = c.m;
    return OK;
}
