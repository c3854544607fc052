/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_stats_server.c - the stats server itself:
 * floods, its start and end, memory, and a real Prometheus. */
#include "tests/middleware/stats_fixture.h"
#include "tests/support/process.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a flood ---- */

static void connections_are_limited_and_the_watched_server_is_not(void **state)
{
    struct stats_fixture *f = *state;
    stats_open(f);
    enum { CONNECTIONS_MAX = 64 };
    int fds[CONNECTIONS_MAX];
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        fds[i] = stats_dial(f->stats_port);
        assert_true(fds[i] >= 0);
        /* Half a request, so that it stays open; an answer to a whole one says that it has been accepted. */
        assert_true(stats_say(fds[i], "HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metr"));
        assert_true(recv(fds[i], f->answer, 100, 0) > 0);
    }
    assert_int_equal(stats_ask(f->stats_port, "GET", "/metrics", f->answer), 503);
    assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        close(fds[i]);
    test_wait_until(stats_ask(f->stats_port, "GET", "/metrics", f->answer) == 200, 5000);
}

/* Of this process; the watchdog opens files of its own when it sees need. */
static int socket_count(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char target[32];
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target);
        count += length > 7 && memcmp(target, "socket:", 7) == 0;
    }
    closedir(directory);
    return count;
}

struct flood {
    struct stats_fixture *f;
    _Atomic bool over;
    _Atomic unsigned scrapes;
};

static void *scrape_without_end(void *arg)
{
    struct flood *flood = arg;
    char *answer = malloc(ANSWER_BYTES);
    while (answer && !atomic_load(&flood->over))
        if (stats_ask(flood->f->stats_port, "GET", "/metrics", answer) == 200) atomic_fetch_add(&flood->scrapes, 1);
    free(answer);
    return NULL;
}

static void flood_of_scrapes_leaves_nothing_behind(void **state)
{
    struct stats_fixture *f = *state;
    stats_open(f);
    for (int i = 0; i < 50; i++)
        stats_scrape(f);
    test_wait_until(stats_value_of(f, "skink_standby_threads") == 1, 10000);
    int threads = test_thread_count(0), sockets = socket_count();
    long resident_kb = test_resident_kb(0);
    enum { FLOOD = TEST_TSAN ? 200 : 500 };
    struct flood flood = { .f = f };
    pthread_t scrapers[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&scrapers[i], NULL, scrape_without_end, &flood), 0);
    unsigned asked = 0;
    while (atomic_load(&flood.scrapes) < FLOOD) { /* the watched server answers all the while */
        assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200);
        asked++;
    }
    atomic_store(&flood.over, true);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(scrapers[i], NULL), 0);
    assert_true(asked > 0);
    test_wait_until(test_thread_count(0) == threads, 5000);
    test_wait_until(socket_count() <= sockets, 5000);
    if (!TEST_ASAN && !TEST_TSAN) assert_true(test_resident_kb(0) - resident_kb < 2048); /* 4 threads were there */
}

/* ---- start and destroy ---- */

static void start_says_what_is_wrong(void **state)
{
    struct stats_fixture *f = *state;
    skink_stats_server *server = NULL;
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    /* libuv keeps two descriptors from its first loop on. */
    assert_int_equal(skink_stats_server_start(&sources, "nonsense", NULL, &server), -EINVAL);
    int threads = test_thread_count(0), fds = test_fd_count(0);
    assert_int_equal(skink_stats_server_start(NULL, "127.0.0.1:0", NULL, &server), -EINVAL);
    assert_int_equal(skink_stats_server_start(&sources, NULL, NULL, &server), -EINVAL);
    assert_int_equal(skink_stats_server_start(&sources, "nonsense", NULL, &server), -EINVAL);
    sources.size = 0;
    assert_int_equal(skink_stats_server_start(&sources, "127.0.0.1:0", NULL, &server), -EINVAL);
    sources.size = sizeof sources;
    assert_null(server);
    skink_stats_server_destroy(NULL);
    assert_int_equal(test_thread_count(0), threads);
    assert_int_equal(test_fd_count(0), fds);

    stats_open_alone(f);
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", f->stats_port);
    assert_int_equal(skink_stats_server_start(&sources, taken, NULL, &server), -EADDRINUSE);
    assert_null(server);
}

