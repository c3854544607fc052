/* SPDX-License-Identifier: MIT */
/*
 * queue.c - what do 100,000 requests take that wait to be let in, and how long does it take to work them off?
 *
 * One permit, which the first request keeps; all others come over connections without a socket (so that no limit of
 * descriptors is in the way) and wait. Resident memory is read before and after: the client's end of each connection is
 * in it, which the first row subtracts, as measured with as many idle connections.
 */
#include "bench.h"
#include "skink/skink.h"
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic long answered;

static double resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*s %ld", &pages) != 1) bench_die("/proc/self/statm", EIO);
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void gate(skink_request *request, void *arg)
{
    (void)!skink_await(arg, SKINK_FOREVER, NULL);
    skink_respond_text(request, 200, "through\n");
}

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond_text(request, 200, "hello\n");
    atomic_fetch_add(&answered, 1);
}

static void send_request(skink_loopback *client, const char *path)
{
    char text[64];
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    bench_check("send", skink_loopback_send(client, text, (size_t)length, SKINK_FOREVER, NULL));
}

static int status_of(skink_http_server *server)
{
    static const char text[] = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    skink_answer *answer;
    int err = skink_loopback_request(server, text, sizeof text - 1, skink_after(50 * SKINK_MS), &answer);
    if (err) return err;
    int status = skink_answer_status(answer);
    skink_answer_free(answer);
    return status;
}

static void run(int round, long count)
{
    skink_scheduler *scheduler;
    skink_http_server *server;
    skink_future *open;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_requests = 1;
    options.max_queue = (uint32_t)count;
    options.max_connections = (uint32_t)count + 16;
    atomic_store(&answered, 0);
    bench_check("future", skink_future_create(&open));
    bench_check("scheduler", skink_scheduler_create(NULL, &scheduler));
    bench_check("server", skink_http_server_create(scheduler, &options, &server));
    bench_check("route", skink_http_route(server, "GET", "/gate", NULL, gate, open));
    bench_check("route", skink_http_route(server, "GET", "/hello", NULL, hello, NULL));
    bench_check("start", skink_scheduler_start(scheduler));
    skink_loopback **clients = calloc((size_t)count + 1, sizeof(skink_loopback *));
    if (!clients) bench_die("memory", ENOMEM);

    double before = resident_bytes();
    for (long i = 0; i <= count; i++)
        bench_check("connect", skink_loopback_open(server, NULL, &clients[i]));
    send_request(clients[0], "/gate");
    double idle = resident_bytes();
    for (long i = 1; i <= count; i++)
        send_request(clients[i], "/hello");
    /* When the queue is full, all of them are in it. */
    int status;
    while ((status = status_of(server)) != 429)
        if (status != -ETIMEDOUT) bench_die("the queue", status < 0 ? -status : EPROTO);
    double full = resident_bytes();
    bench_row("queue", "waiting", round, (full - idle) / (double)count, "bytes");
    bench_row("queue", "with_connections", round, (full - before) / (double)count, "bytes");

    uint64_t start = bench_now();
    bench_check("complete", skink_future_complete(open, NULL));
    while (atomic_load(&answered) < count)
        usleep(1000);
    bench_row("queue", "worked_off", round, (double)(bench_now() - start) / (double)count, "ns");
    for (long i = 0; i <= count; i++)
        skink_loopback_close(clients[i]);
    free(clients);
    bench_check("stop", skink_scheduler_stop(scheduler, SKINK_FOREVER));
    skink_http_server_destroy(server);
    skink_scheduler_destroy(scheduler);
    skink_future_unref(open);
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 1);
    long count = bench_argument(argc, argv, 2, 100000);
    for (int round = 1; round <= rounds; round++)
        run(round, count);
    return 0;
}
