/* SPDX-License-Identifier: MIT */
/*
 * examples/uv_handles.c - libuv handles of one's own on the scheduler's loop: a UDP echo.
 *
 * The handle is started and closed inside skink_scheduler_uv(), in the runtime section. Its callbacks run there too:
 * they may only hand over, so the one for a datagram copies it and posts a task. The task, which may wait for whatever
 * it likes, goes back into the runtime section to send. Stops at SIGINT or SIGTERM.
 */
#include <netinet/in.h>
#include <signal.h>
#include <skink/skink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { DATAGRAM_MAX = 2048 }; /* bytes; what is longer is cut */

struct echo {
    skink_scheduler *scheduler;
    uv_udp_t socket;
    char buffer[DATAGRAM_MAX]; /* for one datagram: libuv hands them over one at a time */
    const char *port;
    int bound_port;
    int open_error; /* of open_socket() */
    skink_future *closed;
};

struct datagram {
    struct echo *echo;
    struct sockaddr_storage peer;
    size_t length;
    char bytes[DATAGRAM_MAX];
};

/* Runtime section. Tasks that have an answer may have their turn after the socket was closed:
 * then libuv would open another. */
static void send_datagram(uv_loop_t *loop, void *arg)
{
    struct datagram *datagram = arg;
    uv_buf_t buffer = uv_buf_init(datagram->bytes, (unsigned)datagram->length);
    (void)loop;
    if (uv_is_closing((uv_handle_t *)&datagram->echo->socket)) return;
    uv_udp_try_send(&datagram->echo->socket, &buffer, 1, (struct sockaddr *)&datagram->peer); /* UDP may lose it */
}

/* A task: here anything may be waited for. */
static void answer(void *arg)
{
    struct datagram *datagram = arg;
    for (size_t i = 0; i < datagram->length; i++)
        if (datagram->bytes[i] >= 'a' && datagram->bytes[i] <= 'z') datagram->bytes[i] -= 'a' - 'A';
    (void)!skink_scheduler_uv(datagram->echo->scheduler, send_datagram, datagram); /* refused while stopping */
    free(datagram);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct echo *echo = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(echo->buffer, sizeof echo->buffer);
}

/* Runtime section: copy and hand over, nothing else. */
static void received(uv_udp_t *socket, ssize_t length, const uv_buf_t *buffer, const struct sockaddr *peer,
                     unsigned flags)
{
    struct echo *echo = socket->data;
    (void)flags;
    if (length < 0 || !peer) return;
    struct datagram *datagram = calloc(1, sizeof *datagram);
    if (!datagram) return;
    datagram->echo = echo;
    datagram->length = (size_t)length;
    memcpy(datagram->bytes, buffer->base, (size_t)length);
    memcpy(&datagram->peer, peer,
           peer->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    if (skink_post(echo->scheduler, answer, datagram)) free(datagram);
}

/* Runtime section. */
static void open_socket(uv_loop_t *loop, void *arg)
{
    struct echo *echo = arg;
    struct sockaddr_in address;
    int length = sizeof address;
    uv_ip4_addr("127.0.0.1", atoi(echo->port), &address);
    uv_udp_init(loop, &echo->socket);
    echo->socket.data = echo;
    int error = uv_udp_bind(&echo->socket, (struct sockaddr *)&address, 0);
    if (!error) error = uv_udp_getsockname(&echo->socket, (struct sockaddr *)&address, &length);
    if (!error) error = uv_udp_recv_start(&echo->socket, give_buffer, received);
    echo->open_error = error;
    echo->bound_port = ntohs(address.sin_port);
}

static void closed(uv_handle_t *handle)
{
    struct echo *echo = handle->data;
    (void)!skink_future_complete(echo->closed, NULL); /* the only one that completes it */
}

/* Runtime section. */
static void close_socket(uv_loop_t *loop, void *arg)
{
    struct echo *echo = arg;
    (void)loop;
    uv_close((uv_handle_t *)&echo->socket, closed);
}

static int serve(struct echo *echo, const sigset_t *signals)
{
    int signal_number;
    int error = skink_scheduler_start(echo->scheduler);
    if (!error) error = skink_future_create(&echo->closed);
    if (!error) error = skink_scheduler_uv(echo->scheduler, open_socket, echo);
    if (!error) error = echo->open_error;
    if (error) return error; /* destroying the scheduler closes what is open */
    printf("echo in capitals on UDP port %d\n", echo->bound_port);
    fflush(stdout);
    sigwait(signals, &signal_number);
    error = skink_scheduler_uv(echo->scheduler, close_socket, echo);
    if (!error) error = skink_await(echo->closed, skink_after(SKINK_S), NULL);
    int stop_error = skink_scheduler_stop(echo->scheduler, skink_after(SKINK_S));
    return error ? error : stop_error;
}

int main(int argc, char **argv)
{
    static struct echo echo; /* zero, and alive until the loop has closed the handle */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    echo.port = argc > 1 ? argv[1] : "9999";
    int error = skink_scheduler_create(NULL, &echo.scheduler);
    if (!error) error = serve(&echo, &signals);
    if (error) fprintf(stderr, "uv_handles: %s\n", skink_strerror(error));
    skink_scheduler_destroy(echo.scheduler);
    skink_future_unref(echo.closed);
    return error != 0;
}
