/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/xen_ram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <xenctrl.h>
#include <xenforeignmemory.h>
#include <xenguest.h>

#include "base/file.h"

/* As many as libxenguest maps at once in a save. */
#define BATCH_PAGES 1024

/* Frames below 1 MiB are a BIOS's, not all RAM. */
#define FIRST_FRAME 256

/* ---- what it changes ---- */

/* As long as nobody reads the bitmap this costs the domain one fault a page. */
int xen_ram_dirty_pages(xentoollog_logger *logger, const struct domain *d, uint32_t sample_ms,
                        uint64_t *pages, struct error *e)
{
    struct timespec sample = {sample_ms / 1000, (long)(sample_ms % 1000) * 1000000};
    xc_shadow_op_stats_t stats = {0};
    xc_interface *xc = xc_interface_open(logger, NULL, 0);
    int rc = OK;

    if (!xc)
        return error_errno(e, "libxenctrl");
    if (xc_shadow_control(xc, d->domid, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, NULL, 0) < 0) {
        rc = error_errno(e, "follow what it writes to");
    } else {
        while (nanosleep(&sample, &sample) < 0 && errno == EINTR)
            ;
        if (xc_logdirty_control(xc, d->domid, XEN_DOMCTL_SHADOW_OP_CLEAN, NULL, 0, 0, &stats) < 0)
            rc = error_errno(e, "read what it wrote to");
        xc_shadow_control(xc, d->domid, XEN_DOMCTL_SHADOW_OP_OFF, NULL, 0);
    }
    *pages = stats.dirty_count;
    xc_interface_close(xc);
    return rc;
}

bool xen_ram_is_followed(xentoollog_logger *logger, uint32_t domid)
{
    xc_interface *xc = xc_interface_open(logger, NULL, 0);
    bool already;

    if (!xc)
        return false;
    already = xc_shadow_control(xc, domid, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, NULL, 0) < 0 &&
              errno == EINVAL;
    xc_interface_close(xc);
    return already;
}

void xen_ram_forget_dirty(xentoollog_logger *logger, uint32_t domid)
{
    xc_interface *xc = xc_interface_open(logger, NULL, 0);

    if (!xc)
        return;
    xc_shadow_control(xc, domid, XEN_DOMCTL_SHADOW_OP_OFF, NULL, 0);
    xc_interface_close(xc);
}

/* ---- reading it ---- */

struct reader {
    xc_interface *xc;
    xenforeignmemory_handle *memory;
    const struct domain *d;
    struct xc_domain_meminfo pv; /* of a PV domain: the machine's frames that are its own */
};

/* A frame by which the hypervisor knows the domain's frame `n`; ~0: it has none. */
static xen_pfn_t frame_of(const struct reader *r, uint64_t n)
{
    if (!r->pv.p2m_table)
        return FIRST_FRAME + n;
    return n < r->pv.p2m_size ? r->pv.p2m_table[n] : ~(xen_pfn_t)0;
}

static int write_batch(const struct reader *r, const xen_pfn_t *frames, size_t count, int fd,
                       struct error *e)
{
    int errors[BATCH_PAGES], rc = OK;
    char *base = xenforeignmemory_map(r->memory, r->d->domid, PROT_READ, count, frames, errors);

    if (!base)
        return error_errno(e, "map its RAM");
    for (size_t i = 0, n; rc == OK && i < count; i += n) {
        for (n = 0; i + n < count && !errors[i + n];)
            n++;
        if (n && write_full(fd, base + i * DOMAIN_PAGE_BYTES, n * DOMAIN_PAGE_BYTES) < 0)
            rc = error_errno(e, "write its RAM");
        /* A hole. */
        n += n == 0;
    }
    xenforeignmemory_unmap(r->memory, base, count);
    return rc;
}

static int read_pages(const struct reader *r, int fd, uint64_t max_pages, uint64_t *pages,
                      struct error *e)
{
    uint64_t next = 0, all = r->d->memory_bytes / DOMAIN_PAGE_BYTES;

    *pages = 0;
    while (*pages < max_pages && next + FIRST_FRAME < all) {
        xen_pfn_t frames[BATCH_PAGES];
        size_t count = 0;

        for (; count < BATCH_PAGES && next + FIRST_FRAME < all; next++) {
            frames[count] = frame_of(r, next);
            count += frames[count] != ~(xen_pfn_t)0;
        }
        if (count && write_batch(r, frames, count, fd, e) < 0)
            return e->status;
        *pages += count;
    }
    return OK;
}

int xen_ram_read(xentoollog_logger *logger, const struct domain *d, int fd, uint64_t max_pages,
                 uint64_t *pages, struct error *e)
{
    struct reader r = {
        .xc = xc_interface_open(logger, NULL, 0),
        .memory = xenforeignmemory_open(logger, 0),
        .d = d,
    };
    int rc;

    if (!r.xc || !r.memory)
        rc = error_errno(e, "libxenctrl");
    else if (strcmp(d->type, "pv") == 0 && xc_map_domain_meminfo(r.xc, d->domid, &r.pv) < 0)
        rc = error_errno(e, "the map of its RAM");
    else
        rc = read_pages(&r, fd, max_pages, pages, e);
    if (r.pv.p2m_table)
        xc_unmap_domain_meminfo(r.xc, &r.pv);
    if (r.memory)
        xenforeignmemory_close(r.memory);
    if (r.xc)
        xc_interface_close(r.xc);
    return rc;
}
