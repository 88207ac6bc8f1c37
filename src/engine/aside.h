/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A disk that a restore has begun to write is not whole until all of it is written. Until then its
 * volume has another name, under which no configuration finds it: so nobody can start a guest from
 * it, neither xendomains nor libvirt, a cluster or a person, after a power cut too and in whatever
 * order the host's services run.
 *
 * The journal's entry of a restore has a list "aside", with each volume that can be renamed:
 *
 *     { "path": of the disk in the guest's configuration, "driver": of the volume,
 *       "from": its own name, "to": its name until it is whole }
 */
#ifndef ENGINE_ASIDE_H
#define ENGINE_ASIDE_H

#include "engine/engine.h"

/* The record of the disk `path` in an entry's list `aside`, and the other name that its volume may
 * have, both borrowed; NULL: there is none. */
json_t *aside_record(const json_t *aside, const char *path);
const char *aside_name(const json_t *aside, const char *path);

/* Add a volume under its own name, of the disk `path`. One that can't be renamed is not added, and
 * that is said. */
int aside_add(json_t *aside, const char *path, const struct volume *v, struct error *e);

/* Give all of them their own names back. Those that have them are fine. */
int aside_put_back(const struct engine *engine, const json_t *aside, struct error *e);

#endif
