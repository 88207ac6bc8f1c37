/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/xen_saver.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* The beginning of a file in /proc of a process of root's, with a NUL; its length, or -1. */
static ssize_t read_of(int proc, const char *pid, const char *name, char *buf, size_t size)
{
    char path[300];
    AUTO_CLOSE int fd = -1;
    struct stat st;
    ssize_t n;

    snprintf(path, sizeof path, "%s/%s", pid, name);
    fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 || fstat(fd, &st) < 0 || st.st_uid != 0 ? -1 : read(fd, buf, size - 1);
    buf[n < 0 ? 0 : n] = '\0';
    return n;
}

/* As libxl starts it: …/libxl-save-helper --save-domain DESCRIPTOR DESCRIPTOR DOMID … */
static bool is_saver_of(int proc, const char *pid, uint32_t domid)
{
    const char *argv[5] = {"", "", "", "", ""};
    char line[512], number[16];
    ssize_t n = read_of(proc, pid, "cmdline", line, sizeof line);
    const char *at = line;

    for (int i = 0; i < 5 && at < line + n; i++, at += strlen(at) + 1)
        argv[i] = at;
    snprintf(number, sizeof number, "%u", domid);
    return strstr(argv[0], "/libxl-save-helper") && strcmp(argv[1], "--save-domain") == 0 &&
           strcmp(argv[4], number) == 0;
}

static bool is_child(int proc, const char *pid)
{
    char stat[512];
    int parent = -1;

    /* "1234 (comm) S 1", where comm may be anything. */
    if (read_of(proc, pid, "stat", stat, sizeof stat) > 0 && strrchr(stat, ')'))
        sscanf(strrchr(stat, ')'), ") %*c %d", &parent);
    return parent == getpid();
}

pid_t xen_other_saver(uint32_t domid)
{
    AUTO_CLOSEDIR DIR *dir = opendir("/proc");
    struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]) &&
            is_saver_of(dirfd(dir), entry->d_name, domid) && !is_child(dirfd(dir), entry->d_name))
            return (pid_t)atol(entry->d_name);
    return 0;
}
