/* SPDX-License-Identifier: MIT */
/* GET /tasks and GET /threads on the stats endpoint, over sockets, beside a server whose loop may be stuck. */
#include "skink/skink.h"
#include "tests/middleware/fixture.h"
#include "tests/support/wait.h"
#include <jansson.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct site {
    skink_scheduler *scheduler;
    skink_recovery *recovery;
    skink_stats_server *stats;
    skink_future *future; /* parked tasks wait for it */
    sem_t gate;           /* stuck tasks wait for it */
    _Atomic int stuck;
    int port;
};

static void park(void *arg)
{
    struct site *site = arg;
    (void)!skink_await(site->future, SKINK_FOREVER, NULL);
}

static void stick(void *arg)
{
    struct site *site = arg;
    atomic_fetch_add(&site->stuck, 1);
    while (sem_wait(&site->gate) != 0) {
    }
}

static void site_open(struct site *site, uint64_t timeout_ns)
{
    *site = (struct site){ 0 };
    sem_init(&site->gate, 0, 0);
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.deadlock_timeout_ns = timeout_ns;
    assert_int_equal(skink_recovery_create(&options, &site->recovery), 0);
    assert_int_equal(skink_scheduler_create(NULL, &site->scheduler), 0);
    assert_int_equal(skink_recovery_watch(site->recovery, site->scheduler), 0);
    assert_int_equal(skink_scheduler_start(site->scheduler), 0);
    assert_int_equal(skink_future_create(&site->future), 0);
    skink_stats_sources sources = SKINK_STATS_SOURCES_INIT;
    sources.scheduler = site->scheduler;
    sources.recovery = site->recovery;
    assert_int_equal(skink_stats_server_start(&sources, "127.0.0.1:0", &site->port, &site->stats), 0);
}

static void site_spawn(struct site *site, const char *name, void (*fn)(void *arg), int count)
{
    skink_task_options options = SKINK_TASK_OPTIONS_INIT;
    options.name = name;
    for (int i = 0; i < count; i++)
        assert_int_equal(skink_spawn(site->scheduler, &options, NULL, fn, site), 0);
}

static void site_close(struct site *site)
{
    for (int i = 0; i < 16; i++)
        sem_post(&site->gate);
    assert_int_equal(skink_future_complete(site->future, NULL), 0);
    skink_stats_server_destroy(site->stats);
    (void)!skink_scheduler_stop(site->scheduler, skink_after(5 * SKINK_S));
    skink_future_unref(site->future);
    skink_scheduler_destroy(site->scheduler);
    skink_recovery_destroy(site->recovery);
}

static uint64_t suspended(struct site *site)
{
    skink_scheduler_stats stats = SKINK_SCHEDULER_STATS_INIT;
    assert_int_equal(skink_scheduler_stats_read(site->scheduler, &stats), 0);
    return stats.tasks_suspended;
}

static void ask(struct site *site, const char *target, struct reply *reply)
{
    char request[256];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target);
    int fd = client_connect(site->port);
    client_send_text(fd, request);
    client_read(fd, reply, false);
    close(fd);
}

static json_t *ask_json(struct site *site, const char *target)
{
    struct reply reply;
    ask(site, target, &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply_header(&reply, "Content-Type"), "application/json");
    json_t *document = json_loadb(reply.body, reply.body_length, 0, NULL);
    assert_non_null(document);
    reply_free(&reply);
    return document;
}

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void tasks_are_told_as_text_and_as_json(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, 10 * SKINK_S);
    site_spawn(&site, "parked", park, 25);
    test_wait_until(suspended(&site) == 25, 5000);
    struct reply reply;
    ask(&site, "/tasks", &reply);
    assert_int_equal(reply.status, 200);
    assert_string_equal(reply_header(&reply, "Content-Type"), "text/plain; charset=utf-8");
    assert_string_equal(reply_header(&reply, "Cache-Control"), "no-store");
    assert_non_null(strstr(reply.body, "\n25 suspended  parked\n"));
    assert_non_null(strstr(reply.body, "park  "));
    reply_free(&reply);
    json_t *dump = ask_json(&site, "/tasks?format=json");
    assert_int_equal(number(dump, "tasks"), 25);
    json_t *stack = json_array_get(json_object_get(dump, "stacks"), 0);
    assert_int_equal(number(stack, "count"), 25);
    assert_string_equal(text(stack, "state"), "suspended");
    assert_true(json_array_size(json_object_get(stack, "frames")) >= 2);
    json_decref(dump);
    ask(&site, "/tasks?format=yaml", &reply);
    assert_int_equal(reply.status, 400);
    reply_free(&reply);
    site_close(&site);
}

