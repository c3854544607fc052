/* SPDX-License-Identifier: MIT */
/* test_stats_server.c - /metrics and /health, over sockets, beside a server whose loop thread gets stuck. */
#include "middleware/health.h"
#include "skink/skink.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ANSWER_BYTES = 256 * 1024 };

/* ---- a client that blocks ---- */

static int dial(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = { .tv_sec = 10 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static bool say(int fd, const char *request)
{
    return send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request);
}

/* Read until the other side closes; the status, or -1. */
static int hear(int fd, char *answer)
{
    size_t length = 0;
    ssize_t got;
    while ((got = recv(fd, answer + length, ANSWER_BYTES - 1 - length, 0)) > 0)
        length += (size_t)got;
    answer[length] = '\0';
    int status;
    return sscanf(answer, "HTTP/1.%*d %d", &status) == 1 ? status : -1;
}

/* One request on a connection of its own; its status, or -1. */
static int ask(int port, const char *method, const char *target, char *answer)
{
    char request[512];
    snprintf(request, sizeof request, "%s %s HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", method, target);
    int fd = dial(port);
    if (fd < 0) return -1;
    int status = say(fd, request) ? hear(fd, answer) : -1;
    close(fd);
    return status;
}

/* ---- a server with a route that gets stuck, and the stats server beside it ---- */

struct fixture {
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    skink_http_server *http_server;
    skink_stats_server *stats_server;
    int port, stats_port;
    sem_t gate;          /* what stuck requests wait for */
    _Atomic int stuck;   /* requests that stand at the gate */
    char *answer;        /* of the last request */
    uint64_t timeout_ns; /* may be set before open_all() */
    uint32_t max_strays;
    uint32_t max_connections; /* 0: the default */
    bool wide;                /* with workers, and a second loop */
    skink_workers *workers;
    skink_scheduler *second_scheduler;
    skink_http_server *second_server;
};

static void handle_hello(skink_request *request, void *arg)
{
    (void)arg;
    assert_int_equal(skink_respond_text(request, 200, "hello\n"), 0);
}

static void handle_stick(skink_request *request, void *arg)
{
    struct fixture *f = arg;
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

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (!f) return -1;
    f->answer = malloc(ANSWER_BYTES);
    f->timeout_ns = 30 * SKINK_S;
    f->max_strays = 8;
    *state = f;
    return f->answer && sem_init(&f->gate, 0, 0) == 0 ? 0 : -1;
}

static void open_stats(struct fixture *f)
{
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = f->scheduler;
    sources.recovery = f->recovery;
    sources.http_server = f->http_server;
    assert_int_equal(skink_stats_server_start(&sources, "127.0.0.1:0", &f->stats_port, &f->stats_server), 0);
    assert_true(f->stats_port > 0);
}

/* Another loop with the same routes. */
static void open_second(struct fixture *f, const skink_http_options *http_options)
{
    skink_scheduler_options options = SKINK_SCHEDULER_OPTIONS_INIT;
    options.name = "second";
    assert_int_equal(skink_scheduler_create(&options, &f->second_scheduler), 0);
    assert_int_equal(skink_http_server_create(f->second_scheduler, http_options, &f->second_server), 0);
    assert_int_equal(skink_http_copy_routes(f->http_server, f->second_server), 0);
    assert_int_equal(skink_scheduler_start(f->second_scheduler), 0);
}

static void open_all(struct fixture *f)
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
    open_stats(f);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
}

