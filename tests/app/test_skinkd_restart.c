/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_restart.c - sockets that are inherited or shared, and restarts that no client notices. */
#include "load.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket as a service manager opens it, out of the way of what is handed down. */
static int open_socket(int *ret_port, bool listening)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (listening) assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int get_status(int port, const char *target)
{
    char *answer = http_get(port, target);
    int status = http_status(answer);
    free(answer);
    return status;
}

static void assert_contains(const char *text, const char *part)
{
    if (strstr(text, part)) return;
    print_error("\"%s\" is not in:\n%s\n", part, text);
    fail();
}

/* --- inherited sockets --- */

static void inherited_sockets_are_listened_on(void **state)
{
    (void)state;
    static const char *const all_names[] = { NULL, "http:stats", "skinkd.socket:skinkd-stats.socket" };
    for (size_t i = 0; i < 3; i++) {
        int http_port, stats_port;
        int fds[2] = { open_socket(&http_port, true), open_socket(&stats_port, true) };
        skinkd_inherit(fds, 2, all_names[i]);
        struct skinkd *server = START_PLAIN();
        assert_int_equal(server->http_port, http_port);
        assert_int_equal(server->stats_port, stats_port);
        assert_int_equal(get_status(http_port, "/hello"), 200);
        assert_int_equal(get_status(stats_port, "/health"), 200);
        assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
        skinkd_free(server);
        close(fds[0]);
        close(fds[1]);
    }
}

static void names_win_over_places_and_several_may_be_for_requests(void **state)
{
    (void)state;
    int ports[3];
    int fds[3] = { open_socket(&ports[0], true), open_socket(&ports[1], true), open_socket(&ports[2], true) };
    skinkd_inherit(fds, 3, "stats:http:http");
    struct skinkd *server = START_PLAIN();
    assert_int_equal(server->stats_port, ports[0]);
    assert_int_equal(get_status(ports[1], "/hello"), 200);
    assert_int_equal(get_status(ports[2], "/hello"), 200);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
}

