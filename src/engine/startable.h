/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether the guest of a snapshot could be started with its RAM: before a restore touches anything. */
#ifndef ENGINE_STARTABLE_H
#define ENGINE_STARTABLE_H

#include "engine/place.h"

/* Ask the toolstack, of which `engine` has a connection, what it thinks of the beginning of the RAM in
 * `place`, which was checked. `replaced` is the domain that will be gone by then; 0: none. */
int startable_check(struct engine *engine, const struct place_driver *driver, struct place *place,
                    const struct manifest *m, uint32_t replaced, struct error *e);

#endif
