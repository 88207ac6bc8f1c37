/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* doctor: what this host and this guest allow, found out without changing anything. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/run.h"
#include "base/time.h"
#include "copy/spool.h"
#include "engine/describe.h"
#include "engine/journal.h"
#include "engine/precopy.h"

#define VERSION_TIMEOUT_S 30

/* Long enough to tell, and too short to be felt. */
#define REHEARSED_BYTES (32u << 20)
#define REHEARSAL_MS    500

#define LONG_PAUSE_NS 1000000000

struct examination {
    struct engine *engine;
    finding_sink sink;
    void *arg;
    int bad;
};

__attribute__((format(printf, 4, 5))) static void find(struct examination *x,
                                                       enum finding_level level,
                                                       const char *subject, const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    x->sink(x->arg, level, subject, text);
    x->bad += level == FINDING_BAD;
}

/* ---- the host ---- */

static void examine_xen(struct examination *x)
{
    const char *const xl[] = {"xl", "info", "xen_version", NULL};
    struct error e;

    if (engine_connect(x->engine, &e) < 0) {
        find(x, FINDING_BAD, "hypervisor", "%s", e.text);
        return;
    }
    find(x, FINDING_GOOD, "hypervisor", "%s", x->engine->domains->version(x->engine->host));
    if (run_program(&(struct run){.argv = xl, .timeout_s = VERSION_TIMEOUT_S}, &e) < 0)
        find(x, FINDING_BAD, "xl", "%s (package xen-utils-common)", e.text);
    else
        find(x, FINDING_GOOD, "xl", "it restores guests, and looks after them");
}

static void examine_lvm(struct examination *x)
{
    const char *const argv[] = {"lvm", "version", NULL};
    AUTO_FREE char *text = NULL;
    struct error e;
    char *version;

    if (run_program(&(struct run){.argv = argv, .timeout_s = VERSION_TIMEOUT_S, .out = &text}, &e) <
        0) {
        find(x, FINDING_NOTE, "LVM", "%s; only --cold is possible (package lvm2)", e.text);
        return;
    }
    version = strstr(text, "LVM version:");
    if (version)
        version += strlen("LVM version:") + strspn(version + strlen("LVM version:"), " ");
    else
        version = text;
    find(x, FINDING_GOOD, "LVM", "%.*s", (int)strcspn(version, " \n"), version);
}

static void examine_journal(struct examination *x)
{
    AUTO_JSON json_t *names = NULL;
    const json_t *name;
    bool idle = true;
    struct error e;
    size_t i;

    if (journal_list(x->engine, &names, &e) < 0) {
        find(x, FINDING_BAD, "journal", "%s", e.text);
        return;
    }
    json_array_foreach (names, i, name) {
        struct journal j;

        /* Only looked at: released, the entry stays. */
        if (journal_adopt(&j, x->engine, json_string_value(name), &e) == OK) {
            idle = false;
            find(x, FINDING_BAD, "journal",
                 journal_operation_of(j.entry) == OPERATION_RESTORE
                     ? "a restore of %s is not complete; don't start it: run `domsnap recover`"
                     : "a run on %s was interrupted: run `domsnap recover`",
                 json_string_value(name));
            journal_release(&j);
        } else if (e.status == BUSY) {
            idle = false;
            find(x, FINDING_NOTE, "journal", "domsnap is at work on %s", json_string_value(name));
        }
    }
    if (idle)
        find(x, FINDING_GOOD, "journal", "no run was interrupted");
}

/* ---- a guest ---- */

/* How fast RAM is saved: some of it, by the way that all of it would go, while the guest runs. */
static int time_save(struct examination *x, const struct domain *d, enum spool_pace pace,
                     double *pages_per_ns, struct error *e)
{
    struct progress progress = {NULL};
    AUTO_CLOSE int file = memfd_create("domsnap", MFD_CLOEXEC);
    struct spool_config config = {
        .file = file,
        .name = "memory",
        .memory_bytes = REHEARSED_BYTES,
        .pace = pace,
        .progress = &progress,
    };
    struct spool *spool;
    uint64_t began_ns, pages = 0, bytes;
    struct error ignored;
    int fd, rc;

    if (file < 0)
        return error_errno(e, "memory for a rehearsal");
    if (spool_start(&spool, &fd, &config, e) < 0)
        return e->status;
    began_ns = time_monotonic_ns();
    rc = x->engine->domains->read_ram(x->engine->host, d, fd, REHEARSED_BYTES / DOMAIN_PAGE_BYTES,
                                      &pages, e);
    *pages_per_ns = (double)pages / (double)(time_monotonic_ns() - began_ns);
    close(fd);
    if (spool_finish(spool, &bytes, rc < 0 ? &ignored : e) < 0 && rc == OK)
        rc = e->status;
    if (rc == OK && !pages)
        rc = error_set(e, FAILED, "none of it could be read");
    return rc;
}

static void cannot_tell(struct examination *x, const struct error *why)
{
    find(x, FINDING_NOTE, "RAM", "how long the guest would be paused can't be told: %s", why->text);
}

static void predict_still(struct examination *x, const struct domain *d)
{
    uint64_t available = memory_available_bytes();
    double pages_per_ns;
    struct error e;

    if (time_save(x, d, SPOOL_IN_MEMORY, &pages_per_ns, &e) < 0)
        cannot_tell(x, &e);
    else
        find(x, FINDING_NOTE, "RAM", "the guest would be paused for about %.2f s for it",
             (double)(d->memory_bytes / DOMAIN_PAGE_BYTES) / pages_per_ns / 1e9);
    if (available / 2 < d->memory_bytes)
        find(x, FINDING_NOTE, "RAM",
             "and longer, since only %" PRIu64 " MiB of memory can be had for it: part of the "
             "guest's RAM is written to the disk meanwhile",
             available >> 20);
}

