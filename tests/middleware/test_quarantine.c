/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_quarantine.c - a route that keeps getting stuck is left alone, and tried again. */
#include "loop/runtime.h"
#include "middleware/error_numbers.h"
#include "middleware/http_server.h"
#include "middleware/loop_middleware.h"
#include "middleware/quarantine.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define H "Host: a\r\n"

/* ---- the record by itself, with a clock of our own ---- */

static const struct skink__quarantine_rules rules = { .strikes = 3,
                                                      .window_ns = 60 * SKINK_S,
                                                      .period_ns = 30 * SKINK_S };

static void three_strikes_within_the_window_and_no_fewer(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = { 0 };
    assert_false(skink__quarantine_strike(&quarantine, &rules, 0, 100 * SKINK_S, false));
    assert_false(skink__quarantine_strike(&quarantine, &rules, 0, 130 * SKINK_S, false));
    assert_false(skink__quarantine_strike(&quarantine, &rules, 0, 161 * SKINK_S, false)); /* the first is too old */
    assert_false(skink__quarantine_is_on(&quarantine));
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 3, 161 * SKINK_S), SKINK__ADMITTED);
    assert_true(skink__quarantine_strike(&quarantine, &rules, 0, 190 * SKINK_S, false)); /* 130, 161 and 190 */
    assert_true(skink__quarantine_is_on(&quarantine));
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 3, 190 * SKINK_S), SKINK__REFUSED);
}

static void without_a_number_of_strikes_there_is_no_quarantine(void **state)
{
    (void)state;
    static const struct skink__quarantine_rules none = { .window_ns = SKINK_S, .period_ns = SKINK_S };
    struct skink__quarantine quarantine = { 0 };
    for (int i = 0; i < 100; i++)
        assert_false(skink__quarantine_strike(&quarantine, &none, 0, SKINK_S, false));
    assert_false(skink__quarantine_is_on(&quarantine));
}

static void any_number_of_strikes_up_to_the_limit_works(void **state)
{
    (void)state;
    for (uint32_t strikes = 1; strikes <= SKINK__STRIKES_MAX; strikes++) {
        struct skink__quarantine_rules these = rules;
        these.strikes = strikes;
        struct skink__quarantine quarantine = { .strike_next = 7 };
        for (uint32_t i = 1; i < strikes; i++)
            assert_false(skink__quarantine_strike(&quarantine, &these, 0, 100 * SKINK_S + i, false));
        assert_true(skink__quarantine_strike(&quarantine, &these, 0, 101 * SKINK_S, false));
    }
}

static void a_period_without_end_has_none(void **state)
{
    (void)state;
    struct skink__quarantine_rules these = rules;
    these.strikes = 1;
    these.window_ns = these.period_ns = SKINK_FOREVER;
    struct skink__quarantine quarantine = { 0 };
    assert_true(skink__quarantine_strike(&quarantine, &these, 0, 100 * SKINK_S, false));
    assert_int_equal(skink__quarantine_admit(&quarantine, &these, 1, 1000000 * SKINK_S), SKINK__REFUSED);
    assert_int_equal(skink__quarantine_retry_after(&quarantine, &these, 200 * SKINK_S), UINT32_MAX);
}

static struct skink__quarantine in_quarantine(uint64_t now_ns)
{
    struct skink__quarantine quarantine = { 0 };
    for (int i = 0; i < 3; i++)
        skink__quarantine_strike(&quarantine, &rules, 0, now_ns, false);
    assert_true(skink__quarantine_is_on(&quarantine));
    return quarantine;
}

/* | time | what                 | admitted          |
 * | 129  | still in quarantine  | no                |
 * | 130  | the period is over   | one, on trial     |
 * | 130  | and then             | no                |
 * | 131  | it ends              | all               | */
