/* SPDX-License-Identifier: MIT */
/* middleware/listener.h - addresses, listening sockets, and accepting on them. */
#ifndef SKINK_MIDDLEWARE_LISTENER_H
#define SKINK_MIDDLEWARE_LISTENER_H
#include "middleware/http_server.h"
#include <sys/types.h>

struct skink__listener {
    uv_poll_t poll; /* its data is this listener */
    skink_http_server *server;
    struct skink__listener *next; /* skink_http_server.listeners */
    struct skink__deadline retry; /* on skink_http_server.accept while there are no descriptors to be had */
    int fd;
    bool inherited; /* others listen on the same socket, or will */
    bool lacking;   /* something for more connections, and the log has said so */
    bool shunning;  /* new handshakes are left to others on the same port */
    char *path;     /* of a unix socket; NULL else */
    dev_t device;
    ino_t inode; /* of the socket file, so that only our own is removed */
};

/* Open a listening socket; any thread. Errors as skink_http_listen(). *ret_port is 0 for a unix socket. */
int skink__listener_create(skink_http_server *server, const char *text, int *ret_port,
                           struct skink__listener **ret_listener);

/* One that was never started. */
void skink__listener_free(struct skink__listener *listener);

/* Start accepting. Runtime section. 0 or libuv's error. */
int skink__listener_start(struct skink__listener *listener);

/* Begin no more handshakes, so that those begun can come to an end before the listener is closed; those who knock try
 * again a second later, and meet another listener of the port. Does nothing where no other can be. Runtime section. */
void skink__listener_shun(struct skink__listener *listener);

/* Take in what has been accepted by the kernel already, before it is closed. Runtime section. */
void skink__listener_accept_rest(struct skink__listener *listener) SKINK__IN_RUNTIME;

/* Stop for good; it frees itself. Runtime section. */
void skink__listener_close(struct skink__listener *listener);

/* Remove the socket file, if it is still ours. Any thread: it may block. */
void skink__listener_remove_file(const struct skink__listener *listener);

/* What the server's list calls. */
void skink__listener_on_retry(struct skink__deadline *entry, void *server);
#endif