static void predict_live(struct examination *x, const struct domain *d)
{
    uint64_t pages, pause_ns;
    double pages_per_ns;
    struct error e;

    if (time_save(x, d, SPOOL_AFTERWARDS, &pages_per_ns, &e) < 0 ||
        x->engine->domains->dirty_pages(x->engine->host, d, REHEARSAL_MS, &pages, &e) < 0) {
        cannot_tell(x, &e);
        return;
    }
    pause_ns = precopy_predict_ns(d->memory_bytes / DOMAIN_PAGE_BYTES, pages_per_ns,
                                  (double)pages / (REHEARSAL_MS * 1e6));
    find(x, pause_ns > LONG_PAUSE_NS ? FINDING_NOTE : FINDING_GOOD, "RAM",
         "the guest changes %.1f MiB/s of it just now, and would be paused for about %.2f s for "
         "the end",
         (double)(pages * DOMAIN_PAGE_BYTES) / (REHEARSAL_MS / 1e3) / (1 << 20),
         (double)pause_ns / 1e9);
}

static void examine_ram(struct examination *x, const struct domain *d)
{
    struct error e;

    find(x, FINDING_GOOD, d->name, "%s guest, %u CPU%s, %" PRIu64 " MiB of RAM", d->type, d->vcpus,
         d->vcpus == 1 ? "" : "s", d->memory_bytes >> 20);
    if (x->engine->domains->can_suspend(x->engine->host, d, &e) < 0) {
        find(x, FINDING_BAD, "RAM", "%s", e.text);
    } else if (x->engine->domains->can_save_live(x->engine->host, d, &e) < 0) {
        find(x, FINDING_NOTE, "RAM", "saved while the guest is paused: %s", e.text);
        predict_still(x, d);
    } else {
        find(x, FINDING_GOOD, "RAM", "saved while the guest runs, but for the end");
        predict_live(x, d);
    }
}

/* xl create -F has its process elsewhere, which would end at a suspend. */
static void examine_monitor(struct examination *x, const struct domain *d)
{
    struct domain_id id = domain_id_of(d);

    if (x->engine->domains->is_looked_after(x->engine->host, &id))
        find(x, FINDING_GOOD, "xl's process", "it starts the guest again when that reboots");
    else
        find(
            x, FINDING_NOTE, "xl's process",
            "there is none that would start the guest again when that reboots (xl create -F, or it "
            "has ended): it will stay down after its next reboot");
}

static void examine_disks(struct examination *x, struct description *d)
{
    uint64_t total = d->domain.memory_bytes;
    bool all = true;
    struct error e;

    for (size_t i = 0; i < d->disk_count; i++) {
        const struct volume *v = d->disks[i].volume;

        total += v->copy_bytes;
        if (v->driver->can_snapshot(v, &e) < 0) {
            find(x, FINDING_NOTE, d->disks[i].disk->vdev, "%s, %" PRIu64 " MiB: %s", v->name,
                 v->size_bytes >> 20, e.text);
            all = false;
        } else {
            find(x, FINDING_GOOD, d->disks[i].disk->vdev, "%s, %" PRIu64 " MiB: %s", v->name,
                 v->size_bytes >> 20, v->driver->method);
        }
    }
    for (size_t i = 0; i < d->left_out_count; i++)
        find(x, FINDING_NOTE, d->left_out[i].disk->vdev, "left out: %s", d->left_out[i].why);
    if (all && description_plan_snapshots(d, "doctor00", &e) < 0)
        find(x, FINDING_BAD, "space", "%s", e.text);
    find(x, FINDING_GOOD, "space", "a copy takes at most %" PRIu64 " MiB", total >> 20);
}

static void examine_domain(struct examination *x, const char *name)
{
    struct description d = {0};
    struct journal j = JOURNAL_NONE;
    struct error e;

    if (description_make(&d, x->engine, name, &e) < 0) {
        find(x, FINDING_BAD, name, "%s", e.text);
        return;
    }
    /* Xen keeps one list of changed pages for all who look. */
    if (journal_open(&j, x->engine, name, OPERATION_NONE, &e) < 0)
        find(x, FINDING_NOTE, "RAM", "%s", e.text);
    else
        examine_ram(x, &d.domain);
    examine_monitor(x, &d.domain);
    journal_release(&j);
    examine_disks(x, &d);
    description_release(&d);
}

/* ---- a snapshot ---- */

static void examine_snapshot(struct examination *x, const struct snapshot_ref *ref)
{
    const struct restore_params params = {.from = *ref, .replace = true};
    struct manifest m;
    struct error e;

    if (engine_check_restore(x->engine, &params, &m, &e) < 0) {
        find(x, FINDING_BAD, "restore", "%s", e.text);
        return;
    }
    find(x, FINDING_GOOD, "restore",
         manifest_has(&m.ram) ? "its volumes are there, and it could be started here with its RAM"
                              : "its volumes are there");
    manifest_release(&m);
}

int engine_doctor(struct engine *engine, const struct snapshot_ref *what, finding_sink sink,
                  void *arg, struct error *e)
{
    struct examination x = {engine, sink, arg, 0};

    examine_xen(&x);
    examine_lvm(&x);
    examine_journal(&x);
    if (what->folder || what->name)
        examine_snapshot(&x, what);
    else if (what->domain && engine->host)
        examine_domain(&x, what->domain);
    if (x.bad == 0)
        return OK;
    return error_set(e, UNSUPPORTED, "doctor: %d finding%s in the way", x.bad,
                     x.bad == 1 ? " is" : "s are");
}
