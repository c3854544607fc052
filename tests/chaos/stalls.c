/* SPDX-License-Identifier: MIT */
/*
 * stalls.c - thousands of stuck tasks a minute, on several loops under one watchdog, beside requests that have nothing
 * to do with them.
 *
 *     stalls [--stalls N] [--pace N] [--loops N] [--timeout MS]
 *
 * N stalls in all (10000), so many a minute (10000; 0: as fast as it goes), on so many loops (6), each of which has one
 * at a time, with this timeout (10). A stall is two tasks: the first blocks its loop's thread, and only the second, of
 * the same loop, can let it go. So it ends when, and only when, it has been declared stuck and another thread goes on
 * with the loop.
 *
 * Checked: each stall is declared exactly once, handed over, and comes back; every request beside it is answered with
 * 200; each incident is told, suppressed by the limit of reports, or lost, and the three add up; threads, descriptors
 * and memory are what they were; the pace was kept.
 */
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/diagnosis.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    LOOPS_MAX = 32,
    CLIENTS = 2,
    REPORTS_A_MINUTE = 60,
    WARM_UP = 120,
    CEILING = 1000,
    SPIN_ONE_IN = 16,
    GROWTH_MAX_KB = 16 * 1024
};
enum way { WAY_SEMAPHORE, WAY_READ, WAY_POLL, WAYS, WAY_SPIN = WAYS };

#define STALL_PATIENCE_S 60

/* One loop, and the stall that is on it. */
struct lane {
    struct site *site;
    skink_scheduler *scheduler;
    skink_http_server *server;
    int port;
    pthread_t injector;
    enum way way;
    sem_t gate;
    int event;
    _Atomic bool flag;
    sem_t ended; /* posted by the stuck task, as its last act */
};

struct site {
    skink_recovery *recovery;
    struct lane lanes[LOOPS_MAX];
    unsigned loops;
    uint64_t timeout_ns;
    uint64_t pace;         /* a minute; 0: none */
    uint64_t begun_ns;     /* of the round */
    _Atomic uint64_t next; /* stall of the round */
    uint64_t last;         /* of it */
    _Atomic uint64_t faults;

    _Atomic uint64_t told, logged; /* incidents: to the callback; by a line of the log */
    _Atomic bool quit;             /* the clients */
    _Atomic uint64_t answered, slowest_ns;
};

static struct site *the_site; /* for the log's hook */

static void fault(struct site *site, const char *what)
{
    if (atomic_fetch_add(&site->faults, 1) < 10) fprintf(stderr, "stalls: %s\n", what);
}

/* ---- a stall ---- */

static void wait_for_flag(struct lane *lane)
{
    while (!atomic_load_explicit(&lane->flag, memory_order_acquire)) {
    }
}

static void read_event(struct lane *lane)
{
    uint64_t count;
    while (read(lane->event, &count, sizeof count) < 0) {
    }
}

static void get_stuck(void *arg)
{
    struct lane *lane = arg;
    switch (lane->way) {
    case WAY_SEMAPHORE:
        while (sem_wait(&lane->gate) != 0) {
        }
        break;
    case WAY_POLL:
        while (poll(&(struct pollfd){ .fd = lane->event, .events = POLLIN }, 1, -1) != 1) {
        }
        read_event(lane);
        break;
    case WAY_READ:
        read_event(lane);
        break;
    case WAY_SPIN:
        wait_for_flag(lane);
        break;
    }
    (void)!skink_yield(); /* here it moves back to the loop */
    sem_post(&lane->ended);
}

static void let_go(void *arg)
{
    struct lane *lane = arg;
    uint64_t one = 1;
    switch (lane->way) {
    case WAY_SEMAPHORE:
        sem_post(&lane->gate);
        break;
    case WAY_READ:
    case WAY_POLL:
        if (write(lane->event, &one, sizeof one) < 0) fault(lane->site, "an eventfd takes nothing");
        break;
    case WAY_SPIN:
        atomic_store_explicit(&lane->flag, true, memory_order_release);
        break;
    }
}

