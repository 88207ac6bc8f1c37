/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An xl configuration file, as `xl create` takes it (xl.cfg(5)), from libxl's JSON form of a
 * domain's configuration. xl keeps only the JSON of a running domain; the file it was started from
 * may have changed or be gone.
 */
#ifndef DOMAIN_XLCFG_H
#define DOMAIN_XLCFG_H

#include <jansson.h>

#include "base/error.h"

/*
 * The text, to free(). Settings that xl.cfg(5) has no word for, or that we don't know, are listed
 * at its end as comments ("# not carried over: b_info.iomem"), never dropped silently. Nothing in
 * `config` is trusted; a value that can't be written in xl's syntax (both kinds of quotes, a
 * newline) is not carried over either. Fails only without a name, or without memory.
 */
int xlcfg_from_json(const json_t *config, char **text, struct error *e);

/* What such a text says that it does not carry over, "b_info.iomem, nics[0].bridge", to free();
 * NULL: nothing. */
char *xlcfg_left_out(const char *text);

#endif