static bool has_ended(void *arg)
{
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    return skink_recovery_stats_read(arg, &stats) == 0 && stats.strays == 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
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

/* Send a request that gets stuck; the connection, for the caller to close. */
static int stick(struct fixture *f)
{
    int stuck = atomic_load(&f->stuck);
    int fd = dial(f->port);
    assert_true(fd >= 0);
    assert_true(say(fd, "GET /stick HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    test_wait_until(atomic_load(&f->stuck) > stuck, 10000);
    return fd;
}

/* A scrape; the page behind the headers. */
static const char *scrape(struct fixture *f)
{
    assert_int_equal(ask(f->stats_port, "GET", "/metrics", f->answer), 200);
    const char *body = strstr(f->answer, "\r\n\r\n");
    assert_non_null(body);
    return body + 4;
}

/* The value of one series ("name" or "name{labels}") in a new scrape; -1 if it is not there. */
static double value_of(struct fixture *f, const char *series)
{
    const char *page = scrape(f);
    char line[256];
    int length = snprintf(line, sizeof line, "\n%s ", series);
    const char *found = strstr(page, line);
    return found ? strtod(found + length, NULL) : -1;
}

/* What /health says now: the status, if the reason is this one; else 0. */
static int health_with(struct fixture *f, const char *reason)
{
    char part[64];
    snprintf(part, sizeof part, "\"reason\":\"%s\"", reason);
    int status = ask(f->stats_port, "GET", "/health", f->answer);
    return strstr(f->answer, part) ? status : 0;
}

/* ---- the page ---- */

static void page_is_valid_for_promtool(void **state)
{
    struct fixture *f = *state;
    if (system("promtool --version >/dev/null 2>&1") != 0) test_skip("promtool is not installed (package prometheus)");
    open_all(f);
    assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200);
    assert_int_equal(ask(f->port, "GET", "/nowhere", f->answer), 404);
    const char *page = scrape(f);
    assert_non_null(strstr(f->answer, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(page, "route=\"/say/\\\"hello\\\"\\\\\"")); /* a route with something to escape */
    char complaints[] = "/tmp/skink-promtool-XXXXXX", command[128], said[512] = "";
    int fd = mkstemp(complaints);
    assert_true(fd >= 0);
    snprintf(command, sizeof command, "promtool check metrics >%s 2>&1", complaints);
    FILE *promtool = popen(command, "we");
    assert_non_null(promtool);
    fputs(page, promtool);
    int status = pclose(promtool);
    ssize_t length = read(fd, said, sizeof said - 1);
    close(fd);
    unlink(complaints);
    if (status || length) print_error("promtool: %s\n", said);
    assert_int_equal(status, 0); /* 1: no metrics; 3: it complains */
    assert_int_equal(length, 0);
}

/* What the page and the documentation say about one family. */
struct family {
    char name[64], type[16], labels[128]; /* labels in the order of the alphabet, a comma after each */
};

struct families {
    struct family list[128];
    size_t count;
};

static struct family *family_add(struct families *families, const char *name)
{
    assert_true(families->count < sizeof families->list / sizeof *families->list);
    for (size_t i = 0; i < families->count; i++) /* each family once */
        assert_string_not_equal(families->list[i].name, name);
    struct family *family = &families->list[families->count++];
    snprintf(family->name, sizeof family->name, "%s", name);
    return family;
}

/* Labels of a sample's line, but "le", which comes with the type. */
static void read_labels(const char *line, struct family *family)
{
    char found[128] = "";
    size_t brace = strcspn(line, "{ ");
    const char *at = line[brace] == '{' ? line + brace + 1 : "";
    char name[32];
    int length;
    while (sscanf(at, "%31[a-z_]=\"%n", name, &length) == 1) {
        if (strcmp(name, "le") != 0) snprintf(found + strlen(found), sizeof found - strlen(found), "%s,", name);
        at += length;
        while (*at && *at != '"')
            at += *at == '\\' ? 2 : 1;
        at += *at == '"';
        at += *at == ',';
    }
    if (family->labels[0]) assert_string_equal(family->labels, found); /* all samples have the same ones */
    strcpy(family->labels, found);
}

static void read_page(char *page, struct families *families)
{
    struct family *family = NULL;
    char *rest = page;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        char name[64], type[16];
        if (sscanf(line, "# TYPE %63s %15s", name, type) == 2) {
            family = family_add(families, name);
            strcpy(family->type, type);
        } else if (*line != '#') {
            assert_non_null(family);
            assert_memory_equal(line, family->name, strlen(family->name));
            read_labels(line, family);
        }
    }
}

/* Rows of the tables: | `name` | type | `label`, `label` | ... */
static void read_documentation(const char *path, struct families *families)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char line[1024], name[64], type[16], labels[128];
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "| `%63[a-z_]` | %15[a-z] |%127[^|]|", name, type, labels) != 3) continue;
        struct family *family = family_add(families, name);
        strcpy(family->type, type);
        for (char *label = strchr(labels, '`'); label; label = strchr(label, '`')) {
            size_t length = strcspn(++label, "`");
            size_t used = strlen(family->labels);
            snprintf(family->labels + used, sizeof family->labels - used, "%.*s,", (int)length, label);
            label += length + 1;
        }
    }
    fclose(file);
}