static bool stall(struct lane *lane, uint64_t number)
{
    lane->way = number % SPIN_ONE_IN == 0 ? WAY_SPIN : (enum way)(number % WAYS);
    atomic_store(&lane->flag, false);
    int err = skink_spawn(lane->scheduler, NULL, NULL, get_stuck, lane);
    if (!err) err = skink_spawn(lane->scheduler, NULL, NULL, let_go, lane);
    if (err) {
        fault(lane->site, "a task cannot be spawned");
        return false;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STALL_PATIENCE_S;
    while (sem_timedwait(&lane->ended, &until) != 0) {
        if (errno != ETIMEDOUT) continue;
        fault(lane->site, "a stall has not come to its end");
        return false;
    }
    return true;
}

static void sleep_until(uint64_t time_ns)
{
    struct timespec until = { .tv_sec = (time_t)(time_ns / SKINK_S), .tv_nsec = (long)(time_ns % SKINK_S) };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0) {
    }
}

static void *injector_main(void *arg)
{
    struct lane *lane = arg;
    struct site *site = lane->site;
    for (uint64_t number; (number = atomic_fetch_add(&site->next, 1)) < site->last;) {
        if (site->pace) sleep_until(site->begun_ns + number * (60 * SKINK_S / site->pace));
        if (!stall(lane, number)) break;
    }
    return NULL;
}

/* Returns how long it took. */
static uint64_t inject(struct site *site, uint64_t stalls, uint64_t pace)
{
    site->pace = pace;
    site->last = stalls;
    atomic_store(&site->next, 0);
    site->begun_ns = skink_now();
    for (unsigned i = 0; i < site->loops; i++)
        if (pthread_create(&site->lanes[i].injector, NULL, injector_main, &site->lanes[i])) abort();
    for (unsigned i = 0; i < site->loops; i++)
        pthread_join(site->lanes[i].injector, NULL);
    return skink_now() - site->begun_ns;
}

/* ---- the requests beside it ---- */

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    (void)!skink_respond_text(request, 200, "hello\n");
}

static int open_connection(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* One request on a connection that stays; the answer is short enough for one packet, but need not come as one. */
static bool ask(int fd)
{
    static const char request[] = "GET /hello HTTP/1.1\r\nHost: stalls\r\n\r\n";
    char answer[1024];
    size_t length = 0;
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1) return false;
    while (length < sizeof answer - 1) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };
        if (poll(&readable, 1, STALL_PATIENCE_S * 1000) <= 0) return false;
        ssize_t got = recv(fd, answer + length, sizeof answer - 1 - length, 0);
        if (got <= 0) return false;
        length += (size_t)got;
        answer[length] = '\0';
        if (strstr(answer, "\r\n\r\nhello\n")) return strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
    }
    return false;
}

static void *client_main(void *arg)
{
    struct site *site = arg;
    int fds[LOOPS_MAX];
    for (unsigned i = 0; i < site->loops; i++)
        fds[i] = open_connection(site->lanes[i].port);
    for (unsigned i = 0; !atomic_load(&site->quit); i = (i + 1) % site->loops) {
        uint64_t begun_ns = skink_now();
        if (!ask(fds[i])) {
            fault(site, "a request was not answered with 200");
            break;
        }
        uint64_t took_ns = skink_now() - begun_ns, slowest_ns = atomic_load(&site->slowest_ns);
        while (took_ns > slowest_ns && !atomic_compare_exchange_weak(&site->slowest_ns, &slowest_ns, took_ns)) {
        }
        atomic_fetch_add(&site->answered, 1);
        sleep_until(begun_ns + 2 * SKINK_MS);
    }
    for (unsigned i = 0; i < site->loops; i++)
        close(fds[i]);
    return NULL;
}

/* ---- the whole ---- */

static void on_log(skink_log_level level, const char *line, void *arg)
{
    (void)level, (void)arg;
    if (the_site && strncmp(line, "event=deadlock ", 15) == 0) atomic_fetch_add(&the_site->logged, 1);
}

static void on_incident(const skink_incident *incident, void *arg)
{
    struct site *site = arg;
    (void)incident;
    atomic_fetch_add(&site->told, 1);
}

