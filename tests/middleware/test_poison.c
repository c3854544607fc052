/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_poison.c - many requests that want a lock which a stuck one holds:
 * that is one deadlock, not many. */
#include "middleware/error_numbers.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define H "Host: a\r\n"
enum { TIMEOUT_MS = 1000, WAITING = 12 };

struct server {
    struct fixture fixture;
    skink_recovery *recovery;
    pthread_mutex_t mutex;
    _Atomic bool holding;
    _Atomic bool released; /* the one that holds the mutex may go */
    _Atomic int entered;   /* handlers of /want that have begun */
    _Atomic int poisoned;  /* incidents */
    _Atomic uint64_t number, poisoned_by;
};

/* Gets stuck with the mutex in its hand. */
static void hold(skink_request *request, void *arg)
{
    struct server *server = arg;
    pthread_mutex_lock(&server->mutex);
    atomic_store(&server->holding, true);
    while (!atomic_load(&server->released))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    pthread_mutex_unlock(&server->mutex);
    skink_respond_text(request, 200, "held");
}

static void want(skink_request *request, void *arg)
{
    struct server *server = arg;
    atomic_fetch_add(&server->entered, 1);
    pthread_mutex_lock(&server->mutex);
    pthread_mutex_unlock(&server->mutex);
    skink_respond_text(request, 200, "had");
}

static void on_incident(const skink_incident *incident, void *arg)
{
    struct server *server = arg;
    if (incident->number != 0 && atomic_load(&server->number) == 0) atomic_store(&server->number, incident->number);
    if (incident->poisoned_by == 0) return;
    atomic_store(&server->poisoned_by, incident->poisoned_by);
    atomic_fetch_add(&server->poisoned, 1);
}

static void create(struct server *server, uint32_t strikes)
{
    memset(server, 0, sizeof *server);
    pthread_mutex_init(&server->mutex, NULL);
    skink_http_options http = SKINK_HTTP_OPTIONS_INIT;
    http.late_window_ns = 60 * SKINK_S; /* each gets its own answer in the end */
    http.quarantine_strikes = strikes;
    fixture_create(&server->fixture, NULL, &http);
    fixture_add_common_routes(&server->fixture);
    fixture_route(&server->fixture, "GET", "/hold", hold, server);
    fixture_route(&server->fixture, "GET", "/want", want, server);
    skink_recovery_options recovery = SKINK_RECOVERY_OPTIONS_INIT;
    recovery.deadlock_timeout_ns = TIMEOUT_MS * SKINK_MS;
    recovery.ceiling_factor = 1000; /* whoever is starved gets no strike */
    recovery.max_strays = 8;
    recovery.incident = on_incident;
    recovery.arg = server;
    server->recovery = fixture_watch(&server->fixture, &recovery);
    fixture_start(&server->fixture);
}

static void destroy(struct server *server)
{
    atomic_store(&server->released, true);
    test_wait_until(fixture_recovery_stats(server->recovery).strays == 0, 8000);
    fixture_destroy(&server->fixture);
    skink_recovery_destroy(server->recovery);
    pthread_mutex_destroy(&server->mutex);
}

/* | /hold                 | 12 x /want                              |
 * | locks, gets stuck     |                                         |
 * | declared after 1 s    | the first one blocks on the lock        |
 * |                       | declared at once, its route quarantined |
 * |                       | the others are refused                  | */
static void many_that_want_a_stray_s_lock_cost_one_more_thread(void **state)
{
    (void)state;
    struct server server;
    create(&server, 3);
    int holder = client_connect(server.fixture.port), other = client_connect(server.fixture.port), fds[WAITING];
    for (int i = 0; i < WAITING; i++) {
        fds[i] = client_connect(server.fixture.port);
        client_expect(fds[i], "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    }
    client_send_text(holder, "GET /hold HTTP/1.1\r\n" H "\r\n");
    test_wait_until(atomic_load(&server.holding), 4000);
    for (int i = 0; i < WAITING; i++) /* they are all there when the loop goes on */
        client_send_text(fds[i], "GET /want HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_recovery_stats(server.recovery).deadlocks >= 1, 8000);
    uint64_t start_ns = test_now_ns();
    test_wait_until(fixture_recovery_stats(server.recovery).deadlocks >= 2, 8000);
    uint64_t took_ns = test_now_ns() - start_ns;
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    test_wait_until(atomic_load(&server.poisoned) == 1, 4000);
    if (TEST_TIMES) assert_true(took_ns < test_ms(TIMEOUT_MS)); /* it did not get its timeout */
    assert_int_equal(atomic_load(&server.poisoned_by), atomic_load(&server.number));
    assert_int_equal(fixture_recovery_stats(server.recovery).strays, 2);
    assert_int_equal(fixture_recovery_stats(server.recovery).poisoned, 1);
    assert_int_equal(atomic_load(&server.entered), 1);
    assert_int_equal(fixture_stats(&server.fixture).routes_quarantined, 1);
    atomic_store(&server.released, true);
    int had = 0, refused = 0;
    for (int i = 0; i < WAITING; i++) {
        struct reply reply;
        client_read(fds[i], &reply, false);
        had += reply.status == 200;
        refused += strstr(reply.body, "\"number\":1008,") != NULL;
        reply_free(&reply);
        close(fds[i]);
    }
    assert_int_equal(had, 1);
    assert_int_equal(refused, WAITING - 1);
    client_expect(holder, "", 200, "held");
    close(holder), close(other);
    destroy(&server);
}

/* A lock that somebody holds who is no stray is waited for as long as the timeout allows. */
static void a_lock_of_anybody_else_is_no_poison(void **state)
{
    (void)state;
    struct server server;
    create(&server, 0);
    int holder = client_connect(server.fixture.port), fd = client_connect(server.fixture.port);
    pthread_mutex_lock(&server.mutex);
    client_send_text(fd, "GET /want HTTP/1.1\r\n" H "\r\n");
    test_wait_until(fixture_recovery_stats(server.recovery).deadlocks == 1, 8000);
    client_send_text(holder, "GET /want HTTP/1.1\r\n" H "\r\n"); /* there is a stray now, but it owns nothing */
    test_wait_until(fixture_recovery_stats(server.recovery).deadlocks == 2, 8000);
    assert_int_equal(fixture_recovery_stats(server.recovery).poisoned, 0);
    pthread_mutex_unlock(&server.mutex);
    client_expect(fd, "", 200, "had");
    client_expect(holder, "", 200, "had");
    close(holder), close(fd);
    destroy(&server);
}

static const struct test_case cases[] = {
    CASE_TIMED(many_that_want_a_stray_s_lock_cost_one_more_thread, 30),
    CASE(a_lock_of_anybody_else_is_no_poison),
};

TEST_MAIN(cases, NULL, NULL)