static void compare(const struct families *these, const struct families *those, const char *where)
{
    for (size_t i = 0; i < these->count; i++) {
        const struct family *family = &these->list[i], *other = NULL;
        for (size_t k = 0; k < those->count && !other; k++)
            if (strcmp(family->name, those->list[k].name) == 0) other = &those->list[k];
        if (!other) fail_msg("%s is not %s", family->name, where);
        assert_string_equal(family->type, other->type);
        assert_string_equal(family->labels, other->labels);
    }
}

static void documentation_has_each_metric_and_no_other(void **state)
{
    struct fixture *f = *state;
    f->wide = true;
    open_all(f);
    assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200); /* so that every family has a sample */
    static struct families printed, documented;
    char *page = strdup(scrape(f));
    assert_non_null(page);
    read_page(page, &printed);
    free(page);
    read_documentation(TEST_SOURCE_DIR "/docs/metrics.md", &documented);
    assert_true(printed.count > 40);
    compare(&printed, &documented, "in docs/metrics.md");
    compare(&documented, &printed, "on the page");
}

static void read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t length = fread(text, 1, size - 1, file);
    fclose(file);
    text[length] = '\0';
}

static void example_files_are_valid_and_in_the_documentation(void **state)
{
    (void)state;
    static char page[64 * 1024], sample[16 * 1024];
    read_file(TEST_SOURCE_DIR "/docs/metrics.md", page, sizeof page);
    const char *const files[] = { TEST_SOURCE_DIR "/examples/prometheus/prometheus.yml",
                                  TEST_SOURCE_DIR "/examples/prometheus/alerts.yml" };
    for (size_t i = 0; i < 2; i++) {
        read_file(files[i], sample, sizeof sample);
        const char *text = strstr(sample, "\n\n"); /* behind the file's own comment */
        assert_non_null(text);
        if (!strstr(page, text + 2)) fail_msg("%s is not in docs/metrics.md word by word", files[i]);
    }
    if (system("promtool --version >/dev/null 2>&1") != 0) test_skip("promtool is not installed (package prometheus)");
    assert_int_equal(system("promtool check config " TEST_SOURCE_DIR "/examples/prometheus/prometheus.yml"), 0);
}

static void sources_that_are_not_there_are_left_out(void **state)
{
    struct fixture *f = *state;
    open_stats(f);
    assert_true(value_of(f, "skink_build_info{version=\"" SKINK_VERSION_STRING "\"}") == 1);
    assert_true(value_of(f, "process_open_fds") > 0);
    assert_null(strstr(f->answer, "skink_loop"));
    assert_null(strstr(f->answer, "skink_deadlocks"));
    assert_null(strstr(f->answer, "skink_request"));
    assert_int_equal(health_with(f, "ok"), 200);
}

static void counts_follow_the_requests(void **state)
{
    struct fixture *f = *state;
    open_all(f);
    assert_true(value_of(f, "skink_requests_total{code=\"200\",method=\"GET\",route=\"/hello\"}") == -1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200);
    assert_int_equal(ask(f->port, "GET", "/nowhere", f->answer), 404);
    assert_true(value_of(f, "skink_requests_total{code=\"200\",method=\"GET\",route=\"/hello\"}") == 3);
    assert_true(value_of(f, "skink_requests_total{code=\"404\",method=\"\",route=\"(none)\"}") == 1);
    assert_true(value_of(f, "skink_request_seconds_count{method=\"GET\",route=\"/hello\"}") == 3);
    assert_true(value_of(f, "skink_request_seconds_bucket{method=\"GET\",route=\"/hello\",le=\"+Inf\"}") == 3);
    double sum = value_of(f, "skink_request_seconds_sum{method=\"GET\",route=\"/hello\"}");
    assert_true(sum > 0 && sum < 10);
    assert_true(value_of(f, "skink_connections_accepted_total") == 4);
    assert_true(value_of(f, "skink_response_bytes_total") > 4 * 60);
    assert_true(value_of(f, "skink_tasks_started_total") >= 3);
    assert_true(value_of(f, "skink_loop_generation") == 1);
    assert_true(value_of(f, "skink_healthy") == 1);
    double uptime = value_of(f, "skink_uptime_seconds");
    assert_true(uptime > 0);
    test_wait_until(value_of(f, "skink_uptime_seconds") > uptime + 0.01, 5000);
}

