/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errors. Every function that can fail returns 0 or a negative `enum status`, and describes
 * the failure in a `struct error` that its caller owns. The message gains context on its way
 * up ("create linux01: volume xenvols/linux01: lvcreate: exit 5: insufficient free space")
 * and is printed once, by the command line. A message says what failed, why, and what the
 * user can do.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum status {
    OK = 0,
    FAILED = -1,        /* anything without a more telling name */
    USAGE = -2,         /* the request makes no sense; nothing was looked at */
    NOT_FOUND = -3,     /* what was named does not exist */
    UNSUPPORTED = -4,   /* it exists, but this can't be done with it */
    BUSY = -5,          /* somebody else is using it */
    NO_SPACE = -6,      /* a file system, volume group or memory is full */
    DAMAGED = -7,       /* data are not what they were when written */
    TIMED_OUT = -8,     /* a deadline passed */
    CANCELLED = -9,     /* the user asked to stop */
    AGAIN = -10,        /* somebody came in between; a second try may succeed */
    NEEDS_RECOVER = -11 /* it could not be undone: `domsnap recover` has work to do */
};

struct error {
    enum status status;
    char text[2048]; /* cut, never overrun; ends in NUL; without control characters */
};

/* The name of `status` as it stands in JSON output ("no-space"). */
const char *status_name(enum status status);

/* Both replace what `e` held and return the status, so that a failing function can end in
 * `return error_set(...)`. error_errno() appends errno's text and derives the status from it. */
int error_set(struct error *e, enum status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int error_errno(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* NO_SPACE: there was no memory. */
int error_out_of_memory(struct error *e);

/* Put "context: " in front of the message; returns its status. */
int error_prefix(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Append "; more" to the message, for a second thing the user must know; returns its status. */
int error_append(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
