/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The head of an xl save file: what `xl save` puts before libxl's stream, so that `xl restore`
 * knows the configuration. Source of the format: Xen's tools/xl/xl.h and xl_saverestore.c.
 *
 *     char magic[32]           "Xen saved domain, xl format\n \0 \r"
 *     u32  byteorder           0x01020304, in the writer's order
 *     u32  mandatory_flags     bit 0: the configuration is JSON; bit 1: stream version 2
 *     u32  optional_flags      0
 *     u32  optional_data_len   bytes that follow, before the stream
 *     u32  config_len          \ in the optional data
 *     char config[config_len]  / JSON, with its NUL
 */
#ifndef DOMAIN_SAVEFILE_H
#define DOMAIN_SAVEFILE_H

#include <stdint.h>

#include "base/error.h"
#include "domain/domain.h"

/* Write the head for a domain with this configuration (libxl's JSON) to `fd`. */
int savefile_write_head(int fd, const json_t *config, struct error *e);

/* Read the head from `fd` and leave the position at the stream's first byte. DAMAGED: it is not
 * such a file, or not one of this machine's byte order. `*config` is the caller's reference. */
int savefile_read_head(int fd, json_t **config, struct error *e);

/* How long the head of the save file `fd` is; errors as above. */
int savefile_head_bytes(int fd, uint64_t *bytes, struct error *e);

#endif
