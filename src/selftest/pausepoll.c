/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pausepoll UUID FILE: watch a domain from outside, each millisecond, independently of domsnap and
 * of xl.
 *
 * Writes to FILE, at SIGTERM or SIGINT, when it began, one line for each interval in which the
 * domain did not run, and a last line with their sum:
 *
 *     start 1764262800.123456
 *     down 1234.567 ms from 10.001 s: suspended gone paused
 *     total 1234.567 ms in 1 intervals, 98765 polls, longest gap between polls 2.1 ms
 *
 * A domain is told by its UUID, since xl restore gives it a new number. It runs when it exists and
 * is neither paused nor shut down (suspended) nor dying.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <xenctrl.h>

#define POLL_NS     1000000
#define DOMAINS_MAX 64

enum state { RUNNING = 0, PAUSED = 1, SUSPENDED = 2, GONE = 4 };

static volatile sig_atomic_t done;

static void on_signal(int signo)
{
    (void)signo;
    done = 1;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static bool parse_uuid(const char *text, uint8_t uuid[16])
{
    for (int i = 0; i < 16; i++) {
        unsigned byte;

        if (*text == '-')
            text++;
        if (sscanf(text, "%2x", &byte) != 1)
            return false;
        uuid[i] = (uint8_t)byte;
        text += 2;
    }
    return *text == '\0';
}

static enum state look(xc_interface *xc, const uint8_t uuid[16])
{
    xc_domaininfo_t info[DOMAINS_MAX];
    int n = xc_domain_getinfolist(xc, 1, DOMAINS_MAX, info);

    for (int i = 0; i < n; i++) {
        if (memcmp(info[i].handle, uuid, 16) != 0 || info[i].flags & XEN_DOMINF_dying)
            continue;
        if (info[i].flags & XEN_DOMINF_shutdown)
            return SUSPENDED;
        return info[i].flags & XEN_DOMINF_paused ? PAUSED : RUNNING;
    }
    return GONE;
}

int main(int argc, char **argv)
{
    uint64_t start_ns, total_ns = 0, down_since_ns = 0, last_ns, longest_gap_ns = 0, polls = 0;
    unsigned intervals = 0, seen = 0;
    struct timespec nap = {0, POLL_NS}, start;
    uint8_t uuid[16];
    xc_interface *xc;
    FILE *out;

    if (argc != 3 || !parse_uuid(argv[1], uuid)) {
        fputs("usage: pausepoll UUID FILE\n", stderr);
        return 2;
    }
    out = fopen(argv[2], "we");
    xc = xc_interface_open(NULL, NULL, 0);
    if (!out || !xc) {
        perror("pausepoll");
        return 1;
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    mlockall(MCL_CURRENT | MCL_FUTURE);
    clock_gettime(CLOCK_REALTIME, &start);
    start_ns = last_ns = now_ns();
    fprintf(out, "start %jd.%06ld\n", (intmax_t)start.tv_sec, start.tv_nsec / 1000);
    fflush(out);
    while (!done) {
        enum state state = look(xc, uuid);
        uint64_t now = now_ns();

        polls++;
        if (now - last_ns > longest_gap_ns)
            longest_gap_ns = now - last_ns;
        last_ns = now;
        if (state != RUNNING) {
            if (!down_since_ns)
                down_since_ns = now;
            seen |= state;
        } else if (down_since_ns) {
            fprintf(out, "down %.3f ms from %.3f s:%s%s%s\n", (double)(now - down_since_ns) / 1e6,
                    (double)(down_since_ns - start_ns) / 1e9, seen & SUSPENDED ? " suspended" : "",
                    seen & GONE ? " gone" : "", seen & PAUSED ? " paused" : "");
            total_ns += now - down_since_ns;
            intervals++;
            down_since_ns = seen = 0;
        }
        nanosleep(&nap, NULL);
    }
    if (down_since_ns)
        fprintf(out, "still down at the end\n");
    fprintf(out,
            "total %.3f ms in %u intervals, %" PRIu64 " polls, longest gap between polls %.1f ms\n",
            (double)total_ns / 1e6, intervals, polls, (double)longest_gap_ns / 1e6);
    return fclose(out) == 0 && !down_since_ns ? 0 : 1;
}
