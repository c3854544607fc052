/* SPDX-License-Identifier: MIT */
/*
 * middleware/listener.c - addresses, listening sockets, and accepting on them.
 *
 * Accepting is done here and not by a uv stream, since a listener that is out of descriptors must neither spin (the
 * socket stays readable) nor drop what waits in the kernel's queue: it pauses, and tries again.
 */
#include "middleware/listener.h"
#include "loop/hooks.h"
#include "loop/memory.h"
#include "loop/runtime.h"
#include "middleware/http_connection.h"
#include "skink/clock.h"
#include "skink/error.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { ACCEPT_ROUNDS = 64, BACKLOG = 4096, REFUSED_MAX = 256 };

/* --- addresses --- */

struct address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } at;
    socklen_t length;
    bool every_interface; /* ":8080" */
};

/* "0" to "65535", all of it digits. */
static int parse_port(const char *text, in_port_t *ret_port)
{
    if (!*text || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text)) return -EINVAL;
    long port = strtol(text, NULL, 10);
    if (port > 65535) return -EINVAL;
    *ret_port = htons((in_port_t)port);
    return 0;
}

static int parse_unix(const char *path, struct address *address)
{
    size_t length = strlen(path);
    if (length == 0) return -EINVAL;
    if (length >= sizeof address->at.local.sun_path) return -ENAMETOOLONG;
    address->at.local.sun_family = AF_UNIX;
    memcpy(address->at.local.sun_path, path, length + 1);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    return 0;
}

static int parse_v6(const char *text, struct address *address)
{
    const char *end = strchr(text, ']');
    char host[INET6_ADDRSTRLEN];
    if (!end || end[1] != ':' || (size_t)(end - text - 1) >= sizeof host) return -EINVAL;
    memcpy(host, text + 1, (size_t)(end - text - 1));
    host[end - text - 1] = '\0';
    address->at.v6.sin6_family = AF_INET6;
    address->length = sizeof address->at.v6;
    if (inet_pton(AF_INET6, host, &address->at.v6.sin6_addr) != 1) return -EINVAL;
    return parse_port(end + 2, &address->at.v6.sin6_port);
}

