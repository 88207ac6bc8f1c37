/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/time.h"
#include "cli/cli.h"

static bool json_wanted, verbose;

/* ---- options that every command has ---- */

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    (void)arg, (void)state;
    switch (key) {
    case 'j':
        json_wanted = true;
        return 0;
    case 'v':
        verbose = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option options[] = {
    {"json", 'j', NULL, 0, "print the result as one JSON object", 1},
    {"verbose", 'v', NULL, 0, "say how it is done", 1},
    {0},
};

static const struct argp common = {options, parse_common, NULL, NULL, NULL, NULL, NULL};

const struct argp_child common_options[] = {{&common, 0, NULL, 0}, {0}};

/* ---- log and progress: both write to stderr, a line at a time ---- */

static pthread_mutex_t terminal = PTHREAD_MUTEX_INITIALIZER; /* guards the last line */
static bool line_is_open; /* a progress line without its newline */

static void clear_line(void)
{
    if (line_is_open)
        fputs("\r\033[K", stderr);
    line_is_open = false;
}

static void print_log(enum log_level level, const char *line)
{
    if (level == LOG_LEVEL_DEBUG && !verbose)
        return;
    pthread_mutex_lock(&terminal);
    clear_line();
    fprintf(stderr, "domsnap: %s%s\n", level == LOG_LEVEL_WARNING ? "warning: " : "", line);
    pthread_mutex_unlock(&terminal);
}

static struct {
    struct engine *engine;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool running, stop;
} show = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void show_progress(uint64_t phase_began_ns, const char *phase)
{
    uint64_t done = atomic_load(&show.engine->progress.done_bytes);
    uint64_t total = atomic_load(&show.engine->progress.total_bytes);
    double seconds = (double)(time_monotonic_ns() - phase_began_ns) / 1e9;

    pthread_mutex_lock(&terminal);
    clear_line();
    line_is_open = true;
    fprintf(stderr, "%s", phase);
    if (done && seconds > 0)
        fprintf(stderr, "  %s  %s/s", cli_size(done), cli_size((uint64_t)((double)done / seconds)));
    if (done && total >= done && total)
        fprintf(stderr, "  %d %%  %.0f s left", (int)(done * 100 / total),
                (double)(total - done) / ((double)done / seconds));
    fflush(stderr);
    pthread_mutex_unlock(&terminal);
}

static void *show_until_stopped(void *arg)
{
    uint64_t phase_began_ns = 0;
    const char *phase = NULL;

    (void)arg;
    pthread_mutex_lock(&show.lock);
    while (!show.stop) {
        const char *now = atomic_load(&show.engine->progress.phase);
        struct timespec until;

        if (now != phase) {
            phase = now;
            phase_began_ns = time_monotonic_ns();
        }
        if (phase)
            show_progress(phase_began_ns, phase);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 250000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&show.changed, &show.lock, &until);
    }
    pthread_mutex_unlock(&show.lock);
    return NULL;
}

void cli_progress_start(struct engine *engine)
{
    if (!isatty(STDERR_FILENO))
        return;
    show.engine = engine;
    show.stop = false;
    show.running = pthread_create(&show.thread, NULL, show_until_stopped, NULL) == 0;
}

void cli_progress_stop(void)
{
    if (!show.running)
        return;
    pthread_mutex_lock(&show.lock);
    show.stop = true;
    pthread_cond_signal(&show.changed);
    pthread_mutex_unlock(&show.lock);
    pthread_join(show.thread, NULL);
    show.running = false;
    clear_line();
}

/* ---- the engine and the end ---- */

/* Who is not root keeps the journal and the locks at home: what he may do needs no more. */
static void use_own_folders(struct engine *engine)
{
    const char *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME"),
               *run = getenv("XDG_RUNTIME_DIR");
    static char *journal_dir, *lock_dir;

    if (journal_dir || (!home && !state))
        return;
    journal_dir = state && *state ? format_text("%s/domsnap/journal", state)
                                  : format_text("%s/.local/state/domsnap/journal", home);
    lock_dir =
        run && *run ? format_text("%s/domsnap", run) : format_text("%s/../lock", journal_dir);
    if (journal_dir && lock_dir) {
        engine->journal_dir = journal_dir;
        engine->lock_dir = lock_dir;
    }
}

struct engine *cli_engine(void)
{
    static struct engine engine = {
        .volumes = volume_drivers,
        .journal_dir = "/var/lib/domsnap/journal",
        .lock_dir = "/run/domsnap",
    };
    struct error e;

    if (geteuid() != 0)
        use_own_folders(&engine);
    log_set_sink(print_log);
    if (interrupt_catch(&e) < 0)
        log_warning("%s: it can't be stopped by signals", e.text);
    return &engine;
}

const char *cli_repo(const char *option)
{
    const char *set = getenv("DOMSNAP_REPO");

    return option ? option : set && *set ? set : "/var/lib/domsnap/repo";
}

