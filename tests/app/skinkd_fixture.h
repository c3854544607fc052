/* SPDX-License-Identifier: MIT */
/* tests/app/skinkd_fixture.h - the real skinkd as a child process, over real sockets. */
#ifndef SKINK_TESTS_APP_SKINKD_FIXTURE_H
#define SKINK_TESTS_APP_SKINKD_FIXTURE_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What ended by itself: exit status (128 + signal when one ended it), and all it wrote. */
struct ended {
    int status;
    char out[65536];
    char err[65536];
};

/* Run skinkd with these arguments (ended by NULL) to its end; environment variables are "NAME=value", may be NULL. */
struct ended *skinkd_run(const char *const *arguments, const char *const *environment);

/* The same with another program. */
struct ended *program_run(const char *program, const char *const *arguments, const char *const *environment);

#define RUN(...) skinkd_run((const char *const[]){ __VA_ARGS__, NULL }, NULL)

/* A server in the background, with the demo module, on free ports, and without shutdown.delay unless a case sets it. */
struct skinkd {
    pid_t pid; /* 0 once it has been waited for */
    int err_fd;
    char err[262144];
    size_t err_length;
    int http_port;
    int stats_port;
};

/* Start it with more arguments (ended by NULL) and wait until it answers. The case's end kills it. */
struct skinkd *skinkd_start(const char *const *arguments);

#define START(...) skinkd_start((const char *const[]){ __VA_ARGS__, NULL })
#define START_PLAIN() skinkd_start((const char *const[]){ NULL })

/* Another program in the background; what it writes to stdout and stderr is in err. Ports are left 0. */
struct skinkd *program_start(const char *program, const char *const *arguments);

/* Whatever is started from now on inherits these listening sockets, at most four (-1: none),
 * with these names (or NULL). */
void skinkd_inherit(const int *fds, size_t count, const char *names);

/* Wait for this text on its stderr; false after timeout_ms,
 * which is stretched (tests/support/wait.h) as all of these. */
bool skinkd_says(struct skinkd *server, const char *text, unsigned timeout_ms);

/* Send a signal and wait for its end; the exit status as above, or -1 after timeout_ms. */
int skinkd_end(struct skinkd *server, int signal_number, unsigned timeout_ms);

void skinkd_free(struct skinkd *server);

/* Connect and send these bytes; the socket. */
int http_send(int port, const char *text);

/* The same with a request without a body. */
int http_begin(int port, const char *method, const char *target);

/* The whole answer, read to the end of the connection, or what has come after timeout_ms. The caller frees it. */
char *http_finish(int fd, unsigned timeout_ms);

/* Both. */
char *http_get(int port, const char *target);

/* Status code of an answer, 0 for none; and its body. */
int http_status(const char *answer);
const char *http_body(const char *answer);
#endif
