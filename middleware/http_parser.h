/* SPDX-License-Identifier: MIT */
/*
 * middleware/http_parser.h - bytes in slices of any size become one request, or an error number. No I/O.
 *
 * llhttp says what the bytes mean; http_framing.h says where lines and messages end and refuses what llhttp lets
 * through; both must agree. The verdict is the same however the bytes are sliced.
 */
#ifndef SKINK_MIDDLEWARE_HTTP_PARSER_H
#define SKINK_MIDDLEWARE_HTTP_PARSER_H
#include "middleware/error_numbers.h"
#include "middleware/http_framing.h"
#include <llhttp.h>

enum { SKINK__HTTP_INLINE_BYTES = 640, SKINK__HTTP_INLINE_HEADERS = 16 };

/* One header: offsets into skink__http_message.bytes, each text ended by a NUL once the head is complete. */
struct skink__http_header {
    uint32_t name;
    uint32_t name_length;
    uint32_t value;
    uint32_t value_length;
};

/* One request as it was read. Owned by whoever feeds the parser with it; may be moved only between requests. */
struct skink__http_message {
    char *bytes; /* the head as it came; inline_bytes until it outgrows them */
    uint32_t length;
    uint32_t capacity;
    struct skink__http_header *headers; /* without trailers, which are read, judged and forgotten */
    uint32_t header_count;
    uint32_t header_capacity;
    uint32_t target; /* offset into bytes */
    uint32_t target_length;
    llhttp_method_t method;
    bool version_1_1;
    bool keep_alive;       /* as the client asks for it */
    bool expects_continue; /* and has a body to send */
    bool head_complete;
    bool streamed;      /* the body is taken away as it comes: body_at is what is still there of it */
    bool body_complete; /* of a streamed one */
    char *body;         /* NULL without one; ended by a NUL that is not counted */
    size_t body_length;
    size_t body_capacity;
    size_t body_at;
    struct skink__http_header inline_headers[SKINK__HTTP_INLINE_HEADERS];
    char inline_bytes[SKINK__HTTP_INLINE_BYTES];
};

void skink__http_message_init(struct skink__http_message *message);

/* Free what it grew beyond its own size; it must be initialised again before it is used again. */
void skink__http_message_fini(struct skink__http_message *message);

/* Room for `more` bytes behind `length`, which the parser leaves alone once the message is complete. -ENOMEM. */
int skink__http_message_reserve(struct skink__http_message *message, size_t more);

/* A host and perhaps a port, or nothing. Whatever could make another server see another host is refused. */
bool skink__http_host_is_valid(const char *host, size_t length);

/* First header of that name, in any case; NULL without one. After the head is complete. */
const char *skink__http_message_header(const struct skink__http_message *message, const char *name);

struct skink__http_parser {
    llhttp_t llhttp; /* its data is this parser, during a feed only */
    struct skink__http_framing framing;
    const struct skink__http_limits *limits;  /* the server's */
    struct skink__http_message *message;      /* during a feed only */
    uint64_t announced;                       /* Content-Length; 0 without one */
    uint32_t fed;                             /* bytes of the message's head that llhttp has had */
    int error;                                /* what a callback of llhttp's refused */
    bool message_complete;                    /* as llhttp sees it */
    bool says_close, says_keep_alive;         /* in Connection */
    bool body_unjudged;                       /* the head is complete, and nobody has looked at the body's size */
    uint8_t value_open;                       /* a header's value has begun */
    uint8_t field_length;                     /* of `field` */
    uint8_t hosts, lengths, codings, expects; /* how many of these headers */
    uint8_t host, coding, expectation;        /* which of the headers they are; SKINK__HTTP_MAX_HEADERS fits */
    uint8_t content_length;
    uint32_t header_count; /* trailers included */
    char field[18];        /* of the trailer being read; longer ones are none that matter */
};

/* HEAD: there is a body to come, which skink__http_parser_admit_body() may judge by other limits. */
enum skink__http_verdict { SKINK__HTTP_MORE, SKINK__HTTP_HEAD, SKINK__HTTP_MESSAGE, SKINK__HTTP_REFUSED };

/* Ready for the next request. */
void skink__http_parser_init(struct skink__http_parser *parser, const struct skink__http_limits *limits);

/* Has the first byte of a request been taken? */
static inline bool skink__http_parser_begun(const struct skink__http_parser *parser)
{
    return skink__http_framing_begun(&parser->framing);
}

/*
 * Take bytes until the request is complete or refused; *ret_used says how many, and what stands behind them is not
 * looked at. After MESSAGE and REFUSED the parser must be initialised again. REFUSED: *ret_error is the
 * error's number. The message must be the same one for all bytes of a request.
 */
enum skink__http_verdict skink__http_parser_feed(struct skink__http_parser *parser, struct skink__http_message *message,
                                                 const char *bytes, size_t length, size_t *ret_used, int *ret_error);

/* After HEAD: these are the limits of the body. 0, or the error's number when it is announced to be larger. What is fed
 * without it is judged by the limits that the parser was made with. */
int skink__http_parser_admit_body(struct skink__http_parser *parser, const struct skink__http_limits *limits);
#endif
