/* SPDX-License-Identifier: MIT */
/* examples/embed.c - two routes served from one's own main, with recovery. Stops at SIGINT or SIGTERM. */
#include <signal.h>
#include <skink/skink.h>
#include <stdio.h>

static void hello(skink_request *request, void *arg)
{
    skink_respond_text(request, 200, arg);
}

static void wait_a_second(skink_request *request, void *arg)
{
    if (skink_sleep(SKINK_S) == 0) skink_respond_text(request, 200, arg);
}

int main(int argc, char **argv)
{
    sigset_t signals;
    skink_scheduler *scheduler = NULL;
    skink_recovery *recovery = NULL;
    skink_http_server *server = NULL;
    skink_shutdown_options end = { .size = sizeof end, .grace_ns = 5 * SKINK_S }; /* for requests in flight */
    int port = 0, signal_number;
    sigemptyset(&signals), sigaddset(&signals, SIGINT), sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); /* in every thread, so that sigwait() below gets them */
    int error = skink_scheduler_create(NULL, &scheduler);
    if (!error) error = skink_recovery_create(NULL, &recovery);
    if (!error) error = skink_recovery_watch(recovery, scheduler);
    if (!error) error = skink_http_server_create(scheduler, NULL, &server);
    if (!error) error = skink_http_route(server, "GET", "/hello", NULL, hello, (char *)"hello\n");
    if (!error) error = skink_http_route(server, "GET", "/wait", NULL, wait_a_second, (char *)"a second later\n");
    if (!error) error = skink_http_listen(server, argc > 1 ? argv[1] : "127.0.0.1:8081", &port);
    if (!error) error = skink_scheduler_start(scheduler);
    if (error) fprintf(stderr, "cannot start: %s\n", skink_strerror(error));
    if (!error) printf("listening on port %d\n", port), fflush(stdout), sigwait(&signals, &signal_number);
    if (!error) (void)!skink_shutdown(&server, 1, &end);
    skink_http_server_destroy(server), skink_scheduler_destroy(scheduler), skink_recovery_destroy(recovery);
    return error != 0;
}
