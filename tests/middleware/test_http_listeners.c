/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_http_listeners.c - listening: addresses, unix sockets, and running out of descriptors. */
#include "tests/middleware/fixture.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define H "Host: a\r\n"

static _Atomic int pauses, resumptions; /* as the log tells of them, in pairs that can be told apart */

static void note_pause(skink_log_level level, const char *pairs, void *arg)
{
    (void)level, (void)arg;
    atomic_fetch_add(&pauses, strcmp(pairs, "event=accept_paused error=\"too many open files\"") == 0);
    atomic_fetch_add(&resumptions, strcmp(pairs, "event=accept_resumed") == 0);
}

static void a_listener_without_descriptors_pauses_and_goes_on(void **state)
{
    (void)state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.log = note_pause;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    struct fixture fixture;
    fixture_serve(&fixture);
    int warm = client_connect(fixture.port);
    client_expect(warm, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    /* Room for the client's descriptor, and none for the server's. */
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int next = dup(warm);
    close(next);
    low = old;
    low.rlim_cur = (rlim_t)next + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int fd = client_connect(fixture.port);
    client_send_text(fd, "GET /hello HTTP/1.1\r\n" H "\r\n");
    client_expect(warm, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n"); /* the others do not notice */
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    struct pollfd quiet = { .fd = fd, .events = POLLIN };
    assert_int_equal(poll(&quiet, 1, 400), 0); /* it waits in the kernel's queue */
    getrusage(RUSAGE_SELF, &after);
    long used_us =
        (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
        after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec;
    assert_true(used_us < 25000);              /* and nobody spins */
    assert_int_equal(atomic_load(&pauses), 1); /* said once, however often it was tried again */
    assert_int_equal(atomic_load(&resumptions), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    client_expect(fd, "", 200, "hello\n");
    assert_int_equal(atomic_load(&resumptions), 1);
    assert_int_equal(atomic_load(&pauses), 1);
    close(fd), close(warm);
    fixture_destroy(&fixture);
}

static void bad_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",         "8080",   "127.0.0.1",   "127.0.0.1:",  "127.0.0.1:65536",
                                       "1.2.3:80", "a.b:80", "[::1]",       "[::1]:",      "[::1",
                                       "[zz]:80",  "unix:",  "127.0.0.1:x", "127.0.0.1:1 " };
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(skink_http_listen(fixture.server, bad[i], NULL), -EINVAL);
    char path[300] = "unix:/tmp/";
    memset(path + strlen(path), 'a', 200);
    assert_int_equal(skink_http_listen(fixture.server, path, NULL), -ENAMETOOLONG);
    int port = 0;
    char address[64];
    assert_int_equal(skink_http_listen(fixture.server, "127.0.0.1:0", &port), 0);
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    assert_int_equal(skink_http_listen(fixture.server, address, NULL), -EADDRINUSE);
    fixture_destroy(&fixture);
}

static void listens_on_v6_and_on_every_interface(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    int every, v6;
    assert_int_equal(skink_http_listen(fixture.server, ":0", &every), 0);
    int err = skink_http_listen(fixture.server, "[::1]:0", &v6);
    if (err != -EADDRNOTAVAIL && err != -EAFNOSUPPORT) {
        assert_int_equal(err, 0);
        assert_true(v6 > 0 && v6 != every);
    }
    assert_int_equal(skink_scheduler_start(fixture.scheduler), 0);
    int late; /* while it runs */
    assert_int_equal(skink_http_listen(fixture.server, "127.0.0.1:0", &late), 0);
    int fd = client_connect(every), other = client_connect(late);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    client_expect(other, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd), close(other);
    fixture_destroy(&fixture);
}

static void a_unix_socket_replaces_only_what_nobody_listens_on(void **state)
{
    (void)state;
    char directory[] = "/tmp/skink-test-XXXXXX", path[64], address[80];
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    snprintf(address, sizeof address, "unix:%s", path);
    /* A file that is no socket stays. */
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    struct fixture fixture, second;
    fixture_create(&fixture, NULL, NULL);
    fixture_add_common_routes(&fixture);
    assert_int_equal(skink_http_listen(fixture.server, address, NULL), -EADDRINUSE);
    assert_int_equal(unlink(path), 0);
    /* What a process that died left behind goes. */
    struct sockaddr_un left = { .sun_family = AF_UNIX };
    strcpy(left.sun_path, path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&left, sizeof left), 0);
    assert_int_equal(listen(dead, 1), 0);
    close(dead);
    int port = -1;
    assert_int_equal(skink_http_listen(fixture.server, address, &port), 0);
    assert_int_equal(port, 0);
    assert_int_equal(skink_scheduler_start(fixture.scheduler), 0);
    /* One that is listened on stays. */
    fixture_create(&second, NULL, NULL);
    assert_int_equal(skink_http_listen(second.server, address, NULL), -EADDRINUSE);
    fixture_destroy(&second);
    int fd = client_connect_unix(path);
    client_expect(fd, "GET /hello HTTP/1.1\r\n" H "\r\n", 200, "hello\n");
    close(fd);
    skink_http_server_stop(fixture.server);
    test_wait_until(access(path, F_OK) != 0, 4000);
    fixture_destroy(&fixture);
    assert_int_equal(rmdir(directory), 0);
}

static const struct test_case cases[] = {
    CASE(a_listener_without_descriptors_pauses_and_goes_on),
    CASE(bad_addresses_are_refused),
    CASE(listens_on_v6_and_on_every_interface),
    CASE(a_unix_socket_replaces_only_what_nobody_listens_on),
};
TEST_MAIN(cases, NULL, NULL)
