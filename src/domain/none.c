/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The driver of a program that links no hypervisor's library, and how such a program finds one that
 * does.
 */
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "domain/driver.h"

#define LINE_BYTES 16

/* The first line of a small file; "" if there is none. */
static void read_line(const char *path, char line[static LINE_BYTES])
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, line, LINE_BYTES - 1) : 0;

    line[n > 0 ? n : 0] = '\0';
    line[strcspn(line, "\n")] = '\0';
}

int domain_xen_version(char version[static DOMAIN_XEN_VERSION_TEXT], struct error *e)
{
    char line[LINE_BYTES], minor[LINE_BYTES];

    read_line("/sys/hypervisor/type", line);
    if (strcmp(line, "xen") != 0)
        return error_set(e, UNSUPPORTED,
                         "this machine does not run Xen; boot it with the Xen hypervisor "
                         "(package xen-system-amd64) first");
    /* In a guest xenfs has no such word. */
    read_line("/proc/xen/capabilities", line);
    if (strcmp(line, "control_d") != 0)
        return error_set(e, UNSUPPORTED,
                         "this is not Xen's dom0, or xenfs is not mounted at /proc/xen");
    read_line("/sys/hypervisor/version/major", line);
    read_line("/sys/hypervisor/version/minor", minor);
    snprintf(version, DOMAIN_XEN_VERSION_TEXT, "%s.%s", line, minor);
    return OK;
}

char *domain_xen_program(const char *folder, const char *version)
{
    AUTO_FREE char *pattern = format_text("%s/xen-%s/domsnap-xen", folder, version ? version : "*");
    const char *newest = NULL;
    char *program;
    glob_t found;

    if (!pattern || glob(pattern, 0, NULL, &found) != 0)
        return NULL;
    for (size_t i = 0; i < found.gl_pathc; i++)
        if (access(found.gl_pathv[i], X_OK) == 0 &&
            (!newest || strverscmp(found.gl_pathv[i], newest) > 0))
            newest = found.gl_pathv[i];
    program = newest ? strdup(newest) : NULL;
    globfree(&found);
    return program;
}

/* UNSUPPORTED would say that no guest can be in the way. */
static int none_open(struct domain_host **host, struct error *e)
{
    char version[DOMAIN_XEN_VERSION_TEXT];

    (void)host;
    if (domain_xen_version(version, e) < 0)
        return e->status;
    return error_set(e, FAILED,
                     "this machine runs Xen %s, and the part of domsnap for that is not installed "
                     "(package domsnap-xen-%s)",
                     version, version);
}

static int none_describe_config(const char *text, size_t bytes, const char *file, struct domain *d,
                                struct error *e)
{
    char version[DOMAIN_XEN_VERSION_TEXT] = DOMSNAP_XEN;
    struct error ignored;

    (void)text, (void)bytes, (void)d;
    domain_xen_version(version, &ignored);
    return error_set(e, UNSUPPORTED,
                     "%s: a configuration of xl's can't be read without the package domsnap-xen-%s",
                     file, version);
}

const struct domain_driver domain_none = {
    .name = "none",
    .open = none_open,
    .describe_config = none_describe_config,
};
