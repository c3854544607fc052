/* SPDX-License-Identifier: MIT */
/*
 * chaos.c - everything at once, for a given time and seed: jobs of all kinds, HTTP clients, stuck threads,
 * cancellations, stops and starts, and failures of memory, mappings, threads, sockets, epoll and the disk in between.
 *
 *     chaos [--seconds N] [--seed S] [--no-faults]
 *
 * What must hold is checked as it runs and reckoned up after each era (one life of a scheduler): every job and request
 * has exactly one outcome; one task runs at a time; strays that can end do end; threads, descriptors and memory return
 * to where they started. A failure prints the seed; the same seed gives the same choices, if not the same interleaving.
 */
#include "skink/skink.h"
#include "tests/chaos/era.h"
#include "tests/chaos/faults.h"
#include "tests/chaos/jobs.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POSTERS = 2, CLIENTS = 3 };

struct totals {
    uint64_t eras, finished, given_up, refused, answered, broken, left, deadlocks, returned, files, files_failed,
        faults;
};

void era_fault(struct era *era, const char *what)
{
    if (atomic_fetch_add(&era->faults, 1) < 10) fprintf(stderr, "chaos: %s\n", what);
}

static void nap_ms(uint32_t ms)
{
    struct timespec nap = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };
    nanosleep(&nap, NULL);
}

/* Injected failures may hit the making of things; then it is tried again, as a host would. */
#define AGAIN(call)                                                                                                    \
    do {                                                                                                               \
        int err_;                                                                                                      \
        while ((err_ = (call)) == -ENOMEM || err_ == -EAGAIN)                                                          \
            nap_ms(1);                                                                                                 \
        if (err_) {                                                                                                    \
            fprintf(stderr, "chaos: %s: %s\n", #call, skink_strerror(err_));                                           \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static char incident_dir[] = "/tmp/skink-chaos-XXXXXX";

struct parts {
    skink_recovery *recovery;
    skink_http_server *server;
};

static void era_open(struct era *era, struct parts *parts)
{
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    era->timeout_ns = (20 + chaos_random(40)) * SKINK_MS;
    recovery.deadlock_timeout_ns = era->timeout_ns;
    recovery.max_strays = 1 + chaos_random(8);
    recovery.standby_threads = 1 + chaos_random(2);
    recovery.incident_dir = incident_dir;
    http.late_window_ns = (1 + chaos_random(60)) * SKINK_MS;
    AGAIN(skink_scheduler_create(NULL, &era->scheduler));
    AGAIN(skink_recovery_create(&recovery, &parts->recovery));
    AGAIN(skink_recovery_watch(parts->recovery, era->scheduler));
    AGAIN(skink_http_server_create(era->scheduler, &http, &parts->server));
    AGAIN(client_routes(parts->server, era));
    AGAIN(skink_scheduler_start(era->scheduler));
    AGAIN(skink_http_listen(parts->server, "127.0.0.1:0", &era->port));
}

static void start_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
    while (pthread_create(thread, NULL, fn, arg))
        nap_ms(1);
}

/* Wait, with failures now and then, until the era is over. */
static void era_weather(uint32_t duration_ms, bool faults)
{
    uint64_t until = skink_after(duration_ms * SKINK_MS);
    while (skink_now() < until) {
        if (faults) faults_set_rate(chaos_random(3) ? 0 : 3 + chaos_random(60));
        nap_ms(20 + chaos_random(100));
    }
    faults_set_rate(0);
}

static void era_close(struct era *era, struct parts *parts, struct totals *totals)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    skink_http_server_stop(parts->server);
    int err = skink_scheduler_stop(era->scheduler, skink_after(chaos_random(300) * SKINK_MS));
    if (err && err != -ECANCELED) era_fault(era, skink_strerror(err));
    skink_http_server_destroy(parts->server); /* now: nobody serves its open connections any more */
    /* Every stray of ours gets free sooner or later. */
    uint64_t deadline = skink_after(20 * SKINK_S);
    do {
        (void)!skink_recovery_stats_read(parts->recovery, &stats);
        test_nap();
    } while ((stats.strays || stats.blocking_threads) && skink_now() < deadline);
    if (stats.strays) era_fault(era, "a stray that could end has not");
    totals->deadlocks += stats.deadlocks;
    totals->returned += stats.strays_returned;
    totals->files += stats.incident_files;
    totals->files_failed += stats.incident_files_failed;
    skink_recovery_destroy(parts->recovery);
}

static int era_run(struct totals *totals, bool faults)
{
    struct era era = { 0 };
    struct parts parts;
    struct poster posters[POSTERS];
    struct client clients[CLIENTS];
    pthread_t threads[POSTERS + CLIENTS];
    uint64_t deadlocks_before = totals->deadlocks;
    era_open(&era, &parts);
    for (int i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){ .era = &era };
        start_thread(&threads[i], poster_main, &posters[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){ .era = &era };
        start_thread(&threads[POSTERS + i], client_main, &clients[i]);
    }
    era_weather(500 + chaos_random(2000), faults);
    bool stop_under_load = chaos_random(2);
    if (!stop_under_load) atomic_store(&era.over, true);
    if (stop_under_load) { /* the posters go on against a closing scheduler */
        era_close(&era, &parts, totals);
        atomic_store(&era.over, true);
    }
    for (int i = 0; i < POSTERS + CLIENTS; i++)
        pthread_join(threads[i], NULL);
    if (!stop_under_load) era_close(&era, &parts, totals);
    int bad = 0;
    uint64_t strays_left = totals->deadlocks - deadlocks_before;
    for (int i = 0; i < POSTERS; i++) {
        bad += poster_reckon(&posters[i], &strays_left, &totals->finished, &totals->given_up);
        totals->refused += posters[i].refused;
    }
    for (int i = 0; i < CLIENTS; i++) {
        totals->answered += clients[i].answered;
        totals->broken += clients[i].broken;
        totals->left += clients[i].left;
    }
    skink_scheduler_destroy(era.scheduler);
    totals->eras++;
    return bad + atomic_load(&era.faults);
}

static bool threads_are(void *arg)
{
    return test_thread_count(0) <= *(int *)arg;
}

static bool descriptors_are(void *arg)
{
    return test_fd_count_but_code(0) <= *(int *)arg;
}

/* What they are, to see who left them. */
static void list_descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        char path[32], target[256];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0) fprintf(stderr, "chaos: %d is %.*s\n", fd, (int)length, target);
    }
}

