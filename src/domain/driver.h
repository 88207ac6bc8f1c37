/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a hypervisor's toolstack can be asked. One const table a hypervisor; every entry is
 * required. The engine calls the table's functions directly; the order of calls around a suspend is
 *
 *     describe → suspend_save { stopping } → (the instant) → resume
 *
 * and from `stopping` on somebody owes a resume, this process or, if it dies, another; before that,
 * only a release.
 */
#ifndef DOMAIN_DRIVER_H
#define DOMAIN_DRIVER_H

#include <stddef.h>

#include "base/error.h"
#include "domain/domain.h"

/* A connection to the toolstack; each driver has its own. */
struct domain_host;

enum domain_state {
    DOMAIN_GONE,          /* no domain with this domid and uuid */
    DOMAIN_RUNNING,       /* running or waiting for a CPU */
    DOMAIN_PAUSED,        /* by its administrator */
    DOMAIN_SUSPENDED,     /* has answered a suspend request and is paused */
    DOMAIN_SHUTTING_DOWN, /* asked to, or on its way to power off, reboot, halt */
    DOMAIN_CRASHED
};

enum domain_save {
    SAVE_NOTHING, /* it is only suspended */
    SAVE_STILL,   /* all RAM is written while the domain is paused */
    SAVE_LIVE /* it is written while the domain runs, and what it changed meanwhile again; only the
               * last of that while it is paused */
};

/* How far a save has come: the round over RAM that is under way. */
struct save_progress {
    unsigned round; /* from 0; each one after the first writes what the domain changed during the
                       one before */
    uint64_t done, total; /* pages of this round */
    bool resized; /* the domain has got or given RAM meanwhile, and Xen does not follow that */
    bool last;    /* after it the domain stops, for one round more */
    bool paused;  /* it has stopped */
};

/* What suspend_save calls, in its own thread. */
struct save_watcher {
    /* Now and then, at least when a round begins. Must not block. */
    void (*see)(void *arg, const struct save_progress *progress);

    /* Once, right before the domain is asked to stop. If it fails, so does suspend_save, but the
     * domain may have stopped by then. */
    int (*stopping)(void *arg, struct error *e);

    void *arg;
};

/* How Xen's toolstack saves live, unless told otherwise: so many rounds at most, and after one that
 * short only the last. */
#define SAVE_LIVE_ROUNDS 5
#define SAVE_LAST_PAGES  50

struct domain_launch {
    const char *name;
    int fd;             /* the save stream, or a file with the configuration */
    uint64_t ram_bytes; /* of the stream, about; 0: it boots */
    int held_fd; /* who starts it holds this open for as long as it is at that, though we may be
                    dead */
};

/* What is to be started, before anything is touched for it. */
struct domain_start {
    const char *name;
    const json_t *config;            /* the toolstack's JSON */
    const struct cpuid_leaf *leaves; /* the processor that its RAM knows; none: it boots */
    size_t leaf_count;
    const char *const *restored; /* the disks that will be there by then, by their vdevs */
    size_t restored_count;
    bool any_cpu;      /* its processor may be another: that is only warned of */
    uint32_t replaced; /* the domain that will be gone by then; 0: none */
};

struct domain_driver {
    const char *name; /* "xen" */

    /* Connect. UNSUPPORTED: this machine has no such hypervisor running, or we may not use it. */
    int (*open)(struct domain_host **host, struct error *e);
    void (*close)(struct domain_host *host);

    /* In a child process that has not called exec: let go of the parent's connection, and leave
     * what both share alone. */
    void (*forget)(struct domain_host *host);

    /* The hypervisor and its version, "Xen 4.17.5", valid until close. */
    const char *(*version)(struct domain_host *host);

    /* Tell who has this name, in whatever state, half-made too; `id` keeps `name`. NOT_FOUND:
     * nobody. */
    int (*find)(struct domain_host *host, const char *name, struct domain_id *id, struct error *e);

    /* Describe the running domain `name`. NOT_FOUND: there is none. */
    int (*describe)(struct domain_host *host, const char *name, struct domain *d, struct error *e);

    /* Describe a domain from its configuration, `bytes` of the toolstack's own format, out of
     * `file` (for messages). Needs no connection, and no hypervisor on this machine. */
    int (*describe_config)(const char *text, size_t bytes, const char *file, struct domain *d,
                           struct error *e);

    /* What it does now. DOMAIN_GONE is no error. */
    int (*state)(struct domain_host *host, const struct domain_id *id, enum domain_state *state,
                 struct error *e);

    /* The block device that a running domain has for a disk now: what the path in its configuration
     * leads to may be another by now, or gone (lvrename). `*path`, to free(): "/dev/dm-7"; NULL: it
     * has none, or that can't be told. */
    int (*disk_now)(struct domain_host *host, uint32_t domid, const char *vdev, char **path,
                    struct error *e);

    /* Whether the device or file at `path` is a disk of no domain but `except` (0: of none at all):
     * BUSY names the other. That it can be opened with O_EXCL does not say so. */
    int (*check_unused)(struct domain_host *host, const char *path, uint32_t except,
                        struct error *e);

