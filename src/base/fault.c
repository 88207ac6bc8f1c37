/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

#ifdef DOMSNAP_FAULTS

enum action { NOTHING, KILL, FAIL, WAIT, STOP };

/* The linker's names for the section's ends. */
extern struct fault_point *const __start_fault_points[], *const __stop_fault_points[];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static enum action action;
static struct fault_point *point;
static unsigned at, wait_ms;
static bool struck;
static pid_t owner;

static enum action pass(struct fault_point *p)
{
    enum action what;

    pthread_mutex_lock(&mutex);
    what = ++p->passed == at && p == point ? action : NOTHING;
    struck = struck || what != NOTHING;
    pthread_mutex_unlock(&mutex);
    return what;
}

int fault_pass(struct fault_point *p, struct error *e)
{
    if (getpid() != owner)
        return OK;
    switch (pass(p)) {
    case KILL:
        raise(SIGKILL);
        return OK;
    case FAIL:
        log_note("failing at the fault point \"%s\"", p->name);
        errno = EIO;
        return error_set(e, FAILED, "made to fail at the fault point \"%s\"", p->name);
    case WAIT:
        log_note("waiting at the fault point \"%s\"", p->name);
        nanosleep(&(struct timespec){wait_ms / 1000, wait_ms % 1000 * 1000000}, NULL);
        return OK;
    case STOP:
        log_note("stopping at the fault point \"%s\"", p->name);
        raise(SIGSTOP);
        return OK;
    default:
        return OK;
    }
}

static enum action action_of(const char *word)
{
    return strcmp(word, "kill") == 0   ? KILL
           : strcmp(word, "fail") == 0 ? FAIL
           : strcmp(word, "wait") == 0 ? WAIT
           : strcmp(word, "stop") == 0 ? STOP
                                       : NOTHING;
}

static struct fault_point *point_of(const char *name)
{
    for (struct fault_point *const *p = __start_fault_points; p < __stop_fault_points; p++)
        if (strcmp((*p)->name, name) == 0)
            return *p;
    return NULL;
}

int fault_arm(const char *fault, struct error *e)
{
    char name[64], word[8];

    for (struct fault_point *const *p = __start_fault_points; p < __stop_fault_points; p++)
        (*p)->passed = 0;
    action = NOTHING;
    at = wait_ms = 0;
    owner = getpid();
    if (!fault)
        return OK;
    if (sscanf(fault, "%63s %u %7s %u", name, &at, word, &wait_ms) < 3)
        return error_set(e, USAGE, "\"%s\" is not \"NAME N ACTION\"", fault);
    point = point_of(name);
    action = action_of(word);
    return point && action ? OK : error_set(e, USAGE, "\"%s\": no such fault", fault);
}

bool fault_has_struck(void)
{
    return struck;
}

void fault_each(void (*see)(void *arg, const char *name, unsigned passed), void *arg)
{
    for (struct fault_point *const *p = __start_fault_points; p < __stop_fault_points; p++)
        see(arg, (*p)->name, (*p)->passed);
}

#endif
