/* SPDX-License-Identifier: MIT */
/* clients.c - HTTP clients that ask, wait, leave; each request gets exactly one answer, and its own. */
#include "tests/chaos/era.h"
#include "tests/chaos/faults.h"
#include "tests/chaos/jobs.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- the handlers ---- */

static void answer_with_number(skink_request *request)
{
    (void)!skink_respond_text(request, 200, skink_request_param(request, "number"));
}

static void at_once(skink_request *request, void *arg)
{
    section_enter(arg);
    section_leave(arg);
    answer_with_number(request);
}

static void after_a_sleep(skink_request *request, void *arg)
{
    (void)arg;
    if (skink_sleep(chaos_random(5000) * SKINK_US) == 0) answer_with_number(request);
}

static void after_blocking(skink_request *request, void *arg)
{
    const struct era *era = arg;
    struct timespec nap = { .tv_nsec = (long)(era->timeout_ns / 2 * (1 + chaos_random(5))) };
    nanosleep(&nap, NULL);
    answer_with_number(request);
}

static void no_answer(skink_request *request, void *arg)
{
    (void)request;
    (void)arg;
}

static void two_answers(skink_request *request, void *arg)
{
    (void)arg;
    int first = skink_respond_text(request, 200, skink_request_param(request, "number"));
    int second = skink_respond_text(request, 200, "again");
    if (!first && second == 0) era_fault(arg, "a second answer was taken");
}

int client_routes(skink_http_server *server, struct era *era)
{
    int err = skink_http_route(server, "GET", "/now/{number}", NULL, at_once, era);
    if (!err) err = skink_http_route(server, "GET", "/sleep/{number}", NULL, after_a_sleep, era);
    if (!err) err = skink_http_route(server, "GET", "/block/{number}", NULL, after_blocking, era);
    if (!err) err = skink_http_route(server, "GET", "/none/{number}", NULL, no_answer, era);
    if (!err) err = skink_http_route(server, "GET", "/twice/{number}", NULL, two_answers, era);
    return err;
}

/* ---- the clients ---- */

static int open_connection(const struct era *era)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)era->port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

/* One whole answer, with its body; 0: the connection ended before it was complete. */
static int read_answer(int fd, char *buffer, size_t size, const char **ret_body)
{
    size_t have = 0;
    for (;;) {
        struct pollfd entry = { .fd = fd, .events = POLLIN };
        if (poll(&entry, 1, 60000) != 1) return -ETIMEDOUT;
        ssize_t n = read(fd, buffer + have, size - 1 - have);
        if (n <= 0) return 0;
        have += (size_t)n;
        buffer[have] = '\0';
        const char *end = strstr(buffer, "\r\n\r\n");
        const char *length = strstr(buffer, "Content-Length: ");
        if (!length) length = strstr(buffer, "content-length: ");
        if (!end || !length) continue;
        size_t whole = (size_t)(end + 4 - buffer) + strtoul(length + 16, NULL, 10);
        if (have > whole) return -EPROTO; /* more than one answer */
        if (have < whole) continue;
        *ret_body = end + 4;
        return atoi(buffer + 9);
    }
}

/* Is this what that request may be answered with? */
static bool fits(int status, const char *body, const char *path, const char *number)
{
    if (status == 503) return true; /* stuck, held, no memory, stopping: each says so in its body */
    if (status == 500)
        return strncmp(path, "/none", 5) == 0 || strncmp(path, "/sleep", 6) == 0 || strncmp(path, "/twice", 6) == 0 ||
               strstr(body, "\"error\":true") != NULL;
    return status == 200 && strcmp(body, number) == 0;
}

/* One request on an open connection; false: it is at its end. */
static bool ask(struct client *client, int fd)
{
    static const char *const paths[] = { "/now/", "/now/", "/now/",  "/now/",   "/now/",   "/now/",
                                         "/now/", "/now/", "/none/", "/twice/", "/sleep/", "/sleep/" };
    char request[128], answer[4096], number[16];
    const char *body = NULL;
    const char *path = chaos_random(60) ? paths[chaos_random(12)] : "/block/";
    snprintf(number, sizeof number, "%u", chaos_random(1000000));
    int length = snprintf(request, sizeof request, "GET %s%s HTTP/1.1\r\nHost: chaos\r\n\r\n", path, number);
    if (sendto(fd, request, (size_t)length, MSG_NOSIGNAL, NULL, 0) != length) return false; /* not wrapped */
    if (chaos_random(20) == 0) {                                                            /* leaves without waiting */
        client->left++;
        return false;
    }
    int status = read_answer(fd, answer, sizeof answer, &body);
    if (status == 0) {
        client->broken++; /* no memory for it, or the server ended */
        return false;
    }
    if (status < 0) {
        era_fault(client->era, status == -ETIMEDOUT ? "a request got no answer" : "a request got two answers");
        return false;
    }
    if (!fits(status, body, path, number)) {
        fprintf(stderr, "chaos: GET %s%s got %s\n", path, number, answer);
        era_fault(client->era, "a request got another one's answer");
    }
    client->answered++;
    return strstr(answer, "onnection: close") == NULL;
}

void *client_main(void *arg)
{
    struct client *client = arg;
    while (!atomic_load(&client->era->over)) {
        int fd = open_connection(client->era);
        if (fd < 0) {
            struct timespec nap = { .tv_nsec = 1000000 };
            nanosleep(&nap, NULL);
            continue;
        }
        while (!atomic_load(&client->era->over) && ask(client, fd)) {
        }
        close(fd);
    }
    return NULL;
}
