/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_drain.c - the way down: announced, refused, waited for, cut. */
#include "loop/runtime.h"
#include "middleware/health.h"
#include "middleware/http_server.h"
#include "tests/middleware/fixture.h"
#include "tests/middleware/shop.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
enum { LARGE_BYTES = 16 << 20 }; /* more than the kernel holds */

/* A server, and a thread that ends it. */
struct way_down {
    struct fixture fixture;
    skink_shutdown_options options;
    pthread_t thread;
    int result;
    _Atomic bool over;
    _Atomic bool release; /* ends /block */
    _Atomic bool opened;  /* ends /wait */
    _Atomic bool blocked;
    char *large;
};

static void answer_large(skink_request *request, void *arg)
{
    struct way_down *way = arg;
    skink_respond(request, 200, "text/plain", way->large, LARGE_BYTES);
}

static void block(skink_request *request, void *arg)
{
    struct way_down *way = arg;
    atomic_store(&way->blocked, true);
    while (!atomic_load(&way->release))
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    skink_respond_text(request, 200, "late");
}

/* Suspends until it is let go. */
static void wait_until_opened(skink_request *request, void *arg)
{
    struct way_down *way = arg;
    int err = 0;
    while (!atomic_load(&way->opened) && !err)
        err = skink_sleep(SKINK_MS);
    skink_respond_text(request, err ? 500 : 200, err ? "cancelled" : "waited");
}

/* Waits more than once after the loop has got stuck. */
static void nap_while_blocked(skink_request *request, void *arg)
{
    struct way_down *way = arg;
    int err = 0;
    while (!atomic_load(&way->blocked) && !err)
        err = skink_sleep(SKINK_MS);
    for (int i = 0; i < 3 && !err; i++)
        err = skink_sleep(SKINK_MS);
    skink_respond_text(request, err ? 500 : 200, err ? "cancelled" : "waited");
}

static void create(struct way_down *way)
{
    memset(way, 0, sizeof *way);
    fixture_create(&way->fixture, NULL, NULL);
    fixture_add_common_routes(&way->fixture);
    fixture_route(&way->fixture, "GET", "/large", answer_large, way);
    fixture_route(&way->fixture, "GET", "/block", block, way);
    fixture_route(&way->fixture, "GET", "/wait", wait_until_opened, way);
    fixture_route(&way->fixture, "GET", "/naps", nap_while_blocked, way);
    fixture_start(&way->fixture);
}

static void *end(void *arg)
{
    struct way_down *way = arg;
    way->result = skink_shutdown(&way->fixture.server, 1, &way->options);
    atomic_store(&way->over, true);
    return NULL;
}

static void begin(struct way_down *way, uint64_t delay_ns, uint64_t grace_ns)
{
    way->options = (skink_shutdown_options)SKINK_SHUTDOWN_OPTIONS_INIT;
    way->options.delay_ns = delay_ns;
    way->options.grace_ns = grace_ns;
    assert_int_equal(pthread_create(&way->thread, NULL, end, way), 0);
}

static void join(struct way_down *way, int result)
{
    pthread_join(way->thread, NULL);
    assert_int_equal(way->result, result);
    fixture_destroy(&way->fixture);
    free(way->large);
}

static bool is_draining(const struct way_down *way)
{
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = way->fixture.scheduler;
    sources.http_server = way->fixture.server;
    static const struct skink__health_limits none;
    struct skink__health_facts facts = skink__health_read(&sources, &none);
    return strcmp(skink__health_judge(&facts, SKINK__PROBE_READY).reason, "draining") == 0;
}

static bool can_connect(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return connected;
}

/* A request that is being worked on, on a connection of its own. */
static int begin_request(const struct way_down *way, const char *request)
{
    uint64_t before = fixture_stats(&way->fixture).in_flight;
    int fd = client_connect(way->fixture.port);
    client_send_text(fd, request);
    test_wait_until(fixture_stats(&way->fixture).in_flight > before, 5000);
    return fd;
}

