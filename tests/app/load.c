/* SPDX-License-Identifier: MIT */
/* tests/app/load.c - see load.h. */
#include "load.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 15 };

static void fail_with(struct load *load, const char *what, const char *detail)
{
    atomic_fetch_add(&load->failed, 1);
    if (atomic_exchange(&load->failure_noted, true)) return;
    snprintf(load->failure, sizeof load->failure, "%s: %.200s", what, detail);
}

static int open_connection(struct load *load)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)load->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval patience = { .tv_sec = test_patience(PATIENCE_S) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    fail_with(load, "connect", strerror(errno));
    close(fd);
    return -1;
}

/* One whole answer with Content-Length; its length, 0 and a note of the failure without. */
static size_t read_answer(struct load *load, int fd, char *answer, size_t size)
{
    size_t length = 0;
    for (;;) {
        ssize_t got = recv(fd, answer + length, size - 1 - length, 0);
        if (got <= 0) {
            fail_with(load, "recv", got == 0 ? "end of the connection" : strerror(errno));
            return 0;
        }
        length += (size_t)got;
        answer[length] = '\0';
        const char *end = strstr(answer, "\r\n\r\n"), *field = strcasestr(answer, "Content-Length: ");
        if (end && field && length >= (size_t)(end + 4 - answer) + strtoul(field + 16, NULL, 10)) return length;
    }
}

/* True: the connection can be used again. */
static bool request_once(struct load *load, int fd)
{
    char request[256], answer[4096];
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", load->target);
    if (send(fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        fail_with(load, "send", strerror(errno));
        return false;
    }
    if (read_answer(load, fd, answer, sizeof answer) == 0) return false;
    if (strncmp(answer, "HTTP/1.1 200 ", 13) == 0)
        atomic_fetch_add(&load->answered, 1);
    else
        fail_with(load, "answer", answer);
    return !strcasestr(answer, "Connection: close");
}

static void *run_client(void *arg)
{
    struct load *load = arg;
    while (!atomic_load(&load->over)) {
        int fd = open_connection(load);
        for (unsigned i = 0; fd >= 0 && i < load->per_connection && !atomic_load(&load->over); i++)
            if (!request_once(load, fd)) break;
        if (fd >= 0) close(fd);
    }
    return NULL;
}

void load_start(struct load *load, unsigned client_count)
{
    load->client_count = client_count;
    for (unsigned i = 0; i < client_count; i++)
        assert_int_equal(pthread_create(&load->clients[i], NULL, run_client, load), 0);
}

void load_stop(struct load *load)
{
    atomic_store(&load->over, true);
    for (unsigned i = 0; i < load->client_count; i++)
        pthread_join(load->clients[i], NULL);
}
