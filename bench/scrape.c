/* SPDX-License-Identifier: MIT */
/*
 * scrape.c - how long a scrape of /metrics takes, above all while the watched loop is stuck; and what the stats server
 * costs in memory.
 *
 *     bench_scrape [SCRAPES]
 *
 * One connection, as a scraper keeps it, with a pause of a millisecond between scrapes. The loop idles, then a request
 * sleeps in it, then one spins in it (with recovery, whose timeout is far away). Prints lines of CSV:
 * question,side,round,value,unit. The bar: p99 at most 10 ms while the loop is stuck.
 */
#include "skink/skink.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAGE_BYTES = 1024 * 1024, SCRAPES_DEFAULT = 2000 };

static _Atomic int stuck;     /* what a request of /stick does: it runs while this is not 0 */
static _Atomic bool in_stick; /* and is there */
static char page[PAGE_BYTES];
static size_t page_length;

_Noreturn static void die(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : err));
    exit(1);
}

static void check(const char *what, int err)
{
    if (err) die(what, err);
}

static void row(const char *side, double value, const char *unit)
{
    printf("scrape,%s,1,%.6g,%s\n", side, value, unit);
    fflush(stdout);
}

static void nap(void)
{
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* ---- the server ---- */

static void handle_stick(skink_request *request, void *arg)
{
    (void)arg;
    atomic_store(&in_stick, true);
    for (int how; (how = atomic_load(&stuck));)
        if (how == 1) nap();
    atomic_store(&in_stick, false);
    (void)!skink_respond_text(request, 200, "free\n");
}

/* From smaps_rollup, which counts; statm is behind by some pages for each thread. */
static double resident_kb(void)
{
    long kb = -1;
    char line[256];
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && kb < 0 && fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %ld kB", &kb) != 1) kb = -1;
    if (kb < 0) die("/proc/self/smaps_rollup", errno);
    fclose(file);
    return (double)kb;
}

/* ---- a client that keeps its connection ---- */

static int dial(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect", errno);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void request(int fd, const char *path)
{
    char text[128];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length) die("send", errno);
}

/* One whole answer, into `page`. */
static void answer(int fd)
{
    size_t length = 0, whole = 0;
    while (!whole || length < whole) {
        ssize_t got = recv(fd, page + length, sizeof page - 1 - length, 0);
        if (got <= 0) die("recv", got ? errno : EPIPE);
        length += (size_t)got;
        page[length] = '\0';
        const char *body = strstr(page, "\r\n\r\n"), *header = strstr(page, "Content-Length: ");
        if (!whole && body && header) whole = (size_t)(body + 4 - page) + strtoul(header + 16, NULL, 10);
    }
    if (strncmp(page, "HTTP/1.1 200", 12) != 0) die("status", EPROTO);
    page_length = length;
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const char *side, int port, size_t scrapes)
{
    double *took_ms = calloc(scrapes, sizeof *took_ms);
    if (!took_ms) die("memory", ENOMEM);
    int fd = dial(port);
    for (size_t i = 0; i < scrapes; i++) {
        uint64_t begun = skink_now();
        request(fd, "/metrics");
        answer(fd);
        took_ms[i] = (double)(skink_now() - begun) / 1e6;
        nap();
    }
    close(fd);
    qsort(took_ms, scrapes, sizeof *took_ms, compare);
    char name[64];
    snprintf(name, sizeof name, "%s_p50", side);
    row(name, took_ms[scrapes / 2], "ms");
    snprintf(name, sizeof name, "%s_p99", side);
    row(name, took_ms[scrapes * 99 / 100], "ms");
    snprintf(name, sizeof name, "%s_max", side);
    row(name, took_ms[scrapes - 1], "ms");
    free(took_ms);
}

static void measure_stuck(const char *side, int how, int port, int stats_port, size_t scrapes)
{
    atomic_store(&stuck, how);
    int fd = dial(port);
    request(fd, "/stick");
    while (!atomic_load(&in_stick))
        nap();
    measure(side, stats_port, scrapes);
    if (!atomic_load(&in_stick)) die("the loop was not stuck all the time", EPROTO);
    atomic_store(&stuck, 0);
    answer(fd);
    close(fd);
}

int main(int argc, char **argv)
{
    size_t scrapes = argc > 1 ? strtoul(argv[1], NULL, 10) : SCRAPES_DEFAULT;
    if (!scrapes) die("scrapes", EINVAL);
    skink_scheduler *scheduler;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = 600 * SKINK_S;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    int port = 0, stats_port = 0;
    check("scheduler", skink_scheduler_create(NULL, &scheduler));
    sources.scheduler = scheduler;
    check("recovery", skink_recovery_create(&options, &sources.recovery));
    check("watch", skink_recovery_watch(sources.recovery, scheduler));
    check("http", skink_http_server_create(scheduler, NULL, &sources.http_server));
    check("route", skink_http_route(sources.http_server, "GET", "/stick", NULL, handle_stick, NULL));
    check("listen", skink_http_listen(sources.http_server, "127.0.0.1:0", &port));
    check("start", skink_scheduler_start(scheduler));
    memset(page, 0, sizeof page); /* resident before anything is measured */
    nap();

    double before_kb = resident_kb();
    skink_stats_server *server;
    check("stats", skink_stats_server_start(&sources, "127.0.0.1:0", &stats_port, &server));
    nap();
    row("memory_of_start", resident_kb() - before_kb, "KB");
    int fd = dial(stats_port);
    request(fd, "/metrics");
    answer(fd);
    close(fd);
    row("memory_after_first_scrape", resident_kb() - before_kb, "KB");
    row("page", (double)page_length, "bytes");

    measure("idle", stats_port, scrapes);
    measure_stuck("stuck_asleep", 1, port, stats_port, scrapes);
    measure_stuck("stuck_spinning", 2, port, stats_port, scrapes);
    row("memory_at_end", resident_kb() - before_kb, "KB");

    skink_stats_server_destroy(server);
    skink_http_server_destroy(sources.http_server);
    skink_scheduler_destroy(scheduler);
    skink_recovery_destroy(sources.recovery);
    return 0;
}