static void expect_reply(int fd, int status, const char *body, bool closing)
{
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.status, status);
    if (body) assert_string_equal(reply.body, body);
    const char *connection = reply_header(&reply, "Connection");
    assert_int_equal(connection && strcmp(connection, "close") == 0, closing);
    reply_free(&reply);
}

static void expect_hello(int fd, bool closing)
{
    client_send_text(fd, GET("/hello"));
    expect_reply(fd, 200, "hello\n", closing);
}

/* A request that holds the loop until way->release. */
static int block_the_loop(struct way_down *way)
{
    int fd = client_connect(way->fixture.port);
    client_send_text(fd, GET("/block"));
    test_wait_until(atomic_load(&way->blocked), 5000);
    return fd;
}

/* A client that has read nothing of its large answer, which has been given, as far as its task can tell. */
static int ask_for_the_large(struct way_down *way)
{
    way->large = calloc(1, LARGE_BYTES + 1);
    int fd = client_connect(way->fixture.port);
    client_send_text(fd, GET("/large"));
    test_wait_until(fixture_code_count(&way->fixture, 200) == 1, 5000);
    return fd;
}

/* With grace for a minute. */
static void expect_end_at_once(struct way_down *way)
{
    uint64_t start = test_now_ns();
    begin(way, 0, 60 * SKINK_S);
    join(way, 0);
    assert_true(test_now_ns() - start < test_ms(test_patience(5000)));
}

/* --- the announcement --- */

static void a_drain_is_announced_and_serving_goes_on(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int old = client_connect(way.fixture.port);
    expect_hello(old, false);
    assert_false(is_draining(&way));
    skink_http_server_drain(way.fixture.server);
    skink_http_server_drain(way.fixture.server);
    skink_http_server_drain(NULL);
    assert_true(is_draining(&way));
    expect_hello(old, true);
    assert_true(client_sees_end(old, 5000));
    int fresh = client_connect(way.fixture.port);
    expect_hello(fresh, true);
    close(old);
    close(fresh);
    begin(&way, 0, 5 * SKINK_S);
    join(&way, 0);
}

/* --- refusing --- */

/* Goal: what was begun is answered, what comes then is not.
 * | in flight         | idle connection     | nobody yet           |
 * | /wait             |                     |                      |
 * | shutdown: the listener closes                                  |
 * |                   | /hello: 503, close  | connect: refused     |
 * | 200, close        |                     |                      | */
static void requests_in_flight_finish_and_new_ones_on_open_connections_are_refused(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int idle = client_connect(way.fixture.port), other = client_connect(way.fixture.port);
    expect_hello(idle, false);
    expect_hello(other, false);
    int waiting = begin_request(&way, GET("/wait"));
    begin(&way, 0, 10 * SKINK_S);
    test_wait_until(!can_connect(way.fixture.port), 5000);
    client_send_text(idle, GET("/hello"));
    struct reply reply;
    client_read(idle, &reply, false);
    assert_int_equal(reply.status, 503);
    assert_string_equal(reply_header(&reply, "Connection"), "close");
    assert_non_null(strstr(reply.body, "\"number\":1006"));
    reply_free(&reply);
    assert_true(client_sees_end(idle, 5000));
    close(idle);
    assert_false(atomic_load(&way.over));
    atomic_store(&way.opened, true);
    expect_reply(waiting, 200, "waited", true);
    close(waiting);
    join(&way, 0);
    assert_true(client_sees_end(other, 1000)); /* it was idle all the time */
    close(other);
}

