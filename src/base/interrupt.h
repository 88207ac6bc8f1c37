/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The user's wish to stop (SIGINT, SIGTERM, SIGHUP). A signal belongs to the process, so
 * this state does too. Long work looks at it between steps, or polls its descriptor.
 */
#ifndef BASE_INTERRUPT_H
#define BASE_INTERRUPT_H

#include "base/error.h"

/* Catch the signals from here on. Programs we start get the default handlers back (execve). */
int interrupt_catch(struct error *e);

/* Readable, for good, once the user wants to stop; -1 before interrupt_catch(). Not to be read. */
int interrupt_fd(void);

/* 0, or CANCELLED with a message. */
int interrupt_check(struct error *e);

#endif
