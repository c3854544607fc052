/* SPDX-License-Identifier: MIT */
/* recovery/descriptor_target.c - see descriptor_target.h. Nothing here waits for the other side of anything. */
#include "recovery/descriptor_target.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static void format_address(const union address *address, socklen_t length, char *ret_text, size_t text_bytes)
{
    char host[INET6_ADDRSTRLEN] = "";
    ret_text[0] = '\0';
    switch (address->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &address->in.sin_addr, host, sizeof host);
        snprintf(ret_text, text_bytes, "%s:%d", host, ntohs(address->in.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &address->in6.sin6_addr, host, sizeof host);
        snprintf(ret_text, text_bytes, "[%s]:%d", host, ntohs(address->in6.sin6_port));
        break;
    case AF_UNIX:
        if (length > offsetof(struct sockaddr_un, sun_path) && address->un.sun_path[0] != '\0')
            snprintf(ret_text, text_bytes, "unix:%.*s", (int)(length - offsetof(struct sockaddr_un, sun_path)),
                     address->un.sun_path);
        break;
    default:
        break;
    }
}

/* Whom it talks to, or where it listens. */
static void add_address(int fd, char *text, size_t text_bytes)
{
    union address address;
    char formatted[sizeof address.un.sun_path + 8] = "";
    int listens = 0;
    socklen_t length = sizeof listens;
    bool is_listener = getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 && listens;
    length = sizeof address;
    memset(&address, 0, sizeof address);
    int err = is_listener ? getsockname(fd, &address.any, &length) : getpeername(fd, &address.any, &length);
    if (err == 0) format_address(&address, length, formatted, sizeof formatted);
    size_t used = strlen(text);
    if (formatted[0]) snprintf(text + used, text_bytes - used, "%s%s", is_listener ? " listening on " : " ", formatted);
}

void skink__descriptor_target(int fd, char *ret_text, size_t text_bytes)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, ret_text, text_bytes - 1);
    ret_text[length > 0 ? length : 0] = '\0';
    if (strncmp(ret_text, "socket:", 7) == 0) add_address(fd, ret_text, text_bytes);
}
