/* SPDX-License-Identifier: MIT */
/*
 * tests/fuzz/fuzz_http.c - a server, four clients that say anything in any pieces, handlers that get stuck in between.
 *
 * An input is four bytes of settings and then what happens, in the order in which it happens. Bytes are sent to the
 * server as they stand; 0xff and a letter do something else:
 *
 *   0 1 2 3   go on with this client, which connects when it first does anything
 *   |         cut here: what comes next is sent when that before was dealt with
 *   f l       the client sends no more; it leaves, and is followed by a new one
 *   a r       (do not) take what the server sends; take up to 1,000 bytes of it
 *   0xff      that byte itself
 *   t T       the clock goes to the next deadline; by 100 s
 *   u U       let go one stuck handler, all
 *   L M       limits: one at a time and two that wait; none
 *   Q         lift the quarantine
 *   B H       recovery refuses new work in turns; a loop that is held goes on
 *   A D S     drain: announced, refusing; the server is told to stop
 *   m         an allocation fails; the next byte says which
 *   X x       the end: destroyed as it is; the scheduler is stopped before
 *
 * Whatever that comes to: each client gets a row of HTTP answers, nothing is left behind, nothing counts on, and there
 * is always an end to what the loop has to do. tests/fuzz/http_handlers.h says what paths do.
 */
#include "loop/takeover.h"
#include "middleware/http_connection_state.h"
#include "middleware/http_server.h"
#include "skink/loopback.h"
#include "skink/shutdown.h"
#include "tests/fuzz/http_answers.h"
#include "tests/fuzz/http_handlers.h"
#include "tests/fuzz/http_loop.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 4, SETTINGS = 4, ESCAPE = 0xff, STEPS_MAX = 400, SLICE_MAX = 100000, SEND_ROUNDS = 64 };

struct client {
    bool open;
    int fd;                   /* -1: a loopback */
    skink_loopback *loopback; /* NULL: a socket */
    bool finished;
    struct answers answers;
};

static struct fuzz {
    uint8_t settings[SETTINGS];
    skink_scheduler *scheduler;
    skink_http_server *server;
    struct client clients[CLIENTS];
    unsigned now; /* the client that is being moved */
    bool deaf;    /* clients take nothing */
    _Atomic uint64_t told;
    int admittance;
} the;

/* ---- is there anything to do? ---- */

static int wanted_of(const struct skink__transport *transport)
{
    return (transport->events & UV_READABLE ? POLLIN : 0) | (transport->events & UV_WRITABLE ? POLLOUT : 0) |
           (transport->events & UV_DISCONNECT ? POLLRDHUP : 0);
}

static bool is_ready(const struct skink__connection *connection)
{
    const struct skink__transport *transport = &connection->transport;
    if (transport->loopback) return transport->events & skink__loopback_ready(transport->loopback);
    struct pollfd fd = { .fd = transport->fd, .events = (short)wanted_of(transport) };
    return transport->events && poll(&fd, 1, 0) > 0;
}

static bool is_busy(void *arg)
{
    (void)arg;
    const struct skink__connection *connection = the.server ? the.server->connections : NULL;
    for (; connection; connection = skink__connection_next(connection))
        if (is_ready(connection)) return true;
    return false;
}

/* ---- clients ---- */

struct opening {
    int fd;
    int err;
};

static void open_here(uv_loop_t *loop, void *arg)
{
    struct opening *opening = arg;
    skink_http_server *server = the.server;
    struct skink__ip ip;
    CHECK(skink__ip_parse(&ip, "127.0.0.1", 9));
    opening->err = skink__http_server_attach(server, loop);
    if (opening->err) return;
    skink__connection_open(server, opening->fd, &ip, server->connection_count >= server->max_connections);
}

