/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/fault.h"
#include "base/file.h"
#include "cli/cli.h"

static const struct command *const commands[] = {
    &command_doctor,  &command_init,   &command_create,  &command_list,     &command_show,
    &command_restore, &command_check,  &command_repair,  &command_delete,   &command_gc,
    &command_stats,   &command_import, &command_recover, &command_selftest, NULL,
};

static void print_help(FILE *to)
{
    fputs("Usage: domsnap COMMAND [OPTION...]\n"
          "Snapshots of running Xen guests: RAM and all disks, at one instant.\n\n",
          to);
    for (const struct command *const *c = commands; *c; c++)
        fprintf(to, "  %-9s %s\n", (*c)->name, (*c)->summary);
    fputs("\n  -?, --help     this text; `domsnap COMMAND --help` for a command's\n"
          "  -V, --version  the version\n\n"
          "Exit status: 0 done; 1 failed, and undone, or something is bad; 2 wrong usage; 3 run "
          "`domsnap recover`; 4 done, but the result could not be printed.\n",
          to);
}

const struct command *cli_command(const char *name)
{
    for (const struct command *const *c = commands; *c; c++)
        if (!strcmp(name, (*c)->name))
            return *c;
    return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    char *name = format_text("domsnap %s", command->name);

    argp_err_exit_status = 2;
    argv[0] = name ? name : argv[0];
    return command->run(argc, argv);
}

/* A large repository has more packs than a process may open by default. */
static void allow_many_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#ifdef DOMSNAP_FAULTS
static void print_fault(void *arg, const char *name, unsigned passed)
{
    (void)arg, (void)passed;
    puts(name);
}

static void print_count(void *arg, const char *name, unsigned passed)
{
    if (passed)
        fprintf(arg, "%s %u\n", name, passed);
}

static void write_counts(void)
{
    FILE *to = fopen(getenv("DOMSNAP_FAULT_COUNTS"), "w");

    if (to) {
        fault_each(print_count, to);
        fclose(to);
    }
}

static int arm_fault(void)
{
    struct error e;

    if (getenv("DOMSNAP_FAULT_COUNTS"))
        atexit(write_counts);
    if (fault_arm(getenv("DOMSNAP_FAULT"), &e) == OK)
        return OK;
    fprintf(stderr, "domsnap: DOMSNAP_FAULT: %s\n", e.text);
    return e.status;
}
#endif

int cli_main(int argc, char **argv, const struct domain_driver *domains)
{
    const char *word = argc > 1 ? argv[1] : "";
    const struct command *command = cli_command(word);

#ifdef DOMSNAP_FAULTS
    if (arm_fault() < 0)
        return 2;
    if (!strcmp(word, "--fault-points")) {
        fault_each(print_fault, NULL);
        return 0;
    }
#endif

    if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
        puts("domsnap " DOMSNAP_VERSION);
        return 0;
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-?") || !strcmp(word, "-h") ||
        !strcmp(word, "help")) {
        print_help(stdout);
        return 0;
    }
    /* Each command's help would end in it. */
    setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);
    /* All that we make has the modes we give it. */
    umask(077);
    if (command) {
        cli_engine()->domains = domains;
        allow_many_files();
        return run_command(command, argc - 1, argv + 1);
    }
    if (*word)
        fprintf(stderr, "domsnap: there is no command \"%s\"\n", word);
    print_help(stderr);
    return 2;
}
