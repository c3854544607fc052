/* SPDX-License-Identifier: MIT */
/*
 * open_loop.c - a load of GET requests at a fixed rate, for bench/compare.
 *
 *     bench_open_loop PORT PATH RATE SECONDS CONNECTIONS TIMEOUT_SECONDS
 *
 * Request i is due at start + i / RATE, whatever became of those before, and its time is counted from the moment it was
 * due and not from the moment it could be sent. So a server that stands still for a second is charged with every
 * request that was due in that second (the error of leaving them out is what Gil Tene calls coordinated omission). RATE
 * 0 makes all CONNECTIONS requests due at once, for SECONDS to come back.
 *
 * A due request takes an idle connection, or a new one, or waits for one at the limit of CONNECTIONS. It ends as one
 * of:
 *
 *     ok        status 200 to 399
 *     refused   any other status: the server has said no
 *     broken    the connection could not be made, or was closed or reset before the answer was whole
 *     timeout   no whole answer within TIMEOUT_SECONDS of being due
 *
 * Prints `NAME,VALUE` lines: the four counts, and of the ok ones the quantiles of the time in seconds.
 */
#include "bench.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 65536

enum outcome { OK, REFUSED, BROKEN, TIMEOUT, OUTCOMES };

static const char *const outcome_names[OUTCOMES] = { "ok", "refused", "broken", "timeout" };

struct connection {
    int fd;          /* -1: closed                                                                  */
    bool busy;       /* a request is on it                                                          */
    bool connected;  /* the connect has succeeded                                                   */
    uint64_t due_ns; /* of its request                                                              */
    size_t filled;   /* bytes of `answer`                                                           */
    char answer[ANSWER_MAX + 1];
};

struct load {
    struct sockaddr_in address;
    char request[1024];
    size_t request_bytes;
    uint64_t start_ns, interval_ns, timeout_ns;
    size_t total; /* requests to make                     */
    size_t given; /* of these, on a connection or beyond  */
    size_t ended; /* of these, with an outcome            */
    struct connection *connections;
    size_t connection_count;
    size_t idle_hint; /* where to look for a free connection */
    size_t outcomes[OUTCOMES];
    double *seconds; /* of the ok ones                       */
    int epoll_fd;
};

static uint64_t due_of(const struct load *load, size_t i)
{
    return load->start_ns + i * load->interval_ns;
}

static void close_connection(struct connection *connection)
{
    if (connection->fd >= 0) close(connection->fd); /* which takes it out of the epoll set as well */
    connection->fd = -1;
    connection->busy = false;
    connection->connected = false;
}

static void end_request(struct load *load, struct connection *connection, enum outcome outcome, bool keep)
{
    if (outcome == OK) load->seconds[load->outcomes[OK]] = (double)(bench_now() - connection->due_ns) / 1e9;
    load->outcomes[outcome]++;
    load->ended++;
    connection->busy = false;
    if (!keep) close_connection(connection);
}

/* The value of a header of the answer's head, NULL without one. */
static const char *header(const char *head, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
    }
    return NULL;
}

/* Whether the answer is whole; *ret_keep says whether the connection can take another request. */
static bool is_whole(struct connection *connection, bool closed, bool *ret_keep)
{
    char *end = strstr(connection->answer, "\r\n\r\n");
    if (!end) return false;
    char kept = end[2];
    end[2] = '\0'; /* so that headers are looked for in the head alone */
    const char *length = header(connection->answer, "Content-Length");
    const char *coding = header(connection->answer, "Transfer-Encoding");
    const char *option = header(connection->answer, "Connection");
    size_t body = connection->filled - (size_t)(end + 4 - connection->answer);
    size_t want = length ? strtoul(length, NULL, 10) : 0;
    *ret_keep = !closed && (length || coding) && !(option && strncasecmp(option, "close", 5) == 0);
    end[2] = kept;
    if (coding) return strstr(end + 2, "\r\n0\r\n\r\n") != NULL;
    return length ? body >= want : closed;
}

static void on_answer_bytes(struct load *load, struct connection *connection, ssize_t got)
{
    bool closed = got <= 0, keep = false;
    if (!connection->busy) {
        close_connection(connection); /* closed while idle, or bytes that nobody asked for */
        return;
    }
    if (got > 0) connection->filled += (size_t)got;
    connection->answer[connection->filled] = '\0';
    if (is_whole(connection, closed, &keep)) {
        int status = (int)strtol(connection->answer + strcspn(connection->answer, " "), NULL, 10);
        end_request(load, connection, status >= 200 && status < 400 ? OK : REFUSED, keep);
    } else if (closed || connection->filled == ANSWER_MAX) {
        end_request(load, connection, BROKEN, false);
    }
}

static void send_request(struct load *load, struct connection *connection)
{
    /* A few hundred bytes into an empty socket buffer: all of it, or the connection is of no use. */
    ssize_t sent = send(connection->fd, load->request, load->request_bytes, MSG_NOSIGNAL);
    if (sent != (ssize_t)load->request_bytes) end_request(load, connection, BROKEN, false);
}

