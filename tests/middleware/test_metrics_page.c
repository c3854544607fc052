/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_metrics_page.c - what /metrics tells: valid, documented, and true. */
#include "tests/middleware/stats_fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the page ---- */

static void page_is_valid_for_promtool(void **state)
{
    struct stats_fixture *f = *state;
    if (system("promtool --version >/dev/null 2>&1") != 0) test_skip("promtool is not installed (package prometheus)");
    stats_open(f);
    assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200);
    assert_int_equal(stats_ask(f->port, "GET", "/nowhere", f->answer), 404);
    const char *page = stats_scrape(f);
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
    struct stats_fixture *f = *state;
    f->wide = true;
    stats_open(f);
    assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200); /* so that every family has a sample */
    static struct families printed, documented;
    char *page = strdup(stats_scrape(f));
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
    struct stats_fixture *f = *state;
    stats_open_alone(f);
    assert_true(stats_value_of(f, "skink_build_info{version=\"" SKINK_VERSION_STRING "\"}") == 1);
    assert_true(stats_value_of(f, "process_open_fds") > 0);
    assert_null(strstr(f->answer, "skink_loop"));
    assert_null(strstr(f->answer, "skink_deadlocks"));
    assert_null(strstr(f->answer, "skink_request"));
    assert_int_equal(stats_health_with(f, "ok"), 200);
}

static void counts_follow_the_requests(void **state)
{
    struct stats_fixture *f = *state;
    stats_open(f);
    assert_true(stats_value_of(f, "skink_requests_total{code=\"200\",method=\"GET\",route=\"/hello\"}") == -1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 200);
    assert_int_equal(stats_ask(f->port, "GET", "/nowhere", f->answer), 404);
    assert_true(stats_value_of(f, "skink_requests_total{code=\"200\",method=\"GET\",route=\"/hello\"}") == 3);
    assert_true(stats_value_of(f, "skink_requests_total{code=\"404\",method=\"\",route=\"(none)\"}") == 1);
    assert_true(stats_value_of(f, "skink_request_seconds_count{method=\"GET\",route=\"/hello\"}") == 3);
    assert_true(stats_value_of(f, "skink_request_seconds_bucket{method=\"GET\",route=\"/hello\",le=\"+Inf\"}") == 3);
    double sum = stats_value_of(f, "skink_request_seconds_sum{method=\"GET\",route=\"/hello\"}");
    assert_true(sum > 0 && sum < 10);
    assert_true(stats_value_of(f, "skink_connections_accepted_total") == 4);
    test_wait_until(stats_value_of(f, "skink_response_bytes_total") > 4 * 60, 5000);
    assert_true(stats_value_of(f, "skink_tasks_started_total") >= 3);
    assert_true(stats_value_of(f, "skink_loop_generation") == 1);
    assert_true(stats_value_of(f, "skink_healthy") == 1);
    double uptime = stats_value_of(f, "skink_uptime_seconds");
    assert_true(uptime > 0);
    test_wait_until(stats_value_of(f, "skink_uptime_seconds") > uptime + 0.01, 5000);
}