static void after_the_period_one_is_tried_and_frees_the_route(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = in_quarantine(100 * SKINK_S);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 129 * SKINK_S), SKINK__REFUSED);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 130 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 130 * SKINK_S), SKINK__REFUSED);
    assert_true(skink__quarantine_passed(&quarantine));
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 131 * SKINK_S), SKINK__ADMITTED);
    /* What was before is forgotten: it takes three again. */
    assert_false(skink__quarantine_strike(&quarantine, &rules, 0, 131 * SKINK_S, false));
    assert_false(skink__quarantine_strike(&quarantine, &rules, 0, 131 * SKINK_S, false));
    assert_true(skink__quarantine_strike(&quarantine, &rules, 0, 131 * SKINK_S, false));
    assert_int_equal(atomic_load(&quarantine.begun), 2);
    assert_int_equal(atomic_load(&quarantine.refused), 2);
    assert_int_equal(atomic_load(&quarantine.trials), 1);
}

static void a_trial_that_gets_stuck_is_another_period(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = in_quarantine(100 * SKINK_S);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 140 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
    assert_false(skink__quarantine_strike(&quarantine, &rules, 0, 141 * SKINK_S, false)); /* it had not been free */
    assert_false(skink__quarantine_passed(&quarantine));
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 170 * SKINK_S), SKINK__REFUSED);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 171 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
    assert_int_equal(atomic_load(&quarantine.begun), 1);
}

static void a_trial_that_says_nothing_for_a_period_is_followed_by_another(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = in_quarantine(100 * SKINK_S);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 130 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 159 * SKINK_S), SKINK__REFUSED);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 160 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
}

static void a_trial_that_was_not_started_leaves_its_place_to_the_next(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = in_quarantine(100 * SKINK_S);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 130 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
    skink__quarantine_untried(&quarantine);
    assert_true(skink__quarantine_is_on(&quarantine));
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 0, 130 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
}

enum { ROUTES_MAX = 32 };

/* Goal: a client that sends a stick every 2 s for an hour, to each of its routes in turn, with the defaults.
 * Each gets stuck for `stuck_s` seconds from its start on, and is declared `timeout_s` after it; returns how many did,
 * and the most at a time. */
static unsigned an_hour_of_sticks(unsigned routes, unsigned timeout_s, unsigned stuck_s, unsigned *ret_most)
{
    struct skink__quarantine quarantines[ROUTES_MAX] = { 0 };
    static struct {
        unsigned ends_s, route;
    } sticks[3600];
    unsigned count = 0, turn = 0;
    *ret_most = 0;
    for (unsigned now_s = 0; now_s < 3600; now_s += 2, turn++) {
        unsigned living = 0, route = turn % routes;
        struct skink__quarantine *quarantine = &quarantines[route];
        atomic_store(&quarantine->stuck, 0);
        for (unsigned i = 0; i < count; i++) {
            if (sticks[i].ends_s <= now_s) continue;
            living++;
            if (sticks[i].route == route) atomic_fetch_add(&quarantine->stuck, 1);
        }
        if (skink__quarantine_admit(quarantine, &rules, living, (now_s + 100) * SKINK_S) == SKINK__REFUSED) continue;
        sticks[count].route = route;
        sticks[count++].ends_s = now_s + stuck_s;
        if (living + 1 > *ret_most) *ret_most = living + 1;
        now_s += timeout_s; /* the loop stands still for as long */
        skink__quarantine_strike(quarantine, &rules, living + 1, (now_s + 100) * SKINK_S, false);
    }
    return count;
}

static void an_hour_of_sticks_costs_three_and_one_every_30_s(void **state)
{
    (void)state;
    unsigned most;
    unsigned stuck = an_hour_of_sticks(1, 1, 4, &most);
    assert_in_range(stuck, 100, 3 + 3600 / 30);
    assert_in_range(most, 1, 3);
    stuck = an_hour_of_sticks(1, 1, 200, &most); /* longer than the period: several live at once */
    assert_in_range(stuck, 10, 3 + 3600 / 30);
    assert_int_equal(most, 4);
}

static void an_hour_of_endless_sticks_leaves_four_threads(void **state)
{
    (void)state;
    unsigned most;
    assert_int_equal(an_hour_of_sticks(1, 1, 1000000, &most), 4);
    assert_int_equal(most, 4); /* of the 8 that recovery.max_strays allows */
    /* Three strikes that come half a minute apart, as the timeout of skinkd's defaults has it. */
    assert_int_equal(an_hour_of_sticks(1, 31, 1000000, &most), 4);
}

