/* SPDX-License-Identifier: MIT */
/* tests/middleware/test_null.c - every public function is given NULL where none may be, and says so (skink/error.h). */
#include "skink/skink.h"
#include "tests/support/case.h"
#include <errno.h>
#include <string.h>

static void calls_that_can_fail_refuse_it(void **state)
{
    (void)state;
    size_t size;
    void *value;
    const char *text;
    skink_scheduler_stats scheduler_stats = SKINK_SCHEDULER_STATS_INIT;
    skink_recovery_stats recovery_stats = SKINK_RECOVERY_STATS_INIT;
    skink_workers_stats workers_stats = SKINK_WORKERS_STATS_INIT;
    const int results[] = {
        skink_scheduler_create(NULL, NULL),
        skink_scheduler_start(NULL),
        skink_scheduler_stop(NULL, 0),
        skink_scheduler_uv(NULL, NULL, NULL),
        skink_scheduler_stats_read(NULL, &scheduler_stats),
        skink_scheduler_set_detection(NULL, SKINK_DETECTION_OFF),
        skink_spawn(NULL, NULL, NULL, NULL, NULL),
        skink_post(NULL, NULL, NULL),
        skink_task_cancel(NULL),
        skink_task_await(NULL, 0),
        skink_task_block(NULL, 0),
        skink_future_create(NULL),
        skink_future_complete(NULL, NULL),
        skink_future_fail(NULL, -EIO),
        skink_future_set_completer(NULL, NULL),
        skink_future_then(NULL, SKINK_IN_PLACE, NULL, NULL, NULL),
        skink_future_block(NULL, 0, &value),
        skink_await(NULL, 0, &value),
        skink_await_any(NULL, 1, 0, &size),
        skink_await_all(NULL, 1, 0),
        skink_offload(NULL, NULL, NULL),
        skink_offload_block(NULL, NULL, NULL),
        skink_offload_start(NULL, NULL, NULL, NULL),
        skink_once_run(NULL, NULL, NULL, 0),
        skink_once_reset(NULL),
        skink_retry(NULL, NULL, NULL),
        skink_token_derive(NULL, 0, NULL),
        skink_token_fire(NULL, -EIO),
        skink_token_status(NULL),
        skink_scope_begin(NULL),
        skink_recovery_create(NULL, NULL),
        skink_recovery_watch(NULL, NULL),
        skink_recovery_unwatch(NULL, NULL),
        skink_recovery_set_timeout(NULL, SKINK_S),
        skink_recovery_stats_read(NULL, &recovery_stats),
        skink_recovery_counts(NULL, NULL, NULL),
        skink_recovery_resume(NULL),
        skink_recovery_ping(NULL, 0),
        skink_incident_find(NULL, NULL, NULL),
        skink_incident_newest(NULL, 0, NULL),
        skink_incident_json(NULL, NULL, NULL),
        skink_incidents_json(NULL, NULL, NULL),
        skink_dump_tasks(NULL, NULL, NULL),
        skink_dump_threads(NULL, NULL, NULL),
        skink_workers_create(NULL, NULL),
        skink_workers_start(NULL),
        skink_workers_stop(NULL, 0),
        skink_workers_stats_read(NULL, &workers_stats),
        skink_http_server_create(NULL, NULL, NULL),
        skink_http_route(NULL, NULL, NULL, NULL, NULL, NULL),
        skink_http_use(NULL, NULL, NULL),
        skink_http_use_on(NULL, NULL, NULL, NULL),
        skink_http_route_set_timeout(NULL, NULL, 0),
        skink_http_route_set_request_timeout(NULL, NULL, 0),
        skink_http_route_set_action(NULL, NULL, SKINK_ACTION_TAKEOVER),
        skink_http_route_set_limits(NULL, NULL, 0, 0),
        skink_http_route_set_execution(NULL, NULL, SKINK_EXECUTE_LOOP),
        skink_http_set_request_timeout(NULL, 0),
        skink_http_set_limits(NULL, 0, 0),
        skink_http_copy_routes(NULL, NULL),
        skink_http_listen(NULL, NULL, NULL),
        skink_request_form(NULL, NULL, &text),
        skink_request_read(NULL, NULL, 0, &size),
        skink_respond(NULL, 200, NULL, NULL, 0),
        skink_respond_text(NULL, 200, NULL),
        skink_respond_error(NULL, 500, 1, NULL),
        skink_respond_number(NULL, 1001),
        skink_response_header(NULL, NULL, NULL),
        skink_response_begin(NULL, 200, NULL, 0),
        skink_response_write(NULL, NULL, 1),
        skink_response_end(NULL),
        skink_loopback_open(NULL, NULL, NULL),
        skink_loopback_send(NULL, NULL, 1, 0, NULL),
        skink_loopback_receive(NULL, NULL, 0, 0, &size),
        skink_loopback_request(NULL, NULL, 0, 0, NULL),
        skink_stats_server_start(NULL, NULL, NULL, NULL),
        skink_shutdown(NULL, 1, NULL),
    };
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        if (results[i] != -EINVAL) fail_msg("the %zu. call: %d", i + 1, results[i]);
}

