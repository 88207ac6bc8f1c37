/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that had a medium in a drive which is gone since can't be started until the drive is
 * empty: its configuration is changed on its way to the toolstack.
 */
#ifndef ENGINE_EJECT_H
#define ENGINE_EJECT_H

#include "domain/driver.h"

/* In the toolstack's JSON. */
void eject_from_json(json_t *config);

/* In a save file, from one descriptor to another, such as pipes. */
int eject_from_save(int from, int to, struct error *e);

/* In xl's format, as xlcfg_from_json() writes it: `*fd` reads it, and is replaced. */
int eject_from_config(const struct domain_driver *domains, int *fd, struct error *e);

/* The text of an xl configuration, to free(); `fd` reads it from its beginning, and its offset
 * stays. */
int config_read(int fd, char **text, uint64_t *bytes, struct error *e);

#endif