/* One for each route, and the strikes: with the defaults four routes stay below the limit of 8. */
static void endless_sticks_on_several_routes_leave_one_thread_for_each_and_the_strikes(void **state)
{
    (void)state;
    unsigned most;
    for (unsigned routes = 1; routes <= ROUTES_MAX; routes++) {
        assert_in_range(an_hour_of_sticks(routes, 1, 1000000, &most), routes, routes + 3);
        assert_in_range(an_hour_of_sticks(routes, 31, 1000000, &most), routes, routes + 3);
    }
    an_hour_of_sticks(4, 1, 1000000, &most);
    assert_in_range(most, 4, 7);
}

/* Others hold threads for ever; a route whose own stuck requests have come back is closed by one
 * strike, and tried again. */
static void a_route_without_stuck_requests_is_tried_whatever_the_others_hold(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = { 0 };
    atomic_store(&quarantine.stuck, 1);
    assert_true(skink__quarantine_strike(&quarantine, &rules, 4, 100 * SKINK_S, false));
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 4, 130 * SKINK_S), SKINK__REFUSED);
    atomic_store(&quarantine.stuck, 0);
    assert_int_equal(skink__quarantine_admit(&quarantine, &rules, 4, 131 * SKINK_S), SKINK__ADMITTED_ON_TRIAL);
    assert_true(skink__quarantine_passed(&quarantine));
}

static void a_client_is_told_when_to_come_again(void **state)
{
    (void)state;
    struct skink__quarantine quarantine = in_quarantine(100 * SKINK_S);
    assert_int_equal(skink__quarantine_retry_after(&quarantine, &rules, 100 * SKINK_S), 30);
    assert_int_equal(skink__quarantine_retry_after(&quarantine, &rules, 100 * SKINK_S + 1), 30);
    assert_int_equal(skink__quarantine_retry_after(&quarantine, &rules, 129 * SKINK_S + 1), 1);
    assert_int_equal(skink__quarantine_retry_after(&quarantine, &rules, 500 * SKINK_S), 30); /* it waits for strays */
}

/* ---- over a server ---- */

struct server {
    struct fixture fixture;
    skink_recovery *recovery;
    _Atomic bool blocking; /* /block blocks until it becomes false */
    _Atomic bool gate_entered;
    _Atomic bool gate_opened; /* /gate waits for it */
    _Atomic int entered;      /* handlers of /block that have begun */
};

static void block(skink_request *request, void *arg)
{
    struct server *server = arg;
    atomic_fetch_add(&server->entered, 1);
    while (atomic_load(&server->blocking))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    skink_respond_text(request, 200, "free");
}

/* Holds the loop thread, honestly: what arrives meanwhile waits together. */
static void gate(skink_request *request, void *arg)
{
    struct server *server = arg;
    atomic_store(&server->gate_entered, true);
    while (!atomic_load(&server->gate_opened))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    skink_respond_text(request, 200, "open");
}

/* What the loop's next thread does when this slice was taken away for want of a processor. */
static void starve(skink_request *request, void *arg)
{
    (void)arg;
    skink_scheduler *here = skink__runtime_enter();
    skink__request_note_stuck(request, &(struct skink__abandonment){ .starved = true });
    skink__runtime_leave(here);
    skink_respond_text(request, 200, "fed");
}

static void create_on(struct server *server, const skink_scheduler_options *scheduler, uint32_t strikes,
                      uint64_t period_ns)
{
    memset(server, 0, sizeof *server);
    atomic_store(&server->blocking, true);
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.late_window_ns = 10 * SKINK_MS;
    http.quarantine_strikes = strikes;
    http.quarantine_period_ns = period_ns;
    fixture_create(&server->fixture, scheduler, &http);
    fixture_add_common_routes(&server->fixture);
    fixture_route(&server->fixture, "GET", "/block", block, server);
    fixture_route(&server->fixture, "GET", "/starve", starve, server);
    skink_route_options patient = SKINK_ROUTE_OPTIONS_INIT;
    patient.deadlock_timeout_ns = 60 * SKINK_S;
    assert_int_equal(skink_http_route(server->fixture.server, "GET", "/gate", &patient, gate, server), 0);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = 100 * SKINK_MS;
    recovery.ceiling_factor = 1000; /* whoever is starved gets no strike */
    server->recovery = fixture_watch(&server->fixture, &recovery);
    fixture_start(&server->fixture);
}