static void a_loop_that_is_stuck_is_told_about_as_well(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, 60 * SKINK_S); /* it is not declared in this test */
    site_spawn(&site, "parked", park, 25);
    test_wait_until(suspended(&site) == 25, 5000);
    site_spawn(&site, "stuck", stick, 1);
    test_wait_until(atomic_load(&site.stuck) == 1, 5000);
    json_t *dump = ask_json(&site, "/tasks?format=json");
    assert_int_equal(number(dump, "tasks"), 26);
    assert_int_equal(number(json_array_get(json_object_get(dump, "stacks"), 0), "count"), 25);
    assert_string_equal(text(json_array_get(json_object_get(dump, "stacks"), 1), "state"), "running");
    json_decref(dump);
    site_close(&site);
}

/* ---- threads ---- */

static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void want_mutex(void *arg)
{
    struct site *site = arg;
    atomic_fetch_add(&site->stuck, 1);
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
}

/* The test's own thread has a lock, and the loop waits for it: before the declaration, and as a stray afterwards. */
static void the_owner_of_a_lock_is_told(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, 300 * SKINK_MS);
    pthread_mutex_lock(&held);
    site_spawn(&site, "wants", want_mutex, 1);
    skink_recovery_stats stats = SKINK_RECOVERY_STATS_INIT;
    unsigned named = 0;
    uint64_t deadline_ns = test_deadline_ns(8000);
    do {
        assert_int_equal(skink_recovery_stats_read(site.recovery, &stats), 0);
        json_t *dump = ask_json(&site, "/threads?format=json");
        json_t *lock = json_array_get(json_object_get(dump, "locks"), 0);
        if (atomic_load(&site.stuck) && lock) {
            assert_string_equal(text(lock, "kind"), "mutex");
            /* The main thread's id is the process's. At the moment of the declaration the waiter is disturbed, and then
             * nobody is named. */
            if (json_is_integer(json_object_get(lock, "owner"))) {
                assert_int_equal(number(lock, "owner"), getpid());
                named++;
            }
            assert_int_equal(json_array_size(json_object_get(lock, "waiting")), 1);
        }
        json_decref(dump);
    } while ((stats.strays != 1 || named == 0) && test_now_ns() < deadline_ns);
    assert_int_equal(stats.strays, 1);
    assert_true(named > 0);
    struct reply reply;
    ask(&site, "/threads", &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.body, "(stray of incident "));
    assert_non_null(strstr(reply.body, "(other thread), waiting: "));
    reply_free(&reply);
    pthread_mutex_unlock(&held);
    site_close(&site);
}

/* ---- many at once ---- */

enum { ASKERS = 12, MANY = TEST_TSAN ? 500 : 2000 };

struct asker {
    struct site *site;
    pthread_t thread;
    int status;
};

static void *ask_for_tasks(void *arg)
{
    struct asker *asker = arg;
    struct reply reply;
    ask(asker->site, "/tasks", &reply);
    asker->status = reply.status;
    reply_free(&reply);
    return NULL;
}

/* Each is answered or told to come again, and the page beside it is not held up. */
static void many_dumps_at_once_are_bounded(void **state)
{
    (void)state;
    struct site site;
    struct asker askers[ASKERS];
    site_open(&site, 10 * SKINK_S);
    site_spawn(&site, "parked", park, MANY);
    test_wait_until(suspended(&site) == MANY, 10000);
    for (int i = 0; i < ASKERS; i++) {
        askers[i] = (struct asker){ .site = &site };
        assert_int_equal(pthread_create(&askers[i].thread, NULL, ask_for_tasks, &askers[i]), 0);
    }
    struct reply reply;
    ask(&site, "/metrics", &reply);
    assert_int_equal(reply.status, 200);
    reply_free(&reply);
    int answered = 0;
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(askers[i].thread, NULL);
        assert_true(askers[i].status == 200 || askers[i].status == 503);
        answered += askers[i].status == 200;
    }
    assert_true(answered >= 1);
    site_close(&site);
}

/* The stats server goes while a dump is being made, of a loop that does not answer. */
static void a_stop_waits_for_a_dump_and_no_longer(void **state)
{
    (void)state;
    struct site site;
    site_open(&site, 60 * SKINK_S);
    site_spawn(&site, "stuck", stick, 1);
    test_wait_until(atomic_load(&site.stuck) == 1, 5000);
    int fd = client_connect(site.port);
    client_send_text(fd, "GET /tasks HTTP/1.1\r\nHost: localhost\r\n\r\n");
    uint64_t begun = test_now_ns();
    site_close(&site);
    assert_true(test_now_ns() - begun < test_ms(test_patience(10000)));
    close(fd);
}

static const struct test_case cases[] = {
    CASE(tasks_are_told_as_text_and_as_json),    CASE(a_loop_that_is_stuck_is_told_about_as_well),
    CASE(the_owner_of_a_lock_is_told),           CASE(many_dumps_at_once_are_bounded),
    CASE(a_stop_waits_for_a_dump_and_no_longer),
};
TEST_MAIN(cases, NULL, NULL)