/* Drafts of files are gone when their writing has failed, as well as when it has not. */
static uint64_t clear_incidents(void)
{
    uint64_t drafts = 0;
    DIR *dir = opendir(incident_dir);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') drafts += strlen(entry->d_name) > 2;
        unlinkat(dirfd(dir), entry->d_name, 0);
    }
    if (dir) closedir(dir);
    rmdir(incident_dir);
    return drafts;
}

static void print_totals(const struct totals *totals, uint64_t seed, long grown_kb)
{
    printf("chaos: seed %llu: %llu eras; jobs: %llu finished, %llu given up at a stop, %llu refused; requests: %llu "
           "answered, %llu cut, %llu left; %llu deadlocks, %llu strays returned; %llu incident files, %llu not "
           "written; %llu failures injected; resident %+ld "
           "kB; %llu faults\n",
           (unsigned long long)seed, (unsigned long long)totals->eras, (unsigned long long)totals->finished,
           (unsigned long long)totals->given_up, (unsigned long long)totals->refused,
           (unsigned long long)totals->answered, (unsigned long long)totals->broken, (unsigned long long)totals->left,
           (unsigned long long)totals->deadlocks, (unsigned long long)totals->returned,
           (unsigned long long)totals->files, (unsigned long long)totals->files_failed,
           (unsigned long long)faults_count(), grown_kb, (unsigned long long)totals->faults);
}

int main(int argc, char **argv)
{
    uint64_t seconds = 10, seed = (uint64_t)time(NULL);
    bool faults = true;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--no-faults") == 0)
            faults = false;
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc)
            seconds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 10);
        else {
            fprintf(stderr, "usage: chaos [--seconds N] [--seed S] [--no-faults]\n");
            return 2;
        }
    }
    chaos_seed(seed);
    faults_install();
    signal(SIGPIPE, SIG_IGN);
    if (!mkdtemp(incident_dir)) return 2;
    struct totals totals = { 0 };
    totals.faults += (uint64_t)era_run(&totals, false); /* what is made once for all is made now */
    int threads = test_thread_count(0), descriptors = test_fd_count_but_code(0);
    long resident_kb = test_resident_kb(0);
    uint64_t until = skink_after(seconds * SKINK_S);
    while (skink_now() < until && totals.faults == 0)
        totals.faults += (uint64_t)era_run(&totals, faults);
    if (!test_wait(threads_are, &threads, 20000)) {
        fprintf(stderr, "chaos: %d threads instead of %d\n", test_thread_count(0), threads);
        totals.faults++;
    }
    if (!test_wait(descriptors_are, &descriptors, 1000)) {
        fprintf(stderr, "chaos: %d descriptors instead of %d\n", test_fd_count_but_code(0), descriptors);
        list_descriptors();
        totals.faults++;
    }
    uint64_t drafts = clear_incidents();
    if (drafts) fprintf(stderr, "chaos: %llu incident files half written\n", (unsigned long long)drafts);
    totals.faults += drafts;
    print_totals(&totals, seed, test_resident_kb(0) - resident_kb);
    return totals.faults != 0;
}