static void start_and_destroy_leave_nothing_behind(void **state)
{
    struct stats_fixture *f = *state;
    int threads = TEST_TSAN ? 2 : 1; /* the sanitizer keeps one of its own from the first one on */
    stats_open_alone(f);
    skink_stats_server_destroy(f->stats_server);
    f->stats_server = NULL;
    test_wait_until(test_thread_count(0) == threads, 5000); /* it lives for a moment longer, with a descriptor */
    int fds = test_fd_count(0);
    for (int i = 0; i < 20; i++) {
        stats_open_alone(f);
        int idle = stats_dial(f->stats_port); /* nobody waits for a client that says nothing */
        assert_int_equal(stats_health_with(f, "ok"), 200);
        skink_stats_server_destroy(f->stats_server);
        f->stats_server = NULL;
        close(idle);
        assert_int_equal(stats_dial(f->stats_port), -1);
    }
    test_wait_until(test_thread_count(0) == threads, 5000);
    assert_int_equal(test_fd_count(0), fds);
}

/* ---- hooks ---- */

static struct {
    _Atomic int started, ended, others;
    _Atomic long allocations_left; /* -1: any number */
    bool fails_once;               /* then there is memory again */
} seen = { .allocations_left = -1 };

static void note_start(const char *role, void *arg)
{
    (void)arg;
    atomic_fetch_add(strcmp(role, "stats") == 0 ? &seen.started : &seen.others, 1);
}

static void note_end(const char *role, void *arg)
{
    (void)arg;
    if (strcmp(role, "stats") == 0) atomic_fetch_add(&seen.ended, 1);
}

static void host_is_told_of_the_stats_thread(void **state)
{
    struct stats_fixture *f = *state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.thread_start = note_start;
    hooks.thread_end = note_end;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    stats_open_alone(f);
    assert_int_equal(stats_health_with(f, "ok"), 200);
    assert_int_equal(atomic_load(&seen.started), 1);
    assert_int_equal(atomic_load(&seen.others), 0);
    skink_stats_server_destroy(f->stats_server);
    f->stats_server = NULL;
    test_wait_until(atomic_load(&seen.ended) == 1, 5000);
}

/* False for the one allocation that is to fail, or for all from it on. */
static bool may_allocate(void)
{
    long left = atomic_load(&seen.allocations_left), next;
    do {
        next = left > 0 || (left == 0 && seen.fails_once) ? left - 1 : left;
    } while (!atomic_compare_exchange_weak(&seen.allocations_left, &left, next));
    return left != 0;
}

static void *scarce_reallocate(void *memory, size_t size_bytes, void *arg)
{
    (void)arg;
    return may_allocate() ? realloc(memory, size_bytes) : NULL;
}

static void *scarce_allocate(size_t size_bytes, void *arg)
{
    return scarce_reallocate(NULL, size_bytes, arg);
}

static void scarce_release(void *memory, void *arg)
{
    (void)arg;
    free(memory);
}

static void set_scarce_hooks(void)
{
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = scarce_allocate;
    hooks.reallocate = scarce_reallocate;
    hooks.release = scarce_release;
    assert_int_equal(skink_hooks_set(&hooks), 0);
}

/* Each allocation of a start fails in turn; what leaks is seen by AddressSanitizer. */
static void start_without_memory_fails_and_leaves_nothing(void **state)
{
    struct stats_fixture *f = *state;
    set_scarce_hooks();
    seen.fails_once = true; /* destroying a scheduler takes memory, too */
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    int err = -ENOMEM;
    long n = 0;
    for (; err && n < 1000; n++) {
        atomic_store(&seen.allocations_left, n);
        err = skink_stats_server_start(&sources, "127.0.0.1:0", &f->stats_port, &f->stats_server);
        if (err) assert_int_equal(err, -ENOMEM);
    }
    atomic_store(&seen.allocations_left, -1);
    assert_int_equal(err, 0);
    assert_true(n > 3); /* it does allocate, and through the hooks */
    assert_int_equal(stats_health_with(f, "ok"), 200);
}

/* Each allocation of a scrape fails in turn: there is an error or no answer, but never a part of a page. */
static void scrape_without_memory_fails_alone(void **state)
{
    struct stats_fixture *f = *state;
    set_scarce_hooks();
    stats_open(f);
    seen.fails_once = true;
    int failed = 0;
    int idle[8]; /* they use up what the server has kept of connections, so that the next one takes memory */
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        idle[i] = stats_dial(f->stats_port);
        assert_true(idle[i] >= 0);
        assert_true(stats_say(idle[i], "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"));
        char byte;
        assert_int_equal(recv(idle[i], &byte, 1, 0), 1); /* it has been accepted */
    }
    for (long n = 0; n < 20; n++) {
        int fd = stats_dial(f->stats_port);
        assert_true(fd >= 0);
        atomic_store(&seen.allocations_left, n);
        int status = stats_say(fd, "GET /metrics HTTP/1.0\r\n\r\n") ? stats_hear(fd, f->answer) : -1;
        atomic_store(&seen.allocations_left, -1);
        close(fd);
        failed += status != 200;
        if (status == 200) assert_non_null(strstr(f->answer, "\nprocess_start_time_seconds ")); /* the last line */
    }
    assert_true(failed > 0);
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        close(idle[i]);
    assert_int_equal(stats_ask(f->stats_port, "GET", "/metrics", f->answer), 200);
}

