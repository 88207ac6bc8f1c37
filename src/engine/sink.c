/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/sink.h"

#include "base/interrupt.h"

const struct sink_driver *sink_driver_of(const struct create_target *to)
{
    return to->folder ? &sink_folder : &sink_repository;
}

int sink_commit(const struct sink_driver *driver, struct sink *k, struct journal *j,
                struct create_stats *stats, struct error *e)
{
    struct error ignored;

    if (driver->finish(k, stats, e) < 0 || interrupt_check(e) < 0)
        return e->status;
    /* Of a folder several files get their names: from here on recover goes forward. A repository's
     * record has its name in one step. */
    if (json_object_get(j->entry, "folder") && journal_phase(j, PHASE_PUBLISH, e) < 0) {
        /* What fails is undone. The phase may be on the disk all the same. */
        journal_phase(j, PHASE_RUNNING, &ignored);
        return e->status;
    }
    return driver->publish(k, e);
}