/* One whose first bytes had come when the server began to refuse. */
static void a_request_half_sent_is_still_taken(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int fd = client_connect(way.fixture.port);
    client_send_text(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    test_wait_until(fixture_stats(&way.fixture).connections == 1, 5000);
    int probe = client_connect(way.fixture.port); /* answered behind the half one: so that has been read */
    expect_hello(probe, false);
    begin(&way, 0, 10 * SKINK_S);
    test_wait_until(!can_connect(way.fixture.port), 5000);
    client_send_text(fd, "cd");
    expect_reply(fd, 200, "abcd", true);
    close(fd);
    close(probe);
    join(&way, 0);
}

/* A connection that was accepted in the last moment does not find the door shut at its first request. */
static void who_came_during_the_drain_gets_its_first_answer(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int waiting = begin_request(&way, GET("/wait"));
    begin(&way, test_ms(test_patience(200)), 10 * SKINK_S);
    test_wait_until(is_draining(&way), 5000);
    int fd = client_connect(way.fixture.port);
    test_wait_until(!can_connect(way.fixture.port), 5000);
    expect_hello(fd, true);
    assert_true(client_sees_end(fd, 5000));
    close(fd);
    test_wait_until(atomic_load(&way.fixture.server->drain.loose) == 0, 5000); /* nor is it waited for any more */
    atomic_store(&way.opened, true);
    expect_reply(waiting, 200, "waited", true);
    close(waiting);
    join(&way, 0);
}

/* Runs in the runtime section, behind the loop's look at its listeners. */
struct knock {
    struct skink__message message;
    int port;
    int fd;
};

static void knock(skink_scheduler *scheduler, struct skink__message *message, bool closed)
{
    struct knock *at = (struct knock *)message;
    (void)scheduler;
    if (!closed) at->fd = client_connect(at->port);
}

/* Goal: a connection that is complete, but was not accepted yet as the listener is closed, is served and not reset.
 * | the loop                  | the test                                |
 * | blocks in a task          | hands over the knock, then asks to close |
 * | looks at its listeners    |                                         |
 * | connects to itself        |                                         |
 * | closes its listeners      |                                         |
 * |                           | asks on that connection: 200            | */
static void who_stands_in_the_queue_as_the_door_closes_is_let_in(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int blocking = block_the_loop(&way);
    struct knock last = { .message.deliver = knock, .port = way.fixture.port, .fd = -1 };
    assert_true(skink__scheduler_post(way.fixture.scheduler, &last.message));
    begin(&way, 0, 10 * SKINK_S);
    test_wait_until(atomic_load(&way.fixture.server->drain.asked) >= SKINK__DRAIN_REFUSING, 5000);
    test_wait_until(atomic_load(&way.fixture.server->drain.posted), 5000);
    atomic_store(&way.release, true);
    expect_reply(blocking, 200, "late", true);
    test_wait_until(atomic_load(&way.fixture.server->drain.reached) >= SKINK__DRAIN_REFUSING, 5000);
    expect_hello(last.fd, true);
    close(last.fd);
    close(blocking);
    join(&way, 0);
}

/* --- a port that is shared --- */

static int open_client(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_true(connect(fd, (struct sockaddr *)&address, sizeof address) == 0 || errno == EINPROGRESS);
    return fd;
}

static int listen_beside(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 128), 0);
    return fd;
}

/* Goal: before its listener is closed no handshake is begun there any more, so none can be cut short by the close. Half
 * of those who knock would have come to it, and reach the other listener at their second try, a second later. */
static void a_shared_port_is_left_to_the_other_listener(void **state)
{
    (void)state;
    enum { CLIENTS = 40 };
    struct way_down way = { 0 };
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.flags = SKINK_HTTP_REUSE_PORT;
    fixture_create(&way.fixture, NULL, &options);
    fixture_start(&way.fixture);
    int other = listen_beside(way.fixture.port), clients[CLIENTS], accepted = 0;
    begin(&way, 0, 5 * SKINK_S);
    /* The loop has had the stage before it says so; it lasts for 200 ms. */
    test_wait_until(atomic_load(&way.fixture.server->drain.reached) >= SKINK__DRAIN_SHUNNING, 5000);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = open_client(way.fixture.port);
    uint64_t deadline_ns = test_deadline_ns(8000);
    for (int fd; accepted < CLIENTS && test_now_ns() < deadline_ns;) {
        if ((fd = accept4(other, NULL, NULL, SOCK_CLOEXEC)) >= 0)
            accepted += close(fd) == 0;
        else
            test_nap();
    }
    assert_int_equal(accepted, CLIENTS);
    assert_int_equal(fixture_stats(&way.fixture).connections_total, 0);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    close(other);
    join(&way, 0);
}

