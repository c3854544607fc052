/* SPDX-License-Identifier: MIT */
/*
 * bench/pipeline.c - what a pipeline costs: requests through ten middlewares against requests to the handler alone.
 *
 * Both sides are whole requests without a socket (skink/loopback.h): parsed, routed, run as a task, answered. The
 * client is a task of the same loop, so nothing waits for another thread. Each middleware does a little on both ways,
 * as real ones do.
 */
#include "bench.h"
#include "skink/skink.h"

enum { BATCH = 256, MIDDLEWARES = 10, WINDOW_BYTES = 256 * 1024 };

static const char request_text[] = "GET /hello HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n\r\n";

static void hello(skink_request *request, void *arg)
{
    (void)arg;
    (void)!skink_respond_text(request, 200, "hello\n");
}

static void look(skink_request *request, skink_next *next, void *arg)
{
    uint64_t *count = arg;
    if (!skink_request_header(request, "Authorization")) ++*count;
    skink_next_run(next, request);
    if (skink_request_status(request) == 200) ++*count;
}

struct run {
    skink_http_server *server;
    skink_future *finished;
    long batches;
    uint64_t spent_ns;
};

/* Receive `count` answers: each ends with the body. */
static void receive(skink_loopback *client, int count)
{
    static char bytes[WINDOW_BYTES];
    size_t length = 0, n;
    while (count > 0) {
        bench_check("receive",
                    skink_loopback_receive(client, bytes + length, sizeof bytes - length, SKINK_FOREVER, &n));
        if (n == 0) bench_die("receive", ECONNRESET);
        length += n;
        char *at = bytes, *found;
        while ((found = memmem(at, length - (size_t)(at - bytes), "\r\n\r\nhello\n", 10)) != NULL) {
            at = found + 10;
            count--;
        }
        length -= (size_t)(at - bytes);
        memmove(bytes, at, length);
    }
}

static void ask(void *arg)
{
    struct run *run = arg;
    static char batch[BATCH * sizeof request_text];
    size_t length = 0;
    for (int i = 0; i < BATCH; i++) {
        memcpy(batch + length, request_text, sizeof request_text - 1);
        length += sizeof request_text - 1;
    }
    skink_loopback_options options = SKINK_LOOPBACK_OPTIONS_INIT;
    options.window_bytes = WINDOW_BYTES;
    skink_loopback *client;
    bench_check("open", skink_loopback_open(run->server, &options, &client));
    uint64_t begun_ns = bench_now();
    for (long i = 0; i < run->batches; i++) {
        bench_check("send", skink_loopback_send(client, batch, length, SKINK_FOREVER, NULL));
        receive(client, BATCH);
    }
    run->spent_ns = bench_now() - begun_ns;
    skink_loopback_close(client);
    bench_check("complete", skink_future_complete(run->finished, NULL));
}

static double ns_per_request(skink_scheduler *scheduler, skink_http_server *server, long batches)
{
    struct run run = { .server = server, .batches = batches };
    bench_check("future", skink_future_create(&run.finished));
    bench_check("post", skink_post(scheduler, ask, &run));
    bench_check("await", skink_await(run.finished, SKINK_FOREVER, NULL));
    skink_future_unref(run.finished);
    return (double)run.spent_ns / (double)batches / BATCH;
}

int main(int argc, char **argv)
{
    int rounds = (int)bench_argument(argc, argv, 1, 5);
    long batches = bench_argument(argc, argv, 2, 400);
    uint64_t count = 0;
    skink_scheduler *scheduler;
    skink_http_server *bare, *ten;
    bench_check("scheduler", skink_scheduler_create(NULL, &scheduler));
    bench_check("server", skink_http_server_create(scheduler, NULL, &bare));
    bench_check("server", skink_http_server_create(scheduler, NULL, &ten));
    bench_check("route", skink_http_route(bare, "GET", "/hello", NULL, hello, NULL));
    bench_check("route", skink_http_route(ten, "GET", "/hello", NULL, hello, NULL));
    for (int i = 0; i < MIDDLEWARES; i++)
        bench_check("use", skink_http_use(ten, look, &count));
    bench_check("start", skink_scheduler_start(scheduler));
    for (int round = 0; round <= rounds; round++) {
        double bare_ns = ns_per_request(scheduler, bare, batches);
        double ten_ns = ns_per_request(scheduler, ten, batches);
        if (round == 0) continue; /* warms up */
        bench_row("pipeline", "handler", round, bare_ns, "ns");
        bench_row("pipeline", "ten_middlewares", round, ten_ns, "ns");
        bench_row("pipeline", "one_middleware", round, (ten_ns - bare_ns) / MIDDLEWARES, "ns");
    }
    skink_http_server_destroy(bare);
    skink_http_server_destroy(ten);
    skink_scheduler_destroy(scheduler);
    return 0;
}
