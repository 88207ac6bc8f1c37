/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shelf/shelf.h"

#include <stdlib.h>

#include "base/text.h"
#include "shelf/sink.h"
#include "shelf/source.h"

const struct sink_driver *sink_driver_of(const struct snapshot_target *to)
{
    return to->folder ? &sink_folder : &sink_repository;
}

const struct source_driver *source_driver_of(const struct snapshot_ref *ref)
{
    return ref->folder ? &source_folder : &source_repository;
}

int shelf_resolve(const char *path, char **absolute, struct error *e)
{
    *absolute = realpath(path, NULL);
    if (!*absolute)
        return error_errno(e, "%s", path);
    if (text_is_utf8(*absolute))
        return OK;
    free(*absolute);
    *absolute = NULL;
    return error_set(
        e, UNSUPPORTED,
        "the path of %s is not UTF-8, so the journal can't name it: move it, or mount it "
        "elsewhere too (mount --bind)",
        path);
}