static void counts_tell_what_went_wrong(void **state)
{
    struct fixture *f = *state;
    f->max_connections = 1;
    open_all(f);
    int fd = dial(f->port);
    assert_true(say(fd, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_true(recv(fd, f->answer, ANSWER_BYTES, 0) > 0);
    assert_true(value_of(f, "skink_answers_missing_total") == 1);
    assert_true(value_of(f, "skink_requests_total{code=\"500\",method=\"GET\",route=\"/nothing\"}") == 1);
    assert_true(value_of(f, "skink_connections") == 1);
    assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 503); /* the second connection */
    assert_true(value_of(f, "skink_connections_refused_total") == 1);
    assert_true(value_of(f, "skink_connections_accepted_total") == 2);
    assert_true(say(fd, "nonsense\r\n\r\n"));
    assert_int_equal(hear(fd, f->answer), 400);
    close(fd);
    test_wait_until(value_of(f, "skink_connections") == 0, 5000);
    assert_true(value_of(f, "skink_requests_malformed_total") == 1);
    assert_true(value_of(f, "skink_requests_total{code=\"400\",method=\"\",route=\"(none)\"}") == 1);

    fd = dial(f->port);
    assert_true(say(fd, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    test_wait_until(value_of(f, "skink_requests_in_flight") == 1, 5000);
    struct linger reset = { .l_onoff = 1 }; /* a mere end of its requests would leave it waiting for the answer */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    test_wait_until(value_of(f, "skink_requests_total{code=\"499\",method=\"GET\",route=\"/wait\"}") == 1, 5000);
    assert_true(value_of(f, "skink_requests_in_flight") == 0);
    test_wait_until(value_of(f, "skink_answers_client_gone_total") == 1, 5000);
}

static void await_future(void *future)
{
    skink_future *done = future;
    (void)!skink_await(done, SKINK_FOREVER, NULL);
    skink_future_unref(done);
}

static void end_at_once(void *arg)
{
    (void)arg;
}

static void post_three_and_get_stuck(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 3; i++)
        assert_int_equal(skink_post(f->scheduler, end_at_once, NULL), 0);
    atomic_store(&f->stuck, 1);
    while (sem_wait(&f->gate)) {
    }
}

static void gauges_tell_where_the_tasks_are(void **state)
{
    struct fixture *f = *state;
    skink_future *done;
    assert_int_equal(skink_future_create(&done), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    open_stats(f);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_post(f->scheduler, await_future, skink_future_ref(done)), 0);
    assert_int_equal(skink_post(f->scheduler, post_three_and_get_stuck, f), 0);
    test_wait_until(atomic_load(&f->stuck), 10000);
    assert_true(value_of(f, "skink_tasks_living") == 5);
    assert_true(value_of(f, "skink_tasks_ready") == 3);
    assert_true(value_of(f, "skink_tasks_suspended") == 1);
    assert_true(value_of(f, "skink_tasks_started_total") == 2);
    assert_true(value_of(f, "skink_tasks_finished_total") == 0);
    assert_true(value_of(f, "skink_slices_total") == 2);
    assert_true(value_of(f, "skink_stacks") >= 2);
    sem_post(&f->gate);
    assert_int_equal(skink_future_complete(done, NULL), 0);
    skink_future_unref(done);
    test_wait_until(value_of(f, "skink_tasks_finished_total") == 5, 10000);
    assert_true(value_of(f, "skink_tasks_living") == 0);
    assert_true(value_of(f, "skink_tasks_ready") == 0);
    assert_true(value_of(f, "skink_tasks_suspended") == 0);
    assert_true(value_of(f, "skink_slices_total") == 6);
}

static void head_has_the_headers_alone(void **state)
{
    struct fixture *f = *state;
    open_all(f);
    const char *const targets[] = { "/metrics", "/health" };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(ask(f->stats_port, "HEAD", targets[i], f->answer), 200);
        const char *end = strstr(f->answer, "\r\n\r\n");
        assert_non_null(end);
        assert_string_equal(end, "\r\n\r\n");
        unsigned length = 0;
        const char *header = strstr(f->answer, "Content-Length: ");
        assert_non_null(header);
        assert_int_equal(sscanf(header, "Content-Length: %u", &length), 1);
        assert_true(length > 10);
    }
    assert_int_equal(ask(f->stats_port, "GET", "/", f->answer), 404);
    assert_int_equal(ask(f->stats_port, "POST", "/metrics", f->answer), 405);
}

/* ---- beside a stuck loop ---- */

/* No recovery comes to help here: its timeout is 30 s. */
static void page_and_health_answer_while_the_loop_is_stuck(void **state)
{
    struct fixture *f = *state;
    open_all(f);
    int fd = stick(f);
    test_wait_until(value_of(f, "skink_current_slice_seconds") > 0, 20000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(f->stats_port, "GET", "/metrics", f->answer), 200);
    assert_int_equal(health_with(f, "ok"), 200); /* the next deadlock, this one, can be recovered */
    assert_true(value_of(f, "skink_requests_in_flight") == 1);
    assert_true(value_of(f, "skink_loop_generation") == 1);
    assert_int_equal(atomic_load(&f->stuck), 1); /* it was stuck all the time */
    sem_post(&f->gate);
    test_wait_until(value_of(f, "skink_requests_in_flight") == 0, 10000);
    assert_true(value_of(f, "skink_deadlocks_total") == 0);
    close(fd);
}

static void page_tells_a_recovery(void **state)
{
    struct fixture *f = *state;
    f->timeout_ns = 50 * SKINK_MS;
    open_all(f);
    int fd = stick(f);
    test_wait_until(value_of(f, "skink_deadlocks_total") == 1, 10000);
    test_wait_until(value_of(f, "skink_recovery_seconds_count") == 1, 10000);
    assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200);
    assert_true(value_of(f, "skink_loop_generation") == 2);
    assert_true(value_of(f, "skink_takeovers_total") == 1);
    assert_true(value_of(f, "skink_strays") == 1);
    assert_true(value_of(f, "skink_strays_abandoned_total") == 1);
    assert_true(value_of(f, "skink_strays_returned_total") == 0);
    assert_true(value_of(f, "skink_oldest_stray_age_seconds") > 0);
    assert_int_equal(hear(fd, f->answer), 503);
    close(fd);
    assert_true(value_of(f, "skink_requests_total{code=\"503\",method=\"GET\",route=\"/stick\"}") == 1);
    sem_post(&f->gate);
    test_wait_until(value_of(f, "skink_strays") == 0, 10000);
    assert_true(value_of(f, "skink_strays_returned_total") == 1);
    test_wait_until(value_of(f, "skink_migrations_total") == 1, 10000); /* its task is on its way still */
    test_wait_until(value_of(f, "skink_late_answers_dropped_total") == 1, 10000);
    assert_true(value_of(f, "skink_oldest_stray_age_seconds") == 0);
}