static error_t parse_repo(int key, char *arg, struct argp_state *state)
{
    const char **repo = state->input;

    switch (key) {
    case 'r':
        *repo = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "\"%s\": it takes no arguments; the repository is --repo", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const char *cli_parse_repo(int argc, char **argv, const char *doc)
{
    static const struct argp_option repo_alone[] = {CLI_REPO_OPTION, {0}};
    const struct argp argp = {repo_alone, parse_repo, "", doc, common_options, NULL, NULL};
    const char *repo = NULL;

    argp_parse(&argp, argc, argv, 0, NULL, &repo);
    return cli_repo(repo);
}

void cli_split_ref(char *arg, const char **domain, const char **name)
{
    char *at = strchr(arg, '@');

    *domain = arg;
    *name = at ? at + 1 : NULL;
    if (at)
        *at = '\0';
}

static int exit_status(int rc)
{
    switch (rc) {
    case OK:
        return 0;
    case USAGE:
        return 2;
    case NEEDS_RECOVER:
        return 3;
    default:
        return 1;
    }
}

/* JSON takes UTF-8 alone, and the names and words of others that a message quotes may be anything.
 */
json_t *cli_text(const char *text)
{
    json_t *json = json_string(text);
    char *ascii = json ? NULL : strdup(text);

    for (char *p = ascii; p && *p; p++)
        *p = (unsigned char)*p < 0x80 ? *p : '?';
    if (ascii)
        json = json_string(ascii);
    free(ascii);
    return json;
}

json_t *cli_fault(const char *kind, const char *ref, const struct error *why)
{
    return json_pack("{s:s, s:o, s:s, s:o}", "kind", kind, "ref", cli_text(ref), "status",
                     status_name(why->status), "message", cli_text(why->text));
}

void cli_print_fault(const json_t *fault)
{
    const char *status = json_string_value(json_object_get(fault, "status"));
    const char *kind = json_string_value(json_object_get(fault, "kind"));
    const char *ref = json_string_value(json_object_get(fault, "ref"));
    const char *message = json_string_value(json_object_get(fault, "message"));

    printf("%-8s %s %s: %s\n", strcmp(status, status_name(DAMAGED)) == 0 ? "DAMAGED" : "NOT READ",
           kind, ref, message);
}

static json_t *error_to_json(const struct error *e)
{
    return json_pack("{s:s, s:o}", "status", status_name(e->status), "message", cli_text(e->text));
}

int cli_finish(int rc, const struct error *e, json_t *json, void (*print)(void *arg), void *arg)
{
    cli_progress_stop();
    engine_disconnect(cli_engine());
    if (json_wanted) {
        if (!json)
            json = json_object();
        json_object_set_new(json, "schema", json_integer(CLI_SCHEMA));
        if (rc < 0)
            json_object_set_new(json, "error", error_to_json(e));
        json_dumpf(json, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (print) {
        print(arg);
    }
    if (rc < 0)
        fprintf(stderr, "domsnap: %s\n", e->text);
    json_decref(json);
    if (fflush(stdout) != 0 && rc == OK) {
        fprintf(stderr,
                "domsnap: done, but its result could not be printed: standard output: %m\n");
        return 4;
    }
    return exit_status(rc);
}

const char *cli_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    static _Thread_local char texts[4][32];
    static _Thread_local unsigned next;
    char *text = texts[next++ % 4];
    double n = (double)bytes;
    size_t unit = 0;

    while (n >= 1024 && unit < 5) {
        n /= 1024;
        unit++;
    }
    snprintf(text, sizeof texts[0], unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
    return text;
}

static void print_file(const char *what, const struct manifest_file *f, const char *note)
{
    if (f->file)
        printf("  %-6s %-28s %10s  %s\n", what, f->file, cli_size(f->bytes), note);
    else
        printf("  %-6s %10s  %s\n", what, cli_size(f->bytes), note);
}

void cli_print_manifest(const struct manifest *m)
{
    printf("%s%s%s (%s, %u CPU%s, %s of RAM) as of %s\n", m->domain_name, m->name ? "@" : "",
           m->name ? m->name : "", m->domain_type, m->vcpus, m->vcpus == 1 ? "" : "s",
           cli_size(m->memory_bytes), m->created);
    if (manifest_has(&m->ram))
        print_file("RAM", &m->ram, "");
    for (size_t i = 0; i < m->disk_count; i++)
        print_file(m->disks[i].vdev, &m->disks[i].image, m->disks[i].path);
    if (manifest_has(&m->config))
        print_file("config", &m->config, "");
    for (size_t i = 0; i < m->left_out_count; i++)
        printf("  %-6s left out: %s\n", m->left_out[i].vdev, m->left_out[i].why);
    if (m->pause.total_ns)
        printf(
            "  the guest was paused for %.3f s (RAM %.3f, disks %.3f, resume %.3f), %.3f s after "
            "it was asked\n",
            (double)m->pause.total_ns / 1e9, (double)m->pause.save_ns / 1e9,
            (double)m->pause.disks_ns / 1e9, (double)m->pause.resume_ns / 1e9,
            (double)(m->pause.asked_ns - m->pause.total_ns) / 1e9);
    else if (m->pause.disks_ns)
        printf("  the guest ran on; its requests to the disks waited for %.3f s\n",
               (double)m->pause.disks_ns / 1e9);
}
