/* SPDX-License-Identifier: MIT */
/*
 * fuzz_parser.c - any bytes to the HTTP parser: no crash, and the same verdict however they are sliced.
 *
 * The first byte of the input says how the rest is cut; requests that follow each other are read as a connection would.
 */
#include "middleware/http_parser.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MESSAGES_MAX = 16 };

/* What became of a stream of bytes. */
struct reading {
    size_t messages;
    size_t used[MESSAGES_MAX]; /* up to the end of each message */
    uint64_t digest;           /* of all that the messages say */
    int error;
};

static void digest(uint64_t *sum, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < length; i++)
        *sum = (*sum ^ at[i]) * 1099511628211u;
}

static void digest_message(uint64_t *sum, const struct skink__http_message *message)
{
    const int facts[] = { (int)message->method, message->version_1_1, message->keep_alive, message->expects_continue };
    digest(sum, facts, sizeof facts);
    digest(sum, message->bytes + message->target, message->target_length);
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct skink__http_header *header = &message->headers[i];
        /* Where the texts end is where strlen() must say so. */
        if (strlen(message->bytes + header->name) != header->name_length) abort();
        if (strlen(message->bytes + header->value) != header->value_length) abort();
        digest(sum, message->bytes + header->name, header->name_length + 1);
        digest(sum, message->bytes + header->value, header->value_length + 1);
    }
    digest(sum, message->body, message->body_length);
}

/* step 0: all at once; else so many bytes at a time, each slice in memory of its own size. */
static void read_all(const uint8_t *bytes, size_t size, size_t step, struct reading *reading)
{
    static const struct skink__http_limits limits = { .max_header_bytes = 2048, .max_body_bytes = 4096 };
    struct skink__http_parser parser;
    struct skink__http_message message;
    size_t at = 0;
    memset(reading, 0, sizeof *reading);
    skink__http_parser_init(&parser, &limits);
    skink__http_message_init(&message);
    while (at < size && !reading->error && reading->messages < MESSAGES_MAX) {
        size_t length = step && step < size - at ? step : size - at, used = 0;
        char *slice = malloc(length);
        if (!slice) abort();
        memcpy(slice, bytes + at, length);
        enum skink__http_verdict verdict =
            skink__http_parser_feed(&parser, &message, slice, length, &used, &reading->error);
        free(slice);
        if (used > length || (verdict == SKINK__HTTP_MORE && used != length)) abort();
        if ((verdict == SKINK__HTTP_REFUSED) != (reading->error != 0)) abort();
        at += used;
        if (verdict != SKINK__HTTP_MESSAGE) continue;
        digest_message(&reading->digest, &message);
        reading->used[reading->messages++] = at;
        skink__http_message_fini(&message);
        skink__http_message_init(&message);
        skink__http_parser_init(&parser, &limits);
    }
    skink__http_message_fini(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct reading whole, sliced, bytewise;
    read_all(data + 1, size - 1, 0, &whole);
    read_all(data + 1, size - 1, 1 + data[0], &sliced);
    read_all(data + 1, size - 1, 1, &bytewise);
    if (memcmp(&whole, &sliced, sizeof whole) != 0 || memcmp(&whole, &bytewise, sizeof whole) != 0) abort();
    return 0;
}