static bool connect_socket(struct client *client, bool small)
{
    int fds[2], bytes = 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    if (small) CHECK(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
    struct opening opening = { .fd = fds[0] };
    skink__http_server_fix(the.server);
    CHECK(skink_scheduler_uv(the.scheduler, open_here, &opening) == 0);
    if (opening.err) close(fds[0]);
    if (opening.err) close(fds[1]);
    client->fd = fds[1];
    return opening.err == 0;
}

static bool connect_loopback(struct client *client, unsigned window)
{
    static const size_t windows[] = { 0, 1, 100, 5000 };
    static const char *const addresses[] = { "127.0.0.1", "unix", "::1", "192.0.2.7" };
    skink_loopback_options options = SKINK_LOOPBACK_OPTIONS_INIT;
    options.window_bytes = windows[window];
    options.client = addresses[the.now];
    client->fd = -1;
    return skink_loopback_open(the.server, &options, &client->loopback) == 0;
}

static struct client *client_here(void)
{
    struct client *client = &the.clients[the.now];
    uint8_t transports = the.settings[2];
    if (client->open) return client;
    client->loopback = NULL;
    client->finished = false;
    client->open = transports >> the.now & 1 ? connect_socket(client, transports & 0x40)
                                             : connect_loopback(client, transports >> 4 & 3);
    return client;
}

/* Up to so many bytes; says how many there were. */
static size_t take(struct client *client, size_t most)
{
    static char bytes[65536];
    size_t length = 0;
    if (most > sizeof bytes) most = sizeof bytes;
    if (client->loopback) {
        if (skink_loopback_receive(client->loopback, bytes, most, 0, &length)) return 0;
    } else {
        ssize_t n = recv(client->fd, bytes, most, 0);
        length = n > 0 ? (size_t)n : 0;
    }
    answers_add(&client->answers, bytes, length);
    return length;
}

static bool take_all(void)
{
    bool any = false;
    for (unsigned i = 0; i < CLIENTS; i++)
        while (the.clients[i].open && take(&the.clients[i], SIZE_MAX) > 0)
            any = true;
    return any;
}

static void settle(void)
{
    do
        loop_settle(is_busy, NULL);
    while (!the.deaf && take_all());
}

static size_t give(struct client *client, const uint8_t *bytes, size_t length)
{
    size_t sent = 0;
    if (client->loopback) {
        (void)!skink_loopback_send(client->loopback, bytes, length, 0, &sent);
    } else {
        ssize_t n = send(client->fd, bytes, length, MSG_NOSIGNAL);
        sent = n > 0 ? (size_t)n : 0;
    }
    return sent;
}

/* What the server does not take is lost. */
static void send_slice(const uint8_t *bytes, size_t length)
{
    struct client *client = client_here();
    for (unsigned round = 0; client->open && !client->finished && length > 0 && round < SEND_ROUNDS; round++) {
        size_t sent = give(client, bytes, length);
        settle();
        if (sent == 0) return;
        bytes += sent;
        length -= sent;
    }
}

static void send_bytes(const uint8_t *bytes, size_t length)
{
    size_t step = the.settings[3] & 0x3f;
    if (length > SLICE_MAX) length = SLICE_MAX;
    for (size_t n; length > 0; bytes += n, length -= n) {
        n = step && step < length ? step : length;
        send_slice(bytes, n);
    }
}

static void finish(struct client *client)
{
    if (!client->open || client->finished) return;
    client->finished = true;
    if (client->loopback)
        skink_loopback_finish(client->loopback);
    else
        shutdown(client->fd, SHUT_WR);
}

static void leave(struct client *client)
{
    if (!client->open) return;
    client->open = false;
    if (client->loopback)
        skink_loopback_close(client->loopback);
    else
        close(client->fd);
    client->loopback = NULL;
    if (loop_failures() == 0) (void)answers_check(&client->answers);
    answers_fini(&client->answers);
}

/* ---- what else happens ---- */

static void read_next_timeout(uv_loop_t *loop, void *arg)
{
    (void)loop;
    *(uint64_t *)arg = the.server->ready ? the.server->deadlines.armed_ns : UINT64_MAX;
}

static void pass_to_next(void)
{
    uint64_t at_ns = UINT64_MAX, wake_ns = loop_next_wake(), now_ns = skink_now();
    CHECK(skink_scheduler_uv(the.scheduler, read_next_timeout, &at_ns) == 0);
    if (wake_ns < at_ns) at_ns = wake_ns;
    if (at_ns != UINT64_MAX) loop_pass(at_ns > now_ns ? at_ns - now_ns : 0);
}

static void let_all_go(void)
{
    for (;;) {
        loop_release();
        settle();
        if (!loop_let_go()) return;
    }
}

/* A handler whose client was answered in its place goes on, and may sleep. */
static void let_all_end(void)
{
    for (unsigned i = 0; i < SEND_ROUNDS * CLIENTS; i++) {
        let_all_go();
        uint64_t wake_ns = loop_next_wake(), now_ns = skink_now();
        if (wake_ns == UINT64_MAX) return;
        loop_pass(wake_ns > now_ns ? wake_ns - now_ns : 0);
    }
}

static void act(uint8_t letter)
{
    struct client *client = strchr("fl", letter) ? client_here() : &the.clients[the.now];
    if (letter >= '0' && letter < '0' + CLIENTS) the.now = letter - '0';
    if (letter == 'f') finish(client);
    if (letter == 'l') leave(client);
    if (letter == 'a') the.deaf = !the.deaf;
    if (letter == 'r' && client->open) (void)take(client, 1000);
    if (letter == 't') pass_to_next();
    if (letter == 'T') loop_pass(100 * SKINK_S);
    if (letter == 'u') (void)loop_let_go();
    if (letter == 'U') let_all_go();
    if (letter == 'L') CHECK(skink_http_set_limits(the.server, 1, 2) == 0);
    if (letter == 'M') CHECK(skink_http_set_limits(the.server, 0, 0) == 0);
    if (letter == 'Q') skink_http_quarantine_lift(the.server);
    if (letter == 'B') skink__scheduler_set_admittance(the.scheduler, the.admittance = (the.admittance + 1) % 3);
    if (letter == 'H') loop_release();
    if (letter == 'A') skink_http_server_drain(the.server);
    if (letter == 'D') skink__drain_ask(the.server, SKINK__DRAIN_REFUSING);
    if (letter == 'S') skink_http_server_stop(the.server);
    settle();
}

/* Up to the end, or to a letter that is one; 0 without. */
static char play(const uint8_t *at, const uint8_t *end)
{
    for (unsigned steps = 0; at < end && steps < STEPS_MAX; steps++) {
        const uint8_t *escape = memchr(at, ESCAPE, (size_t)(end - at));
        if (!escape) escape = end;
        send_bytes(at, (size_t)(escape - at));
        if (end - escape < 2) return 0;
        uint8_t letter = escape[1];
        at = escape + 2;
        if (letter == ESCAPE) send_bytes(at - 1, 1);
        if (letter == 'm' && at < end) loop_fail(*at++);
        if (letter == 'X' || letter == 'x') return (char)letter;
        if (letter) act(letter);
    }
    return 0;
}

/* ---- a server with settings, and its end ---- */

static void note_access(const skink_access *access, void *arg)
{
    (void)arg;
    CHECK(access->status >= 200 && access->status <= 599 && access->id && access->client && access->method);
    CHECK(access->path && access->route && *skink_outcome_text(access->outcome));
    the.told++;
}

static void create_server(void)
{
    static const size_t backlogs[] = { 0, 64, 1000, 20000 }, unsent[] = { 0, 64, 4000, 20000 },
                        heads[] = { 0, 200, 1000, 4000 };
    static const uint64_t timeouts[] = { 0, SKINK_S, 5 * SKINK_S, 0 };
    const uint8_t *settings = the.settings;
    skink_http_options options = SKINK_HTTP_OPTIONS_INIT;
    options.max_requests = settings[0] & 3;
    options.max_queue = settings[0] >> 2 & 3;
    options.quarantine_strikes = settings[0] >> 4 & 3;
    options.access = settings[0] & 0x40 ? note_access : NULL;
    options.trusted_proxies = settings[0] & 0x80 ? "127.0.0.0/8, unix" : NULL;
    options.max_backlog_bytes = backlogs[settings[1] & 3];
    options.max_unsent_bytes = unsent[settings[1] >> 2 & 3];
    options.max_connections = settings[1] >> 4 & 3;
    options.request_timeout_ns = timeouts[settings[1] >> 6];
    options.max_header_bytes = heads[settings[3] >> 6];
    options.max_body_bytes = 20000;
    CHECK(skink_http_server_create(the.scheduler, &options, &the.server) == 0);
    handlers_add(the.server);
}

static void check_limit(const struct skink__limit *limit)
{
    CHECK(limit->in_use == 0 && limit->queued == 0);
}

/* Nothing of a request or connection is counted any more. */
static void check_counts(skink_http_server *server)
{
    uint64_t answered = 0;
    check_limit(&server->limit);
    struct skink__route *route = &server->routes.none;
    for (unsigned i = 0; i < sizeof route->codes / sizeof *route->codes; i++)
        answered += route->codes[i];
    for (route = atomic_load(&server->routes.first); route; route = atomic_load(&route->next)) {
        if (route->limit) check_limit(route->limit);
        for (unsigned i = 0; i < sizeof route->codes / sizeof *route->codes; i++)
            answered += route->codes[i];
    }
    CHECK(server->counters.in_flight == 0 && server->counters.connections == 0);
    CHECK(server->connection_count == 0 && server->refused_count == 0 && !server->connections);
    CHECK(atomic_load(&server->stuck->requests) == 0);
    CHECK(!server->access || the.told == answered);
}

static void leave_all(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        leave(&the.clients[i]);
}

static void destroy_server(bool stopped)
{
    skink_http_server *server = skink__http_server_ref(the.server);
    skink_http_server_destroy(server);
    let_all_go();
    CHECK(server->connections == NULL);
    leave_all();
    let_all_end();
    CHECK(stopped || handlers_running() == 0);
    loop_stop();
    while (loop_let_go()) {
    }
    check_counts(server);
    the.server = NULL;
    skink__http_server_unref(server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < SETTINGS) return 0;
    memset(&the, 0, sizeof the);
    for (unsigned i = 0; i < SETTINGS; i++)
        the.settings[i] = (uint8_t)(data[i] - '0');
    handlers_reset();
    the.scheduler = loop_open();
    create_server();
    char ending = play(data + SETTINGS, data + size);
    loop_fail(0);
    if (ending == 0) {
        let_all_go();
        leave_all();
        let_all_go();
    }
    if (ending == 'x') loop_stop();
    destroy_server(ending == 'x');
    loop_close();
    return 0;
}
