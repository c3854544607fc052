/* SPDX-License-Identifier: MIT */
/* tests/middleware/stats_fixture.c - see stats_fixture.h. */
#include "tests/middleware/stats_fixture.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a client that blocks ---- */

int stats_dial(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = { .tv_sec = test_patience(10) };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

bool stats_say(int fd, const char *request)
{
    return send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request);
}

int stats_hear(int fd, char *answer)
{
    size_t length = 0;
    ssize_t got;
    while ((got = recv(fd, answer + length, ANSWER_BYTES - 1 - length, 0)) > 0)
        length += (size_t)got;
    answer[length] = '\0';
    int status;
    return sscanf(answer, "HTTP/1.%*d %d", &status) == 1 ? status : -1;
}

int stats_ask(int port, const char *method, const char *target, char *answer)
{
    char request[512];
    snprintf(request, sizeof request, "%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", method, target);
    int fd = stats_dial(port);
    if (fd < 0) return -1;
    int status = stats_say(fd, request) ? stats_hear(fd, answer) : -1;
    close(fd);
    return status;
}

/* ---- a server with a route that gets stuck, and the stats server beside it ---- */

static void handle_hello(skink_request *request, void *arg)
{
    (void)arg;
    assert_int_equal(skink_respond_text(request, 200, "hello\n"), 0);
}

static void handle_stick(skink_request *request, void *arg)
{
    struct stats_fixture *f = arg;
    atomic_fetch_add(&f->stuck, 1);
    while (sem_wait(&f->gate)) { /* EINTR */
    }
    atomic_fetch_sub(&f->stuck, 1);
    (void)!skink_respond_text(request, 200, "free\n"); /* too late, in most cases */
}

/* Suspends until its client has gone, and answers all the same. */
static void handle_wait(skink_request *request, void *arg)
{
    (void)arg;
    while (skink_sleep(SKINK_S) == 0) {
    }
    assert_int_equal(skink_respond_text(request, 200, "late\n"), -ECANCELED);
}

static void handle_nothing(skink_request *request, void *arg)
{
    (void)request;
    (void)arg;
}

int stats_setup(void **state)
{
    struct stats_fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    f->answer = malloc(ANSWER_BYTES);
    f->timeout_ns = 30 * SKINK_S;
    f->max_strays = 8;
    *state = f;
    return f->answer && sem_init(&f->gate, 0, 0) == 0 ? 0 : -1;
}

void stats_open_alone(struct stats_fixture *f)
{
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = f->scheduler;
    sources.recovery = f->recovery;
    sources.http_server = f->http_server;
    assert_int_equal(skink_stats_server_start(&sources, "127.0.0.1:0", &f->stats_port, &f->stats_server), 0);
    assert_true(f->stats_port > 0);
}

/* Another loop with the same routes. */
static void open_second(struct stats_fixture *f, const skink_http_options *http_options)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = "second";
    assert_int_equal(skink_scheduler_create(&options, &f->second_scheduler), 0);
    assert_int_equal(skink_http_server_create(f->second_scheduler, http_options, &f->second_server), 0);
    assert_int_equal(skink_http_copy_routes(f->http_server, f->second_server), 0);
    assert_int_equal(skink_scheduler_start(f->second_scheduler), 0);
}

void stats_open(struct stats_fixture *f)
{
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = f->timeout_ns;
    options.max_strays = f->max_strays;
    skink_http_options http_options = SKINK_HTTP_OPTIONS_INIT;
    http_options.late_window_ns = 10 * SKINK_MS;
    http_options.max_connections = f->max_connections;
    http_options.quarantine_strikes = 32; /* more than any case here needs */
    assert_int_equal(skink_recovery_create(&options, &f->recovery), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    assert_int_equal(skink_recovery_watch(f->recovery, f->scheduler), 0);
    if (f->wide) assert_int_equal(skink_workers_create(NULL, &f->workers), 0);
    http_options.workers = f->workers;
    assert_int_equal(skink_http_server_create(f->scheduler, &http_options, &f->http_server), 0);
    assert_int_equal(skink_http_route(f->http_server, "GET", "/hello", NULL, handle_hello, f), 0);
    assert_int_equal(skink_http_route(f->http_server, "GET", "/stick", NULL, handle_stick, f), 0);
    assert_int_equal(skink_http_route(f->http_server, "GET", "/nothing", NULL, handle_nothing, f), 0);
    assert_int_equal(skink_http_route(f->http_server, "GET", "/wait", NULL, handle_wait, f), 0);
    assert_int_equal(skink_http_route(f->http_server, "GET", "/say/\"hello\"\\", NULL, handle_hello, f), 0);
    if (f->wide) open_second(f, &http_options);
    assert_int_equal(skink_http_listen(f->http_server, "127.0.0.1:0", &f->port), 0);
    stats_open_alone(f);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

static bool has_ended(void *arg)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    return skink_recovery_stats_read(arg, &stats) == 0 && stats.strays == 0;
}

int stats_teardown(void **state)
{
    struct stats_fixture *f = *state;
    for (int i = 0; i < 16; i++)
        sem_post(&f->gate);
    if (f->recovery) test_wait(has_ended, f->recovery, 10000); /* strays look at the gate until they end */
    skink_stats_server_destroy(f->stats_server);
    skink_workers_destroy(f->workers);
    skink_http_server_destroy(f->http_server);
    skink_http_server_destroy(f->second_server);
    skink_scheduler_destroy(f->scheduler);
    skink_scheduler_destroy(f->second_scheduler);
    skink_recovery_destroy(f->recovery);
    sem_destroy(&f->gate);
    free(f->answer);
    free(f);
    return 0;
}

int stats_stick(struct stats_fixture *f)
{
    int stuck = atomic_load(&f->stuck);
    int fd = stats_dial(f->port);
    assert_true(fd >= 0);
    assert_true(stats_say(fd, "GET /stick HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    test_wait_until(atomic_load(&f->stuck) > stuck, 10000);
    return fd;
}

const char *stats_scrape(struct stats_fixture *f)
{
    assert_int_equal(stats_ask(f->stats_port, "GET", "/metrics", f->answer), 200);
    const char *body = strstr(f->answer, "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}

double stats_value_of(struct stats_fixture *f, const char *series)
{
    const char *page = stats_scrape(f);
    char line[256];
    int length = snprintf(line, sizeof line, "\n%s ", series);
    const char *found = strstr(page, line);
    return found ? strtod(found + length, NULL) : -1;
}

int stats_health_with(struct stats_fixture *f, const char *reason)
{
    char part[64];
    snprintf(part, sizeof part, "\"reason\":\"%s\"", reason);
    int status = stats_ask(f->stats_port, "GET", "/health", f->answer);
    return strstr(f->answer, part) ? status : 0;
}

void stats_await(void *future)
{
    skink_future *done = future;
    (void)!skink_await(done, SKINK_FOREVER, NULL);
    skink_future_unref(done);
}
