/* SPDX-License-Identifier: MIT */
/* tests/fuzz/http_answers.c - see http_answers.h. It knows no more of HTTP than what this server may say. */
#include "tests/fuzz/http_answers.h"
#include "tests/fuzz/http_loop.h"
#include <string.h>
#include <strings.h>

enum { KEPT_MAX = 1024 * 1024 };

void answers_add(struct answers *answers, const char *bytes, size_t length)
{
    if (answers->too_many || length == 0) return;
    if (answers->length + length > KEPT_MAX) {
        answers->too_many = true;
        return;
    }
    if (answers->length + length > answers->capacity) {
        answers->capacity = 2 * (answers->length + length);
        answers->bytes = realloc(answers->bytes, answers->capacity);
        CHECK(answers->bytes);
    }
    memcpy(answers->bytes + answers->length, bytes, length);
    answers->length += length;
}

struct head {
    int status;
    bool chunked, has_length, is_for_head, is_error;
    unsigned long long length;
};

/* One line without its end, NUL-terminated for the while. */
static void read_line(struct head *head, const char *line, size_t length)
{
    static const char number[] = "Content-Length: ", chunked[] = "Transfer-Encoding: chunked";
    CHECK(memchr(line, ':', length) && !memchr(line, '\r', length) && !memchr(line, 0, length));
    if (strncasecmp(line, number, sizeof number - 1) == 0) {
        CHECK(!head->has_length && !head->chunked);
        head->has_length = true;
        head->length = strtoull(line + sizeof number - 1, NULL, 10);
    } else if (strncasecmp(line, chunked, sizeof chunked - 1) == 0) {
        CHECK(!head->has_length && !head->chunked);
        head->chunked = true;
    } else if (strncasecmp(line, "X-Head:", 7) == 0) {
        head->is_for_head = true;
    } else if (strncmp(line, "Content-Type: application/json", 30) == 0) {
        head->is_error = true;
    }
}

/* Returns what stands behind the head; NULL when it is not complete. */
static const char *read_head(struct head *head, const char *at, const char *end)
{
    const char *over = memmem(at, (size_t)(end - at), "\r\n\r\n", 4);
    if (!over) return NULL;
    CHECK(strncmp(at, "HTTP/1.1 ", 9) == 0);
    *head = (struct head){ .status = atoi(at + 9) };
    CHECK(head->status >= 100 && head->status <= 599);
    const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
    while (line_end < over) {
        const char *line = line_end + 2;
        line_end = memmem(line, (size_t)(over + 2 - line), "\r\n", 2);
        CHECK(line_end);
        read_line(head, line, (size_t)(line_end - line));
    }
    return over + 4;
}

static const char *skip_chunks(const char *at, const char *end)
{
    for (;;) {
        const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (!line_end) return NULL;
        char *digits_end;
        unsigned long long size = strtoull(at, &digits_end, 16);
        CHECK(digits_end == line_end && size <= KEPT_MAX);
        at = line_end + 2;
        if (size + 2 > (size_t)(end - at)) return NULL;
        CHECK(memcmp(at + size, "\r\n", 2) == 0);
        at += size + 2;
        if (size == 0) return at;
    }
}

/* Behind the body of this answer; NULL when it is not complete, or ends with the connection. */
static const char *skip_body(const struct head *head, const char *at, const char *end)
{
    if (head->status < 200 || head->status == 204 || head->status == 304 || head->is_for_head) return at;
    if (head->chunked) return skip_chunks(at, end);
    if (!head->has_length) return NULL;
    /* Nothing says that the server's own error answers a HEAD; but its body begins with a brace. */
    if (head->is_error && (at == end || *at != '{')) return at;
    return head->length <= (size_t)(end - at) ? at + head->length : NULL;
}

unsigned answers_check(const struct answers *answers)
{
    if (answers->length == 0 || answers->too_many) return 0;
    const char *at = answers->bytes, *end = at + answers->length;
    unsigned count = 0;
    struct head head;
    while (at && at < end && (at = read_head(&head, at, end)) != NULL) {
        at = skip_body(&head, at, end);
        if (at && head.status >= 200) count++;
    }
    return count;
}

void answers_fini(struct answers *answers)
{
    free(answers->bytes);
    *answers = (struct answers){ .bytes = NULL };
}
