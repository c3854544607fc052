/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_framing.h - where the lines, chunks and ends of a request are; no meaning, no I/O.
 *
 * Works byte by byte, ahead of llhttp, and refuses what llhttp lets through: folded lines, bare CR or LF, empty header
 * names, versions and request lines of other shapes, long chunk extensions, sizes beyond the limits. Since it never
 * looks ahead and never back, the verdict cannot depend on how the bytes were sliced. That a message ends where
 * llhttp thinks so too is checked by http_parser.c: two readers who disagree mean a refused request.
 */
#ifndef SKINK_MIDDLEWARE_HTTP_FRAMING_H
#define SKINK_MIDDLEWARE_HTTP_FRAMING_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct skink__http_limits {
    size_t max_header_bytes; /* request line, headers, chunk headers' extensions and trailers together */
    size_t max_body_bytes;
};

enum {
    SKINK__HTTP_MAX_METHOD = 24,     /* longer than any registered method */
    SKINK__HTTP_MAX_EXTENSION = 256, /* of one chunk */
    SKINK__HTTP_MAX_HEADERS = 100    /* headers and trailers together */
};

enum skink__http_frame_state {
    SKINK__FRAME_LEADING, /* an empty line in front of a request is allowed */
    SKINK__FRAME_LEADING_LF,
    SKINK__FRAME_METHOD,
    SKINK__FRAME_TARGET,
    SKINK__FRAME_VERSION,
    SKINK__FRAME_REQUEST_LF,
    SKINK__FRAME_LINE_START,
    SKINK__FRAME_LINE,
    SKINK__FRAME_LINE_LF,
    SKINK__FRAME_HEAD_LF, /* of the empty line */
    SKINK__FRAME_BODY,
    SKINK__FRAME_CHUNK_SIZE,
    SKINK__FRAME_CHUNK_EXTENSION,
    SKINK__FRAME_CHUNK_LF,
    SKINK__FRAME_CHUNK_DATA,
    SKINK__FRAME_DATA_CR,
    SKINK__FRAME_DATA_LF,
    SKINK__FRAME_END
};

struct skink__http_framing {
    enum skink__http_frame_state state;
    uint8_t position; /* in the method, the version, the leading lines or the digits of a chunk size */
    bool trailing;    /* the lines are trailers */
    uint16_t extension_bytes;
    size_t header_bytes;
    uint64_t remaining; /* of the body or chunk */
    uint64_t body_bytes;
};

enum skink__http_frame_event {
    SKINK__FRAMED_MORE,    /* all bytes taken, nothing special */
    SKINK__FRAMED_METHOD,  /* the blank behind the method was taken */
    SKINK__FRAMED_HEAD,    /* the head is complete; call skink__http_framing_body() */
    SKINK__FRAMED_MESSAGE, /* the message is complete */
    SKINK__FRAMED_ERROR    /* the byte at *ret_used is refused; *ret_error says why */
};

void skink__http_framing_init(struct skink__http_framing *framing);

/* Has the first byte of a request been seen (empty lines in front do not count)? */
static inline bool skink__http_framing_begun(const struct skink__http_framing *framing)
{
    return framing->state > SKINK__FRAME_LEADING_LF;
}

/* Is the head still being read? */
static inline bool skink__http_framing_in_head(const struct skink__http_framing *framing)
{
    return framing->state <= SKINK__FRAME_HEAD_LF && !framing->trailing;
}

/* Take bytes up to the next event; *ret_used is how many. */
enum skink__http_frame_event skink__http_framing_scan(struct skink__http_framing *framing,
                                                      const struct skink__http_limits *limits, const char *bytes,
                                                      size_t length, size_t *ret_used, int *ret_error);

/* After SKINK__FRAMED_HEAD: what follows. True: nothing, the message is complete. */
bool skink__http_framing_body(struct skink__http_framing *framing, bool chunked, uint64_t content_length);
#endif