static void what_cannot_fail_answers_it_with_nothing(void **state)
{
    (void)state;
    size_t length = 99;
    const char *name = "as it was", *value = name;
    assert_null(skink_task_ref(NULL));
    assert_null(skink_task_name(NULL));
    assert_null(skink_future_ref(NULL));
    assert_false(skink_future_is_done(NULL));
    assert_null(skink_token_ref(NULL));
    assert_true(skink_token_deadline(NULL) == SKINK_FOREVER);
    assert_false(skink_once_is_done(NULL));
    assert_int_equal(skink_recovery_health(NULL), SKINK_HEALTH_NO_STANDBY);
    assert_null(skink_workers_scheduler_at(NULL, 0));
    assert_false(skink_http_route_at(NULL, 0, &name, &value));
    assert_null(skink_request_method(NULL));
    assert_null(skink_request_path(NULL));
    assert_null(skink_request_query_string(NULL));
    assert_null(skink_request_route(NULL));
    assert_int_equal(skink_request_index(NULL), 0);
    assert_null(skink_request_id(NULL));
    assert_null(skink_request_client(NULL));
    assert_null(skink_request_allowed(NULL));
    assert_null(skink_request_header(NULL, "Host"));
    assert_false(skink_request_header_at(NULL, 0, &name, &value));
    assert_null(skink_request_param(NULL, "id"));
    assert_null(skink_request_query(NULL, "q"));
    assert_null(skink_request_cookie(NULL, "c"));
    assert_null(skink_request_body(NULL, &length));
    assert_int_equal(length, 0);
    assert_int_equal(skink_request_status(NULL), 0);
    assert_int_equal(skink_request_queue_ns(NULL), 0);
    assert_null(skink_request_token(NULL));
    assert_int_equal(skink_answer_status(NULL), 0);
    assert_null(skink_answer_header(NULL, "Host"));
    length = 99;
    assert_null(skink_answer_body(NULL, &length));
    assert_int_equal(length, 0);
    assert_string_equal(name, "as it was");
    assert_ptr_equal(value, name);
}

static void what_returns_nothing_does_nothing(void **state)
{
    (void)state;
    skink_scheduler_destroy(NULL);
    skink_task_unref(NULL);
    skink_future_unref(NULL);
    skink_token_unref(NULL);
    skink_recovery_destroy(NULL);
    skink_incident_free(NULL);
    skink_incident_json_free(NULL);
    skink_dump_free(NULL);
    skink_workers_set_timeouts(NULL, 0, 0);
    skink_workers_destroy(NULL);
    skink_http_set_timeouts(NULL, 0, 0, 0);
    skink_http_quarantine_lift(NULL);
    skink_http_server_drain(NULL);
    skink_http_server_stop(NULL);
    skink_http_server_destroy(NULL);
    skink_next_run(NULL, NULL);
    skink_loopback_finish(NULL);
    skink_loopback_close(NULL);
    skink_answer_free(NULL);
    skink_stats_server_set_health(NULL, 0, 0);
    skink_stats_server_destroy(NULL);
}

/* A name that is not there, of a request and an answer that are. */
static void ask_without_a_name(skink_request *request, void *arg)
{
    bool *good = arg;
    const char *text = NULL;
    *good = !skink_request_header(request, NULL) && !skink_request_param(request, NULL) &&
            !skink_request_query(request, NULL) && !skink_request_cookie(request, NULL) &&
            !skink_request_header_at(request, 0, NULL, &text) && !skink_request_header_at(request, 0, &text, NULL) &&
            skink_request_form(request, NULL, &text) == -EINVAL && !text;
    (void)!skink_respond_text(request, 200, "asked");
}

static void a_name_that_is_null_is_not_found(void **state)
{
    (void)state;
    static const char request[] = "GET /a/b?c=d HTTP/1.1\r\nHost: a\r\nCookie: e=f\r\n\r\n";
    skink_scheduler *scheduler;
    skink_http_server *server;
    skink_answer *answer;
    const char *text = NULL;
    bool good = false;
    assert_int_equal(skink_scheduler_create(NULL, &scheduler), 0);
    assert_int_equal(skink_http_server_create(scheduler, NULL, &server), 0);
    assert_int_equal(skink_http_route(server, "GET", "/a/{id}", NULL, ask_without_a_name, &good), 0);
    assert_false(skink_http_route_at(server, 0, NULL, &text));
    assert_false(skink_http_route_at(server, 0, &text, NULL));
    assert_int_equal(skink_scheduler_start(scheduler), 0);
    assert_int_equal(skink_loopback_request(server, request, sizeof request - 1, skink_after(5 * SKINK_S), &answer), 0);
    assert_int_equal(skink_answer_status(answer), 200);
    assert_null(skink_answer_header(answer, NULL));
    assert_true(good);
    skink_answer_free(answer);
    assert_int_equal(skink_scheduler_stop(scheduler, skink_after(5 * SKINK_S)), 0);
    skink_http_server_destroy(server);
    skink_scheduler_destroy(scheduler);
}

static const struct test_case cases[] = {
    CASE(calls_that_can_fail_refuse_it),
    CASE(what_cannot_fail_answers_it_with_nothing),
    CASE(what_returns_nothing_does_nothing),
    CASE(a_name_that_is_null_is_not_found),
};
TEST_MAIN(cases, NULL, NULL)
