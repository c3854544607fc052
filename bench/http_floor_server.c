/* SPDX-License-Identifier: MIT */
/*
 * http_floor_server.c - what the kernel alone costs: whatever arrives on a connection, the same bytes are sent back.
 *
 *     bench_http_floor_server PORT
 *
 * epoll_wait(), recv() and send(), and nothing of HTTP: what comes is not even looked at, so it holds for clients only
 * that send one whole request at a time. No server that reads and writes each connection by itself can do with less, so
 * its ratio to another server is the most that any could reach against it.
 */
#include "bench.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, READ_BYTES = 65536 };

/* As long as what the demo's /hello sends; the date is any. */
static const char answer[] = "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: skink\r\n"
                             "Content-Type: text/plain; charset=utf-8\r\nX-Request-Id: 5f3a9c2e-12345\r\n"
                             "Content-Length: 6\r\n\r\nhello\n";

static int negative_errno(int result)
{
    return result < 0 ? -errno : 0;
}

static int listen_on(int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    bench_check("socket", negative_errno(fd));
    bench_check("SO_REUSEADDR", negative_errno(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on)));
    bench_check("bind", negative_errno(bind(fd, (struct sockaddr *)&address, sizeof address)));
    bench_check("listen", negative_errno(listen(fd, 4096)));
    return fd;
}

static void watch(int epoll_fd, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    bench_check("epoll_ctl", negative_errno(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)));
}

static void accept_one(int epoll_fd, int listener)
{
    int on = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watch(epoll_fd, fd);
}

static void answer_one(int fd)
{
    static char request[READ_BYTES];
    ssize_t count = recv(fd, request, sizeof request, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0 || send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) != (ssize_t)sizeof answer - 1) close(fd);
}

int main(int argc, char **argv)
{
    int listener = listen_on((int)bench_argument(argc, argv, 1, 8082));
    int epoll_fd = epoll_create1(0);
    bench_check("epoll_create1", negative_errno(epoll_fd));
    watch(epoll_fd, listener);
    while (true) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++)
            if (events[i].data.fd == listener)
                accept_one(epoll_fd, listener);
            else
                answer_one(events[i].data.fd);
    }
}
