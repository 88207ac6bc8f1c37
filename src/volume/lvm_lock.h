/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LVM's own lock of a volume group: each of its commands holds it while it changes anything there.
 * (Of a group that is shared with other hosts it is not all; those are refused.) Who holds it must
 * not run a command of LVM's on that group, unless that is told --nolocking.
 */
#ifndef VOLUME_LVM_LOCK_H
#define VOLUME_LVM_LOCK_H

#include "base/error.h"

/* The folder of all such locks (lvm.conf's locking_dir), to free(). */
int lvm_lock_dir(char **dir, struct error *e);

/* Take the lock, in that folder, of the volume group that has the volume of this UUID, by whatever
 * name the group goes now: `*lock` is a descriptor, to be closed. BUSY: a command of LVM's has held
 * it for `timeout_ms`. */
int lvm_lock_take(const char *dir, const char *uuid, int timeout_ms, int *lock, struct error *e);

#endif
