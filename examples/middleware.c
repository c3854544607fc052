/* SPDX-License-Identifier: MIT */
/*
 * examples/middleware.c - a middleware of one's own, tried out without a socket.
 *
 *     $ middleware
 *     401 Bearer
 *     200 hello, key-1
 */
#include <skink/skink.h>
#include <stdio.h>
#include <string.h>

/* The middleware: nobody gets in without a key, and everybody is told how long it took. */
static void need_key(skink_request *request, skink_next *next, void *arg)
{
    (void)arg;
    uint64_t start = skink_now();
    if (skink_request_header(request, "Authorization"))
        skink_next_run(next, request); /* inwards; what follows is on the way out */
    else if (skink_response_header(request, "WWW-Authenticate", "Bearer") == 0)
        skink_respond_error(request, 401, 10001, "a key is needed");
    fprintf(stderr, "%s took %llu ns\n", skink_request_path(request), (unsigned long long)(skink_now() - start));
}

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    char text[128];
    snprintf(text, sizeof text, "hello, %.100s", skink_request_header(request, "Authorization"));
    skink_respond_text(request, 200, text);
}

/* What a client would see. */
static int show(skink_http_server *server, const char *request, const char *header)
{
    skink_answer *answer;
    int err = skink_loopback_request(server, request, strlen(request), skink_after(5 * SKINK_S), &answer);
    if (err) {
        fprintf(stderr, "no answer: %s\n", skink_strerror(err));
        return 1;
    }
    const char *text = header ? skink_answer_header(answer, header) : skink_answer_body(answer, NULL);
    printf("%d %s\n", skink_answer_status(answer), text ? text : "(none)");
    skink_answer_free(answer);
    return 0;
}

int main(void)
{
    skink_scheduler *loop;
    skink_http_server *server;
    if (skink_scheduler_create(NULL, &loop) || skink_http_server_create(loop, NULL, &server) ||
        skink_http_use_on(server, "/private", need_key, NULL) ||
        skink_http_route(server, "GET", "/private/hello", NULL, hello, NULL) || skink_scheduler_start(loop))
        return 1;
    int failed = show(server, "GET /private/hello HTTP/1.1\r\nHost: x\r\n\r\n", "WWW-Authenticate");
    failed |= show(server, "GET /private/hello HTTP/1.1\r\nHost: x\r\nAuthorization: key-1\r\n\r\n", NULL);
    skink_http_server_destroy(server);
    skink_scheduler_destroy(loop);
    return failed;
}
