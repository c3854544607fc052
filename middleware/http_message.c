/* SPDX-License-Identifier: MIT */
/* middleware/http_message.c - the memory of one request: inline as long as it is small, grown as bytes arrive. */
#include "loop/memory.h"
#include "middleware/http_parser.h"
#include <errno.h>
#include <string.h>
#include <strings.h>

void skink__http_message_init(struct skink__http_message *message)
{
    /* Field by field: the inline arrays are most of the struct, and nobody reads them before they are written. */
    message->bytes = message->inline_bytes;
    message->length = 0;
    message->capacity = sizeof message->inline_bytes;
    message->headers = message->inline_headers;
    message->header_count = 0;
    message->header_capacity = SKINK__HTTP_INLINE_HEADERS;
    message->target = 0;
    message->target_length = 0;
    message->method = HTTP_GET;
    message->version_1_1 = false;
    message->keep_alive = false;
    message->expects_continue = false;
    message->head_complete = false;
    message->body = NULL;
    message->body_length = 0;
    message->body_capacity = 0;
    message->body_at = 0;
    message->streamed = false;
    message->body_complete = false;
}

void skink__http_message_fini(struct skink__http_message *message)
{
    if (message->bytes != message->inline_bytes) skink__free(message->bytes);
    if (message->headers != message->inline_headers) skink__free(message->headers);
    skink__free(message->body);
    message->bytes = NULL;
    message->headers = NULL;
    message->body = NULL;
}

int skink__http_message_reserve(struct skink__http_message *message, size_t more)
{
    size_t needed = (size_t)message->length + more;
    if (needed <= message->capacity) return 0;
    if (needed > UINT32_MAX / 2) return -ENOMEM;
    size_t capacity = message->capacity;
    while (capacity < needed)
        capacity *= 2;
    bool moves_out = message->bytes == message->inline_bytes;
    char *bytes = skink__realloc(moves_out ? NULL : message->bytes, capacity);
    if (!bytes) return -ENOMEM;
    if (moves_out) memcpy(bytes, message->inline_bytes, message->length);
    message->bytes = bytes;
    message->capacity = (uint32_t)capacity;
    return 0;
}

const char *skink__http_message_header(const struct skink__http_message *message, const char *name)
{
    size_t length = strlen(name);
    for (uint32_t i = 0; i < message->header_count; i++) {
        const struct skink__http_header *header = &message->headers[i];
        if (header->name_length == length && strncasecmp(message->bytes + header->name, name, length) == 0)
            return message->bytes + header->value;
    }
    return NULL;
}
