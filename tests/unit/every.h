/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_EVERY_H
#define TESTS_EVERY_H

#include <stdlib.h>

/* $EVERY: of many places only each so-many-th is tried, since with a sanitizer all of them would
 * take a quarter of an hour. */
static inline unsigned every(void)
{
    const char *set = getenv("EVERY");
    unsigned n = set ? (unsigned)strtoul(set, NULL, 10) : 1;

    return n ? n : 1;
}

#endif
