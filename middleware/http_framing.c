/* SPDX-License-Identifier: MIT */
/* middleware/http_framing.c - the byte-by-byte reader that stands in front of llhttp (http_framing.h says why). */
#include "middleware/http_framing.h"
#include "middleware/characters.h"
#include "middleware/error_numbers.h"
#include <string.h>

enum { MAX_LEADING_LINES = 4, MAX_SIZE_DIGITS = 16 };

void skink__http_framing_init(struct skink__http_framing *framing)
{
    *framing = (struct skink__http_framing){ .state = SKINK__FRAME_LEADING };
}

bool skink__http_framing_body(struct skink__http_framing *framing, bool chunked, uint64_t content_length)
{
    framing->position = 0;
    framing->remaining = content_length;
    framing->state = chunked ? SKINK__FRAME_CHUNK_SIZE : content_length > 0 ? SKINK__FRAME_BODY : SKINK__FRAME_END;
    return framing->state == SKINK__FRAME_END;
}

/* What a byte is that stands where a line may end, and is no CR: a bare LF is meant as an end, anything else is
 * whatever is wrong with such a line. */
static int bad_end(unsigned char c, int error)
{
    return c == '\n' ? SKINK__HTTP_BAD_LINE_END : error;
}

/* "HTTP/1.1" at framing->position; 0 or an error. The version is judged at its last digit, before llhttp sees it. */
static int step_version(struct skink__http_framing *framing, unsigned char c)
{
    static const char shape[] = "HTTP/1.1";
    uint8_t at = framing->position;
    bool digit = c >= '0' && c <= '9';
    if (at == sizeof shape - 1) {
        if (c != '\r') return bad_end(c, SKINK__HTTP_BAD_REQUEST_LINE);
        framing->state = SKINK__FRAME_REQUEST_LF;
        return 0;
    }
    if (at == 5 || at == 7 ? !digit : c != (unsigned char)shape[at]) return SKINK__HTTP_BAD_REQUEST_LINE;
    if (at == 5) framing->remaining = c; /* free until there is a body */
    if (at == 7 && (framing->remaining != '1' || c > '1')) return SKINK__HTTP_VERSION_NOT_SUPPORTED;
    framing->position++;
    return 0;
}

/* The first byte of a line: a header, the end of the head, or what no line may begin with. */
static int step_line_start(struct skink__http_framing *framing, unsigned char c)
{
    if (c == '\r') {
        framing->state = SKINK__FRAME_HEAD_LF;
        return 0;
    }
    if (c == ' ' || c == '\t') return SKINK__HTTP_FOLDED_HEADER;
    if (c == '\n') return SKINK__HTTP_BAD_LINE_END;
    if (!skink__is_token_char((char)c)) return SKINK__HTTP_BAD_HEADER; /* ':' too: an empty name */
    framing->state = SKINK__FRAME_LINE;
    return 0;
}

/* One byte of a chunk's size line, up to its CR. */
static int step_chunk_size(struct skink__http_framing *framing, unsigned char c)
{
    int digit = skink__hex_value((char)c);
    if (digit >= 0) {
        if (framing->position == MAX_SIZE_DIGITS) return SKINK__HTTP_BAD_CHUNK;
        framing->remaining = framing->position == 0 ? (uint64_t)digit : framing->remaining << 4 | (uint64_t)digit;
        framing->position++;
        return 0;
    }
    if (framing->position == 0) return SKINK__HTTP_BAD_CHUNK;
    if (c == ';') {
        framing->state = SKINK__FRAME_CHUNK_EXTENSION;
        framing->extension_bytes = 0;
        return 0;
    }
    if (c != '\r') return bad_end(c, SKINK__HTTP_BAD_CHUNK);
    framing->state = SKINK__FRAME_CHUNK_LF;
    return 0;
}

static int step_chunk_extension(struct skink__http_framing *framing, unsigned char c)
{
    if (c == '\r') {
        framing->state = SKINK__FRAME_CHUNK_LF;
        return 0;
    }
    if (c < ' ' && c != '\t') return bad_end(c, SKINK__HTTP_BAD_CHUNK);
    if (++framing->extension_bytes > SKINK__HTTP_MAX_EXTENSION) return SKINK__HTTP_BAD_CHUNK;
    return 0;
}

/* The LF behind a chunk's size: here the chunk is judged, before any of its data is stored. */
static int step_chunk_lf(struct skink__http_framing *framing, const struct skink__http_limits *limits, unsigned char c)
{
    if (c != '\n') return SKINK__HTTP_BAD_LINE_END;
    if (framing->remaining > limits->max_body_bytes - framing->body_bytes) return SKINK__HTTP_BODY_TOO_LARGE;
    framing->body_bytes += framing->remaining;
    framing->position = 0;
    framing->trailing = framing->remaining == 0;
    framing->state = framing->trailing ? SKINK__FRAME_LINE_START : SKINK__FRAME_CHUNK_DATA;
    return 0;
}