static void on_event(struct load *load, struct connection *connection, uint32_t events)
{
    if (connection->fd < 0) return;
    if (!connection->connected) {
        int err = 0;
        socklen_t size = sizeof err;
        getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &err, &size);
        if (err || events & (EPOLLERR | EPOLLHUP)) {
            end_request(load, connection, BROKEN, false);
            return;
        }
        connection->connected = true;
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = connection };
        epoll_ctl(load->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
        send_request(load, connection);
        return;
    }
    ssize_t got = recv(connection->fd, connection->answer + connection->filled, ANSWER_MAX - connection->filled, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    on_answer_bytes(load, connection, got);
}

static void open_connection(struct load *load, struct connection *connection)
{
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection->fd < 0) bench_die("socket", errno);
    int one = 1;
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = { .events = EPOLLOUT, .data.ptr = connection };
    if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event)) bench_die("epoll_ctl", errno);
    if (connect(connection->fd, (struct sockaddr *)&load->address, sizeof load->address) && errno != EINPROGRESS)
        end_request(load, connection, BROKEN, false);
}

/* A connection without a request, an open one if there is one; NULL when all are busy. */
static struct connection *free_connection(struct load *load)
{
    struct connection *closed = NULL;
    for (size_t n = 0; n < load->connection_count; n++) {
        struct connection *connection = &load->connections[(load->idle_hint + n) % load->connection_count];
        if (connection->busy) continue;
        if (connection->fd >= 0) {
            load->idle_hint = (size_t)(connection - load->connections) + 1;
            return connection;
        }
        if (!closed) closed = connection;
    }
    return closed;
}

static void give_due_requests(struct load *load, uint64_t now)
{
    while (load->given < load->total && due_of(load, load->given) <= now) {
        struct connection *connection = free_connection(load);
        if (!connection) return;
        connection->busy = true;
        connection->filled = 0;
        connection->due_ns = due_of(load, load->given++);
        if (connection->fd >= 0)
            send_request(load, connection);
        else
            open_connection(load, connection);
    }
}

static void end_overdue_requests(struct load *load, uint64_t now)
{
    for (size_t i = 0; i < load->connection_count; i++) {
        struct connection *connection = &load->connections[i];
        if (connection->busy && now > connection->due_ns + load->timeout_ns)
            end_request(load, connection, TIMEOUT, false);
    }
    /* Those that never got a connection. */
    while (load->given < load->total && now > due_of(load, load->given) + load->timeout_ns) {
        load->given++;
        load->outcomes[TIMEOUT]++;
        load->ended++;
    }
}

static void run(struct load *load)
{
    uint64_t swept_ns = 0;
    load->start_ns = bench_now();
    while (load->ended < load->total) {
        uint64_t now = bench_now();
        give_due_requests(load, now);
        if (now - swept_ns > 50000000) {
            end_overdue_requests(load, now);
            swept_ns = now;
        }
        uint64_t wait_ns = 50000000;
        if (load->given < load->total) {
            uint64_t due = due_of(load, load->given);
            if (due <= now)
                wait_ns = 1000000; /* all connections are busy: an event frees one */
            else if (due - now < wait_ns)
                wait_ns = due - now;
        }
        struct timespec wait = { .tv_nsec = (long)wait_ns };
        struct epoll_event events[256];
        int count = epoll_pwait2(load->epoll_fd, events, 256, &wait, NULL);
        for (int i = 0; i < count; i++)
            on_event(load, events[i].data.ptr, events[i].events);
    }
}

static void print_quantile(const struct load *load, const char *name, double quantile)
{
    size_t count = load->outcomes[OK];
    if (count == 0) return;
    size_t rank = (size_t)(quantile * (double)count); /* from 0: the first one that this share is below of */
    printf("%s,%.9g\n", name, load->seconds[rank < count ? rank : count - 1]);
}

static void print(struct load *load)
{
    for (int i = 0; i < OUTCOMES; i++)
        printf("%s,%zu\n", outcome_names[i], load->outcomes[i]);
    qsort(load->seconds, load->outcomes[OK], sizeof *load->seconds, bench_compare);
    print_quantile(load, "p50", 0.5);
    print_quantile(load, "p90", 0.9);
    print_quantile(load, "p99", 0.99);
    print_quantile(load, "p999", 0.999);
    print_quantile(load, "max", 1);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: %s PORT PATH RATE SECONDS CONNECTIONS TIMEOUT_SECONDS\n", argv[0]);
        return 2;
    }
    double rate = strtod(argv[3], NULL), seconds = strtod(argv[4], NULL);
    struct load load = {
        .address = { .sin_family = AF_INET,
                     .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) },
        .interval_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0,
        .timeout_ns = (uint64_t)(strtod(argv[6], NULL) * 1e9),
        .connection_count = strtoul(argv[5], NULL, 10),
        .epoll_fd = epoll_create1(EPOLL_CLOEXEC),
    };
    load.total = rate > 0 ? (size_t)(rate * seconds) : load.connection_count;
    int length = snprintf(load.request, sizeof load.request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", argv[2]);
    load.request_bytes = (size_t)length;
    load.connections = calloc(load.connection_count, sizeof *load.connections);
    load.seconds = calloc(load.total + 1, sizeof *load.seconds);
    if (load.epoll_fd < 0 || !load.connections || !load.seconds || length >= (int)sizeof load.request ||
        load.total == 0)
        bench_die("set-up", errno ? errno : EINVAL);
    for (size_t i = 0; i < load.connection_count; i++)
        load.connections[i].fd = -1;
    run(&load);
    print(&load);
    free(load.connections);
    free(load.seconds);
    return 0;
}
