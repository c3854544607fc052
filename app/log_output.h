/* SPDX-License-Identifier: MIT */
/* app/log_output.h - one place where lines go: a file, or what we were given; written without waiting if possible. */
#ifndef SKINK_APP_LOG_OUTPUT_H
#define SKINK_APP_LOG_OUTPUT_H
#include <stdbool.h>
#include <stddef.h>

struct log_output {
    int fd;
    enum {
        SINK_FILE,   /* writes go to the page cache                                                    */
        SINK_OPENED, /* a pipe or terminal, opened anew without blocking: only our own view of it      */
        SINK_SOCKET, /* told with each send not to block                                               */
        SINK_POLLED  /* a pipe or terminal that cannot be opened anew: asked first, and may yet block  */
    } sink;
    const char *path;  /* of a file of our own; NULL: we were given a descriptor */
    bool failing;      /* the last write of a file failed, and that has been said */
    _Atomic bool torn; /* a full disk took only the beginning of a line: what comes next does not belong to it */
};

/* Find out what kind of file `fd` is and how it is written without waiting. */
void skink__output_take(struct log_output *output, int fd);

/* Open a file for appending, or open it anew (for who has moved it away). 0, or an errno: then it is as it was. */
int skink__output_open(struct log_output *output, const char *path);

/* All of it, or false: then what a file took of it is ended like a line, before whatever is written next. */
bool skink__output_write(struct log_output *output, const char *line, size_t length);
#endif