static int expect(struct skink__http_framing *framing, unsigned char c, unsigned char wanted,
                  enum skink__http_frame_state next, int error)
{
    if (c != wanted) return error;
    framing->state = next;
    return 0;
}

static int step_leading(struct skink__http_framing *framing, unsigned char c)
{
    if (c == '\r' && framing->position < MAX_LEADING_LINES) {
        framing->position++;
        framing->state = SKINK__FRAME_LEADING_LF;
        return 0;
    }
    if (!skink__is_token_char((char)c)) return bad_end(c, SKINK__HTTP_BAD_REQUEST_LINE);
    framing->position = 1;
    framing->state = SKINK__FRAME_METHOD;
    return 0;
}

static int step_method(struct skink__http_framing *framing, unsigned char c)
{
    if (c == ' ') {
        framing->position = 0;
        framing->state = SKINK__FRAME_TARGET;
        return 0;
    }
    if (!skink__is_token_char((char)c)) return SKINK__HTTP_BAD_REQUEST_LINE;
    if (++framing->position > SKINK__HTTP_MAX_METHOD) return SKINK__HTTP_METHOD_NOT_IMPLEMENTED;
    return 0;
}

static int step_target(struct skink__http_framing *framing, unsigned char c)
{
    if (c == ' ' && framing->position > 0) {
        framing->position = 0;
        framing->state = SKINK__FRAME_VERSION;
        return 0;
    }
    if (c <= ' ' || c == 0x7f) return SKINK__HTTP_BAD_REQUEST_LINE;
    framing->position = 1;
    return 0;
}

static int step_line(struct skink__http_framing *framing, unsigned char c)
{
    if (c == '\r') {
        framing->state = SKINK__FRAME_LINE_LF;
        return 0;
    }
    if (c == '\n') return SKINK__HTTP_BAD_LINE_END;
    return (c < ' ' && c != '\t') || c == 0x7f ? SKINK__HTTP_BAD_HEADER : 0;
}

/* One byte in any state but the two that carry data. */
static int step(struct skink__http_framing *framing, const struct skink__http_limits *limits, unsigned char c)
{
    switch (framing->state) {
    case SKINK__FRAME_LEADING:
        return step_leading(framing, c);
    case SKINK__FRAME_LEADING_LF:
        return expect(framing, c, '\n', SKINK__FRAME_LEADING, SKINK__HTTP_BAD_LINE_END);
    case SKINK__FRAME_METHOD:
        return step_method(framing, c);
    case SKINK__FRAME_TARGET:
        return step_target(framing, c);
    case SKINK__FRAME_VERSION:
        return step_version(framing, c);
    case SKINK__FRAME_REQUEST_LF:
    case SKINK__FRAME_LINE_LF:
        return expect(framing, c, '\n', SKINK__FRAME_LINE_START, SKINK__HTTP_BAD_LINE_END);
    case SKINK__FRAME_LINE_START:
        return step_line_start(framing, c);
    case SKINK__FRAME_LINE:
        return step_line(framing, c);
    case SKINK__FRAME_HEAD_LF:
        return expect(framing, c, '\n', SKINK__FRAME_END, SKINK__HTTP_BAD_LINE_END);
    case SKINK__FRAME_CHUNK_SIZE:
        return step_chunk_size(framing, c);
    case SKINK__FRAME_CHUNK_EXTENSION:
        return step_chunk_extension(framing, c);
    case SKINK__FRAME_CHUNK_LF:
        return step_chunk_lf(framing, limits, c);
    case SKINK__FRAME_DATA_CR:
        return expect(framing, c, '\r', SKINK__FRAME_DATA_LF, bad_end(c, SKINK__HTTP_BAD_CHUNK));
    case SKINK__FRAME_DATA_LF:
        return expect(framing, c, '\n', SKINK__FRAME_CHUNK_SIZE, SKINK__HTTP_BAD_LINE_END);
    case SKINK__FRAME_BODY:
    case SKINK__FRAME_CHUNK_DATA:
    case SKINK__FRAME_END:
        break;
    }
    return SKINK__HTTP_BAD_REQUEST_LINE; /* nothing may follow the end: the caller starts anew for the next message */
}

/* Does a byte taken in this state count as a header byte? Chunk sizes count only by their extensions, or a body of many
 * small chunks would be refused for its headers. */
static bool is_counted(enum skink__http_frame_state state)
{
    return (state >= SKINK__FRAME_METHOD && state <= SKINK__FRAME_HEAD_LF) || state == SKINK__FRAME_CHUNK_EXTENSION;
}

static int too_large(enum skink__http_frame_state state)
{
    return state <= SKINK__FRAME_VERSION ? SKINK__HTTP_TARGET_TOO_LONG : SKINK__HTTP_HEADERS_TOO_LARGE;
}

/* Body bytes are taken in bulk; how many. */
static size_t take_data(struct skink__http_framing *framing, size_t length)
{
    size_t n = framing->remaining < length ? (size_t)framing->remaining : length;
    framing->remaining -= n;
    if (framing->remaining == 0)
        framing->state = framing->state == SKINK__FRAME_BODY ? SKINK__FRAME_END : SKINK__FRAME_DATA_CR;
    return n;
}