/* ---- a real Prometheus ---- */

struct prometheus {
    char folder[32];
    int port;
    pid_t pid;
};

static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static void write_configuration(const struct prometheus *p, int target_port)
{
    char path[64];
    snprintf(path, sizeof path, "%s/prometheus.yml", p->folder);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file,
            "scrape_configs:\n  - job_name: skink\n    scrape_interval: 250ms\n    scrape_timeout: 250ms\n"
            "    static_configs:\n      - targets: ['127.0.0.1:%d']\n",
            target_port);
    assert_int_equal(fclose(file), 0);
}

static void run_prometheus(const struct prometheus *p)
{
    char configuration[80], storage[80], address[80], log[80];
    snprintf(configuration, sizeof configuration, "--config.file=%s/prometheus.yml", p->folder);
    snprintf(storage, sizeof storage, "--storage.tsdb.path=%s/data", p->folder);
    snprintf(address, sizeof address, "--web.listen-address=127.0.0.1:%d", p->port);
    snprintf(log, sizeof log, "%s/log", p->folder);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* whatever becomes of the test, it does not stay */
    if (!freopen(log, "w", stderr)) _exit(126);
    execlp("prometheus", "prometheus", configuration, storage, address, (char *)NULL);
    _exit(127);
}

static void end_prometheus(struct prometheus *p)
{
    char command[64];
    kill(p->pid, SIGKILL); /* what it has stored goes as well */
    waitpid(p->pid, NULL, 0);
    snprintf(command, sizeof command, "rm -rf %s", p->folder);
    assert_int_equal(system(command), 0);
}

/* Ask Prometheus; is this text in its answer? */
static bool says(const struct prometheus *p, struct stats_fixture *f, const char *target, const char *text)
{
    return stats_ask(p->port, "GET", target, f->answer) == 200 && strstr(f->answer, text);
}

static void prometheus_scrapes_it(void **state)
{
    struct stats_fixture *f = *state;
    if (system("prometheus --version >/dev/null 2>&1") != 0)
        test_skip("Prometheus is not installed (package prometheus)");
    f->timeout_ns = 50 * SKINK_MS;
    stats_open(f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200);
    struct prometheus p = { .folder = "/tmp/skink-prometheus-XXXXXX", .port = free_port() };
    assert_non_null(mkdtemp(p.folder));
    write_configuration(&p, f->stats_port);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) run_prometheus(&p);

    /* Nothing here may leave the case before Prometheus has ended. */
    uint64_t deadline = test_deadline_ns(30000);
    const char *missing = "";
    int stuck = -1;
    do {
        test_nap();
        missing = "target up";
        if (!says(&p, f, "/api/v1/targets", "\"health\":\"up\"")) continue;
        missing = "requests";
        if (!says(&p, f, "/api/v1/query?query=skink_requests_total%7Broute=%22/hello%22%7D", ",\"3\"]")) continue;
        missing = "histogram";
        if (!says(&p, f, "/api/v1/query?query=skink_request_seconds_count%7Broute=%22/hello%22%7D", ",\"3\"]"))
            continue;
        missing = "type";
        if (!says(&p, f, "/api/v1/metadata?metric=skink_recovery_seconds", "\"type\":\"histogram\"")) continue;
        missing = "deadlock";
        if (stuck < 0) stuck = stats_stick(f); /* scraped while the loop is stuck, and told of it afterwards */
        if (!says(&p, f, "/api/v1/query?query=skink_deadlocks_total", ",\"1\"]")) continue;
        missing = NULL;
    } while (missing && test_now_ns() < deadline && waitpid(p.pid, NULL, WNOHANG) == 0);
    end_prometheus(&p);
    close(stuck);
    if (missing) fail_msg("not there within 30 s: %s; the last answer: %s", missing, f->answer);
}

static const struct test_case cases[] = {
    CASE(connections_are_limited_and_the_watched_server_is_not),
    CASE_TIMEOUT(flood_of_scrapes_leaves_nothing_behind, 60),
    CASE(start_says_what_is_wrong),
    CASE_TIMEOUT(start_and_destroy_leave_nothing_behind, 40),
    CASE(host_is_told_of_the_stats_thread),
    CASE_TIMEOUT(start_without_memory_fails_and_leaves_nothing, 40),
    CASE_TIMEOUT(scrape_without_memory_fails_alone, 40),
    CASE_PLAIN(prometheus_scrapes_it, 60),
};
TEST_MAIN(cases, stats_setup, stats_teardown)
