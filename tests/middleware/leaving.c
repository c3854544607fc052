/* SPDX-License-Identifier: MIT */
/* tests/middleware/leaving.c - see leaving.h. */
#include "tests/middleware/leaving.h"

void wait_for_leaving(skink_request *request, void *arg)
{
    struct leaving *leaving = arg;
    skink_token *token = skink_request_token(request);
    assert_non_null(token);
    leaving->token = skink_token_ref(token);
    atomic_store(&leaving->started, 1);
    int err = skink_sleep(20 * SKINK_S);
    atomic_store(&leaving->token_status, skink_token_status(token));
    atomic_store(&leaving->respond_result, skink_respond_text(request, 200, "all the same"));
    atomic_store(&leaving->sleep_result, err);
}

void leaving_fixture(struct fixture *fixture, struct leaving *leaving)
{
    *leaving = (struct leaving){ .sleep_result = 1 };
    fixture_create(fixture, NULL, NULL);
    fixture_add_common_routes(fixture);
    fixture_route(fixture, "GET", "/wait", wait_for_leaving, leaving);
    fixture_start(fixture);
}
