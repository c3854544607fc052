/* SPDX-License-Identifier: MIT */
/* app/log.c - from a line to where it is written, without ever waiting for it (see log.h). */
#include "app/log.h"
#include "app/log_output.h"
#include "app/log_ring.h"
#include "app/log_text.h"
#include "loop/log_value.h"
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_BYTES 1024
enum { OUTPUT_EVENTS, OUTPUT_ACCESS, OUTPUTS };
enum { BATCH_BYTES = 32768, CLOSE_PATIENCE_S = 1 };

/* Written before there are threads, and by the writer at a reopen. */
static struct log_output outputs[OUTPUTS] = { { .fd = STDERR_FILENO, .sink = SINK_POLLED },
                                              { .fd = STDERR_FILENO, .sink = SINK_POLLED } };
static struct log_output complaints = { .fd = STDERR_FILENO, .sink = SINK_POLLED }; /* about the files */
static bool json;
static _Atomic int max_level = SKINK_LOG_DEBUG; /* until the configuration says otherwise */

static _Atomic uint64_t dropped;        /* all so far; only counts, so relaxed                    */
static _Atomic uint64_t dropped_untold; /* not yet told by a line; taken by the thread that tells */

/* The thread that writes. */
static struct {
    _Atomic bool running; /* ends with the close; a stray may still have something to say after that */
    pthread_t thread;
    sem_t wake;
    _Atomic bool asleep; /* or about to be: who publishes a line takes this away and wakes it */
    _Atomic bool reopen;
    _Atomic bool quit;
    char batch[BATCH_BYTES]; /* lines of one output that is a file */
    size_t batch_length, batch_lines;
    int batch_output;
} writer;

static void count_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&dropped, lines, memory_order_relaxed);
    atomic_fetch_add_explicit(&dropped_untold, lines, memory_order_relaxed);
}

static size_t format_event(char line[LOG_LINE_BYTES], skink_log_level level, const char *pairs)
{
    static const char *const names[] = { "error", "warning", "info", "debug" };
    const char *name = names[level > SKINK_LOG_DEBUG ? SKINK_LOG_DEBUG : level];
    struct log_text text;
    skink__text_begin(&text, line, LOG_LINE_BYTES, json);
    skink__text_string(&text, "level", name, strlen(name), 16);
    skink__text_pairs(&text, pairs);
    return skink__text_end(&text);
}

/* --- the writer --- */

static void wake_writer(void)
{
    if (atomic_load(&writer.asleep) && atomic_exchange(&writer.asleep, false)) sem_post(&writer.wake);
}

/* With errno, of a write or of opening it: a file that cannot be written, said once, on stderr. */
static void note_result(struct log_output *output, bool written, uint64_t lines)
{
    int error = errno;
    if (!written) count_dropped(lines);
    if (output->path && !written && !output->failing) {
        char line[512];
        int length =
            snprintf(line, sizeof line, "skinkd: cannot write the log %.300s: %s\n", output->path, strerror(error));
        (void)skink__output_write(&complaints, line, (size_t)length);
    }
    output->failing = !written;
}

static void flush(void)
{
    if (writer.batch_lines == 0) return;
    struct log_output *output = &outputs[writer.batch_output];
    note_result(output, skink__output_write(output, writer.batch, writer.batch_length), writer.batch_lines);
    writer.batch_length = writer.batch_lines = 0;
}

/* Many lines at once to a file; to a pipe each by itself, for it takes no part of one. */
static void write_slot(const struct log_slot *slot)
{
    struct log_output *output = &outputs[slot->output];
    if (slot->output != writer.batch_output || writer.batch_length + slot->length > BATCH_BYTES) flush();
    writer.batch_output = slot->output;
    memcpy(writer.batch + writer.batch_length, slot->text, slot->length);
    writer.batch_length += slot->length;
    writer.batch_lines++;
    if (output->sink != SINK_FILE) flush();
}

static void tell_dropped(void)
{
    uint64_t lines = atomic_exchange_explicit(&dropped_untold, 0, memory_order_relaxed);
    char pairs[64], line[LOG_LINE_BYTES];
    if (lines == 0) return;
    snprintf(pairs, sizeof pairs, "event=log_dropped lines=%" PRIu64, lines);
    if (!skink__output_write(&outputs[OUTPUT_EVENTS], line, format_event(line, SKINK_LOG_WARNING, pairs)))
        atomic_fetch_add_explicit(&dropped_untold, lines, memory_order_relaxed);
}

static void reopen_files(void)
{
    for (int i = 0; i < OUTPUTS; i++) {
        struct log_output *output = &outputs[i];
        int error = output->path ? skink__output_open(output, output->path) : 0;
        if (!error) continue;
        errno = error;
        note_result(output, false, 0);
    }
}

static bool write_all(void)
{
    struct log_slot *slot = skink__log_ring_take();
    bool any = slot != NULL;
    for (; slot; slot = skink__log_ring_take()) {
        write_slot(slot);
        skink__log_ring_release(slot);
    }
    flush();
    return any;
}