#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        int err_ = (call);                                                                                             \
        if (err_) {                                                                                                    \
            fprintf(stderr, "stalls: %s: %s\n", #call, skink_strerror(err_));                                          \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static void lane_open(struct site *site, struct lane *lane)
{
    lane->site = site;
    sem_init(&lane->gate, 0, 0);
    sem_init(&lane->ended, 0, 0);
    lane->event = eventfd(0, EFD_CLOEXEC);
    MUST(skink_scheduler_create(NULL, &lane->scheduler));
    MUST(skink_recovery_watch(site->recovery, lane->scheduler));
    MUST(skink_http_server_create(lane->scheduler, NULL, &lane->server));
    MUST(skink_http_route(lane->server, "GET", "/hello", NULL, hello, NULL));
    MUST(skink_scheduler_start(lane->scheduler));
    MUST(skink_http_listen(lane->server, "127.0.0.1:0", &lane->port));
}

static void lane_close(struct lane *lane)
{
    skink_http_server_stop(lane->server);
    (void)!skink_scheduler_stop(lane->scheduler, skink_after(5 * SKINK_S));
    skink_http_server_destroy(lane->server);
    skink_scheduler_destroy(lane->scheduler);
    close(lane->event);
}

static void site_open(struct site *site)
{
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = site->timeout_ns;
    options.ceiling_factor = CEILING; /* what the machine keeps from a task is not to be mistaken for a stall */
    options.standby_threads = site->loops;
    options.max_strays =
        4 * site->loops; /* the bound of what may be there at once: one a loop, and those on their way out */
    options.reports_per_minute = REPORTS_A_MINUTE;
    options.incident = on_incident;
    options.arg = site;
    MUST(skink_recovery_create(&options, &site->recovery));
    for (unsigned i = 0; i < site->loops; i++)
        lane_open(site, &site->lanes[i]);
}

static skink_recovery_stats read_stats(struct site *site)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    MUST(skink_recovery_stats_read(site->recovery, &stats));
    return stats;
}

static void count_incidents(const skink_recovery_count *count, void *arg)
{
    uint64_t *sum = arg;
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        for (unsigned action = 0; action < SKINK_ACTIONS; action++)
            sum[cause] += count->incidents[cause][action];
}

/* By cause; returns the sum. */
static uint64_t counted(struct site *site, uint64_t *by_cause)
{
    uint64_t sum = 0;
    memset(by_cause, 0, SKINK_CAUSES * sizeof *by_cause);
    MUST(skink_recovery_counts(site->recovery, count_incidents, by_cause));
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        sum += by_cause[cause];
    return sum;
}

/* Strays have ended, standbys are parked again, and the helper thread has told what it has to tell. */
static bool is_settled(void *arg)
{
    struct site *site = arg;
    uint64_t by_cause[SKINK_CAUSES];
    skink_recovery_stats stats = read_stats(site);
    return stats.strays == 0 && stats.standby_threads == site->loops &&
           atomic_load(&site->told) + stats.reports_lost == stats.deadlocks &&
           counted(site, by_cause) == stats.deadlocks;
}

/* A probe is the watchdog's of a thread, loop or standby, three descriptors, and opened when it first looks at that: so
 * one more or less at one moment or another is no leak. */
enum { PROBE_DESCRIPTORS = 3 };

struct footprint {
    int threads, descriptors; /* but those of probes */
    int probed, probed_max;
    long resident_kb;
};

static struct footprint footprint(const struct site *site)
{
    struct footprint is = { .probed_max = PROBE_DESCRIPTORS * 2 * (int)site->loops };
    do { /* until both counts are of one moment */
        is.probed = test_fd_count_to("/task/");
        is.descriptors = test_fd_count_but_code(0) - is.probed;
    } while (is.probed != test_fd_count_to("/task/"));
    is.threads = test_thread_count(0);
    is.resident_kb = test_resident_kb(0);
    return is;
}

static bool is_back(const struct footprint *before, const struct footprint *after)
{
    return after->threads <= before->threads && after->descriptors <= before->descriptors &&
           after->probed <= after->probed_max;
}

struct comparison {
    const struct site *site;
    struct footprint before, after;
};

static bool nothing_is_left(void *arg)
{
    struct comparison *comparison = arg;
    comparison->after = footprint(comparison->site);
    return is_back(&comparison->before, &comparison->after);
}

/* Declaration to the fresh thread's first act: below which bound were so many in a thousand? */
static double recovered_within_ms(const skink_recovery_stats *stats, const skink_recovery_stats *before,
                                  unsigned permille)
{
    uint64_t all = 0, seen = 0;
    for (unsigned i = 0; i < SKINK_RECOVERY_BUCKETS; i++)
        all += stats->recovery_count[i] - before->recovery_count[i];
    for (unsigned i = 0; i + 1 < SKINK_RECOVERY_BUCKETS; i++) {
        seen += stats->recovery_count[i] - before->recovery_count[i];
        if (seen * 1000 >= all * permille) return (double)skink_recovery_bucket_bounds_ns[i] / 1e6;
    }
    return 1e9;
}

static void expect(struct site *site, const char *what, uint64_t is, uint64_t should)
{
    char text[128];
    if (is == should) return;
    snprintf(text, sizeof text, "%s: %llu instead of %llu", what, (unsigned long long)is, (unsigned long long)should);
    fault(site, text);
}

/* Each stall, and nothing else. A sanitizer's own waits, inside of code that is honest, may take longer than the
 * timeout on a busy machine; some such are let pass there. Returns how many. */
static uint64_t check_declared(struct site *site, uint64_t declared, uint64_t injected)
{
    uint64_t slack = TEST_ASAN || TEST_TSAN ? injected / 20 : 0;
    if (declared < injected || declared > injected + slack) expect(site, "declared", declared, injected);
    return declared;
}

static void check_counts(struct site *site, const skink_recovery_stats *stats, uint64_t injected)
{
    uint64_t told = atomic_load(&site->told), logged = atomic_load(&site->logged);
    uint64_t declared = check_declared(site, stats->deadlocks, injected);
    expect(site, "taken over", stats->takeovers, declared);
    expect(site, "abandoned threads", stats->strays_total, declared);
    expect(site, "returned", stats->strays_returned, declared);
    expect(site, "standby threads that could not be made", stats->standby_failures, 0);
    expect(site, "incidents told or lost", told + stats->reports_lost, declared);
    expect(site, "incidents logged or suppressed", logged + stats->reports_suppressed, told);
    uint64_t minutes = 1 + skink_now() / (60 * SKINK_S); /* of the machine's life, surely more */
    if (logged > minutes * REPORTS_A_MINUTE) fault(site, "more was logged than the limit of reports allows");
}

static void print_figures(struct site *site, const skink_recovery_stats *stats, const skink_recovery_stats *before,
                          uint64_t injected, uint64_t took_ns)
{
    uint64_t by_cause[SKINK_CAUSES];
    counted(site, by_cause);
    printf("stalls: %llu in %.1f s, %.0f a minute, on %u loops; recovered in %.3f ms at the mean, %g ms for 99 %%, %g "
           "ms for 99.9 %%\n",
           (unsigned long long)injected, (double)took_ns / 1e9, (double)injected * 60e9 / (double)took_ns, site->loops,
           (double)(stats->recovery_sum_ns - before->recovery_sum_ns) / 1e6 / (double)injected,
           recovered_within_ms(stats, before, 990), recovered_within_ms(stats, before, 999));
    printf("stalls: %llu requests beside them answered, the slowest in %.0f ms\n",
           (unsigned long long)atomic_load(&site->answered), (double)atomic_load(&site->slowest_ns) / 1e6);
    printf("stalls: with the warm-up %llu incidents logged, %llu suppressed, %llu lost; causes:",
           (unsigned long long)atomic_load(&site->logged), (unsigned long long)stats->reports_suppressed,
           (unsigned long long)stats->reports_lost);
    for (unsigned cause = 0; cause < SKINK_CAUSES; cause++)
        if (by_cause[cause])
            printf(" %s %llu", skink_cause_name((skink_cause)cause), (unsigned long long)by_cause[cause]);
    printf("; captures:");
    for (unsigned capture = 0; capture < SKINK_CAPTURES; capture++)
        if (stats->captures[capture])
            printf(" %s %llu", skink_capture_name((skink_capture)capture),
                   (unsigned long long)stats->captures[capture]);
    printf("\n");
}

/* To see who left them. */
static void list_descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        char path[32], target[256];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0) fprintf(stderr, "stalls: %d is %.*s\n", fd, (int)length, target);
    }
}