/*
 * | loop       | /health            |
 * | stuck      | 503 stray_limit    | max_strays is 1
 * | stuck again| 503 held           |
 * | both free  | 200                |  */
static void health_flips_at_the_stray_limit_and_back(void **state)
{
    struct fixture *f = *state;
    f->timeout_ns = 50 * SKINK_MS;
    f->max_strays = 1;
    open_all(f);
    assert_int_equal(health_with(f, "ok"), 200);
    assert_non_null(strstr(f->answer, "{\"status\":\"ok\""));
    assert_non_null(strstr(f->answer, "Content-Type: application/json"));
    int first = stick(f);
    test_wait_until(health_with(f, "stray_limit") == 503, 10000);
    assert_non_null(strstr(f->answer, "{\"status\":\"unhealthy\""));
    assert_true(value_of(f, "skink_healthy") == 0);
    int second = stick(f);
    test_wait_until(health_with(f, "held") == 503, 10000);
    assert_true(value_of(f, "skink_loop_held") == 1);
    sem_post(&f->gate);
    sem_post(&f->gate);
    test_wait_until(health_with(f, "ok") == 200, 10000);
    assert_true(value_of(f, "skink_loop_held") == 0);
    assert_true(value_of(f, "skink_healthy") == 1);
    close(first);
    close(second);
}