    /* Whether `restore` and `boot` are the toolstack that looks after the domain of this name:
     * UNSUPPORTED names another one, which would not hear of a suspend, or start the domain a
     * second time. */
    int (*check_keeper)(struct domain_host *host, const char *name, struct error *e);

    /* Whether the toolstack would start it again, or whatever its configuration says, when it
     * reboots or crashes. */
    bool (*is_looked_after)(struct domain_host *host, const struct domain_id *id);

    /* Whether it would answer a suspend request: UNSUPPORTED or BUSY say why it would not. */
    int (*can_suspend)(struct domain_host *host, const struct domain *d, struct error *e);

    /* Whether SAVE_LIVE is possible: UNSUPPORTED says why not. */
    int (*can_save_live)(struct domain_host *host, const struct domain *d, struct error *e);

    /* See, for as long as `sample_ms`, how many pages it changes, where SAVE_LIVE is possible. It
     * runs on. */
    int (*dirty_pages)(struct domain_host *host, const struct domain *d, uint32_t sample_ms,
                       uint64_t *pages, struct error *e);

    /* Write as many of its pages to `fd`, a pipe, as `max_pages` or somewhat more, in the way that
     * a save does, to see how long that takes. It runs on. */
    int (*read_ram)(struct domain_host *host, const struct domain *d, int fd, uint64_t max_pages,
                    uint64_t *pages, struct error *e);

    /*
     * Write the save stream that `restore` takes to `fd` (which may be a pipe; -1 for SAVE_NOTHING)
     * and return with the domain suspended. On failure the domain may be suspended too: resume is
     * owed either way, once `stopping` was called. Blocks until all is written; ends with an error
     * once the reader of the pipe has closed it, without a stop of the domain if it has not stopped
     * by then. Another program that saves the domain is waited for; BUSY: what SAVE_LIVE had
     * written is of no use then.
     */
    int (*suspend_save)(struct domain_host *host, const struct domain *d, enum domain_save save,
                        int fd, const struct save_watcher *watcher, struct error *e);

    /*
     * Wait until the domain does not run any more (OK), `timeout_ms` have passed (TIMED_OUT; -1:
     * never), or `wake_fd` can be read or has been closed at its other end (CANCELLED).
     */
    int (*wait_stopped)(struct domain_host *host, const struct domain_id *id, int wake_fd,
                        int timeout_ms, struct error *e);

    /* Whether another program saves it just now: who stops it then is that. Takes a second to tell.
     */
    bool (*saved_by_others)(struct domain_host *host, const struct domain_id *id);

    /* End what suspend_save does to a domain that runs, and to its monitor: it may have been broken
     * off. One that is suspended stays so. May be called twice, or when nothing is owed. */
    int (*release)(struct domain_host *host, const struct domain_id *id, struct error *e);

    /* Make a domain that suspend_save left suspended run on in place; a request to suspend that it
     * has not taken is taken back. May be called twice, by another process, or when nothing is
     * owed: a domain that is not suspended, or gone, is left alone. `*may_stop`: it runs, and may
     * have taken such a request, to stop yet. */
    int (*resume)(struct domain_host *host, const struct domain_id *id, bool *may_stop,
                  struct error *e);

    /* Whether it could be started here, as far as that can be told: what it names is there, and
     * there is memory and a processor for it. The error says what is in the way, and what to do. */
    int (*check_startable)(struct domain_host *host, const struct domain_start *start,
                           struct error *e);

    /* End it now. A domain that is gone is no error. */
    int (*destroy)(struct domain_host *host, const struct domain_id *id, struct error *e);

    /* Make a domain from the save stream, and leave it paused, under the toolstack's usual care: it
     * lives from its `unpause` on. What was half-made when it fails is taken down again. */
    int (*restore)(struct domain_host *host, const struct domain_launch *l, struct error *e);

    /* The same, but boot it, from its configuration. */
    int (*boot)(struct domain_host *host, const struct domain_launch *l, struct error *e);

    /* Let a paused domain run. One that is not paused, or gone, is left alone. */
    int (*unpause)(struct domain_host *host, const struct domain_id *id, struct error *e);
};

/*
 * libxl fits one version of Xen alone. So domain_xen is in a program of its own for each,
 * domsnap-xen, to which domsnap hands over what may need it (cli/domsnap.c). domsnap itself has
 * domain_none, whose `open` and `describe_config` always fail, and which has no other entries.
 */
extern const struct domain_driver domain_xen, domain_none;

#define DOMAIN_XEN_VERSION_TEXT 32

/* "4.17", of the Xen whose dom0 this machine is. UNSUPPORTED: it is none. */
int domain_xen_version(char version[static DOMAIN_XEN_VERSION_TEXT], struct error *e);

/* The path of the domsnap-xen that is installed in `folder` for this version, or (NULL) for the
 * newest, to free(). NULL: there is none. */
char *domain_xen_program(const char *folder, const char *version);

#endif