static void check_footprint(struct site *site, struct footprint before)
{
    char text[160];
    struct comparison comparison = { .site = site, .before = before };
    bool back = test_wait(nothing_is_left, &comparison, 20000);
    const struct footprint *after = &comparison.after;
    printf("stalls: threads %d before, %d after; descriptors %d, %d, and of probes %d, %d; resident %+ld kB\n",
           before.threads, after->threads, before.descriptors, after->descriptors, before.probed, after->probed,
           after->resident_kb - before.resident_kb);
    if (!back) {
        fault(site, "threads or descriptors are left");
        list_descriptors();
    }
    if (TEST_ASAN || TEST_TSAN || after->resident_kb - before.resident_kb <= GROWTH_MAX_KB)
        return; /* sanitizers keep what was freed */
    snprintf(text, sizeof text, "resident memory has grown by %ld kB", after->resident_kb - before.resident_kb);
    fault(site, text);
}

static void run(struct site *site, uint64_t stalls, uint64_t pace)
{
    pthread_t clients[CLIENTS];
    site_open(site);
    test_warm_diagnosis();
    uint64_t warm_up = WARM_UP < stalls ? WARM_UP : stalls;
    inject(site, warm_up, 0); /* what is made once for all is made now */
    if (!test_wait(is_settled, site, 60000)) fault(site, "it does not settle after the warm-up");
    skink_recovery_stats before = read_stats(site);
    struct footprint quiet = footprint(site);
    for (int i = 0; i < CLIENTS; i++)
        if (pthread_create(&clients[i], NULL, client_main, site)) abort();
    uint64_t took_ns = inject(site, stalls, pace);
    atomic_store(&site->quit, true);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i], NULL);
    if (!test_wait(is_settled, site, 60000)) fault(site, "it does not settle");
    skink_recovery_stats after = read_stats(site);
    print_figures(site, &after, &before, stalls, took_ns);
    check_counts(site, &after, stalls + warm_up);
    check_footprint(site, quiet);
    if (pace && (double)stalls * 60e9 < 0.98 * (double)pace * (double)took_ns) fault(site, "the pace was not kept");
    for (unsigned i = 0; i < site->loops; i++)
        lane_close(&site->lanes[i]);
    skink_recovery_destroy(site->recovery);
}

