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

/* Who wants to hear what libxl logs, while it is at something. */
struct listener {
    void (*message)(void *arg, const char *line);
    void (*progress)(void *arg, const char *doing, uint64_t done, uint64_t total);
    void *arg;
};

/* libxl reports an error as a number and explains it in its log: keep the first explanation. */
struct logger {
    xentoollog_logger vtable;
    char first_error[400];
    const struct listener *listener; /* or NULL */
};

struct domain_host {
    libxl_ctx *ctx;
    struct xs_handle *xs;
    struct logger logger;
    char version[32];
    bool follows_new_frames; /* what a domain gets to its RAM while it is saved live is saved too */
};

/* domain_driver's open, close, forget, version. */
int xen_open(struct domain_host **out, struct error *e);
void xen_close(struct domain_host *host);
void xen_forget(struct domain_host *host);
const char *xen_version(struct domain_host *host);

/* A value of xenstored's below the domain's folder, to free(); NULL: there is none. */
char *xen_read(struct domain_host *host, uint32_t domid, const char *key);

void xen_put_uuid(char uuid[static DOMAIN_UUID_TEXT], const libxl_dominfo *info);

/* How much memory a domain has now; 0: that can't be told. */
uint64_t xen_size_kb(struct domain_host *host, uint32_t domid);

/* An error that does not matter is no explanation of a later one. */
void xen_forget_error(struct domain_host *host);

/* FAILED, with libxl's own explanation, if it has logged one since the last time. */
int xen_failed(struct domain_host *host, struct error *e, const char *what, int libxl_rc);

/* domain_driver's state; the same, of a domain that was described; BUSY says why it does not run.
 */
int xen_state(struct domain_host *host, const struct domain_id *id, enum domain_state *state,
              struct error *e);
int xen_state_now(struct domain_host *host, const struct domain *d, enum domain_state *state,
                  struct error *e);
int xen_check_running(struct domain_host *host, const struct domain *d, struct error *e);

#endif