static void wait_at_gate(struct uv_loop_s *loop, void *arg)
{
    (void)loop;
    struct fixture *f = arg;
    while (sem_wait(&f->gate)) {
    }
}

static void *stall(void *arg)
{
    struct fixture *f = arg;
    return skink_scheduler_uv(f->scheduler, wait_at_gate, f) ? f : NULL;
}

/* What stalls in the runtime section cannot be recovered; it can be told, and told to be over. */
static void health_flips_while_a_runtime_section_is_stuck(void **state)
{
    struct fixture *f = *state;
    f->timeout_ns = 50 * SKINK_MS;
    open_all(f);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stall, f), 0);
    test_wait_until(health_with(f, "stalled") == 503, 10000);
    assert_true(value_of(f, "skink_runtime_stalls_total") == 1);
    sem_post(&f->gate);
    test_wait_until(health_with(f, "ok") == 200, 10000);
    void *failed;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
}

static void *stop_patiently(void *scheduler)
{
    (void)!skink_scheduler_stop(scheduler, skink_after(30 * SKINK_S));
    return NULL;
}

static void health_follows_start_and_stop(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    open_stats(f);
    assert_int_equal(health_with(f, "stopped"), 503);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(health_with(f, "ok"), 200);

    skink_future *done;
    assert_int_equal(skink_future_create(&done), 0);
    assert_int_equal(skink_post(f->scheduler, await_future, skink_future_ref(done)), 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_patiently, f->scheduler), 0);
    test_wait_until(health_with(f, "stopping") == 503, 10000); /* it waits for the task */
    assert_int_equal(skink_future_complete(done, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    skink_future_unref(done);
    assert_int_equal(health_with(f, "stopped"), 503);
    assert_true(value_of(f, "skink_loop_running") == 0);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(health_with(f, "ok"), 200);
}

static void worst_reason_is_told_first(void **state)
{
    (void)state;
    static const struct {
        struct skink__health_facts facts;
        const char *reason;
    } rows[] = {
        { { 0 }, "ok" },
        { { .recovery = SKINK_HEALTH_STRAY_LIMIT }, "stray_limit" },
        { { .recovery = SKINK_HEALTH_NO_STANDBY }, "no_standby" },
        { { .recovery = SKINK_HEALTH_NO_STANDBY, .stopping = true }, "stopping" },
        { { .recovery = SKINK_HEALTH_STRAY_LIMIT, .held = true, .stopping = true }, "held" },
        { { .recovery = SKINK_HEALTH_STALLED, .held = true }, "stalled" },
        { { .queue_full = true }, "queue_full" },
        { { .queue_full = true, .draining = true }, "draining" },
        { { .memory = true, .draining = true }, "memory" },
        { { .memory = true, .watchdog_late = true }, "watchdog_late" },
        { { .recovery = SKINK_HEALTH_STALLED, .held = true, .stopped = true }, "stopped" },
        { { .recovery = (skink_health)77 }, "unknown" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct skink__health_verdict verdict = skink__health_judge(&rows[i].facts, SKINK__PROBE_READY);
        assert_string_equal(verdict.reason, rows[i].reason);
        assert_int_equal(verdict.healthy, i == 0);
        assert_null(strpbrk(verdict.message, "\"\\\n")); /* it stands in JSON as it is */
    }
}

/* ---- a flood ---- */

static void connections_are_limited_and_the_watched_server_is_not(void **state)
{
    struct fixture *f = *state;
    open_all(f);
    enum { CONNECTIONS_MAX = 64 };
    int fds[CONNECTIONS_MAX];
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        fds[i] = dial(f->stats_port);
        assert_true(fds[i] >= 0);
        /* Half a request, so that it stays open; an answer to a whole one says that it has been accepted. */
        assert_true(say(fds[i], "HEAD /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metr"));
        assert_true(recv(fds[i], f->answer, 100, 0) > 0);
    }
    assert_int_equal(ask(f->stats_port, "GET", "/metrics", f->answer), 503);
    assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200);
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        close(fds[i]);
    test_wait_until(ask(f->stats_port, "GET", "/metrics", f->answer) == 200, 5000);
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
    struct fixture *f;
    _Atomic bool over;
    _Atomic unsigned scrapes;
};