static void create(struct server *server, uint32_t strikes, uint64_t period_ns)
{
    create_on(server, NULL, strikes, period_ns);
}

static void let_all_go(struct server *server)
{
    atomic_store(&server->blocking, false);
    test_wait_until(fixture_recovery_stats(server->recovery).strays == 0, 8000);
}

static void destroy(struct server *server)
{
    let_all_go(server);
    fixture_destroy(&server->fixture);
    skink_recovery_destroy(server->recovery);
}

#define GET_BLOCK "GET /block HTTP/1.1\r\n" H "\r\n"
#define GET_HELLO "GET /hello HTTP/1.1\r\n" H "\r\n"

/* Ask for /block; the status, the error's number (0: none) and Retry-After (0: none). */
static int ask(int fd, int *ret_number, int *ret_retry_after)
{
    struct reply reply;
    client_send_text(fd, GET_BLOCK);
    client_read(fd, &reply, false);
    const char *number = strstr(reply.body, "\"number\":"), *retry_after = reply_header(&reply, "Retry-After");
    *ret_number = number ? atoi(number + strlen("\"number\":")) : 0;
    *ret_retry_after = retry_after ? atoi(retry_after) : 0;
    int status = reply.status;
    reply_free(&reply);
    return status;
}

static void a_route_that_keeps_getting_stuck_is_refused_at_once(void **state)
{
    (void)state;
    struct server server;
    create(&server, 2, 20 * SKINK_S);
    int fd = client_connect(server.fixture.port), number, retry_after;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask(fd, &number, &retry_after), 503);
        assert_int_equal(number, SKINK__HTTP_DEADLOCK);
    }
    for (int i = 0; i < 50; i++) {
        assert_int_equal(ask(fd, &number, &retry_after), 503);
        assert_int_equal(number, SKINK__HTTP_QUARANTINED);
        assert_in_range(retry_after, i == 0 ? 10 : 1, 20);
        client_expect(fd, GET_HELLO, 200, "hello\n"); /* on the same connection, which stays open */
    }
    assert_int_equal(atomic_load(&server.entered), 2);
    assert_int_equal(fixture_stats(&server.fixture).requests_refused, 50);
    assert_int_equal(fixture_stats(&server.fixture).routes_quarantined, 1);
    assert_int_equal(fixture_stats(&server.fixture).in_flight, 0);
    close(fd);
    destroy(&server);
}

static void add_refused(const struct skink__http_route_stats *route, void *arg)
{
    *(uint64_t *)arg += route->quarantine_refused;
}

