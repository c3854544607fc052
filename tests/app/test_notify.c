/* SPDX-License-Identifier: MIT */
/* tests/app/test_notify.c - what skinkd tells a service manager: readiness, its end, and that its watchdog is alive. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a service manager ---- */

struct manager {
    int fd;
    char folder[32];
    char path[64]; /* of the socket; "" in the abstract name space */
};

static void manager_open(struct manager *manager, bool abstract)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t length = sizeof address;
    char variable[128];
    *manager = (struct manager){ .fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
    assert_true(manager->fd >= 0);
    if (abstract) {
        int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "skink-test-%d", (int)getpid());
        length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
        snprintf(variable, sizeof variable, "@%s", address.sun_path + 1);
    } else {
        strcpy(manager->folder, "/tmp/skink-test-XXXXXX");
        assert_non_null(mkdtemp(manager->folder));
        snprintf(manager->path, sizeof manager->path, "%s/notify", manager->folder);
        strcpy(address.sun_path, manager->path);
        strcpy(variable, manager->path);
    }
    assert_int_equal(bind(manager->fd, (struct sockaddr *)&address, length), 0);
    setenv("NOTIFY_SOCKET", variable, 1);
}

static void manager_close(struct manager *manager)
{
    close(manager->fd);
    if (manager->path[0]) {
        unlink(manager->path);
        rmdir(manager->folder);
    }
}

/* Is nothing said for so long? That time is not stretched. */
static bool is_told_nothing(const struct manager *manager, unsigned ms)
{
    struct pollfd readable = { .fd = manager->fd, .events = POLLIN };
    return poll(&readable, 1, (int)ms) == 0;
}

/* Is this the next thing it is told, within that time? */
static bool is_told(const struct manager *manager, const char *expected, unsigned timeout_ms)
{
    struct pollfd readable = { .fd = manager->fd, .events = POLLIN };
    char message[256];
    if (poll(&readable, 1, (int)test_patience(timeout_ms)) <= 0) return false;
    ssize_t length = recv(manager->fd, message, sizeof message - 1, 0);
    assert_true(length >= 0);
    message[length] = '\0';
    if (strcmp(message, expected) != 0) print_error("told '%s' and not '%s'\n", message, expected);
    return strcmp(message, expected) == 0;
}

/* Skips what came before it. */
static bool is_told_at_last(const struct manager *manager, const char *expected, unsigned timeout_ms)
{
    char message[256];
    for (;;) {
        struct pollfd readable = { .fd = manager->fd, .events = POLLIN };
        if (poll(&readable, 1, (int)timeout_ms) <= 0) return false;
        ssize_t length = recv(manager->fd, message, sizeof message - 1, 0);
        message[length < 0 ? 0 : length] = '\0';
        if (strcmp(message, expected) == 0) return true;
    }
}

static void forget_all(const struct manager *manager)
{
    char message[256];
    while (recv(manager->fd, message, sizeof message, MSG_DONTWAIT) >= 0)
        continue;
}

static int setup(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    return 0;
}

/* ---- cases ---- */

static void readiness_and_the_end_are_told(void **state)
{
    (void)state;
    for (int abstract = 0; abstract < 2; abstract++) {
        struct manager manager;
        manager_open(&manager, abstract);
        struct skinkd *server = START_PLAIN();
        assert_true(is_told(&manager, "READY=1", 4000));
        assert_true(is_told_nothing(&manager, 100)); /* nobody has asked for WATCHDOG=1 */
        assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
        assert_true(is_told(&manager, "STOPPING=1", 4000));
        skinkd_free(server);
        manager_close(&manager);
    }
}

/* The loop sleeps all the while, and so does the watchdog between two pings. */
static void the_watchdog_is_spoken_for_while_it_answers(void **state)
{
    (void)state;
    struct manager manager;
    manager_open(&manager, false);
    setenv("WATCHDOG_USEC", "400000", 1);
    uint64_t start_ns = test_now_ns(); /* before there can be any: they are heard late at times, and together */
    struct skinkd *server = START_PLAIN();
    assert_true(is_told_at_last(&manager, "READY=1", test_patience(4000)));
    for (int i = 0; i < 5; i++)
        assert_true(is_told(&manager, "WATCHDOG=1", 4000));
    assert_true(test_now_ns() - start_ns >= test_ms(4 * 200 - 50));
    /* A request that is stuck is the watchdog's work, and no reason to be silent. */
    int stuck = http_begin(server->http_port, "GET", "/stick?ms=900");
    forget_all(&manager);
    for (int i = 0; i < 3; i++)
        assert_true(is_told(&manager, "WATCHDOG=1", 4000));
    free(http_finish(stuck, 10000));
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    assert_true(is_told_at_last(&manager, "STOPPING=1", test_patience(4000)));
    skinkd_free(server);
    manager_close(&manager);
}

