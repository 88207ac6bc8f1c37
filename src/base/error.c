/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

const char *status_name(enum status status)
{
    switch (status) {
    case OK:
        return "ok";
    case FAILED:
        return "failed";
    case USAGE:
        return "usage";
    case NOT_FOUND:
        return "not-found";
    case UNSUPPORTED:
        return "unsupported";
    case BUSY:
        return "busy";
    case NO_SPACE:
        return "no-space";
    case DAMAGED:
        return "damaged";
    case TIMED_OUT:
        return "timed-out";
    case CANCELLED:
        return "cancelled";
    case AGAIN:
        return "again";
    case NEEDS_RECOVER:
        return "needs-recover";
    }
    return "failed";
}

static enum status status_of_errno(int err)
{
    switch (err) {
    case ENOENT:
    case ENXIO:
        return NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
        return NO_SPACE;
    case EBUSY:
        return BUSY;
    default:
        return FAILED;
    }
}

/* Names and words of guests, files and other programs are in it. */
static void write_text(struct error *e, size_t at, const char *fmt, va_list ap)
{
    vsnprintf(e->text + at, sizeof e->text - at, fmt, ap);
    text_make_plain(e->text + at);
}

int error_set(struct error *e, enum status status, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    write_text(e, 0, fmt, ap);
    va_end(ap);
    e->status = status;
    return status;
}

int error_errno(struct error *e, const char *fmt, ...)
{
    int err = errno;
    va_list ap;
    size_t len;

    va_start(ap, fmt);
    write_text(e, 0, fmt, ap);
    va_end(ap);
    len = strlen(e->text);
    snprintf(e->text + len, sizeof e->text - len, ": %s", strerror(err));
    e->status = status_of_errno(err);
    return e->status;
}

int error_out_of_memory(struct error *e)
{
    return error_set(e, NO_SPACE, "out of memory");
}

int error_prefix(struct error *e, const char *fmt, ...)
{
    char old[sizeof e->text];
    va_list ap;
    size_t len;

    memcpy(old, e->text, sizeof old);
    va_start(ap, fmt);
    write_text(e, 0, fmt, ap);
    va_end(ap);
    len = strlen(e->text);
    snprintf(e->text + len, sizeof e->text - len, ": %s", old);
    return e->status;
}

int error_append(struct error *e, const char *fmt, ...)
{
    size_t len = strlen(e->text);
    va_list ap;

    if (len + 3 < sizeof e->text) {
        memcpy(e->text + len, "; ", 3);
        va_start(ap, fmt);
        write_text(e, len + 2, fmt, ap);
        va_end(ap);
    }
    return e->status;
}
