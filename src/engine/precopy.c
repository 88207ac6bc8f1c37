/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/precopy.h"

/* So much of a round must be done before its length is told from it. */
#define TELLING_PART 16

void precopy_note(struct precopy *p, const struct save_progress *at, uint64_t now_ns)
{
    double took_ns = (double)(now_ns - p->began_ns);

    if (!p->began_ns || at->round != p->at.round) {
        /* The first round goes through frame numbers that the guest has no RAM at, too. */
        uint64_t written = p->at.total < p->ram_pages ? p->at.total : p->ram_pages;

        if (p->began_ns)
            p->written_pages += written;
        if (p->began_ns && took_ns > 0) {
            p->pages_per_ns = (double)written / took_ns;
            p->dirty_per_ns = (double)at->total / took_ns;
        }
        p->began_ns = now_ns;
    }
    p->at = *at;
}

/* How long the next round takes, after one of `round_ns`. */
static double next_round_ns(double round_ns, uint64_t ram_pages, double pages_per_ns,
                            double dirty_per_ns)
{
    double dirty = dirty_per_ns * round_ns;

    return (dirty < (double)ram_pages ? dirty : (double)ram_pages) / pages_per_ns;
}

uint64_t precopy_pause_ns(const struct precopy *p, uint64_t now_ns)
{
    if (p->at.paused) {
        if (p->at.done < p->at.total / TELLING_PART || !p->at.done)
            return 0;
        return (uint64_t)((double)(now_ns - p->began_ns) * (double)p->at.total /
                          (double)p->at.done);
    }
    if (p->pages_per_ns == 0)
        return 0;
    return (uint64_t)next_round_ns((double)p->at.total / p->pages_per_ns, p->ram_pages,
                                   p->pages_per_ns, p->dirty_per_ns);
}

uint64_t precopy_predict_ns(uint64_t ram_pages, double pages_per_ns, double dirty_per_ns)
{
    double round_ns = (double)ram_pages / pages_per_ns;

    for (int round = 1; round < SAVE_LIVE_ROUNDS && round_ns * pages_per_ns >= SAVE_LAST_PAGES;
         round++)
        round_ns = next_round_ns(round_ns, ram_pages, pages_per_ns, dirty_per_ns);
    return (uint64_t)next_round_ns(round_ns, ram_pages, pages_per_ns, dirty_per_ns);
}
