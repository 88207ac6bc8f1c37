/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int event_fd = -1;
static volatile sig_atomic_t caught;

static void on_signal(int signo)
{
    int saved = errno;
    uint64_t one = 1;

    caught = signo;
    if (write(event_fd, &one, sizeof one) < 0) {
        /* The counter is full: it is readable already. */
    }
    errno = saved;
}

int interrupt_catch(struct error *e)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0)
        return error_errno(e, "eventfd");
    sigfillset(&sa.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;

        /* What nohup(1) or a parent ignores on purpose stays ignored. */
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        if (sigaction(signals[i], &sa, NULL) < 0)
            return error_errno(e, "sigaction");
    }
    signal(SIGPIPE, SIG_IGN);
    return OK;
}

int interrupt_fd(void)
{
    return event_fd;
}

int interrupt_check(struct error *e)
{
    if (!caught)
        return OK;
    return error_set(e, CANCELLED, "stopped by signal %s", sigabbrev_np(caught));
}
