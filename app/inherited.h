/* SPDX-License-Identifier: MIT */
/*
 * app/inherited.h - listening sockets that a service manager opened for us (sd_listen_fds(3)).
 *
 * They are descriptors from 3 on: $LISTEN_FDS of them, meant for the process $LISTEN_PID, with names in
 * $LISTEN_FDNAMES.
 */
#ifndef SKINK_APP_INHERITED_H
#define SKINK_APP_INHERITED_H
#include <stdbool.h>
#include <stddef.h>

enum { INHERITED_MAX = 64, INHERITED_COMPLAINT_BYTES = 256 };

struct inherited {
    size_t count; /* descriptors 3 to 3 + count - 1 */
    struct inherited_socket {
        bool is_stats;    /* else for requests */
        char address[16]; /* "fd:3" */
    } sockets[INHERITED_MAX];
};

/*
 * Read and remove these variables, which are for this process and not for its children. A socket named "http" is for
 * requests, there may be several; one named "stats" is for the stats endpoint. Without such names the first is for
 * requests and the second for stats. False: they make no sense, and `complaint` says why. Once, before
 * there are threads.
 */
bool skink__inherited_take(struct inherited *inherited, char complaint[INHERITED_COMPLAINT_BYTES]);

/* Is there one for the stats endpoint (else: for requests)? */
bool skink__inherited_has(const struct inherited *inherited, bool is_stats);

/* Close them; who listens on one has a duplicate. */
void skink__inherited_close(struct inherited *inherited);
#endif
