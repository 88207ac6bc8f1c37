/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fault points: named places right after something outside this process has changed, where a test
 * can have the run die, fail, wait or stop. They are in the program domsnap-faults, and nothing at
 * all in domsnap.
 *
 * A fault is written "NAME N ACTION": at the N-th time (from 1) that this process passes the point
 * NAME, `kill` (SIGKILL to itself), `fail`, `wait MS`, or `stop` (SIGSTOP, until somebody lets it
 * go on). `domsnap-faults --fault-points` lists the names; it takes a fault from $DOMSNAP_FAULT,
 * and writes how often it has passed each point to the file $DOMSNAP_FAULT_COUNTS.
 */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#ifdef DOMSNAP_FAULTS
#include <stdbool.h>
#endif

#include "base/error.h"

#ifdef DOMSNAP_FAULTS

struct fault_point {
    const char *name;
    unsigned passed;
};

/* OK, or FAILED with a message and EIO as errno. A name is used once. */
#define FAULT(point, e)                                                                            \
    ({                                                                                             \
        static struct fault_point fault_here = {point, 0};                                         \
        static struct fault_point *const fault_listed                                              \
            __attribute__((section("fault_points"), used)) = &fault_here;                          \
        fault_pass(fault_listed, e);                                                               \
    })

int fault_pass(struct fault_point *p, struct error *e);

/* Only this process has it, none that it forks. NULL: none; passes are counted only. USAGE: it
 * can't be understood. */
int fault_arm(const char *fault, struct error *e);

bool fault_has_struck(void);

void fault_each(void (*see)(void *arg, const char *name, unsigned passed), void *arg);

#else

#define FAULT(point, e) OK

#endif

#endif
