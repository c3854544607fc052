/* SPDX-License-Identifier: MIT */
/* middleware/dump_endpoint.c - see dump_endpoint.h. */
#include "middleware/dump_endpoint.h"
#include "loop/capability.h"
#include "loop/memory.h"
#include "middleware/http_stats.h"
#include "skink/clock.h"
#include "skink/dump.h"
#include "skink/future.h"
#include "skink/request.h"
#include "skink/workers.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>

enum { THREADS_MAX = 4 }; /* they work one after the other; more than these are told to come again */
#define DUMP_TIMEOUT_NS (5 * SKINK_S)
#define ANSWER_TIMEOUT_NS (THREADS_MAX * DUMP_TIMEOUT_NS + 5 * SKINK_S)

typedef int dump_function(const skink_dump_options *options, char **ret_text, size_t *ret_length);

/* The mutex of an endpoint. */
SKINK__CAPABILITY(endpoint_mutex);

struct skink__dump_endpoint {
    skink_stats_sources sources;
    skink_scheduler **schedulers; /* all that are known, besides those that the recovery watches */
    uint32_t scheduler_count;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned threads SKINK__GUARDED_BY(endpoint_mutex);
};

static void endpoint_lock(struct skink__dump_endpoint *endpoint) SKINK__ACQUIRES(endpoint_mutex) SKINK__UNCHECKED
{
    pthread_mutex_lock(&endpoint->mutex);
}

static void endpoint_unlock(struct skink__dump_endpoint *endpoint) SKINK__RELEASES(endpoint_mutex) SKINK__UNCHECKED
{
    pthread_mutex_unlock(&endpoint->mutex);
}

/* One dump. The request's task and the dump's thread each have a reference: the task may be cancelled meanwhile. */
struct job {
    _Atomic unsigned refs;
    struct skink__dump_endpoint *endpoint;
    dump_function *dump;
    skink_dump_format format;
    skink_future *done; /* a reference for each */
    char *text;         /* the dump's thread writes, before `done` */
    size_t length;
};

static void job_unref(struct job *job)
{
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) != 1) return;
    skink_future_unref(job->done);
    skink_dump_free(job->text);
    skink__free(job);
}

/* ---- on the dump's thread ---- */

static void *dump_main(void *arg)
{
    struct job *job = arg;
    struct skink__dump_endpoint *endpoint = job->endpoint;
    prctl(PR_SET_NAME, "skink-dump", 0, 0, 0);
    skink_dump_options options = SKINK_DUMP_OPTIONS_INIT;
    options.format = job->format;
    options.flags = SKINK_DUMP_WATCHED;
    options.scheduler = endpoint->sources.scheduler;
    options.recovery = endpoint->sources.recovery;
    options.schedulers = endpoint->schedulers;
    options.scheduler_count = endpoint->scheduler_count;
    options.timeout_ns = DUMP_TIMEOUT_NS;
    int err = job->dump(&options, &job->text, &job->length);
    err = err ? skink_future_fail(job->done, err) : skink_future_complete(job->done, NULL);
    (void)err; /* nobody else completes it */
    job_unref(job);
    endpoint_lock(endpoint);
    endpoint->threads--;
    pthread_cond_signal(&endpoint->ended);
    endpoint_unlock(endpoint);
    return NULL;
}

/* ---- on the stats scheduler ---- */

static bool take_place(struct skink__dump_endpoint *endpoint)
{
    endpoint_lock(endpoint);
    bool free = endpoint->threads < THREADS_MAX;
    endpoint->threads += free;
    endpoint_unlock(endpoint);
    return free;
}

static void leave_place(struct skink__dump_endpoint *endpoint)
{
    endpoint_lock(endpoint);
    endpoint->threads--;
    endpoint_unlock(endpoint);
}

static int start_thread(struct job *job)
{
    sigset_t all, before;
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&thread, &attributes, dump_main, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -err;
}

/* On 0 a thread works on it, and *ret_job is a reference. */
static int job_start(struct skink__dump_endpoint *endpoint, dump_function *dump, skink_dump_format format,
                     struct job **ret_job)
{
    struct job *job = skink__zalloc(sizeof *job);
    if (!job) return -ENOMEM;
    *job = (struct job){ .refs = 1, .endpoint = endpoint, .dump = dump, .format = format };
    int err = skink_future_create(&job->done);
    if (err) goto fail;
    err = -EAGAIN;
    if (!take_place(endpoint)) goto fail;
    atomic_store(&job->refs, 2);
    err = start_thread(job);
    if (!err) {
        *ret_job = job;
        return 0;
    }
    atomic_store(&job->refs, 1);
    leave_place(endpoint);
fail:
    job_unref(job);
    return err;
}