static void *scrape_without_end(void *arg)
{
    struct flood *flood = arg;
    char *answer = malloc(ANSWER_BYTES);
    while (answer && !atomic_load(&flood->over))
        if (ask(flood->f->stats_port, "GET", "/metrics", answer) == 200) atomic_fetch_add(&flood->scrapes, 1);
    free(answer);
    return NULL;
}

static void flood_of_scrapes_leaves_nothing_behind(void **state)
{
    struct fixture *f = *state;
    open_all(f);
    for (int i = 0; i < 50; i++)
        scrape(f);
    test_wait_until(value_of(f, "skink_standby_threads") == 1, 10000);
    int threads = test_thread_count(0), sockets = socket_count();
    long resident_kb = test_resident_kb(0);
    struct flood flood = { .f = f };
    pthread_t scrapers[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&scrapers[i], NULL, scrape_without_end, &flood), 0);
    unsigned asked = 0;
    while (atomic_load(&flood.scrapes) < 500) { /* the watched server answers all the while */
        assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200);
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
    struct fixture *f = *state;
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

    open_stats(f);
    char taken[32];
    snprintf(taken, sizeof taken, "127.0.0.1:%d", f->stats_port);
    assert_int_equal(skink_stats_server_start(&sources, taken, NULL, &server), -EADDRINUSE);
    assert_null(server);
}

static void start_and_destroy_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    int threads = TEST_TSAN ? 2 : 1; /* the sanitizer keeps one of its own from the first one on */
    open_stats(f);
    skink_stats_server_destroy(f->stats_server);
    f->stats_server = NULL;
    test_wait_until(test_thread_count(0) == threads, 5000); /* it lives for a moment longer, with a descriptor */
    int fds = test_fd_count(0);
    for (int i = 0; i < 20; i++) {
        open_stats(f);
        int idle = dial(f->stats_port); /* nobody waits for a client that says nothing */
        assert_int_equal(health_with(f, "ok"), 200);
        skink_stats_server_destroy(f->stats_server);
        f->stats_server = NULL;
        close(idle);
        assert_int_equal(dial(f->stats_port), -1);
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
    struct fixture *f = *state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.thread_start = note_start;
    hooks.thread_end = note_end;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    open_stats(f);
    assert_int_equal(health_with(f, "ok"), 200);
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

/* Each allocation of a start fails in turn; what leaks is seen by AddressSanitizer. */
static void start_without_memory_fails_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = scarce_allocate;
    hooks.reallocate = scarce_reallocate;
    hooks.release = scarce_release;
    assert_int_equal(skink_hooks_set(&hooks), 0);
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
    assert_int_equal(health_with(f, "ok"), 200);
}