static void requests_that_wait_already_do_not_get_stuck_one_by_one(void **state)
{
    (void)state;
    enum { WAITING = 20 };
    struct server server;
    create(&server, 3, 20 * SKINK_S);
    int gate_fd = client_connect(server.fixture.port), fds[WAITING], deadlocks = 0, quarantined = 0;
    for (int i = 0; i < WAITING; i++) {
        fds[i] = client_connect(server.fixture.port);
        client_expect(fds[i], GET_HELLO, 200,
                      "hello\n"); /* accepted: what it sends next is read in one go with the others */
    }
    client_send_text(gate_fd, "GET /gate HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&server.gate_entered), 4000);
    for (int i = 0; i < WAITING; i++)
        client_send_text(fds[i], GET_BLOCK);
    atomic_store(&server.gate_opened, true);
    for (int i = 0; i < WAITING; i++) {
        struct reply reply;
        client_read(fds[i], &reply, false);
        assert_int_equal(reply.status, 503);
        deadlocks += strstr(reply.body, "\"number\":1002,") != NULL;
        quarantined += strstr(reply.body, "\"number\":1008,") != NULL;
        reply_free(&reply);
        close(fds[i]);
    }
    assert_int_equal(deadlocks, 3);
    assert_int_equal(quarantined, WAITING - 3);
    uint64_t refused = 0;
    skink__http_stats_routes(server.fixture.server, add_refused, &refused);
    assert_int_equal(refused, WAITING - 3);
    assert_int_equal(atomic_load(&server.entered), 3);
    close(gate_fd);
    destroy(&server);
}

static void a_route_that_is_well_again_is_open_again(void **state)
{
    (void)state;
    struct server server;
    create(&server, 1, 600 * SKINK_MS);
    int fd = client_connect(server.fixture.port), number, retry_after;
    assert_int_equal(ask(fd, &number, &retry_after), 503);
    assert_int_equal(ask(fd, &number, &retry_after), 503);
    assert_int_equal(number, SKINK__HTTP_QUARANTINED);
    assert_int_equal(retry_after, 1);
    let_all_go(&server);
    uint64_t deadline_ns = test_deadline_ns(4000);
    while (ask(fd, &number, &retry_after) != 200)
        assert_true(test_now_ns() < deadline_ns);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(fd, &number, &retry_after), 200);
    assert_int_equal(fixture_stats(&server.fixture).routes_quarantined, 0);
    assert_int_equal(fixture_recovery_stats(server.recovery).deadlocks, 1);
    close(fd);
    destroy(&server);
}

/* Goal: a request that comes back after the loop has stopped is not taken for stuck by the next run. */
static void who_comes_back_after_a_stop_is_stuck_no_longer(void **state)
{
    (void)state;
    struct server server;
    create(&server, 1, 20 * SKINK_S);
    int fd = client_connect(server.fixture.port), number, retry_after;
    assert_int_equal(ask(fd, &number, &retry_after), 503);
    assert_int_equal(number, SKINK__HTTP_DEADLOCK);
    assert_int_equal(skink_scheduler_stop(server.fixture.scheduler, skink_now()), -ECANCELED);
    assert_int_equal(atomic_load(&server.fixture.server->stuck->requests), 1);
    let_all_go(&server);
    test_wait_until(atomic_load(&server.fixture.server->stuck->requests) == 0, 4000);
    close(fd);
    destroy(&server);
}

static void who_was_starved_gets_no_strike(void **state)
{
    (void)state;
    struct server server;
    create(&server, 1, 20 * SKINK_S);
    int fd = client_connect(server.fixture.port);
    for (int i = 0; i < 3; i++)
        client_expect(fd, "GET /starve HTTP/1.1\r\n" H "\r\n", 200, "fed");
    assert_int_equal(fixture_stats(&server.fixture).routes_quarantined, 0);
    close(fd);
    destroy(&server);
}

static void wait_at_the_gate(void *arg)
{
    struct server *server = arg;
    while (!atomic_load(&server->gate_opened))
        (void)!skink_sleep(SKINK_MS);
}

/* As many as there may be, with itself. */
static void fill(void *arg)
{
    struct server *server = arg;
    while (skink_spawn(server->fixture.scheduler, NULL, NULL, wait_at_the_gate, server) == 0)
        continue;
    atomic_store(&server->gate_entered, true);
    wait_at_the_gate(server);
}

/* Goal: the request that was to try a route, and for which there was no task, does not keep the
 * next one from trying it.
 * | /block         | tasks      |                               |
 * | gets stuck     |            | in quarantine                 |
 * | is on trial    | all in use | refused for want of a task    |
 * | is on trial    | free       | 200, well before the next period is over | */
