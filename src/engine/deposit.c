/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/deposit.h"

#include <stdlib.h>

#include "base/interrupt.h"

int deposit_open(struct deposit *p, const struct snapshot_target *to, const struct description *d,
                 bool ram, struct progress *progress, struct manifest *m, struct error *e)
{
    p->disks = calloc(d->disk_count + 1, sizeof *p->disks);
    p->from = calloc(d->disk_count + 1, sizeof *p->from);
    if (!p->disks || !p->from)
        return error_out_of_memory(e);
    for (size_t i = 0; i < d->disk_count; i++) {
        const struct volume *v = d->disks[i].volume;

        p->disks[i] = (struct sink_disk){
            .vdev = d->disks[i].disk->vdev,
            .name = v->name,
            .bytes = v->size_bytes,
            .copy_bytes = v->copy_bytes,
        };
    }
    p->request = (struct sink_request){
        .to = to,
        .domain = d->domain.name,
        .memory_bytes = d->domain.memory_bytes,
        .disks = p->disks,
        .disk_count = d->disk_count,
        .ram = ram,
        .progress = progress,
        .m = m,
    };
    return p->driver->open(&p->sink, &p->request, e);
}

int deposit_put_disks(struct deposit *p, const struct description *d,
                      const struct team_watch *watch, struct error *e)
{
    for (size_t i = 0; i < d->disk_count; i++)
        p->from[i] = d->disks[i].source;
    return p->driver->put_disks(p->sink, p->from, watch, e);
}

int deposit_commit(struct deposit *p, struct journal *j, struct store_stats *stats, struct error *e)
{
    struct error ignored;

    if (p->driver->finish(p->sink, stats, e) < 0 || interrupt_check(e) < 0)
        return e->status;
    /* Of a folder several files get their names: from here on recover goes forward. A repository's
     * record has its name in one step. */
    if (json_object_get(j->entry, "folder") && journal_phase(j, PHASE_PUBLISH, e) < 0) {
        /* What fails is undone. The phase may be on the disk all the same. */
        journal_phase(j, PHASE_RUNNING, &ignored);
        return e->status;
    }
    return p->driver->publish(p->sink, e);
}

void deposit_let_go(struct deposit *p)
{
    if (p->driver->let_go)
        p->driver->let_go(p->sink);
}

void deposit_close(struct deposit *p)
{
    p->driver->close(p->sink);
    free(p->disks);
    free(p->from);
}
