/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * create: a running domain, its RAM and its disks at one instant, into a folder or a repository.
 *
 *     describe   what the domain is and what would be done; refuse early; nothing is touched
 *     prepare    journal, then make everything that can take time or fail
 *     stop       the guest is paused: its RAM, or the last of it, out; the instant fixed on the
 *                disks; it runs again
 *     copy       the disks, out of their snapshots
 *     discard    the snapshots
 *     finish     the RAM, out of memory; all of it durable
 *     publish    commit point
 *
 * Whatever fails, settle_create() leads back from the journal's entry alone.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/time.h"
#include "copy/spool.h"
#include "domain/xlcfg.h"
#include "engine/deposit.h"
#include "engine/describe.h"
#include "engine/engine.h"
#include "engine/guardian.h"
#include "engine/journal.h"
#include "engine/precopy.h"
#include "engine/settle.h"

/* Of a live save half is for what is written while the guest runs, half for the end, which must not
 * wait for the disk. */
#define LIVE_SPOOL_BYTES (UINT64_C(128) << 20)

/* How often a guest's RAM is written before it is stopped for the rest, at most. Each round is
 * appended to the save file. */
#define LIVE_WRITES_MAX 2

/* From the guest's stop, or its disks', to its resume: when each part of it was over. */
struct window {
    uint64_t asked_ns; /* it was asked to stop; 0: not yet, and no resume is owed */
    uint64_t saved_ns;
    uint64_t fixed_ns; /* the disks are of this instant */
    uint64_t resumed_ns;
    bool has_stopped; /* the guest, as it was asked to */
    bool in_time;     /* else the guardian has resumed it */
};

struct creation {
    struct engine *engine;
    const struct create_params *params;
    struct store_stats *stats;
    struct description d;
    char id[9]; /* of this run: marks all that it makes */
    struct deposit deposit;
    struct journal journal;
    int turn;    /* of this host */
    int save_fd; /* the pipe that libxl writes to */
    struct spool *spool;
    enum domain_save save;
    bool not_live; /* it was tried, and won't do */
    struct precopy precopy;
    bool too_long; /* RAM would take longer than the budget */
    struct guardian *guardian;
    bool looked_after; /* by its toolstack, before */
    struct window window;
    struct manifest m;
};

static bool is_cold(const struct creation *c)
{
    return c->params->method == CREATE_COLD;
}

/* Holding back the requests to all disks is an instant of its own: only RAM, or a copy that takes
 * long, needs the guest to be paused. */
static bool suspends(const struct creation *c)
{
    return is_cold(c) || c->save != SAVE_NOTHING;
}

/* At most what is written of it, unless the last round of a live save is as long as all of the RAM.
 */