static bool read_number(const char *text, uint64_t *ret_number)
{
    char *end;
    *ret_number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end;
}

int main(int argc, char **argv)
{
    uint64_t stalls = 10000, pace = 10000, loops = 6, timeout_ms = 10;
    bool understood = argc % 2 == 1;
    for (int i = 1; i + 1 < argc && understood; i += 2) {
        uint64_t *to = NULL;
        if (strcmp(argv[i], "--stalls") == 0) to = &stalls;
        if (strcmp(argv[i], "--pace") == 0) to = &pace;
        if (strcmp(argv[i], "--loops") == 0) to = &loops;
        if (strcmp(argv[i], "--timeout") == 0) to = &timeout_ms;
        understood = to && read_number(argv[i + 1], to);
    }
    if (!understood || !stalls || !loops || loops > LOOPS_MAX || timeout_ms < 10) {
        fprintf(stderr, "usage: stalls [--stalls N] [--pace N a minute; 0: none] [--loops 1..%d] [--timeout MS]\n",
                LOOPS_MAX);
        return 2;
    }
    static struct site site;
    site.loops = (unsigned)loops;
    site.timeout_ns = timeout_ms * SKINK_MS;
    the_site = &site;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.log = on_log;
    MUST(skink_hooks_set(&hooks));
    signal(SIGPIPE, SIG_IGN);
    run(&site, stalls, pace);
    uint64_t faults = atomic_load(&site.faults);
    printf("stalls: %llu faults\n", (unsigned long long)faults);
    return faults != 0;
}