static void refuse(skink_request *request, int err)
{
    if (err == -EAGAIN) {
        if (skink_response_header(request, "Retry-After", "1")) return;
        skink_respond_error(request, 503, 503, "too many dumps at once, or no thread to make one; try again");
    } else if (err == -ENOMEM) {
        skink_respond_error(request, 503, 503, "no memory for a dump");
    } else if (err == -EINVAL) {
        skink_respond_error(request, 404, 404, "this process has told the stats endpoint of no scheduler");
    } else {
        skink_respond_error(request, 503, 503, "the dump did not come to an end in time");
    }
}

static void serve(skink_request *request, struct skink__dump_endpoint *endpoint, dump_function *dump)
{
    const char *wanted = skink_request_query(request, "format");
    bool json = wanted && strcmp(wanted, "json") == 0;
    if (wanted && !json && strcmp(wanted, "text") != 0) {
        skink_respond_error(request, 400, 400, "format is json or text");
        return;
    }
    struct job *job;
    int err = job_start(endpoint, dump, json ? SKINK_DUMP_JSON : SKINK_DUMP_TEXT, &job);
    if (!err) {
        err = skink_await(job->done, skink_after(ANSWER_TIMEOUT_NS), NULL);
        if (!err && skink_response_header(request, "Cache-Control", "no-store") == 0)
            skink_respond(request, 200, json ? "application/json" : "text/plain; charset=utf-8", job->text,
                          job->length);
        job_unref(job);
    }
    if (err) refuse(request, err);
}

static void handle_tasks(skink_request *request, void *arg)
{
    struct skink__dump_endpoint *endpoint = arg;
    if (endpoint->sources.scheduler || endpoint->sources.recovery || endpoint->scheduler_count)
        serve(request, endpoint, skink_dump_tasks);
    else
        skink_respond_error(request, 404, 404, "this process has told the stats endpoint of no scheduler");
}

static void handle_threads(skink_request *request, void *arg)
{
    serve(request, arg, skink_dump_threads);
}

/* ---- setting up ---- */

/* The i-th of the servers with these routes, and then those of their workers. */
static skink_scheduler *scheduler_at(const skink_http_server *http_server, size_t i)
{
    if (!http_server) return NULL;
    size_t loops = 0;
    while (skink__http_stats_scheduler_at(http_server, loops))
        loops++;
    if (i < loops) return skink__http_stats_scheduler_at(http_server, i);
    skink_workers *workers = skink__http_stats_workers(http_server);
    return workers ? skink_workers_scheduler_at(workers, i - loops) : NULL;
}

static int list_schedulers(struct skink__dump_endpoint *endpoint)
{
    const skink_http_server *http_server = endpoint->sources.http_server;
    uint32_t count = 0;
    while (scheduler_at(http_server, count))
        count++;
    if (!count) return 0;
    endpoint->schedulers = skink__zalloc(count * sizeof(skink_scheduler *));
    if (!endpoint->schedulers) return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        endpoint->schedulers[i] = scheduler_at(http_server, i);
    endpoint->scheduler_count = count;
    return 0;
}

int skink__dump_endpoint_add(skink_http_server *http_server, const skink_stats_sources *sources,
                             struct skink__dump_endpoint **ret_endpoint)
{
    struct skink__dump_endpoint *endpoint = skink__zalloc(sizeof *endpoint);
    if (!endpoint) return -ENOMEM;
    endpoint->sources = *sources;
    pthread_mutex_init(&endpoint->mutex, NULL);
    pthread_cond_init(&endpoint->ended, NULL);
    int err = list_schedulers(endpoint);
    if (!err) err = skink_http_route(http_server, "GET", "/tasks", NULL, handle_tasks, endpoint);
    if (!err) err = skink_http_route(http_server, "GET", "/threads", NULL, handle_threads, endpoint);
    if (err) {
        skink__dump_endpoint_destroy(endpoint);
        return err;
    }
    *ret_endpoint = endpoint;
    return 0;
}

void skink__dump_endpoint_destroy(struct skink__dump_endpoint *endpoint)
{
    if (!endpoint) return;
    endpoint_lock(endpoint);
    while (endpoint->threads)
        pthread_cond_wait(&endpoint->ended, &endpoint->mutex);
    endpoint_unlock(endpoint);
    pthread_cond_destroy(&endpoint->ended);
    pthread_mutex_destroy(&endpoint->mutex);
    skink__free(endpoint->schedulers);
    skink__free(endpoint);
}
