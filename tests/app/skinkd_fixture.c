/* SPDX-License-Identifier: MIT */
/* tests/app/skinkd_fixture.c - see skinkd_fixture.h. */
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGUMENTS_MAX 32

static struct {
    int fds[4];
    size_t count;
    const char *names;
} legacy;

void skinkd_inherit(const int *fds, size_t count, const char *names)
{
    memcpy(legacy.fds, fds, count * sizeof *fds);
    legacy.count = count;
    legacy.names = names;
}

/* In the child: as a service manager does it. */
static void hand_down(void)
{
    char text[32];
    if (legacy.count == 0) return;
    for (size_t i = 0; i < legacy.count; i++) /* first out of the way of each other */
        legacy.fds[i] = fcntl(legacy.fds[i], F_DUPFD_CLOEXEC, 100);
    for (size_t i = 0; i < legacy.count; i++)
        if (dup2(legacy.fds[i], 3 + (int)i) < 0) close(3 + (int)i);
    snprintf(text, sizeof text, "%zu", legacy.count);
    setenv("LISTEN_FDS", text, 1);
    snprintf(text, sizeof text, "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
    if (legacy.names) setenv("LISTEN_FDNAMES", legacy.names, 1);
}

enum { CHILDREN_MAX = 64 };
static pid_t children[CHILDREN_MAX];
static size_t child_count;

/* At the end of a case that failed. waitpid() knows those that live and have not been waited for; other processes may
 * have the numbers of the rest by now. */
static void kill_children(void)
{
    for (size_t i = 0; i < child_count; i++)
        if (waitpid(children[i], NULL, WNOHANG) == 0) kill(children[i], SIGKILL);
}

static void note_child(pid_t pid)
{
    if (child_count == 0) assert_int_equal(atexit(kill_children), 0);
    if (child_count < CHILDREN_MAX) children[child_count++] = pid;
}

/* The child dies with its parent: a case that fails or is killed leaves nothing behind. Who changes its user does not
 * (the kernel forgets PR_SET_PDEATHSIG then), and is killed at the exit. */
static pid_t start_child(const char *program, const char *const *arguments, const char *const *environment, int out_fd,
                         int err_fd)
{
    pid_t parent = getpid(), pid = fork();
    assert_true(pid >= 0);
    if (pid) {
        note_child(pid);
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126);
    for (; environment && *environment; environment++)
        putenv((char *)*environment);
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    hand_down();
    const char *argv[ARGUMENTS_MAX + 2] = { program };
    for (size_t i = 0; i < ARGUMENTS_MAX && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    execv(program, (char *const *)argv);
    _exit(127);
}

static int exit_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void read_back(int fd, char *text, size_t size)
{
    ssize_t length = pread(fd, text, size - 1, 0);
    text[length < 0 ? 0 : length] = '\0';
    close(fd);
}

static int open_temporary(void)
{
    char name[] = "/tmp/skink-test-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(name);
    return fd;
}

struct ended *program_run(const char *program, const char *const *arguments, const char *const *environment)
{
    struct ended *ended = calloc(1, sizeof *ended);
    int out_fd = open_temporary(), err_fd = open_temporary(), status = 0;
    pid_t pid = start_child(program, arguments, environment, out_fd, err_fd);
    uint64_t deadline_ns = test_deadline_ns(15000);
    pid_t got;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 && test_now_ns() < deadline_ns)
        test_nap();
    if (got == 0) {
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    ended->status = exit_status(status);
    read_back(out_fd, ended->out, sizeof ended->out);
    read_back(err_fd, ended->err, sizeof ended->err);
    return ended;
}

struct ended *skinkd_run(const char *const *arguments, const char *const *environment)
{
    return program_run(TEST_SKINKD, arguments, environment);
}

/* Take in what it has written; the pipe must not fill up while a case is busy elsewhere. */
static void take_stderr(struct skinkd *server)
{
    for (;;) {
        size_t room = sizeof server->err - 1 - server->err_length;
        ssize_t got = room ? read(server->err_fd, server->err + server->err_length, room) : 0;
        if (got <= 0) return;
        server->err_length += (size_t)got;
        server->err[server->err_length] = '\0';
    }
}

bool skinkd_says(struct skinkd *server, const char *text, unsigned timeout_ms)
{
    uint64_t deadline_ns = test_deadline_ns(timeout_ms);
    for (;;) {
        take_stderr(server);
        if (strstr(server->err, text)) return true;
        if (test_now_ns() > deadline_ns) return false;
        test_nap();
    }
}

static int port_of(const struct skinkd *server, const char *what)
{
    char start[64];
    snprintf(start, sizeof start, "event=listening what=%s ", what);
    const char *line = strstr(server->err, start);
    const char *port = line ? strstr(line, " port=") : NULL;
    return port ? atoi(port + 6) : 0;
}

struct skinkd *program_start(const char *program, const char *const *arguments)
{
    struct skinkd *server = calloc(1, sizeof *server);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    server->err_fd = ends[0];
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    server->pid = start_child(program, arguments, NULL, ends[1], ends[1]);
    close(ends[1]);
    return server;
}

struct skinkd *skinkd_start(const char *const *arguments)
{
    const char *all[ARGUMENTS_MAX] = { "--set", "http.listen=127.0.0.1:0", "--set",    "stats.listen=127.0.0.1:0",
                                       "--set", "shutdown.delay=0s",       "--module", TEST_DEMO_MODULE };
    for (size_t i = 0; arguments[i] && i + 9 < ARGUMENTS_MAX; i++)
        all[i + 8] = arguments[i];
    struct skinkd *server = program_start(TEST_SKINKD, all);
    if (!skinkd_says(server, "event=started", 10000)) {
        print_error("skinkd did not start; it said:\n%s", server->err);
        fail();
    }
    server->http_port = port_of(server, "http");
    server->stats_port = port_of(server, "stats");
    assert_true(server->http_port > 0 && server->stats_port > 0);
    return server;
}

int skinkd_end(struct skinkd *server, int signal_number, unsigned timeout_ms)
{
    uint64_t deadline_ns = test_deadline_ns(timeout_ms);
    int status;
    kill(server->pid, signal_number);
    while (waitpid(server->pid, &status, WNOHANG) == 0) {
        take_stderr(server);
        if (test_now_ns() > deadline_ns) return -1;
        test_nap();
    }
    server->pid = 0;
    take_stderr(server);
    return exit_status(status);
}

void skinkd_free(struct skinkd *server)
{
    if (server->pid) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    close(server->err_fd);
    free(server);
}

int http_send(int port, const char *text)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    return fd;
}

int http_begin(int port, const char *method, const char *target)
{
    char request[1024];
    snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", method, target);
    return http_send(port, request);
}

char *http_finish(int fd, unsigned timeout_ms)
{
    uint64_t deadline_ns = test_deadline_ns(timeout_ms);
    size_t length = 0, size = 1 << 20;
    char *answer = calloc(1, size);
    for (uint64_t now; length + 1 < size && (now = test_now_ns()) < deadline_ns;) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };
        if (poll(&readable, 1, (int)((deadline_ns - now) / test_ms(1)) + 1) <= 0) continue;
        ssize_t got = read(fd, answer + length, size - 1 - length);
        if (got <= 0) break;
        length += (size_t)got;
    }
    close(fd);
    return answer;
}

char *http_get(int port, const char *target)
{
    return http_finish(http_begin(port, "GET", target), 10000);
}

int http_status(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

const char *http_body(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end ? end + 4 : "";
}
