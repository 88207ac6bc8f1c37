/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process that stands by while a guest may be paused. If domsnap dies then, or the guest is
 * paused for longer than allowed, it lets the guest's requests through and resumes it. It has all
 * that it needs before: its own connection to the toolstack, the journal's entry, its memory
 * locked. It is started before domsnap opens what takes memory, for its own can't be reclaimed.
 *
 *     start → brief → arm → (the guest is paused) → disarm → stop
 *
 * Between brief and arm it releases the guest if domsnap dies.
 *
 * It also sees when the guest stopped, which the engine, within the save, does not.
 */
#ifndef ENGINE_GUARDIAN_H
#define ENGINE_GUARDIAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/journal.h"

struct guardian;

/* Start it. It is a fork: there must be no other thread that matters. `journal` is open, so that
 * the domain's lock is the guardian's too; it may have no entry yet. */
int guardian_start(struct guardian **g, const struct engine *engine, const struct journal *journal,
                   struct error *e);

/* Have it read the journal's entry, which names the domain and the volumes; its phase is "let-go"
 * once the guardian has done its work after a death. `suspends`: the guest, not only its disks, is
 * to be paused. */
int guardian_brief(struct guardian *g, bool suspends, struct error *e);

/* From here on it watches. If the guest is not suspended, its disks are held back from now on. */
void guardian_arm(struct guardian *g);

/* The guest may be paused for `ms` more from now, or, before it has stopped, from when it does;
 * 0: for ever. */
void guardian_allow_ms(struct guardian *g, uint32_t ms);

/* When the guest was seen to stop, or to be held back (CLOCK_MONOTONIC); 0 if it was not. */
uint64_t guardian_stopped_ns(const struct guardian *g);

/* Whether it has let the guest go on already: then there is no instant to be fixed any more. */
bool guardian_has_fired(const struct guardian *g);

/* Whether it has, and the guest runs on since: who stops it from then on is somebody else. Waits
 * until it is done, or dead. */
bool guardian_has_let_go(struct guardian *g);

/* The caller resumes the guest itself, and, if it dies over that, the guardian. False: too late,
 * the guardian has done it, and what was saved is of no use. */
bool guardian_disarm(struct guardian *g);

/* End it and free; NULL is fine. */
void guardian_stop(struct guardian *g);

#endif
