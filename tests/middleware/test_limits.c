/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_limits.c - what clients see when recovery's limits are reached, and how that ends. */
#include "middleware/error_numbers.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define H "Host: a\r\n"
#define GET_BLOCK "GET /block HTTP/1.1\r\n" H "\r\n"
#define GET_HELLO "GET /hello HTTP/1.1\r\n" H "\r\n"

struct server {
    struct fixture fixture;
    skink_recovery *recovery;
    _Atomic int released; /* so many of the handlers of /block may go */
    _Atomic int entered;
    _Atomic int block_tid;                /* of the last */
    _Atomic int reached[SKINK_LIMITS];    /* times that the host was told */
    _Atomic int over[SKINK_LIMITS];       /* the same */
    _Atomic int incidents;                /* told of */
    _Atomic int incidents_before_reached; /* when the first limit was */
};

static void block(skink_request *request, void *arg)
{
    struct server *server = arg;
    int own = atomic_fetch_add(&server->entered, 1);
    atomic_store(&server->block_tid, (int)syscall(SYS_gettid));
    while (atomic_load(&server->released) <= own)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    skink_respond_text(request, 200, "free");
}

static void on_incident(const skink_incident *incident, void *arg)
{
    struct server *server = arg;
    (void)incident;
    atomic_fetch_add(&server->incidents, 1);
}

static void on_limit(skink_limit limit, bool in_force, void *arg)
{
    struct server *server = arg;
    if (in_force && atomic_load(&server->reached[0]) + atomic_load(&server->reached[1]) == 0)
        atomic_store(&server->incidents_before_reached, atomic_load(&server->incidents));
    atomic_fetch_add(in_force ? &server->reached[limit] : &server->over[limit], 1);
}

static void create(struct server *server, const skink_recovery_options *wanted)
{
    memset(server, 0, sizeof *server);
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.late_window_ns = 10 * SKINK_MS;
    fixture_create(&server->fixture, NULL, &http);
    fixture_add_common_routes(&server->fixture);
    fixture_route(&server->fixture, "GET", "/block", block, server);
    skink_recovery_options recovery = *wanted;
    recovery.size = sizeof recovery;
    recovery.deadlock_timeout_ns = 100 * SKINK_MS;
    recovery.incident = on_incident;
    recovery.limit_reached = on_limit;
    recovery.arg = server;
    server->recovery = fixture_watch(&server->fixture, &recovery);
    fixture_start(&server->fixture);
}

static void destroy(struct server *server)
{
    atomic_store(&server->released, 1000);
    test_wait_until(fixture_recovery_stats(server->recovery).strays == 0, 8000);
    fixture_destroy(&server->fixture);
    skink_recovery_destroy(server->recovery);
}

/* Status, or the error's number if there is one. */
static int ask(struct server *server, const char *request)
{
    struct reply reply;
    int fd = client_connect(server->fixture.port);
    client_send_text(fd, request);
    client_read(fd, &reply, false);
    const char *number = strstr(reply.body, "\"number\":");
    int result = number ? atoi(number + strlen("\"number\":")) : reply.status;
    reply_free(&reply);
    close(fd);
    return result;
}

/* | strays | /hello                    |
 * | 1      | 200                       |
 * | 2 (the limit) | 503, number 1003   |
 * | 1      | 200                       | */