static void counts_tell_what_went_wrong(void **state)
{
    struct stats_fixture *f = *state;
    f->max_connections = 1;
    stats_open(f);
    int fd = stats_dial(f->port);
    assert_true(stats_say(fd, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_true(recv(fd, f->answer, ANSWER_BYTES, 0) > 0);
    assert_true(stats_value_of(f, "skink_answers_missing_total") == 1);
    assert_true(stats_value_of(f, "skink_requests_total{code=\"500\",method=\"GET\",route=\"/nothing\"}") == 1);
    assert_true(stats_value_of(f, "skink_connections") == 1);
    assert_int_equal(stats_ask(f->port, "GET", "/hello", f->answer), 503); /* the second connection */
    assert_true(stats_value_of(f, "skink_connections_refused_total") == 1);
    assert_true(stats_value_of(f, "skink_connections_accepted_total") == 2);
    assert_true(stats_say(fd, "nonsense\r\n\r\n"));
    assert_int_equal(stats_hear(fd, f->answer), 400);
    close(fd);
    test_wait_until(stats_value_of(f, "skink_connections") == 0, 5000);
    assert_true(stats_value_of(f, "skink_requests_malformed_total") == 1);
    assert_true(stats_value_of(f, "skink_requests_total{code=\"400\",method=\"\",route=\"(none)\"}") == 1);

    fd = stats_dial(f->port);
    assert_true(stats_say(fd, "GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    test_wait_until(stats_value_of(f, "skink_requests_in_flight") == 1, 5000);
    struct linger reset = { .l_onoff = 1 }; /* a mere end of its requests would leave it waiting for the answer */
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    test_wait_until(stats_value_of(f, "skink_requests_total{code=\"499\",method=\"GET\",route=\"/wait\"}") == 1, 5000);
    assert_true(stats_value_of(f, "skink_requests_in_flight") == 0);
    test_wait_until(stats_value_of(f, "skink_answers_client_gone_total") == 1, 5000);
}

static void end_at_once(void *arg)
{
    (void)arg;
}

static void post_three_and_get_stuck(void *arg)
{
    struct stats_fixture *f = arg;
    for (int i = 0; i < 3; i++)
        assert_int_equal(skink_post(f->scheduler, end_at_once, NULL), 0);
    atomic_store(&f->stuck, 1);
    while (sem_wait(&f->gate)) {
    }
}

static void gauges_tell_where_the_tasks_are(void **state)
{
    struct stats_fixture *f = *state;
    skink_future *done;
    assert_int_equal(skink_future_create(&done), 0);
    assert_int_equal(skink_scheduler_create(NULL, &f->scheduler), 0);
    stats_open_alone(f);
    assert_int_equal(skink_scheduler_start(f->scheduler), 0);
    assert_int_equal(skink_post(f->scheduler, stats_await, skink_future_ref(done)), 0);
    assert_int_equal(skink_post(f->scheduler, post_three_and_get_stuck, f), 0);
    test_wait_until(atomic_load(&f->stuck), 10000);
    assert_true(stats_value_of(f, "skink_tasks_living") == 5);
    assert_true(stats_value_of(f, "skink_tasks_ready") == 3);
    assert_true(stats_value_of(f, "skink_tasks_suspended") == 1);
    assert_true(stats_value_of(f, "skink_tasks_started_total") == 2);
    assert_true(stats_value_of(f, "skink_tasks_finished_total") == 0);
    assert_true(stats_value_of(f, "skink_slices_total") == 2);
    assert_true(stats_value_of(f, "skink_stacks") >= 2);
    sem_post(&f->gate);
    assert_int_equal(skink_future_complete(done, NULL), 0);
    skink_future_unref(done);
    test_wait_until(stats_value_of(f, "skink_tasks_finished_total") == 5, 10000);
    assert_true(stats_value_of(f, "skink_tasks_living") == 0);
    assert_true(stats_value_of(f, "skink_tasks_ready") == 0);
    assert_true(stats_value_of(f, "skink_tasks_suspended") == 0);
    assert_true(stats_value_of(f, "skink_slices_total") == 6);
}

static void head_has_the_headers_alone(void **state)
{
    struct stats_fixture *f = *state;
    stats_open(f);
    const char *const targets[] = { "/metrics", "/health" };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(stats_ask(f->stats_port, "HEAD", targets[i], f->answer), 200);
        const char *end = strstr(f->answer, "\r\n\r\n");
        assert_non_null(end);
        assert_string_equal(end, "\r\n\r\n");
        unsigned length = 0;
        const char *header = strstr(f->answer, "Content-Length: ");
        assert_non_null(header);
        assert_int_equal(sscanf(header, "Content-Length: %u", &length), 1);
        assert_true(length > 10);
    }
    assert_int_equal(stats_ask(f->stats_port, "GET", "/", f->answer), 404);
    assert_int_equal(stats_ask(f->stats_port, "POST", "/metrics", f->answer), 405);
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
};
TEST_MAIN(cases, stats_setup, stats_teardown)