static void *write_lines(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "skinkd-log");
    for (;;) {
        bool quit = atomic_load(&writer.quit); /* first: what came before it is written yet */
        bool any = write_all();
        if (atomic_exchange(&writer.reopen, false)) reopen_files();
        tell_dropped();
        if (any) continue;
        if (quit) return NULL;
        atomic_store(&writer.asleep, true);
        /* What was published before that did not wake us, and is seen now. */
        if (skink__log_ring_take() || atomic_load(&writer.reopen) || atomic_load(&writer.quit)) {
            atomic_store(&writer.asleep, false);
            continue;
        }
        while (sem_wait(&writer.wake) != 0) {
        }
    }
}

/* --- set up and down --- */

void skink__log_open(int fd)
{
    for (int i = 0; i < OUTPUTS; i++)
        skink__output_take(&outputs[i], fd);
    skink__output_take(&complaints, fd);
}

static bool open_file(struct log_output *output, const char *path, char *complaint, size_t size)
{
    int error = skink__output_open(output, path);
    if (error) snprintf(complaint, size, "cannot open the log %.300s: %s", path, strerror(error));
    return error == 0;
}

bool skink__log_configure(const struct log_options *options, char *complaint, size_t size)
{
    json = options->json;
    skink__log_set_level(options->level);
    if (*options->file && (!open_file(&outputs[OUTPUT_EVENTS], options->file, complaint, size) ||
                           !open_file(&outputs[OUTPUT_ACCESS], options->file, complaint, size)))
        return false;
    if (*options->access_file && !open_file(&outputs[OUTPUT_ACCESS], options->access_file, complaint, size))
        return false;
    if (!*options->file && !options->access) return true;
    snprintf(complaint, size, "cannot start the thread that writes the log");
    if (!skink__log_ring_open() || sem_init(&writer.wake, 0, 0) != 0) return false;
    writer.running = pthread_create(&writer.thread, NULL, write_lines, NULL) == 0;
    return writer.running;
}

void skink__log_set_level(skink_log_level level)
{
    atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

void skink__log_reopen(void)
{
    if (!writer.running) return;
    atomic_store(&writer.reopen, true);
    wake_writer();
}

void skink__log_close(void)
{
    if (!writer.running) return;
    atomic_store(&writer.quit, true);
    wake_writer();
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_PATIENCE_S;
    if (pthread_timedjoin_np(writer.thread, NULL, &until) == 0) writer.running = false; /* else a disk that hangs */
}

/* --- lines --- */

static void hand_over(int output, const char *line, size_t length)
{
    struct log_slot *slot = skink__log_ring_claim();
    if (!slot) {
        count_dropped(1);
        return;
    }
    memcpy(slot->text, line, length);
    slot->length = (uint16_t)length;
    slot->output = (uint8_t)output;
    skink__log_ring_publish(slot);
    wake_writer();
}

void skink__log_hook(skink_log_level level, const char *pairs, void *arg)
{
    (void)arg;
    char line[LOG_LINE_BYTES];
    if ((int)level > atomic_load_explicit(&max_level, memory_order_relaxed)) return;
    int saved = errno; /* the caller may be in the middle of reading its own */
    size_t length = format_event(line, level, pairs);
    if (writer.running) {
        hand_over(OUTPUT_EVENTS, line, length);
    } else {
        if (atomic_load_explicit(&dropped_untold, memory_order_relaxed)) tell_dropped();
        if (!skink__output_write(&outputs[OUTPUT_EVENTS], line, length)) count_dropped(1);
    }
    errno = saved;
}

void skink__log_line(skink_log_level level, const char *format, ...)
{
    char text[TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    skink__log_hook(level, text, NULL);
}

/* The process is about to die: straight to the file. */
void skink__log_panic_hook(const char *condition, const char *file, int line, void *arg)
{
    (void)arg;
    char text[TEXT_BYTES], whole[LOG_LINE_BYTES];
    snprintf(text, sizeof text, "event=panic condition=%s file=%s line=%d", SKINK__QUOTED(condition),
             SKINK__LOG_WORD(file), line);
    (void)skink__output_write(&outputs[OUTPUT_EVENTS], whole, format_event(whole, SKINK_LOG_ERROR, text));
}

void skink__log_access(const skink_access *access, void *arg)
{
    (void)arg;
    struct log_slot *slot = skink__log_ring_claim();
    if (!slot) {
        count_dropped(1);
        return;
    }
    struct log_text text;
    const char *outcome = skink_outcome_text(access->outcome);
    skink__text_begin(&text, slot->text, sizeof slot->text, json);
    skink__text_string(&text, "event", "request", 7, 16);
    skink__text_string(&text, "id", access->id, strlen(access->id), 140);
    skink__text_number(&text, "index", access->index);
    skink__text_string(&text, "client", access->client, strlen(access->client), 64);
    skink__text_string(&text, "method", access->method, strlen(access->method), 32);
    skink__text_string(&text, "path", access->path, strlen(access->path), 500);
    skink__text_number(&text, "status", (uint64_t)access->status);
    skink__text_number(&text, "bytes", access->bytes);
    skink__text_seconds(&text, "queue_s", access->queue_ns);
    skink__text_seconds(&text, "run_s", access->run_ns);
    skink__text_seconds(&text, "wall_s", access->wall_ns);
    skink__text_string(&text, "outcome", outcome, strlen(outcome), 16);
    slot->length = (uint16_t)skink__text_end(&text);
    slot->output = OUTPUT_ACCESS;
    skink__log_ring_publish(slot);
    wake_writer();
}

uint64_t skink__log_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}