static int parse(const char *text, struct address *address)
{
    memset(address, 0, sizeof *address);
    if (strncmp(text, "unix:", 5) == 0) return parse_unix(text + 5, address);
    if (text[0] == '[') return parse_v6(text, address);
    const char *colon = strchr(text, ':');
    char host[INET_ADDRSTRLEN];
    if (!colon || (size_t)(colon - text) >= sizeof host) return -EINVAL;
    if (colon == text) {
        address->every_interface = true;
        address->at.v6.sin6_family = AF_INET6;
        address->at.v6.sin6_addr = in6addr_any;
        address->length = sizeof address->at.v6;
        return parse_port(colon + 1, &address->at.v6.sin6_port);
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    address->at.v4.sin_family = AF_INET;
    address->length = sizeof address->at.v4;
    if (inet_pton(AF_INET, host, &address->at.v4.sin_addr) != 1) return -EINVAL;
    return parse_port(colon + 1, &address->at.v4.sin_port);
}

/* --- sockets --- */

static int open_socket(const struct address *address, bool reuse_port)
{
    int fd = socket(address->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int on = 1, off = 0;
    bool ok = true;
    if (address->at.any.sa_family != AF_UNIX) {
        ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0;
        /* Accepted sockets inherit it; an answer is one write, so there is nothing to be gained by waiting. */
        ok = ok && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
    }
    if (reuse_port && address->at.any.sa_family != AF_UNIX)
        ok = ok && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0;
    if (address->at.any.sa_family == AF_INET6)
        ok = ok && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address->every_interface ? &off : &on, sizeof on) == 0;
    if (ok) return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* Does anybody listen on this socket file? Only "nobody" is a reason to remove it. */
static bool is_left_over(const struct address *address)
{
    struct stat status;
    if (lstat(address->at.local.sun_path, &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return false;
    bool refused = connect(fd, &address->at.any, address->length) != 0 && errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_and_listen(int fd, const struct address *address)
{
    int err = bind(fd, &address->at.any, address->length) == 0 ? 0 : -errno;
    if (err == -EADDRINUSE && address->at.any.sa_family == AF_UNIX && is_left_over(address) &&
        unlink(address->at.local.sun_path) == 0)
        err = bind(fd, &address->at.any, address->length) == 0 ? 0 : -errno;
    if (err) return err;
    return listen(fd, BACKLOG) == 0 ? 0 : -errno;
}

static int open_listening(struct address *address, bool reuse_port)
{
    int fd = open_socket(address, reuse_port);
    if (fd == -EAFNOSUPPORT && address->every_interface) { /* a machine without IPv6 */
        in_port_t port = address->at.v6.sin6_port;
        memset(&address->at, 0, sizeof address->at);
        address->at.v4.sin_family = AF_INET;
        address->at.v4.sin_port = port;
        address->length = sizeof address->at.v4;
        fd = open_socket(address, reuse_port);
    }
    if (fd < 0) return fd;
    int err = bind_and_listen(fd, address);
    if (!err) return fd;
    close(fd);
    return err;
}

static bool has_option(int fd, int option, int value)
{
    int is = -1;
    socklen_t length = sizeof is;
    return getsockopt(fd, SOL_SOCKET, option, &is, &length) == 0 && is == value;
}

/* "3": a duplicate of a socket that somebody else opened. */
static int adopt(const char *text)
{
    if (!*text || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text)) return -EINVAL;
    int fd = fcntl((int)strtol(text, NULL, 10), F_DUPFD_CLOEXEC, 3), on = 1;
    if (fd < 0) return -errno;
    if (!has_option(fd, SO_ACCEPTCONN, 1) || !has_option(fd, SO_TYPE, SOCK_STREAM)) {
        close(fd);
        return -EINVAL;
    }
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a unix socket has no such thing */
    return fd;
}

static int port_of(int fd)
{
    struct address bound;
    bound.length = sizeof bound.at;
    if (getsockname(fd, &bound.at.any, &bound.length) != 0) return 0;
    if (bound.at.any.sa_family == AF_INET) return ntohs(bound.at.v4.sin_port);
    if (bound.at.any.sa_family == AF_INET6) return ntohs(bound.at.v6.sin6_port);
    return 0;
}

/* Which file is ours: nobody else's with the same path is ever removed. */
static int remember_file(struct skink__listener *listener)
{
    struct stat status;
    if (lstat(listener->path, &status) != 0) return -errno;
    listener->device = status.st_dev;
    listener->inode = status.st_ino;
    return 0;
}

int skink__listener_create(skink_http_server *server, const char *text, int *ret_port,
                           struct skink__listener **ret_listener)
{
    struct address address = { .length = 0 };
    bool inherited = strncmp(text, "fd:", 3) == 0;
    int err = inherited ? 0 : parse(text, &address);
    if (err) return err;
    struct skink__listener *listener = skink__zalloc(sizeof *listener);
    if (!listener) return -ENOMEM;
    listener->server = server;
    listener->fd = -1;
    listener->inherited = inherited;
    bool has_file = !inherited && address.at.any.sa_family == AF_UNIX;
    /* First: once the file is there, nothing may keep us from removing it again. */
    if (has_file && !(listener->path = skink__strdup(address.at.local.sun_path))) err = -ENOMEM;
    if (!err) listener->fd = inherited ? adopt(text + 3) : open_listening(&address, server->reuse_port);
    if (!err && listener->fd < 0) err = listener->fd;
    if (!err && has_file) err = remember_file(listener);
    if (err) {
        skink__listener_free(listener);
        return err;
    }
    *ret_port = port_of(listener->fd);
    *ret_listener = listener;
    return 0;
}

void skink__listener_free(struct skink__listener *listener)
{
    if (listener->fd >= 0) close(listener->fd);
    skink__listener_remove_file(listener);
    skink__free(listener->path);
    skink__free(listener);
}

void skink__listener_remove_file(const struct skink__listener *listener)
{
    struct stat status;
    if (!listener->path || lstat(listener->path, &status) != 0) return;
    if (status.st_dev == listener->device && status.st_ino == listener->inode) (void)unlink(listener->path);
}

/* --- accepting --- */

static void on_poll(uv_poll_t *poll, int status, int events);

/* Out of descriptors or memory: leave the queue to the kernel for a while.
 * Said once, until all that waited was let in. */
static void pause_accepting(struct skink__listener *listener, int error)
{
    if (!listener->lacking) skink__log(SKINK_LOG_WARNING, "event=accept_paused error=\"%s\"", skink_strerror(-error));
    listener->lacking = true;
    uv_poll_stop(&listener->poll);
    skink__deadline_set(&listener->server->accept, &listener->retry, skink_now());
}

void skink__listener_on_retry(struct skink__deadline *entry, void *server)
{
    (void)server;
    struct skink__listener *listener =
        (struct skink__listener *)((char *)entry - offsetof(struct skink__listener, retry));
    int err = uv_poll_start(&listener->poll, UV_READABLE, on_poll);
    SKINK_ASSERT(err == 0);
}

static void admit(skink_http_server *server, int fd, const struct skink__ip *peer) SKINK__IN_RUNTIME
{
    skink__counter_add(&server->counters.connections_total, 1);
    if (server->connection_count < server->max_connections) {
        skink__connection_open(server, fd, peer, false);
        return;
    }
    skink__counter_add(&server->counters.connections_refused, 1);
    if (server->refused_count < REFUSED_MAX)
        skink__connection_open(server, fd, peer, true);
    else
        close(fd); /* a flood: no time for manners */
}

/* At most so many; 0, or the errno of what is missing for more. */
static int accept_some(struct skink__listener *listener, int rounds) SKINK__IN_RUNTIME
{
    while (rounds-- > 0) {
        struct address from;
        from.length = sizeof from.at;
        int fd = accept4(listener->fd, &from.at.any, &from.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            struct skink__ip peer;
            skink__ip_of_socket(&peer, &from.at.any);
            admit(listener->server, fd, &peer);
            continue;
        }
        if (errno == EAGAIN) return 0;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return errno;
        /* Anything else is the fate of one connection: it went away, or a firewall took it. */
    }
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct skink__listener *listener = poll->data;
    skink__assert_runtime(listener->server->scheduler);
    if (status < 0) return;
    int lacking = accept_some(listener, ACCEPT_ROUNDS);
    if (lacking) {
        pause_accepting(listener, lacking);
    } else if (listener->lacking) {
        listener->lacking = false;
        skink__log(SKINK_LOG_INFO, "event=accept_resumed");
    }
}

void skink__listener_accept_rest(struct skink__listener *listener)
{
    if (!listener->inherited) (void)accept_some(listener, BACKLOG + 1);
}

/*
 * Between the last accept() and close() a handshake could come to its end, and close() would reset that connection. So
 * the listener turns deaf to first packets (SYN without ACK) for a while before. They are not refused but lost on the
 * way, as far as their sender can tell.
 */
void skink__listener_shun(struct skink__listener *listener)
{
    struct sock_filter keep_all_but_syn[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, offsetof(struct tcphdr, th_flags)),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    struct sock_fprog program = { sizeof keep_all_but_syn / sizeof *keep_all_but_syn, keep_all_but_syn };
    if (listener->shunning || listener->inherited || !has_option(listener->fd, SO_REUSEPORT, 1)) return;
    listener->shunning = true;
    if (setsockopt(listener->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
        skink__log(SKINK_LOG_WARNING, "event=shun_failed error=\"%s\"", skink_strerror(-errno));
}

int skink__listener_start(struct skink__listener *listener)
{
    skink_http_server *server = listener->server;
    int err = uv_poll_init(skink__scheduler_loop(server->scheduler), &listener->poll, listener->fd);
    if (err) return err;
    listener->poll.data = listener;
    err = uv_poll_start(&listener->poll, UV_READABLE, on_poll);
    SKINK_ASSERT(err == 0);
    skink__http_server_ref(server);
    listener->next = server->listeners;
    server->listeners = listener;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct skink__listener *listener = handle->data;
    skink_http_server *server = listener->server;
    skink__free(listener->path);
    skink__free(listener);
    skink__http_server_unref(server);
}

void skink__listener_close(struct skink__listener *listener)
{
    skink__deadline_clear(&listener->retry);
    uv_close((uv_handle_t *)&listener->poll, on_closed);
    close(listener->fd);
    listener->fd = -1;
}
