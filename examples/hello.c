/* SPDX-License-Identifier: MIT */
/* examples/hello.c - the example of the README: an HTTP server that survives a handler which blocks for ever. */
#include <skink/skink.h>
#include <unistd.h>

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, "hello\n");
}

int main(void)
{
    skink_scheduler *loop;
    skink_recovery *recovery;
    skink_http_server *server;
    if (skink_scheduler_create(NULL, &loop) || skink_recovery_create(NULL, &recovery) ||
        skink_recovery_watch(recovery, loop) || skink_http_server_create(loop, NULL, &server) ||
        skink_http_route(server, "GET", "/hello", NULL, hello, NULL) || skink_scheduler_start(loop) ||
        skink_http_listen(server, "127.0.0.1:8080", NULL))
        return 1;
    for (;;)
        pause();
}
