/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest of a snapshot is started, once its disks are there: with its RAM, which goes through a
 * pipe into the toolstack's own restore; or it boots, from its configuration.
 */
#ifndef ENGINE_LAUNCH_H
#define ENGINE_LAUNCH_H

#include "engine/engine.h"
#include "shelf/source.h"

struct launch {
    struct engine *engine; /* with a connection */
    const struct source_driver *driver;
    struct source *source; /* which was checked */
    const struct manifest *m;
    bool boot;    /* though there is RAM */
    bool eject;   /* drives whose file is gone are left empty (eject.h) */
    bool any_cpu; /* of struct domain_start */
    int held_fd;  /* of struct domain_launch */
};

/* Whether it starts with its RAM. */
bool launch_has_ram(const struct launch *l);

/* Whether it could be started, as far as that can be told before anything is touched. `replaced` is
 * the domain that will be gone by then; 0: none. */
int launch_check(const struct launch *l, uint32_t replaced, struct error *e);

/* Tell, before anything is touched, what of the guest is not brought back when it boots: its RAM;
 * what its configuration says that it does not carry over (xlcfg.h). */
int launch_tell_losses(const struct launch *l, struct error *e);

/* Start it, and leave it paused. */
int launch_start(const struct launch *l, struct error *e);

#endif
