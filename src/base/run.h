/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Running other programs. Never a shell; an argument array, a clean
 * environment (PATH of the system's folders, LC_ALL=C), no descriptor but those named, its own
 * process group (so that Ctrl-C on a terminal reaches us alone), and a deadline.
 */
#ifndef BASE_RUN_H
#define BASE_RUN_H

#include <stdbool.h>

#include "base/error.h"

struct run {
    const char *const *argv; /* argv[0] is looked up in the system's PATH; NULL-terminated */
    unsigned timeout_s;      /* after which it is killed and TIMED_OUT returned */
    int in_fd;               /* its standard input, borrowed; 0: /dev/null */
    int out_fd;              /* its standard output, borrowed; 0: `out` */
    char **out;              /* that, NUL-terminated, to free(); may be NULL */
    bool holds;              /* it has, to its end, what run_hold() was given */
};

/* A descriptor, borrowed, of a lock that is not to be free before programs that hold it have ended,
 * should we be killed meanwhile. -1: none. One that leaves a daemon behind must not hold it. */
void run_hold(int fd);

/*
 * Run it to its end. A program that can't be started, dies, or exits with another status than 0
 * gives an error that names it and ends in the last lines of its standard error (of the first 64
 * KiB). A standard output beyond 16 MiB is an error. The wish to stop (interrupt.h) does not end
 * it: what we run is short, and half an lvcreate is worse than a whole one.
 */
int run_program(const struct run *run, struct error *e);

#endif
