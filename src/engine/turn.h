/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshots that are started at the same time, as by cron for each guest, wait for a turn, so that
 * what they take of this host (memory, LVM's lock, the disks' attention) is bounded. A turn is a
 * lock (flock) on one of so many files in the engine's lock_dir: it ends with who holds it.
 */
#ifndef ENGINE_TURN_H
#define ENGINE_TURN_H

#include "base/error.h"

#define TURNS_MAX 64

/* Wait until fewer than `at_once` (1 to TURNS_MAX) others have one, and take it: `*turn` is a
 * descriptor, to be closed when the work is done. CANCELLED: by the user, while it waited. */
int turn_take(int *turn, const char *lock_dir, unsigned at_once, struct error *e);

#endif