/* --- waiting and cutting --- */

static void a_server_with_nothing_to_do_ends_at_once(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int idle = client_connect(way.fixture.port);
    expect_end_at_once(&way);
    close(idle);
}

/* Some clients put one behind a body. Nothing has begun with it that would have to be waited for. */
static void an_empty_line_behind_a_request_keeps_nobody_waiting(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int idle = client_connect(way.fixture.port);
    client_send_text(idle, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n");
    expect_reply(idle, 200, "hi", false);
    expect_end_at_once(&way);
    close(idle);
}

static void what_outlives_the_grace_is_cancelled(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int sleeping = begin_request(&way, GET("/sleep?ms=60000"));
    begin(&way, 0, 200 * SKINK_MS);
    expect_reply(sleeping, 500, "cancelled", true);
    close(sleeping);
    join(&way, -ECANCELED);
}

static void an_answer_still_being_read_is_waited_for(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int fd = ask_for_the_large(&way);
    begin(&way, 0, 10 * SKINK_S);
    test_wait_until(!can_connect(way.fixture.port), 5000);
    assert_false(atomic_load(&way.over));
    struct reply reply;
    client_read(fd, &reply, false);
    assert_int_equal(reply.body_length, LARGE_BYTES);
    reply_free(&reply);
    close(fd);
    join(&way, 0);
}

static void an_answer_that_nobody_reads_is_cut(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int fd = ask_for_the_large(&way);
    begin(&way, 0, 300 * SKINK_MS);
    join(&way, -ECANCELED);
    close(fd);
}

/* Goal: a loop thread that is stuck at that moment, watched by nobody, costs the others nothing but time: it is given
 * up well before the end of the grace, so that they can go on. */
static void a_stuck_loop_changes_nothing_for_the_others(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    int napping = begin_request(&way, GET("/naps"));
    int stuck = block_the_loop(&way);
    begin(&way, 0, 5 * SKINK_S); /* it is given up after two thirds of that */
    expect_reply(napping, 200, "waited", true);
    pthread_join(way.thread, NULL);
    assert_int_equal(way.result, -ECANCELED);
    fixture_destroy(&way.fixture);
    atomic_store(&way.release, true); /* the stray ends; what it said, it said to nobody */
    close(napping);
    close(stuck);
}

/* Workers end with their loop, and before it; and what was cut there is told, though its client has got an answer. */
static void workers_are_stopped_with_their_loop(void **state)
{
    (void)state;
    struct shop shop;
    shop_create(&shop, &(struct shop_setup){ .threads = 1, .execution = SKINK_EXECUTE_THREADS });
    shop_start(&shop);
    int fd = shop_ask(&shop, "/long", 0);
    test_wait_until(shop_stats(&shop).busy == 1, WAIT_MS);
    skink_shutdown_options options = SKINK_SHUTDOWN_OPTIONS_INIT;
    options.grace_ns = 100 * SKINK_MS;
    assert_int_equal(skink_shutdown(&shop.fixture.server, 1, &options), -ECANCELED);
    client_expect(fd, "", 200, "slept");
    close(fd);
    assert_int_equal(skink_workers_stop(shop.workers, skink_now()), -EALREADY);
    shop_destroy(&shop);
}

/* --- misuse and edges --- */

static _Atomic int result_in_task;

static void shut_down_in_task(void *arg)
{
    skink_http_server *server = arg;
    int err = skink_shutdown(&server, 1, NULL);
    atomic_store(&result_in_task, err ? err : 1);
}

static void misuse_is_refused(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    skink_http_server *none = NULL;
    assert_int_equal(skink_shutdown(NULL, 1, NULL), -EINVAL);
    assert_int_equal(skink_shutdown(&way.fixture.server, 0, NULL), -EINVAL);
    assert_int_equal(skink_shutdown(&none, 1, NULL), -EINVAL);
    skink_shutdown_options options = { 0 };
    assert_int_equal(skink_shutdown(&way.fixture.server, 1, &options), -EINVAL);
    assert_int_equal(skink_post(way.fixture.scheduler, shut_down_in_task, way.fixture.server), 0);
    test_wait_until(atomic_load(&result_in_task) != 0, 5000);
    assert_int_equal(atomic_load(&result_in_task), -EDEADLK);
    assert_false(skink__drain_is_announced(way.fixture.server));       /* nothing has begun */
    assert_int_equal(skink_shutdown(&way.fixture.server, 1, NULL), 0); /* without options there is no grace */
    assert_int_equal(skink_shutdown(&way.fixture.server, 1, NULL), 0); /* and nothing is left to do */
    fixture_destroy(&way.fixture);
}

static void a_scheduler_that_never_ran_is_no_obstacle(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    skink_shutdown_options options = SKINK_SHUTDOWN_OPTIONS_INIT;
    options.grace_ns = 60 * SKINK_S;
    uint64_t start = test_now_ns();
    assert_int_equal(skink_shutdown(&fixture.server, 1, &options), 0);
    assert_true(test_now_ns() - start < test_ms(test_patience(5000)));
    fixture_destroy(&fixture);
}

static void two_servers_of_one_scheduler_end_together(void **state)
{
    (void)state;
    struct way_down way;
    create(&way);
    skink_http_server *second;
    int port;
    assert_int_equal(skink_http_server_create(way.fixture.scheduler, NULL, &second), 0);
    assert_int_equal(skink_http_listen(second, "127.0.0.1:0", &port), 0);
    skink_http_server *const both[] = { way.fixture.server, second };
    skink_shutdown_options options = SKINK_SHUTDOWN_OPTIONS_INIT;
    options.grace_ns = 5 * SKINK_S;
    assert_int_equal(skink_shutdown(both, 2, &options), 0);
    assert_false(can_connect(way.fixture.port));
    assert_false(can_connect(port));
    assert_int_equal(skink_http_listen(second, "127.0.0.1:0", &port), -ECANCELED);
    skink_http_server_destroy(second);
    fixture_destroy(&way.fixture);
}

static const struct test_case cases[] = {
    CASE(a_drain_is_announced_and_serving_goes_on),
    CASE(requests_in_flight_finish_and_new_ones_on_open_connections_are_refused),
    CASE(a_request_half_sent_is_still_taken),
    CASE(who_came_during_the_drain_gets_its_first_answer),
    CASE(who_stands_in_the_queue_as_the_door_closes_is_let_in),
    CASE(a_shared_port_is_left_to_the_other_listener),
    CASE(a_server_with_nothing_to_do_ends_at_once),
    CASE(an_empty_line_behind_a_request_keeps_nobody_waiting),
    CASE(what_outlives_the_grace_is_cancelled),
    CASE(an_answer_still_being_read_is_waited_for),
    CASE(an_answer_that_nobody_reads_is_cut),
    CASE(a_stuck_loop_changes_nothing_for_the_others),
    CASE(workers_are_stopped_with_their_loop),
    CASE(misuse_is_refused),
    CASE(a_scheduler_that_never_ran_is_no_obstacle),
    CASE(two_servers_of_one_scheduler_end_together),
};
TEST_MAIN(cases, NULL, NULL)