static pid_t watchdog_of(pid_t pid)
{
    char path[64], name[32];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    assert_non_null(tasks);
    pid_t found = 0;
    for (struct dirent *entry; (entry = readdir(tasks)) && !found;) {
        snprintf(path, sizeof path, "/proc/%d/task/%.16s/comm", (int)pid, entry->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(name, sizeof name, file) && strcmp(name, "skink-watchdog\n") == 0)
            found = (pid_t)atoi(entry->d_name);
        if (file) fclose(file);
    }
    closedir(tasks);
    return found;
}

/* | manager              | watchdog         |
 * | hears WATCHDOG=1     | answers          |
 * | freezes it           | stands still     |
 * | hears nothing more   |                  | and in real life restarts us here
 * | lets it go           | answers          |
 * | hears WATCHDOG=1     |                  | */
static void a_watchdog_that_is_frozen_is_not_spoken_for(void **state)
{
    (void)state;
    struct manager manager;
    manager_open(&manager, false);
    setenv("WATCHDOG_USEC", "400000", 1);
    struct skinkd *server = START_PLAIN();
    assert_true(is_told_at_last(&manager, "WATCHDOG=1", test_patience(4000)));
    pid_t tid = watchdog_of(server->pid);
    assert_true(tid > 0);
    if (ptrace(PTRACE_SEIZE, tid, 0, 0) != 0) {
        int error = errno;
        skinkd_free(server);
        manager_close(&manager);
        if (error == EPERM) test_skip("ptrace is not permitted here");
        fail_msg("ptrace: %s", strerror(error));
    }
    assert_int_equal(ptrace(PTRACE_INTERRUPT, tid, 0, 0), 0);
    int status;
    assert_int_equal(waitpid(tid, &status, __WALL), tid);
    (void)is_told_at_last(&manager, "WATCHDOG=1", 300); /* one that was on its way when it was frozen */
    assert_true(is_told_nothing(&manager, 900));        /* more than twice the time after which systemd acts */
    assert_true(skinkd_says(server, "event=watchdog_silent for_ms=", 4000));
    char *answer = http_get(server->http_port, "/hello"); /* the rest still works: only the manager can tell */
    assert_int_equal(http_status(answer), 200);
    free(answer);
    assert_int_equal(ptrace(PTRACE_DETACH, tid, 0, 0), 0);
    assert_true(is_told(&manager, "WATCHDOG=1", 4000));
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    skinkd_free(server);
    manager_close(&manager);
}

static void a_watchdog_that_is_wanted_of_another_process_is_not_ours(void **state)
{
    (void)state;
    struct manager manager;
    manager_open(&manager, false);
    setenv("WATCHDOG_USEC", "100000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    struct skinkd *server = START_PLAIN();
    assert_true(is_told(&manager, "READY=1", 4000));
    assert_true(is_told_nothing(&manager, 300));
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    skinkd_free(server);
    manager_close(&manager);
}

static void a_manager_that_cannot_be_reached_is_said_once_and_harms_nobody(void **state)
{
    (void)state;
    static const char *const addresses[] = { "/nowhere/at/all", "relative", "/" };
    setenv("WATCHDOG_USEC", "50000", 1);
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        setenv("NOTIFY_SOCKET", addresses[i], 1);
        struct skinkd *server = START_PLAIN();
        assert_true(skinkd_says(server, "event=notify_failed", 4000));
        assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
        assert_null(strstr(strstr(server->err, "event=notify_failed") + 1, "event=notify_failed"));
        skinkd_free(server);
    }
}

static const struct test_case cases[] = {
    CASE(readiness_and_the_end_are_told),
    CASE(the_watchdog_is_spoken_for_while_it_answers),
    CASE(a_watchdog_that_is_frozen_is_not_spoken_for),
    CASE(a_watchdog_that_is_wanted_of_another_process_is_not_ours),
    CASE(a_manager_that_cannot_be_reached_is_said_once_and_harms_nobody),
};

TEST_MAIN(cases, setup, NULL)
