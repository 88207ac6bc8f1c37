/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scope-bound release of what can be released without failing: memory, descriptors, JSON
 * references. Never for an undo that matters (resuming a guest, dropping a snapshot).
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_closedir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static inline void cleanup_json(json_t **json)
{
    json_decref(*json);
}

#define AUTO_FREE     __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE    __attribute__((cleanup(cleanup_close)))
#define AUTO_CLOSEDIR __attribute__((cleanup(cleanup_closedir)))
#define AUTO_JSON     __attribute__((cleanup(cleanup_json)))

#endif
