/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the Xen driver share: the connection, and the questions to it that more than
 * one of them asks. None of this is for others.
 */
#ifndef DOMAIN_XEN_HOST_H
#define DOMAIN_XEN_HOST_H

#include <libxl.h>
#include <stdint.h>
#include <xenstore.h>

#include "domain/driver.h"

/* libxl reports an error as a number and explains it in its log: keep the first explanation. */
struct logger {
    xentoollog_logger vtable;
    char first_error[400];
};

/* libxl says how far a save is in its log only, and there no more than "Frames iteration 2", so
 * many of so many; and that it is about to ask the guest to stop. */
struct save_log {
    const struct save_watcher *watcher; /* NULL: there is no save under way */
    const struct domain *domain;
    enum domain_save save;
    struct save_progress at;
    char doing[64];      /* "": not yet */
    uint64_t looked_ns;  /* for others who save the guest */
    bool others;         /* there were some */
    uint64_t size_kb;    /* of the domain's memory, when it began; 0: it does not matter */
    bool stopping;       /* the guest is, or has been, asked to stop */
    struct error failed; /* then */
};

struct domain_host {
    libxl_ctx *ctx;
    struct xs_handle *xs;
    struct logger logger;
    struct save_log save_log;
    char version[32];
    bool follows_new_frames; /* what a domain gets to its RAM while it is saved live is saved too */
};

/* How much memory a domain has now; 0: that can't be told. */
uint64_t xen_size_kb(struct domain_host *host, uint32_t domid);

/* FAILED, with libxl's own explanation, if it has logged one since the last time. */
int xen_failed(struct domain_host *host, struct error *e, const char *what, int libxl_rc);

/* domain_driver's state; the same, of a domain that was described; BUSY says why it does not run.
 */
int xen_state(struct domain_host *host, const struct domain_id *id, enum domain_state *state,
              struct error *e);
int xen_state_now(struct domain_host *host, const struct domain *d, enum domain_state *state,
                  struct error *e);
int xen_check_running(struct domain_host *host, const struct domain *d, struct error *e);

/* domain_driver's suspend_save (xen_save.c), and what libxl logs meanwhile: a line, and how far it
 * is. */
int xen_save(struct domain_host *host, const struct domain *d, enum domain_save save, int fd,
             const struct save_watcher *watcher, struct error *e);
void xen_save_message(struct domain_host *host, const char *line);
void xen_save_progress(struct domain_host *host, const char *doing, uint64_t done, uint64_t total);

#endif
