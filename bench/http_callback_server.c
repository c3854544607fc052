/* SPDX-License-Identifier: MIT */
/*
 * http_callback_server.c - the server that skink is measured against: plain libuv and the same parser, strict, which
 * answers inside its read callback.
 *
 *     bench_http_callback_server PORT
 *
 * No tasks, no routes, no limits, no timeouts, no statistics: every request gets what the demo's /hello gets, byte for
 * byte, with the date made once a second. uv_try_write() first, as skink does it; requests that came together
 * are answered together.
 */
#include "bench.h"
#include <llhttp.h>
#include <stdbool.h>
#include <uv.h>

enum { READ_BYTES = 65536, ANSWERS_MAX = 64 };

struct connection {
    uv_tcp_t tcp;
    llhttp_t parser;
    int answers_due;
    bool last; /* the client wants it closed after this answer */
};

static char answer[ANSWERS_MAX * 256];
static size_t answer_bytes; /* of one; `answer` holds ANSWERS_MAX of them */
static llhttp_settings_t settings;
static char buffer[READ_BYTES];

static void make_answer(uv_timer_t *timer)
{
    char one[256], date[64];
    time_t now = time(NULL);
    struct tm tm;
    (void)timer;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    answer_bytes = (size_t)snprintf(
        one, sizeof one,
        "HTTP/1.1 200 OK\r\nDate: %s\r\nServer: skink\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nX-Request-Id: 5f3a9c2e-12345\r\nContent-Length: 6\r\n\r\nhello\n",
        date);
    for (size_t i = 0; i < ANSWERS_MAX; i++)
        memcpy(answer + i * answer_bytes, one, answer_bytes);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void drop(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)&connection->tcp)) uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static void on_written(uv_write_t *request, int status)
{
    if (status < 0) drop(request->data);
    free(request);
}

static void send_answers(struct connection *connection)
{
    while (connection->answers_due > 0) {
        int count = connection->answers_due < ANSWERS_MAX ? connection->answers_due : ANSWERS_MAX;
        uv_buf_t bytes = uv_buf_init(answer, (unsigned)(answer_bytes * (size_t)count));
        connection->answers_due -= count;
        int sent = uv_try_write((uv_stream_t *)&connection->tcp, &bytes, 1);
        if (sent == (int)bytes.len) continue;
        if (sent < 0 && sent != UV_EAGAIN) {
            drop(connection);
            return;
        }
        if (sent < 0) sent = 0;
        uv_write_t *request = malloc(sizeof *request + bytes.len);
        if (!request) bench_die("write", ENOMEM);
        request->data = connection;
        memcpy(request + 1, bytes.base + sent, bytes.len - (size_t)sent);
        uv_buf_t rest = uv_buf_init((char *)(request + 1), (unsigned)(bytes.len - (size_t)sent));
        if (uv_write(request, (uv_stream_t *)&connection->tcp, &rest, 1, on_written)) drop(connection);
    }
}

static int on_message_complete(llhttp_t *parser)
{
    struct connection *connection = parser->data;
    connection->answers_due++;
    connection->last = !llhttp_should_keep_alive(parser);
    return 0;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *bytes)
{
    (void)handle;
    (void)suggested;
    *bytes = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes)
{
    struct connection *connection = stream->data;
    if (count == 0) return;
    if (count < 0 || llhttp_execute(&connection->parser, bytes->base, (size_t)count) != HPE_OK) {
        drop(connection);
        return;
    }
    send_answers(connection);
    if (connection->last) drop(connection);
}

static void on_connection(uv_stream_t *listener, int status)
{
    if (status < 0) return;
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) bench_die("connection", ENOMEM);
    bench_check("uv_tcp_init", uv_tcp_init(listener->loop, &connection->tcp));
    connection->tcp.data = connection;
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp)) {
        drop(connection);
        return;
    }
    uv_tcp_nodelay(&connection->tcp, 1);
    llhttp_init(&connection->parser, HTTP_REQUEST, &settings);
    connection->parser.data = connection;
    uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read);
}

int main(int argc, char **argv)
{
    uv_loop_t *loop = uv_default_loop();
    uv_timer_t every_second;
    uv_tcp_t listener;
    struct sockaddr_in address;
    bench_check("address", uv_ip4_addr("127.0.0.1", (int)bench_argument(argc, argv, 1, 8081), &address));
    make_answer(NULL);
    llhttp_settings_init(&settings);
    settings.on_message_complete = on_message_complete;
    uv_timer_init(loop, &every_second);
    uv_timer_start(&every_second, make_answer, 1000, 1000);
    uv_tcp_init(loop, &listener);
    bench_check("bind", uv_tcp_bind(&listener, (struct sockaddr *)&address, 0));
    bench_check("listen", uv_listen((uv_stream_t *)&listener, 4096, on_connection));
    return uv_run(loop, UV_RUN_DEFAULT);
}
