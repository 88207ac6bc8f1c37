/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's lock: the file lock_dir/DOMAIN.lock, locked twice. The one (flock) is held by a run
 * and by all that it has begun and that may outlive it: its guardian, an LVM command. The other (a
 * record lock, which no child inherits) tells whether the run itself is alive.
 */
#ifndef ENGINE_LOCK_H
#define ENGINE_LOCK_H

#include "base/error.h"

/*
 * Take it: `*lock` is a descriptor, to be closed, the only one of this process on that file. BUSY:
 * another run is at work on the domain, and is named; or what one that died has begun has not ended
 * within a minute. CANCELLED: by the user, within that.
 */
int lock_domain(int *lock, const char *lock_dir, const char *domain, struct error *e);

#endif