static void a_trial_for_which_there_is_no_task_is_none(void **state)
{
    (void)state;
    struct server server;
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.task_max = 4;
    create_on(&server, &options, 1, SKINK_S);
    int fd = client_connect(server.fixture.port), number, retry_after;
    assert_int_equal(ask(fd, &number, &retry_after), 503);
    assert_int_equal(number, SKINK__HTTP_DEADLOCK);
    let_all_go(&server);
    assert_int_equal(skink_post(server.fixture.scheduler, fill, &server), 0);
    test_wait_until(atomic_load(&server.gate_entered), 4000);
    uint64_t deadline_ns = test_deadline_ns(4000);
    do {
        assert_int_equal(ask(fd, &number, &retry_after), 503);
        assert_true(test_now_ns() < deadline_ns);
    } while (number == SKINK__HTTP_QUARANTINED);
    assert_int_equal(number, SKINK__HTTP_TASK_LIMIT);
    assert_int_equal(fixture_stats(&server.fixture).routes_quarantined, 1); /* nor has it passed */
    atomic_store(&server.gate_opened, true);
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    test_wait_until(skink_scheduler_stats_read(server.fixture.scheduler, &stats) == 0 && stats.tasks_living == 0, 4000);
    assert_int_equal(ask(fd, &number, &retry_after), 200);
    close(fd);
    destroy(&server);
}

/* Goal: however long it goes on, endless sticks leave no more threads than one above the strikes; and when they come
 * back, the route is tried again. */
static void endless_sticks_are_not_tried_for_ever(void **state)
{
    (void)state;
    struct server server;
    create(&server, 2, 100 * SKINK_MS);
    int fd = client_connect(server.fixture.port), number, retry_after;
    uint64_t deadline_ns = test_deadline_ns(8000);
    while (fixture_recovery_stats(server.recovery).strays < 3) {
        assert_int_equal(ask(fd, &number, &retry_after), 503);
        assert_true(test_now_ns() < deadline_ns);
    }
    for (uint64_t until_ns = test_now_ns() + test_ms(500); test_now_ns() < until_ns;) /* five periods more */
        assert_int_equal(ask(fd, &number, &retry_after), 503);
    assert_int_equal(fixture_recovery_stats(server.recovery).strays, 3);
    assert_int_equal(fixture_recovery_stats(server.recovery).deadlocks, 3);
    let_all_go(&server);
    deadline_ns = test_deadline_ns(4000);
    while (ask(fd, &number, &retry_after) != 200)
        assert_true(test_now_ns() < deadline_ns);
    close(fd);
    destroy(&server);
}

static void more_strikes_than_can_be_remembered_are_refused(void **state)
{
    (void)state;
    skink_scheduler *scheduler;
    skink_http_server *server;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.quarantine_strikes = 33;
    assert_int_equal(skink_http_server_create(scheduler, &options, &server), -EINVAL);
    skink_scheduler_destroy(scheduler);
}

static const struct test_case cases[] = {
    CASE(three_strikes_within_the_window_and_no_fewer),
    CASE(without_a_number_of_strikes_there_is_no_quarantine),
    CASE(any_number_of_strikes_up_to_the_limit_works),
    CASE(a_period_without_end_has_none),
    CASE(after_the_period_one_is_tried_and_frees_the_route),
    CASE(a_trial_that_gets_stuck_is_another_period),
    CASE(a_trial_that_says_nothing_for_a_period_is_followed_by_another),
    CASE(a_trial_that_was_not_started_leaves_its_place_to_the_next),
    CASE(an_hour_of_sticks_costs_three_and_one_every_30_s),
    CASE(an_hour_of_endless_sticks_leaves_four_threads),
    CASE(endless_sticks_on_several_routes_leave_one_thread_for_each_and_the_strikes),
    CASE(a_route_without_stuck_requests_is_tried_whatever_the_others_hold),
    CASE(a_client_is_told_when_to_come_again),
    CASE(a_route_that_keeps_getting_stuck_is_refused_at_once),
    CASE(requests_that_wait_already_do_not_get_stuck_one_by_one),
    CASE(a_route_that_is_well_again_is_open_again),
    CASE(who_comes_back_after_a_stop_is_stuck_no_longer),
    CASE(who_was_starved_gets_no_strike),
    CASE(a_trial_for_which_there_is_no_task_is_none),
    CASE(endless_sticks_are_not_tried_for_ever),
    CASE(more_strikes_than_can_be_remembered_are_refused),
};

TEST_MAIN(cases, NULL, NULL)