/* Each allocation of a scrape fails in turn: there is an error or no answer, but never a part of a page. */
static void scrape_without_memory_fails_alone(void **state)
{
    struct fixture *f = *state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = scarce_allocate;
    hooks.reallocate = scarce_reallocate;
    hooks.release = scarce_release;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    open_all(f);
    seen.fails_once = true;
    int failed = 0;
    int idle[8]; /* they use up what the server has kept of connections, so that the next one takes memory */
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
        idle[i] = dial(f->stats_port);
        assert_true(idle[i] >= 0);
        assert_true(say(idle[i], "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"));
        char byte;
        assert_int_equal(recv(idle[i], &byte, 1, 0), 1); /* it has been accepted */
    }
    for (long n = 0; n < 20; n++) {
        int fd = dial(f->stats_port);
        assert_true(fd >= 0);
        atomic_store(&seen.allocations_left, n);
        int status = say(fd, "GET /metrics HTTP/1.0\r\n\r\n") ? hear(fd, f->answer) : -1;
        atomic_store(&seen.allocations_left, -1);
        close(fd);
        failed += status != 200;
        if (status == 200) assert_non_null(strstr(f->answer, "\nprocess_start_time_seconds ")); /* the last line */
    }
    assert_true(failed > 0);
    for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
        close(idle[i]);
    assert_int_equal(ask(f->stats_port, "GET", "/metrics", f->answer), 200);
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
static bool says(const struct prometheus *p, struct fixture *f, const char *target, const char *text)
{
    return ask(p->port, "GET", target, f->answer) == 200 && strstr(f->answer, text);
}

static void prometheus_scrapes_it(void **state)
{
    struct fixture *f = *state;
    if (system("prometheus --version >/dev/null 2>&1") != 0)
        test_skip("Prometheus is not installed (package prometheus)");
    f->timeout_ns = 50 * SKINK_MS;
    open_all(f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(f->port, "GET", "/hello", f->answer), 200);
    struct prometheus p = { .folder = "/tmp/skink-prometheus-XXXXXX", .port = free_port() };
    assert_non_null(mkdtemp(p.folder));
    write_configuration(&p, f->stats_port);
    p.pid = fork();
    assert_true(p.pid >= 0);
    if (p.pid == 0) run_prometheus(&p);

    /* Nothing here may leave the case before Prometheus has ended. */
    uint64_t deadline = test_now_ns() + 30 * SKINK_S;
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
        if (stuck < 0) stuck = stick(f); /* scraped while the loop is stuck, and told of it afterwards */
        if (!says(&p, f, "/api/v1/query?query=skink_deadlocks_total", ",\"1\"]")) continue;
        missing = NULL;
    } while (missing && test_now_ns() < deadline && waitpid(p.pid, NULL, WNOHANG) == 0);
    end_prometheus(&p);
    close(stuck);
    if (missing) fail_msg("not there within 30 s: %s; the last answer: %s", missing, f->answer);
}

static const struct test_case cases[] = {
    CASE(page_is_valid_for_promtool),
    CASE(documentation_has_each_metric_and_no_other),
    CASE(example_files_are_valid_and_in_the_documentation),
    CASE(sources_that_are_not_there_are_left_out),
    CASE(counts_follow_the_requests),
    CASE(counts_tell_what_went_wrong),
    CASE(gauges_tell_where_the_tasks_are),
    CASE(head_has_the_headers_alone),
    CASE_TIMEOUT(page_and_health_answer_while_the_loop_is_stuck, 40),
    CASE_TIMEOUT(page_tells_a_recovery, 40),
    CASE_TIMEOUT(health_flips_at_the_stray_limit_and_back, 40),
    CASE_TIMEOUT(health_flips_while_a_runtime_section_is_stuck, 40),
    CASE_TIMEOUT(health_follows_start_and_stop, 40),
    CASE(worst_reason_is_told_first),
    CASE(connections_are_limited_and_the_watched_server_is_not),
    CASE_TIMEOUT(flood_of_scrapes_leaves_nothing_behind, 60),
    CASE(start_says_what_is_wrong),
    CASE_TIMEOUT(start_and_destroy_leave_nothing_behind, 40),
    CASE(host_is_told_of_the_stats_thread),
    CASE_TIMEOUT(start_without_memory_fails_and_leaves_nothing, 40),
    CASE_TIMEOUT(scrape_without_memory_fails_alone, 40),
    CASE_TIMEOUT(prometheus_scrapes_it, 60),
};
TEST_MAIN(cases, setup, teardown)
