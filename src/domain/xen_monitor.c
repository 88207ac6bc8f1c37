/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/xen_monitor.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

/* xl keeps no file with the monitor's process id; it is the process that runs the program xl with
 * its standard output in the domain's log (xl's do_daemonize(), libxl_create_logfile()). One that was migrated
 * here had another name while it came. */
static bool is_monitor_of(int proc, const char *pid, const char *name)
{
    char link[300], exe[PATH_MAX], out[PATH_MAX], log[300], migrated[300];
    ssize_t n;

    snprintf(link, sizeof link, "%s/exe", pid);
    n = readlinkat(proc, link, exe, sizeof exe - 1);
    if (n <= 0)
        return false;
    exe[n] = '\0';
    if (n < 3 || strcmp(exe + n - 3, "/xl") != 0)
        return false;
    snprintf(link, sizeof link, "%s/fd/1", pid);
    n = readlinkat(proc, link, out, sizeof out - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    snprintf(log, sizeof log, "/var/log/xen/xl-%s.log", name);
    snprintf(migrated, sizeof migrated, "/var/log/xen/xl-%s--incoming.log", name);
    return strcmp(out, log) == 0 || strcmp(out, migrated) == 0;
}

static void signal_monitors(const char *name, int signo)
{
    AUTO_CLOSEDIR DIR *dir = opendir("/proc");
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]) &&
            is_monitor_of(dirfd(dir), entry->d_name, name)) {
            log_debug("xl's monitor of %s, process %s: SIG%s", name, entry->d_name,
                      sigabbrev_np(signo));
            kill((pid_t)atol(entry->d_name), signo);
        }
}

void xen_monitor_hold(const char *name)
{
    signal_monitors(name, SIGSTOP);
}

void xen_monitor_release(const char *name)
{
    signal_monitors(name, SIGCONT);
}