static uint64_t save_bytes(const struct creation *c)
{
    uint64_t ram = c->d.domain.memory_bytes;

    return c->save == SAVE_NOTHING ? 0 : c->save == SAVE_LIVE ? LIVE_WRITES_MAX * ram : ram;
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

/* Live where it is possible. A cold copy stops the guest for long anyway, and does without the
 * second run over its RAM. */
static int choose_save(struct creation *c, struct error *e)
{
    struct error why;

    c->save = c->params->disks_only ? SAVE_NOTHING : SAVE_STILL;
    if (is_cold(c) || c->params->disks_only || c->not_live)
        return OK;
    if (c->engine->domains->can_save_live(c->engine->host, &c->d.domain, &why) == OK) {
        c->save = SAVE_LIVE;
        return OK;
    }
    if (why.status != UNSUPPORTED) {
        *e = why;
        return e->status;
    }
    log_note("%s is paused while its RAM is written: %s", c->d.domain.name, why.text);
    return OK;
}

static int open_sink(struct creation *c, struct error *e)
{
    if (description_to_manifest(&c->d, c->engine, is_cold(c) ? "cold" : "snapshot", &c->m, e) < 0)
        return e->status;
    return deposit_open(&c->deposit, &c->params->to, &c->d, c->save != SAVE_NOTHING,
                        &c->engine->progress, &c->m, e);
}

static bool is_looked_after(const struct creation *c)
{
    struct domain_id id = domain_id_of(&c->d.domain);

    return c->engine->domains->is_looked_after(c->engine->host, &id);
}

/* What the user is to know of before. */
static void tell(struct creation *c)
{
    for (size_t i = 0; i < c->d.left_out_count; i++)
        log_note("disk %s is left out: %s", c->d.left_out[i].disk->vdev, c->d.left_out[i].why);
    c->looked_after = is_looked_after(c);
    if (suspends(c) && !c->looked_after)
        log_warning(
            "%s has no process of xl's that would start it again when it reboots (xl create "
            "-F, or one that has ended): it will stay down after its next reboot",
            c->d.domain.name);
}

static int describe(struct creation *c, struct error *e)
{
    if (new_id(c, e) < 0)
        return e->status;
    if (description_make(&c->d, c->engine, c->params->domain, e) < 0)
        return e->status;
    for (size_t i = 0; i < c->d.disk_count; i++)
        c->d.disks[i].volume->encrypt_store = c->params->encrypt_stores;
    if (c->params->disks_only && description_check_any(&c->d, e) < 0)
        return e->status;
    if (choose_save(c, e) < 0)
        return e->status;
    if (suspends(c) && c->engine->domains->can_suspend(c->engine->host, &c->d.domain, e) < 0)
        return e->status;
    if (!is_cold(c) && description_plan_snapshots(&c->d, c->id, e) < 0)
        return e->status;
    if (open_sink(c, e) < 0)
        return e->status;
    tell(c);
    return OK;
}

/* ---- prepare ---- */

static int prepare_sink(struct creation *c, struct error *e)
{
    AUTO_FREE char *config = NULL;
    AUTO_FREE char *left_out = NULL;

    if (xlcfg_from_json(c->d.domain.config, &config, e) < 0)
        return e->status;
    /* With its RAM all of its configuration is kept. */
    left_out = c->save == SAVE_NOTHING ? xlcfg_left_out(config) : NULL;
    if (left_out)
        log_note("these of its settings can't be expressed in xl.cfg(5), and are not in the "
                 "snapshot: %s",
                 left_out);
    return c->deposit.driver->prepare(c->deposit.sink, save_bytes(c), config, e);
}

/* The stream is longer than the RAM by what is said of it: the frames' numbers, 1/512; the
 * toolstack's own records. */
static uint64_t stream_bytes(const struct creation *c)
{
    uint64_t ram = c->d.domain.memory_bytes;

    return ram + ram / 256 + (UINT64_C(16) << 20);
}

/* As much of the RAM as dom0 can hold; what does not fit waits for the disk. Of a live save only
 * the end must fit. */
static void fill_spool_config(const struct creation *c, struct spool_config *config)
{
    uint64_t half = memory_available_bytes() / 2, least = UINT64_C(16) << 20;

    half = half > least ? half : least;
    if (c->save == SAVE_LIVE) {
        config->pace = SPOOL_AT_ONCE;
        config->memory_bytes = LIVE_SPOOL_BYTES < half ? LIVE_SPOOL_BYTES : half;
        config->reserve_bytes = config->memory_bytes / 2;
    } else {
        config->pace = stream_bytes(c) <= half ? SPOOL_IN_MEMORY : SPOOL_AFTERWARDS;
        config->memory_bytes = stream_bytes(c) <= half ? stream_bytes(c) : half;
    }
}

static int prepare_ram(struct creation *c, struct error *e)
{
    struct spool_config config = {.progress = &c->engine->progress};

    if (c->save == SAVE_NOTHING)
        return OK;
    if (c->deposit.driver->open_ram(c->deposit.sink, &config.file, &config.name, e) < 0)
        return e->status;
    fill_spool_config(c, &config);
    return spool_start(&c->spool, &c->save_fd, &config, e);
}

static int prepare(struct creation *c, struct error *e)
{
    progress_begin(&c->engine->progress, "prepare", 0);
    if (prepare_sink(c, e) < 0)
        return e->status;
    if (!is_cold(c) && description_prepare(&c->d, e) < 0)
        return e->status;
    if (guardian_brief(c->guardian, suspends(c), e) < 0)
        return e->status;
    if (prepare_ram(c, e) < 0)
        return e->status;
    return interrupt_check(e);
}

/* ---- copy ---- */

static int watch_snapshots(void *arg, struct error *e)
{
    const struct creation *c = arg;

    for (size_t i = 0; i < c->d.disk_count; i++) {
        struct volume *v = c->d.disks[i].volume;

        if (v->driver->watch(v, c->deposit.driver->position(c->deposit.sink, i), e) < 0)
            return e->status;
    }
    return OK;
}

static int was_too_late(const struct creation *c, struct error *e)
{
    return error_set(
        e, TIMED_OUT,
        "the pause reached what %s allows: the guest was resumed, and the snapshot dropped; "
        "allow more, or try when this host has less to do",
        c->params->max_pause_ms && !c->params->go_on ? "--max-pause" : "--deadline");
}

/* What is copied while the guest is paused is of no use once it runs. */
static int watch_guardian(void *arg, struct error *e)
{
    const struct creation *c = arg;

    return guardian_has_fired(c->guardian) ? was_too_late(c, e) : OK;
}

static int open_sources(struct creation *c, struct error *e)
{
    for (size_t i = 0; i < c->d.disk_count; i++) {
        struct volume *v = c->d.disks[i].volume;
        int *source = &c->d.disks[i].source;

        if ((is_cold(c) ? volume_open_live(v, source, e) : v->driver->open_image(v, source, e)) < 0)
            return e->status;
    }
    return OK;
}

static int copy_disks(struct creation *c, struct error *e)
{
    const struct team_watch watch = {is_cold(c) ? watch_guardian : watch_snapshots, c, !is_cold(c)};
    uint64_t total = ram_bytes(c);
    struct error broken;
    int rc;

    for (size_t i = 0; i < c->d.disk_count; i++)
        total += c->d.disks[i].volume->size_bytes;
    atomic_store(&c->engine->progress.total_bytes, total);
    rc = open_sources(c, e);
    if (rc == OK)
        rc = deposit_put_disks(&c->deposit, &c->d, &watch, e);
    description_close_sources(&c->d);
    /* An image read from a snapshot that broke meanwhile is worth nothing; and if it could not be
     * read, that is why. */
    if (!is_cold(c) && watch_snapshots(c, &broken) < 0) {
        *e = broken;
        return e->status;
    }
    return rc;
}

/* ---- stop: the guest is paused from its suspend until the end of take_instant() ---- */

static void close_save_fd(struct creation *c)
{
    if (c->save_fd >= 0) {
        close(c->save_fd);
        spool_end(c->spool);
    }
    c->save_fd = -1;
}

/* Wait until all that libxl wrote is in the file. */
static int finish_spool(struct creation *c, uint64_t *bytes, struct error *e)
{
    struct spool *spool = c->spool;

    c->spool = NULL;
    return spool_finish(spool, bytes, e);
}

static int put_ram(struct creation *c, struct error *e)
{
    uint64_t bytes;

    if (!c->spool)
        return OK;
    return finish_spool(c, &bytes, e) < 0 ? e->status
                                          : c->deposit.driver->put_ram(c->deposit.sink, bytes, e);
}

/* What ends a live save that the guest still runs in. */
static void give_up_live(struct creation *c, const char *why_text)
{
    struct error why;

    c->not_live = true;
    error_set(&why, AGAIN, "%s; it is paused while its RAM is written", why_text);
    spool_break(c->spool, &why);
}

/* Whether the guest may be paused for all of its RAM. */
static bool may_be_still(const struct creation *c)
{
    return !c->params->max_pause_ms || c->params->go_on;
}

static bool writes_too_much(const struct creation *c, const struct save_progress *at)
{
    return c->save == SAVE_LIVE && !at->paused && may_be_still(c) &&
           c->precopy.written_pages + at->total > LIVE_WRITES_MAX * c->precopy.ram_pages &&
           at->round > 0;
}

/* Within the save: let its end have all of the spool, and see whether the guest will be paused
 * for too long. */
static void watch_save(void *arg, const struct save_progress *at)
{
    struct creation *c = arg;
    uint64_t now_ns = time_monotonic_ns(), budget_ns = c->params->max_pause_ms * UINT64_C(1000000),
             pause_ns;
    struct error why;

    if (interrupt_check(&why) < 0) {
        spool_break(c->spool, &why);
        return;
    }
    precopy_note(&c->precopy, at, now_ns);
    if (at->resized) {
        error_set(&why, AGAIN,
                  "the guest's memory was changed while it was saved (xl mem-set, or its "
                  "balloon), which this Xen does not follow");
        spool_break(c->spool, &why);
        return;
    }
    if (writes_too_much(c, at)) {
        give_up_live(c, "the guest changes its RAM as fast as it can be written");
        return;
    }
    if (at->paused)
        spool_use_reserve(c->spool);
    pause_ns = at->last || at->paused ? precopy_pause_ns(&c->precopy, now_ns) : 0;
    if (!budget_ns || c->too_long || pause_ns <= budget_ns)
        return;
    c->too_long = true;
    error_set(&why, TIMED_OUT,
              "the guest %s for %.3f s for its RAM alone, and --max-pause allows %.3f s",
              at->paused ? "is paused" : "would be paused", (double)pause_ns / 1e9,
              (double)budget_ns / 1e9);
    if (c->params->go_on)
        log_warning("%s; going on, since --go-on was given", why.text);
    else
        spool_break(c->spool, &why);
}

/* Drop what is in the spool, and get to know why: the first error that it was told of. */
static void give_up_ram(struct creation *c, struct error *e)
{
    uint64_t bytes;

    if (c->spool)
        spool_break(c->spool, e);
    close_save_fd(c);
    if (c->spool)
        finish_spool(c, &bytes, e);
}

/* From here on a resume is owed, whoever dies. */
static int owe_resume(void *arg, struct error *e)
{
    struct creation *c = arg;
    struct error why;
    int rc = OK;

    /* Nobody is to be waited for once the guest is paused. */
    if (!is_cold(c))
        rc = description_lock(&c->d, &why);
    /* Even if that fails: the toolstack may not be kept from asking the guest. */
    guardian_arm(c->guardian);
    c->window.asked_ns = time_monotonic_ns();
    if (suspends(c) && journal_phase(&c->journal, PHASE_SUSPENDED, e) < 0)
        return e->status;
    if (rc < 0)
        *e = why;
    return rc;
}

static int state_of(const struct creation *c, enum domain_state *state, struct error *e)
{
    struct domain_id id = domain_id_of(&c->d.domain);

    return c->engine->domains->state(c->engine->host, &id, state, e);
}

/* A live save may fail before the guest is asked to stop, for lack of memory to follow what a PV
 * guest writes to, say: that takes Xen's own. */
static int judge_live(struct creation *c, struct error *e)
{
    enum domain_state state;
    struct error ignored;

    if (e->status != FAILED || c->save != SAVE_LIVE || c->window.asked_ns || !may_be_still(c))
        return e->status;
    if (state_of(c, &state, &ignored) < 0 || state != DOMAIN_RUNNING)
        return e->status;
    c->not_live = true;
    error_append(e, "it is paused while its RAM is written");
    return e->status = AGAIN;
}

/* libxl only sees that its pipe broke; the spool knows why: the user's wish, or a full disk. */
static int suspend_and_save(struct creation *c, struct error *e)
{
    const struct save_watcher watcher = {watch_save, owe_resume, c};
    int rc;

    c->precopy.ram_pages = c->d.domain.memory_bytes / DOMAIN_PAGE_BYTES;
    rc = c->engine->domains->suspend_save(c->engine->host, &c->d.domain, c->save, c->save_fd,
                                          &watcher, e);
    if (rc < 0)
        give_up_ram(c, e);
    else
        close_save_fd(c);
    c->window.has_stopped = rc == OK;
    return rc < 0 ? judge_live(c, e) : OK;
}

/* The budget is for all that the guest is paused for. The deadline runs from its stop too,
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

static int fix_instant(struct creation *c, struct error *e)
{
    int rc;

    set_deadline(c, false);
    rc = suspends(c) ? suspend_and_save(c, e) : owe_resume(c, e);
    c->window.saved_ns = time_monotonic_ns();
    set_deadline(c, true);
    if (rc < 0)
        return rc;
    if (guardian_has_fired(c->guardian))
        return was_too_late(c, e);
    return is_cold(c) ? copy_disks(c, e) : description_commit(&c->d, e);
}

/* What is of one instant must not run within it. */
static int check_paused(struct creation *c, struct error *e)
{
    enum domain_state state;

    if (state_of(c, &state, e) < 0)
        return e->status;
    /* Where only the instant matters, one that has ended is fine. */
    if (is_cold(c) ? state == DOMAIN_SUSPENDED : state != DOMAIN_RUNNING)
        return OK;
    return error_set(e, BUSY, "another program has resumed it while its snapshot was taken");
}

/* Others may have stopped it since the guardian has let it go on. */
static int resume(struct creation *c, struct error *e)
{
    if (!c->window.asked_ns)
        return OK;
    /* Of its monitor we may have taken hold since then. */
    if (guardian_has_let_go(c->guardian))
        return settle_release(c->engine, c->journal.entry, e);
    return c->window.has_stopped ? settle_resume(c->engine, c->journal.entry, e)
                                 : settle_guest(c->engine, c->journal.entry, e);
}

/* The device model of an HVM guest flushes its disks once the guest has stopped: what it finds to
 * do then is not to be much. Should it fail, that one tells. */
static void flush_disks(const struct creation *c)
{
    struct error ignored;

    if (strcmp(c->d.domain.type, "hvm") != 0)
        return;
    for (size_t i = 0; i < c->d.disk_count; i++)
        volume_flush(c->d.disks[i].volume, &ignored);
}

/* The guardian sees the guest stop, if it is not too late for that: the save may be over by then.
 */
static uint64_t when_stopped(const struct creation *c)
{
    uint64_t seen_ns = guardian_stopped_ns(c->guardian);

    if (!seen_ns)
        return c->window.asked_ns;
    return seen_ns < c->window.saved_ns ? seen_ns : c->window.saved_ns;
}

static void tell_pause(struct creation *c)
{
    const struct window *w = &c->window;
    uint64_t stopped_ns = when_stopped(c);

    if (!suspends(c)) {
        c->m.pause.disks_ns = w->fixed_ns - w->saved_ns;
        return;
    }
    c->m.pause = (struct manifest_pause){
        .save_ns = w->saved_ns - stopped_ns,
        .disks_ns = w->fixed_ns - w->saved_ns,
        .resume_ns = w->resumed_ns - w->fixed_ns,
        .total_ns = w->resumed_ns - stopped_ns,
        .asked_ns = w->resumed_ns - w->asked_ns,
    };
}

/* It may have been stopped by somebody else since it was described. */
static int before_window(struct creation *c, struct error *e)
{
    if (!suspends(c))
        return OK;
    if (c->engine->domains->can_suspend(c->engine->host, &c->d.domain, e) < 0)
        return e->status;
    return journal_phase(&c->journal, PHASE_SAVING, e);
}

/* From here on who stops it is somebody else, whatever has become of the snapshot. */
static int after_window(struct creation *c, struct error *e)
{
    return c->window.asked_ns ? journal_phase(&c->journal, PHASE_RUNNING, e) : OK;
}

/* What keeps the guest paused is worse than what keeps the snapshot from being taken. */
static int take_instant(struct creation *c, struct error *e)
{
    struct window *w = &c->window;
    struct error why;
    int rc;

    progress_begin(&c->engine->progress, "save", ram_bytes(c));
    if (before_window(c, e) < 0)
        return e->status;
    flush_disks(c);

    rc = fix_instant(c, e);
    w->fixed_ns = time_monotonic_ns();
    w->in_time = guardian_disarm(c->guardian);
    if (rc == OK && w->in_time && suspends(c))
        rc = check_paused(c, e);
    if (resume(c, &why) < 0) {
        description_unlock(&c->d);
        *e = why;
        return e->status;
    }
    w->resumed_ns = time_monotonic_ns();

    description_unlock(&c->d);
    if (rc == OK && !w->in_time)
        rc = was_too_late(c, e);
    tell_pause(c);
    if (after_window(c, &why) < 0 && rc == OK) {
        *e = why;
        rc = e->status;
    }
    return rc;
}

/* ---- after the resume ---- */

/* A guest that ended while it was paused (xl destroy) is no reason to drop a whole snapshot, but
 * the user must know. */
static int look_after(const struct creation *c, struct error *e)
{
    enum domain_state state;
    struct error ignored;

    if (c->looked_after && !is_looked_after(c))
        log_warning("xl's process for %s, which starts it again when it reboots, has ended "
                    "meanwhile: it will stay down after its next reboot",
                    c->d.domain.name);
    if (state_of(c, &state, &ignored) < 0 || state == DOMAIN_RUNNING)
        return description_check_disks(&c->d, c->engine, e);
    log_warning("%s was snapshotted, but is not running now: see `xl list`", c->d.domain.name);
    return OK;
}

static int carry_out(struct creation *c, struct error *e)
{
    if (prepare(c, e) < 0 || take_instant(c, e) < 0)
        return e->status;
    guardian_stop(c->guardian);
    c->guardian = NULL;
    if (look_after(c, e) < 0)
        return e->status;
    progress_begin(&c->engine->progress, "copy", 0);
    if (!is_cold(c) && copy_disks(c, e) < 0)
        return e->status;
    /* Each write of the guest pays for the snapshots: they go before anything else. */
    if (settle_volumes(c->engine, c->journal.entry, e) < 0 || put_ram(c, e) < 0)
        return e->status;
    progress_begin(&c->engine->progress, "publish", 0);
    return deposit_commit(&c->deposit, &c->journal, c->stats, e);
}

/* Let go of all that is only in this process, so that settle_create() finds what recover would
 * find. */
static void let_go(struct creation *c)
{
    struct error given_up = {FAILED, ""};

    guardian_stop(c->guardian);
    c->guardian = NULL;
    give_up_ram(c, &given_up);
    deposit_let_go(&c->deposit);
}

/* The journal is open: whatever happens now ends in settle_create(). */
static int journalled(struct creation *c, struct error *e)
{
    json_t *kept;
    int rc;

    if (c->deposit.driver->journal(c->deposit.sink, &kept, e) < 0 ||
        settle_begin(&c->journal, &c->d, c->id, suspends(c), kept, e) < 0)
        return e->status;
    rc = carry_out(c, e);
    let_go(c);
    return settle_create(c->engine, &c->journal, rc, e);
}

/* `*not_live`: in, and, if it ends in AGAIN, out. */
static int create_once(struct engine *engine, const struct create_params *params, bool *not_live,
                       struct manifest *m, struct store_stats *stats, struct error *e)
{
    struct creation c = {
        .engine = engine,
        .params = params,
        .stats = stats,
        .deposit = {.driver = sink_driver_of(&params->to)},
        .journal = JOURNAL_NONE,
        .turn = -1,
        .save_fd = -1,
        .not_live = *not_live,
    };
    int rc;

    *m = (struct manifest){0};
    progress_begin(&engine->progress, "describe", 0);
    rc = domain_name_check(params->domain, e);
    if (rc == OK)
        rc = engine_connect(engine, e);
    if (rc == OK)
        rc = settle_open(&c.journal, engine, params->domain, e);
    if (rc == OK)
        rc = engine_take_turn(engine, &c.turn, e);
    if (rc == OK)
        rc = guardian_start(&c.guardian, engine, &c.journal, e);
    if (rc == OK)
        rc = describe(&c, e);
    if (rc == OK)
        rc = journalled(&c, e);
    guardian_stop(c.guardian);
    deposit_close(&c.deposit);
    journal_release(&c.journal);
    if (c.turn >= 0)
        close(c.turn);
    description_release(&c.d);
    if (rc < 0)
        manifest_release(&c.m);
    else
        *m = c.m;
    *not_live = c.not_live;
    return rc;
}

int engine_create(struct engine *engine, const struct create_params *params, struct manifest *m,
                  struct store_stats *stats, struct error *e)
{
    bool not_live = false;
    int rc = create_once(engine, params, &not_live, m, stats, e);

    /* What was in the way, such as a command of LVM's, has mostly come and gone. */
    if (rc == AGAIN) {
        log_note("%s: trying once more", e->text);
        rc = create_once(engine, params, &not_live, m, stats, e);
    }
    if (rc == AGAIN)
        error_append(e, "this was the second time; try again when that is done");
    return rc < 0 ? error_prefix(e, "create %s", params->domain) : OK;
}
