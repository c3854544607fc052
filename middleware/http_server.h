/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_server.h - the server as its own files see it.
 *
 * Unless a field says otherwise it belongs to the runtime section of the server's scheduler: at most one thread
 * at a time is there, whichever it is. The memory is reference-counted: one reference for the owner, one for
 * each open uv handle, one for each request; so a stray that comes back after the server was destroyed still finds it.
 */
#ifndef SKINK_MIDDLEWARE_HTTP_SERVER_H
#define SKINK_MIDDLEWARE_HTTP_SERVER_H
#include "loop/capability.h"
#include "loop/inbox.h"
#include "middleware/client.h"
#include "middleware/deadline_list.h"
#include "middleware/drain.h"
#include "middleware/http_framing.h"
#include "middleware/request_id.h"
#include "middleware/routes.h"
#include "skink/http_server.h"
#include <stdatomic.h>

struct skink__connection;
struct skink__listener;

enum { SKINK__READ_BUFFER_BYTES = 65536, SKINK__POOL_MAX = 256 };

struct skink__middleware_entry {
    skink_middleware fn;
    void *arg;
    char *prefix; /* of the paths it stands on; NULL: all */
    size_t prefix_length;
};

/* Loop thread writes, any thread reads; relaxed, since each stands for itself. */
struct skink__http_counters {
    _Atomic uint64_t connections;
    _Atomic uint64_t connections_total;
    _Atomic uint64_t connections_refused;
    _Atomic uint64_t in_flight;
    _Atomic uint64_t response_bytes;
    _Atomic uint64_t late_answers_dropped;
    _Atomic uint64_t requests_expired;
    _Atomic uint64_t answers_client_gone;
    _Atomic uint64_t answers_missing;
    _Atomic uint64_t answers_cut;
    _Atomic uint64_t requests_refused;
    _Atomic uint64_t requests_malformed;
};

/* One writer, so a load and a store do what a locked addition would. */
static inline void skink__counter_add(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

/* Requests that were declared stuck and have not come back, of all servers with the same routes: the threads that they
 * hold are those of the process. Any thread; a stray may end after the scheduler. */
struct skink__stuck {
    _Atomic uint32_t refs;
    _Atomic uint32_t requests;
};

struct skink_http_server {
    skink_scheduler *scheduler; /* the host's; outlives the server */
    _Atomic uint32_t refs;

    /* From the options; fixed. */
    struct skink__http_limits limits;
    uint32_t max_connections;
    size_t max_backlog_bytes;
    bool reuse_port;
    skink_access_fn access; /* NULL: nobody wants to know */
    void *access_arg;
    size_t max_unsent_bytes;
    char *server_line; /* "Server: skink\r\n", or "" */
    size_t server_line_length;
    struct skink__quarantine_rules quarantine;
    struct skink__proxies trusted_proxies;
    char id_prefix[SKINK__REQUEST_ID_PREFIX_BYTES]; /* of the ids of its requests */

    /* Fixed when the first listener opens, so tasks may read them. */
    struct skink__routes routes;
    struct skink__middleware_entry *middlewares;
    unsigned middleware_count;
    _Atomic bool listened;
    skink__mutex admin; /* route, use, listen, stop from outside; never taken in the runtime section */

    /* Fixed when the first listener opens. */
    skink_execution execution; /* of routes that say nothing else */
    skink_workers *workers;    /* with a reference on their memory; NULL: none */

    /* Those that have its routes too, each with a reference; written before it listens, read by any thread. */
    _Atomic(skink_http_server *) next_twin;
    bool is_twin;

    struct skink__limit limit; /* of all requests together */

    _Atomic uint64_t request_timeout_ns; /* any thread writes; 0: none */
    struct skink__deadline_list expiry; /* runtime section, once it is used: of routes without a timeout of their own */

    struct skink__listener *listeners;     /* linked by next */
    struct skink__connection *connections; /* linked by next and previous */
    struct skink__connection *held;        /* with output for the end of this turn; linked by next_held */
    uv_idle_t turn_end;                    /* active while there are any */
    uint32_t connection_count;             /* without the refused ones */
    uint32_t refused_count;                /* refused ones that linger */
    bool ready;                            /* the timer is initialised */
    bool stopping;                         /* no keep-alive any more */
    bool cut;                              /* being destroyed: nothing is started any more */
    uint64_t requests_begun;               /* the last request's index */
    struct skink__stuck *stuck;            /* a reference; with the servers that have its routes too */
    uint64_t now_ns;                       /* read once for each event and each answer */

    struct skink__deadlines deadlines;
    struct skink__deadline_list idle;      /* connections without a request */
    struct skink__deadline_list header;    /* connections in the middle of one */
    struct skink__deadline_list stalled;   /* connections whose client does not read */
    struct skink__deadline_list linger;    /* connections that only wait for the client to close */
    struct skink__deadline_list late;      /* requests declared stuck */
    struct skink__deadline_list late_turn; /* of these, those whose window is over, and whose task is on its way */
    struct skink__deadline_list accept;    /* listeners that ran out of descriptors */

    char *read_buffer; /* SKINK__READ_BUFFER_BYTES; nothing stays in it between two reads */
    char *scratch;     /* an answer while it is put together */
    size_t scratch_bytes;
    uint64_t date_second; /* of the monotonic clock, for which date_line holds */
    char date_line[48];   /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */

    struct skink_request *free_requests; /* linked by next_free */
    unsigned free_request_count;
    struct skink__connection *free_connections; /* linked by next */
    unsigned free_connection_count;

    struct skink__http_counters counters;

    struct skink__drain drain;

    struct skink__message stop_message; /* the inbox's while stop_posted */
    _Atomic bool stop_posted;
    struct skink__message review_message; /* the inbox's while review_posted */
    _Atomic bool review_posted;
};

skink_http_server *skink__http_server_ref(skink_http_server *server);

/* NULL is fine. */
void skink__stuck_unref(struct skink__stuck *stuck);

/* What does not run on the loop needs workers. */
static inline bool skink__can_execute(skink_execution execution, const skink_workers *workers)
{
    return execution <= SKINK_EXECUTE_LOOP || (execution <= SKINK_EXECUTE_SERIAL && workers);
}

/* http_server_settings.c: have the loop look at the queues anew, soon: a limit has changed, or there was more to do
 * than one turn takes. Any thread. */
void skink__http_server_review_limits(skink_http_server *server);

/* Does its scheduler? Any thread. */
bool skink__http_server_is_running(const skink_http_server *server);

/* All of them, for good. Runtime section. */
void skink__http_server_close_listeners(skink_http_server *server);

/* Routes and middlewares are what they are from now on. Any thread but a loop thread in its runtime section. */
void skink__http_server_fix(skink_http_server *server);

/* Runtime section: what every connection needs is there; -ECANCELED once the server takes no more, or a libuv error. */
int skink__http_server_attach(skink_http_server *server, struct uv_loop_s *loop);

/* Any thread; the last one frees. */
void skink__http_server_unref(skink_http_server *server);
#endif