static void wrong_inheritances_are_refused(void **state)
{
    (void)state;
    int port, bound = open_socket(&port, false), listening = open_socket(&port, true),
              null = open("/dev/null", O_RDONLY);
    static const char *const complaint = "; expected a stream socket that listens";
    const struct {
        int fds[3];
        size_t count;
        const char *names;
        const char *said;
    } wrong[] = {
        { { bound }, 1, NULL, "cannot listen on the inherited socket fd:3: " },
        { { null }, 1, "http", "cannot listen on the inherited socket fd:3: " },
        { { listening, null }, 2, "http:stats", "cannot listen on the inherited socket fd:4: " },
        { { listening, listening, listening },
          3,
          NULL,
          "3 inherited sockets, of which 1 are for stats and 3 have no name" },
        { { listening, listening }, 2, "stats:stats", "2 inherited sockets, of which 2 are for stats" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        skinkd_inherit(wrong[i].fds, wrong[i].count, wrong[i].names);
        struct ended *ended = RUN("--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0");
        assert_int_equal(ended->status, 1);
        assert_contains(ended->err, wrong[i].said);
        if (wrong[i].said[0] == 'c') assert_contains(ended->err, complaint);
        free(ended);
    }
}

static void sockets_meant_for_another_process_are_left_alone(void **state)
{
    (void)state;
    const char *const environment[] = { "LISTEN_FDS=5", "LISTEN_PID=1", NULL };
    struct ended *ended = skinkd_run((const char *const[]){ "--set", "http.listen=1.2.3.4:1", NULL }, environment);
    assert_int_equal(ended->status, 1);
    assert_contains(ended->err, "cannot listen on 1.2.3.4:1"); /* as without them */
    free(ended);
}

static void descriptors_that_are_not_there_are_named(void **state)
{
    (void)state;
    int port;
    const int fds[2] = { open_socket(&port, true), -1 };
    skinkd_inherit(fds, 2, NULL);
    struct ended *ended = RUN("--set", "stats.listen=127.0.0.1:0");
    assert_int_equal(ended->status, 1);
    assert_string_equal(ended->err, "skinkd: LISTEN_FDS=2, but descriptor 4 is not open\n");
    free(ended);
}

/* --- restarts --- */

static void assert_no_failure(struct load *load)
{
    if (atomic_load(&load->failed)) print_error("%s\n", load->failure);
    assert_int_equal(atomic_load(&load->failed), 0);
    assert_true(atomic_load(&load->answered) > 100);
}

static void wait_for_answers(struct load *load, uint64_t more)
{
    uint64_t before = atomic_load(&load->answered);
    test_wait_until(atomic_load(&load->answered) >= before + more || atomic_load(&load->failed), 10000);
}

/* Goal: `systemctl restart`, under load: the socket is the manager's,
 * so who comes between two servers waits in its queue.
 * | server A   | server B  | clients, some with one request a connection, some with many |
 * | serves     |           | 200, 200, ...                                               |
 * | SIGTERM    |           | 200 with Connection: close                                  |
 * | has ended  |           | connections queue up                                        |
 * |            | serves    | 200, 200, ...                                               | */
static void a_restart_with_an_inherited_socket_loses_no_request(void **state)
{
    (void)state;
    struct load many = { .target = "/hello", .per_connection = 1000 },
                single = { .target = "/hello", .per_connection = 1 };
    int fd = open_socket(&many.port, true);
    single.port = many.port;
    skinkd_inherit(&fd, 1, "http");
    struct skinkd *server = START("--set", "shutdown.delay=300ms");
    load_start(&many, 2);
    load_start(&single, 2);
    for (int i = 0; i < 2; i++) {
        wait_for_answers(&many, 100);
        assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
        skinkd_free(server);
        server = START("--set", "shutdown.delay=300ms");
    }
    wait_for_answers(&single, 50);
    load_stop(&many);
    load_stop(&single);
    assert_no_failure(&many);
    assert_no_failure(&single);
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    skinkd_free(server);
    close(fd);
}

static struct skinkd *start_on(int port)
{
    char listen[64];
    snprintf(listen, sizeof listen, "http.listen=127.0.0.1:%d", port);
    return START("--set", "http.reuse_port=yes", "--set", "shutdown.delay=300ms", "--set", listen);
}

/* Goal: the same without a manager: the next server starts beside the old one, on the same port. */
static void a_restart_with_a_shared_port_loses_no_request(void **state)
{
    (void)state;
    struct load many = { .target = "/hello", .per_connection = 1000 },
                single = { .target = "/hello", .per_connection = 1 };
    struct skinkd *server = start_on(0);
    single.port = many.port = server->http_port;
    load_start(&many, 2);
    load_start(&single, 4);
    for (int i = 0; i < 3; i++) {
        wait_for_answers(&single, 100);
        struct skinkd *next = start_on(single.port);
        assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
        skinkd_free(server);
        server = next;
    }
    wait_for_answers(&single, 50);
    load_stop(&many);
    load_stop(&single);
    assert_no_failure(&many);
    assert_no_failure(&single);
    assert_int_equal(skinkd_end(server, SIGTERM, 15000), 0);
    skinkd_free(server);
}

static void a_port_is_not_shared_unless_both_want_it(void **state)
{
    (void)state;
    struct skinkd *server = START("--set", "http.reuse_port=yes");
    char listen[64];
    snprintf(listen, sizeof listen, "http.listen=127.0.0.1:%d", server->http_port);
    struct ended *ended = RUN("--set", listen, "--set", "stats.listen=127.0.0.1:0");
    assert_int_equal(ended->status, 1);
    assert_contains(ended->err, "address already in use");
    free(ended);
    assert_int_equal(skinkd_end(server, SIGTERM, 10000), 0);
    skinkd_free(server);
}

static const struct test_case cases[] = {
    CASE(inherited_sockets_are_listened_on),
    CASE(names_win_over_places_and_several_may_be_for_requests),
    CASE(wrong_inheritances_are_refused),
    CASE(sockets_meant_for_another_process_are_left_alone),
    CASE(descriptors_that_are_not_there_are_named),
    CASE(a_restart_with_an_inherited_socket_loses_no_request),
    CASE(a_restart_with_a_shared_port_loses_no_request),
    CASE(a_port_is_not_shared_unless_both_want_it),
};
TEST_MAIN(cases, NULL, NULL)