/* The plain bytes of a target or a header line, which are most of a head. How many of `room` were taken. */
static size_t take_plain(unsigned char least, const char *bytes, size_t room)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    size_t n = 0;
    while (room - n >= 8) {
        uint64_t word;
        memcpy(&word, bytes + n, 8);
        uint64_t deleted = word ^ 0x7f * ones;
        /* A high bit for each byte below `least` or equal to DEL; never one too few, so the slow loop decides. */
        if ((((word - least * ones) & ~word) | ((deleted - ones) & ~deleted)) & highs) break;
        n += 8;
    }
    while (n < room && (unsigned char)bytes[n] >= least && bytes[n] != 0x7f)
        n++;
    return n;
}

/* Whole header lines, from wherever in one the reader stands; how many of `room` bytes were taken. */
static size_t take_lines(struct skink__http_framing *framing, const char *bytes, size_t room)
{
    size_t at = 0;
    for (;;) {
        if (framing->state == SKINK__FRAME_LINE_START) {
            if (at == room || !skink__is_token_char(bytes[at])) return at;
            framing->state = SKINK__FRAME_LINE;
            at++;
        }
        at += take_plain(' ', bytes + at, room - at);
        if (room - at < 2 || bytes[at] != '\r' || bytes[at + 1] != '\n') return at;
        framing->state = SKINK__FRAME_LINE_START;
        at += 2;
    }
}

/*
 * What is the same in nearly every request, taken in one piece as far as it is there: target, version, header lines.
 * It does nothing that step() would not do byte by byte. Returns how many of `room` bytes were taken.
 */
static size_t take_common(struct skink__http_framing *framing, const char *bytes, size_t room)
{
    static const char version[] = " HTTP/1.1\r\n";
    size_t at = 0;
    switch (framing->state) {
    case SKINK__FRAME_METHOD: {
        size_t rest = (size_t)(SKINK__HTTP_MAX_METHOD - framing->position);
        while (at < room && at < rest && skink__is_token_char(bytes[at]))
            at++;
        framing->position = (uint8_t)(framing->position + at);
        return at;
    }
    case SKINK__FRAME_TARGET:
        at = take_plain('!', bytes, room);
        if (at > 0) framing->position = 1;
        if (framing->position == 0 || room - at < sizeof version - 1 ||
            memcmp(bytes + at, version, sizeof version - 1) != 0)
            return at;
        framing->position = 0;
        framing->state = SKINK__FRAME_LINE_START;
        at += sizeof version - 1;
        return at + take_lines(framing, bytes + at, room - at);
    case SKINK__FRAME_LINE_START:
    case SKINK__FRAME_LINE:
        return take_lines(framing, bytes, room);
    default:
        return 0;
    }
}

enum skink__http_frame_event skink__http_framing_scan(struct skink__http_framing *framing,
                                                      const struct skink__http_limits *limits, const char *bytes,
                                                      size_t length, size_t *ret_used, int *ret_error)
{
    size_t at = 0;
    while (at < length) {
        enum skink__http_frame_state before = framing->state;
        if (before == SKINK__FRAME_BODY || before == SKINK__FRAME_CHUNK_DATA) {
            at += take_data(framing, length - at);
            if (framing->state != SKINK__FRAME_END) continue;
            *ret_used = at;
            return SKINK__FRAMED_MESSAGE;
        }
        bool counted = is_counted(before);
        size_t room = limits->max_header_bytes - framing->header_bytes;
        int error = counted && room == 0 ? too_large(before) : 0;
        if (!error && before >= SKINK__FRAME_METHOD && before <= SKINK__FRAME_LINE) {
            size_t n = take_common(framing, bytes + at, length - at < room ? length - at : room);
            framing->header_bytes += n;
            at += n;
            /* The empty line behind the last header, which ends most of these runs. */
            if (n > 0 && framing->state == SKINK__FRAME_LINE_START && room - n >= 2 && length - at >= 2 &&
                bytes[at] == '\r' && bytes[at + 1] == '\n') {
                framing->header_bytes += 2;
                framing->state = SKINK__FRAME_END;
                *ret_used = at + 2;
                return framing->trailing ? SKINK__FRAMED_MESSAGE : SKINK__FRAMED_HEAD;
            }
            if (n > 0) continue;
        }
        if (!error) error = step(framing, limits, (unsigned char)bytes[at]);
        if (error) {
            *ret_used = at;
            *ret_error = error;
            return SKINK__FRAMED_ERROR;
        }
        framing->header_bytes += counted;
        at++;
        if (before == SKINK__FRAME_METHOD && framing->state == SKINK__FRAME_TARGET) {
            *ret_used = at;
            return SKINK__FRAMED_METHOD;
        }
        if (before == SKINK__FRAME_HEAD_LF) {
            *ret_used = at;
            return framing->trailing ? SKINK__FRAMED_MESSAGE : SKINK__FRAMED_HEAD;
        }
    }
    *ret_used = at;
    return SKINK__FRAMED_MORE;
}
