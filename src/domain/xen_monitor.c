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
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

/* What of a log is looked at: its end. A monitor writes some hundred bytes a reboot. */
#define LOG_TAIL_BYTES (1 << 20)

/* Read a link below /proc/PID. False: there is none, or it may not be read. */
static bool read_link(int process, const char *name, char to[static PATH_MAX])
{
    ssize_t n = readlinkat(process, name, to, PATH_MAX - 1);

    to[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* An upgrade of its package replaces the file that it runs. */
static bool runs_xl(int process)
{
    char exe[PATH_MAX];

    return read_link(process, "exe", exe) &&
           (ends_with(exe, "/xl") || ends_with(exe, "/xl (deleted)"));
}

/* The end of its standard output, if that is a file, to free(): whatever its name is by now. */
static char *read_log(int process)
{
    AUTO_CLOSE int fd = -1;
    struct stat st;
    char *text;
    off_t from;

    if (fstatat(process, "fd/1", &st, 0) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    fd = openat(process, "fd/1", O_RDONLY | O_CLOEXEC);
    from = st.st_size > LOG_TAIL_BYTES ? st.st_size - LOG_TAIL_BYTES : 0;
    text = fd < 0 ? NULL : calloc(1, (size_t)(st.st_size - from) + 1);
    if (text && pread_full(fd, text, (size_t)(st.st_size - from), (uint64_t)from) == 0)
        return text;
    free(text);
    return NULL;
}

/*
 * The domain that it says it waits for, each time anew after a reboot (xl's create_domain()):
 *
 *     Waiting for domain linux01 (domid 7) to die [pid 1234]
 */
static bool waits_for(const char *log, long pid, uint32_t *domid)
{
    bool found = false;

    for (const char *p = log; (p = strstr(p, "(domid ")); p++) {
        uint32_t number;
        long writer;

        if (sscanf(p, "(domid %u) to die [pid %ld]", &number, &writer) == 2 && writer == pid) {
            *domid = number;
            found = true;
        }
    }
    return found;
}

/* A log that was emptied still has its name: "xl-linux01.log", or "xl-linux01.log.1". A guest that
 * was migrated here has "xl-linux01--incoming.log". */
static bool has_log_of(int process, const char *name)
{
    static const char *const ends[] = {".log", "--incoming.log"};
    char path[PATH_MAX];
    const char *file;

    if (!read_link(process, "fd/1", path))
        return false;
    file = strrchr(path, '/');
    file = file ? file + 1 : path;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        AUTO_FREE char *log = format_text("xl-%s%s", name, ends[i]);
        size_t len = log ? strlen(log) : 0;

        if (log && strncmp(file, log, len) == 0 && (!file[len] || strchr(". ", file[len])))
            return true;
    }
    return false;
}

static bool is_monitor_of(int process, long pid, const char *name, uint32_t domid)
{
    AUTO_FREE char *log = NULL;
    uint32_t waited_for;

    if (!runs_xl(process))
        return false;
    log = read_log(process);
    if (log && waits_for(log, pid, &waited_for))
        return waited_for == domid;
    return has_log_of(process, name);
}

/* The descriptor is taken before the look, so that no other process can get the signal. False: it
 * is none, or has ended. */
static bool signal_if_monitor(int proc, const char *entry, const char *name, uint32_t domid,
                              int signo)
{
    long pid = atol(entry);
    AUTO_CLOSE int pidfd = pidfd_open((pid_t)pid, 0);
    AUTO_CLOSE int process = openat(proc, entry, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (pidfd < 0 || process < 0 || !is_monitor_of(process, pid, name, domid))
        return false;
    if (signo)
        log_debug("xl's monitor of %s, process %ld: SIG%s", name, pid, sigabbrev_np(signo));
    return pidfd_send_signal(pidfd, signo, NULL, 0) == 0;
}

/* How many got it; with 0 for a signal, how many there are. */
static unsigned signal_monitors(const char *name, uint32_t domid, int signo)
{
    AUTO_CLOSEDIR DIR *dir = opendir("/proc");
    struct dirent *entry;
    unsigned count = 0;

    while (dir && (entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]))
            count += signal_if_monitor(dirfd(dir), entry->d_name, name, domid, signo);
    return count;
}

bool xen_monitor_lives(const char *name, uint32_t domid)
{
    return signal_monitors(name, domid, 0) > 0;
}

void xen_monitor_hold(const char *name, uint32_t domid)
{
    signal_monitors(name, domid, SIGSTOP);
}

void xen_monitor_release(const char *name, uint32_t domid)
{
    signal_monitors(name, domid, SIGCONT);
}