static void at_the_stray_limit_nothing_new_is_admitted_until_one_returns(void **state)
{
    (void)state;
    struct server server;
    create(&server, &(skink_recovery_options){ .max_strays = 2, .on_limit = SKINK_ON_LIMIT_UNHEALTHY });
    int waiting = client_connect(server.fixture.port);
    assert_int_equal(ask(&server, GET_BLOCK), SKINK__HTTP_DEADLOCK);
    assert_int_equal(ask(&server, GET_HELLO), 200);
    client_send_text(waiting, "GET /sleep?ms=500 HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(ask(&server, GET_BLOCK), SKINK__HTTP_DEADLOCK);
    assert_int_equal(ask(&server, GET_HELLO), SKINK__HTTP_HELD);
    assert_int_equal(skink_recovery_health(server.recovery), SKINK_HEALTH_STRAY_LIMIT);
    client_expect(waiting, "", 200, "slept"); /* what was admitted goes on: the loop is not held */
    close(waiting);
    test_wait_until(atomic_load(&server.reached[SKINK_LIMIT_STRAYS]) == 1, 4000);
    assert_int_equal(atomic_load(&server.incidents_before_reached), 2); /* in order */
    assert_int_equal(fixture_recovery_stats(server.recovery).limit_in_force[SKINK_LIMIT_STRAYS], 1);
    atomic_store(&server.released, 1);
    test_wait_until(skink_recovery_health(server.recovery) == SKINK_HEALTH_OK, 4000);
    test_wait_until(ask(&server, GET_HELLO) == 200, 4000);
    test_wait_until(atomic_load(&server.over[SKINK_LIMIT_STRAYS]) == 1, 4000);
    assert_int_equal(fixture_recovery_stats(server.recovery).limit_reached[SKINK_LIMIT_STRAYS], 1);
    assert_int_equal(fixture_recovery_stats(server.recovery).limit_in_force[SKINK_LIMIT_STRAYS], 0);
    destroy(&server);
}

static void at_the_stray_limit_a_human_may_say_to_go_on(void **state)
{
    (void)state;
    struct server server;
    create(&server, &(skink_recovery_options){ .max_strays = 1, .on_limit = SKINK_ON_LIMIT_UNHEALTHY });
    assert_int_equal(ask(&server, GET_BLOCK), SKINK__HTTP_DEADLOCK);
    assert_int_equal(ask(&server, GET_HELLO), SKINK__HTTP_HELD);
    assert_int_equal(skink_recovery_resume(server.recovery), 0);
    assert_int_equal(ask(&server, GET_HELLO), 200);
    assert_int_equal(skink_recovery_health(server.recovery), SKINK_HEALTH_OK);
    /* Until the next one, which holds the loop. */
    assert_int_equal(ask(&server, GET_BLOCK), SKINK__HTTP_DEADLOCK);
    assert_int_equal(ask(&server, GET_HELLO), SKINK__HTTP_HELD);
    assert_int_equal(skink_recovery_health(server.recovery), SKINK_HEALTH_STRAY_LIMIT);
    assert_int_equal(fixture_recovery_stats(server.recovery).strays, 1);
    /* And out of that as well: then there are more than are allowed. */
    assert_int_equal(skink_recovery_resume(server.recovery), 0);
    assert_int_equal(ask(&server, GET_HELLO), 200);
    assert_int_equal(fixture_recovery_stats(server.recovery).strays, 2);
    destroy(&server);
}

/* Each of them returns at once; so it is not the strays. */
static void block_briefly(struct server *server)
{
    int fd = client_connect(server->fixture.port), entered = atomic_load(&server->entered);
    uint64_t deadlocks = fixture_recovery_stats(server->recovery).deadlocks;
    client_send_text(fd, GET_BLOCK);
    test_wait_until(fixture_recovery_stats(server->recovery).deadlocks == deadlocks + 1, 4000);
    atomic_store(&server->released, entered + 1);
    test_wait_until(fixture_recovery_stats(server->recovery).strays == 0, 4000);
    close(fd);
}

static void a_burst_of_deadlocks_shuts_the_door_until_its_window_has_passed(void **state)
{
    (void)state;
    struct server server;
    create(&server, &(skink_recovery_options){
                        .burst = 2, .burst_window_ns = 2 * SKINK_S, .on_limit = SKINK_ON_LIMIT_UNHEALTHY });
    uint64_t start_ns = test_now_ns();
    block_briefly(&server);
    block_briefly(&server);
    assert_int_equal(ask(&server, GET_HELLO), 200); /* two are allowed */
    block_briefly(&server);
    if (test_now_ns() - start_ns >= test_ms(2000)) {
        destroy(&server);
        test_skip("three deadlocks took so long here that they are no burst");
    }
    skink_health health = skink_recovery_health(server.recovery);
    int answer = ask(&server, GET_HELLO);
    if (test_now_ns() - start_ns < test_ms(2000)) { /* else the machine is too slow to see it */
        assert_int_equal(answer, SKINK__HTTP_BURST);
        assert_int_equal(health, SKINK_HEALTH_BURST);
    }
    /* The loop sleeps, and so would the watchdog. */
    test_wait_until(atomic_load(&server.over[SKINK_LIMIT_BURST]) == 1, 6000);
    assert_int_equal(atomic_load(&server.reached[SKINK_LIMIT_BURST]), 1);
    assert_true(test_now_ns() - start_ns >= test_ms(2000));
    assert_int_equal(ask(&server, GET_HELLO), 200);
    assert_int_equal(skink_recovery_health(server.recovery), SKINK_HEALTH_OK);
    assert_int_equal(fixture_recovery_stats(server.recovery).limit_reached[SKINK_LIMIT_STRAYS], 0);
    destroy(&server);
}

static void a_burst_ends_when_a_human_says_so(void **state)
{
    (void)state;
    struct server server;
    create(&server, &(skink_recovery_options){ .burst = 1, .on_limit = SKINK_ON_LIMIT_UNHEALTHY });
    block_briefly(&server);
    block_briefly(&server);
    assert_int_equal(ask(&server, GET_HELLO), SKINK__HTTP_BURST);
    assert_int_equal(skink_recovery_resume(server.recovery), 0);
    assert_int_equal(ask(&server, GET_HELLO), 200);
    destroy(&server);
}

/* Left to itself recovery does no more than it always did. */
static void without_a_choice_a_limit_is_only_told(void **state)
{
    (void)state;
    struct server server;
    create(&server, &(skink_recovery_options){ .max_strays = 1, .burst = 1 });
    assert_int_equal(ask(&server, GET_BLOCK), SKINK__HTTP_DEADLOCK);
    assert_int_equal(skink_recovery_health(server.recovery), SKINK_HEALTH_STRAY_LIMIT);
    assert_int_equal(ask(&server, GET_HELLO), 200);
    test_wait_until(atomic_load(&server.reached[SKINK_LIMIT_STRAYS]) == 1, 4000);
    destroy(&server);
}

static void an_unwatched_server_admits_again(void **state)
{
    (void)state;
    struct server server;
    create(&server, &(skink_recovery_options){ .max_strays = 1, .on_limit = SKINK_ON_LIMIT_DRAIN });
    assert_int_equal(ask(&server, GET_BLOCK), SKINK__HTTP_DEADLOCK);
    assert_int_equal(ask(&server, GET_HELLO), SKINK__HTTP_HELD);
    assert_int_equal(skink_recovery_unwatch(server.recovery, server.fixture.scheduler), 0);
    assert_int_equal(ask(&server, GET_HELLO), 200);
    assert_int_equal(skink_recovery_watch(server.recovery, server.fixture.scheduler), 0);
    assert_int_equal(ask(&server, GET_HELLO), SKINK__HTTP_HELD);
    destroy(&server);
}

static void values_out_of_range_are_refused(void **state)
{
    (void)state;
    skink_recovery *recovery;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.burst = 1001;
    assert_int_equal(skink_recovery_create(&options, &recovery), -EINVAL);
    options.burst = 0;
    options.on_limit = (skink_on_limit)4;
    assert_int_equal(skink_recovery_create(&options, &recovery), -EINVAL);
    assert_int_equal(skink_recovery_resume(NULL), -EINVAL);
}

/* ---- abort ---- */

static struct server *aborting;

/* What a core file would show first: the thread that the signal was sent to. */
static void on_abort(int number)
{
    (void)number;
    _exit((int)syscall(SYS_gettid) == atomic_load(&aborting->block_tid) ? 42 : 43);
}

static int run_to_abort(bool blocked)
{
    static struct server server;
    aborting = &server;
    if (blocked) { /* as a thread does that must not be interrupted; every loop thread has the first one's mask */
        sigset_t abort_only;
        sigemptyset(&abort_only);
        sigaddset(&abort_only, SIGABRT);
        pthread_sigmask(SIG_BLOCK, &abort_only, NULL);
    } else {
        signal(SIGABRT, on_abort);
    }
    create(&server, &(skink_recovery_options){ .max_strays = 1, .on_limit = SKINK_ON_LIMIT_ABORT });
    int fd = client_connect(server.fixture.port);
    client_send_text(fd, GET_BLOCK);
    for (uint64_t until_ns = test_deadline_ns(10000); test_now_ns() < until_ns;)
        test_nap();
    return 0;
}

/* Before there are threads. */
static int status_of(bool blocked)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 }); /* nobody wants it here */
        _exit(run_to_abort(blocked));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void abort_reaches_the_stuck_thread(void **state)
{
    (void)state;
    int status = status_of(false);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
}

static void a_thread_that_blocks_the_signal_is_no_way_out(void **state)
{
    (void)state;
    int status = status_of(true);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static const struct test_case cases[] = {
    CASE(at_the_stray_limit_nothing_new_is_admitted_until_one_returns),
    CASE(at_the_stray_limit_a_human_may_say_to_go_on),
    CASE(a_burst_of_deadlocks_shuts_the_door_until_its_window_has_passed),
    CASE(a_burst_ends_when_a_human_says_so),
    CASE(without_a_choice_a_limit_is_only_told),
    CASE(an_unwatched_server_admits_again),
    CASE(values_out_of_range_are_refused),
    CASE(abort_reaches_the_stuck_thread),
    CASE(a_thread_that_blocks_the_signal_is_no_way_out),
};

TEST_MAIN(cases, NULL, NULL)
