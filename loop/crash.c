/* SPDX-License-Identifier: MIT */
/*
 * loop/crash.c - one line about the task that crashes the process (skink/crash.h).
 *
 * The handler runs on the loop thread's signal stack (thread.c), since the task's own is used up. It reads what the
 * thread itself wrote, formats by hand and calls write(): nothing in it takes a lock or allocates.
 */
#include "skink/crash.h"
#include "loop/log_value.h"
#include "loop/options.h"
#include "loop/state.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_BYTES = 512, NAME_BYTES = 200 };

static const int signals[] = { SIGSEGV, SIGBUS };
enum { SIGNAL_COUNT = sizeof signals / sizeof *signals };

static struct {
    _Atomic bool installed;
    _Atomic bool reported; /* the first crash is the one; another thread's, while the process dies, says nothing new */
    skink_crash_options options;
    struct sigaction before[SIGNAL_COUNT];
    size_t page_bytes;
} crash;

/* --- a line, by hand --- */

struct line {
    char text[LINE_BYTES];
    size_t length;
};

static void put_byte(struct line *line, char c)
{
    if (line->length < LINE_BYTES - 1) line->text[line->length++] = c;
}

static void put(struct line *line, const char *text)
{
    size_t length = strnlen(text, NAME_BYTES);
    for (size_t i = 0; i < length; i++)
        put_byte(line, text[i]);
}

static void put_number(struct line *line, uint64_t number, unsigned base)
{
    static const char digits[] = "0123456789abcdef";
    char reversed[20];
    unsigned n = 0;
    do {
        reversed[n++] = digits[number % base];
        number /= base;
    } while (number);
    while (n)
        put_byte(line, reversed[--n]);
}

/* A task's name may be the host's. */
static void put_quoted(struct line *line, const char *text)
{
    char quoted[SKINK__LOG_VALUE_BYTES];
    for (const char *c = skink__log_quote(quoted, text); *c; c++)
        put_byte(line, *c);
}

/* --- the report --- */

static bool hits_guard(const skink_task *task, const void *address)
{
    skink__assume_runtime(); /* it is this very thread's task, and stays where it is */
    const struct skink__coroutine *co = task->co;
    uintptr_t at = (uintptr_t)address, bottom = co ? (uintptr_t)co->context.stack_bottom : 0;
    return co && at < bottom && at >= bottom - crash.page_bytes;
}

static void put_task(struct line *line, const skink_task *task)
{
    struct skink__task_label label = { .request_id = 0 };
    put(line, " task=");
    put_quoted(line, task->name ? task->name : "task");
    if (task->kind && task->kind->label) task->kind->label(task->arg, &label);
    if (!label.request_id) return;
    put(line, " request=");
    put_number(line, label.request_id, 10);
}

static void report(int signal_number, const siginfo_t *info)
{
    struct skink__thread *thread = skink__thread_self();
    const skink_task *task = thread ? thread->current : NULL;
    struct line line = { .length = 0 };
    put(&line, signal_number == SIGBUS ? "event=crash signal=SIGBUS" : "event=crash signal=SIGSEGV");
    put(&line, " reason=");
    put(&line, info->si_code <= 0                        ? "sent"
               : task && hits_guard(task, info->si_addr) ? "stack_overflow"
                                                         : "bad_address");
    if (info->si_code > 0) {
        put(&line, " address=0x");
        put_number(&line, (uintptr_t)info->si_addr, 16);
    }
    if (task) put_task(&line, task);
    put(&line, " thread=");
    put_number(&line, (uint64_t)syscall(SYS_gettid), 10);
    if (crash.options.report) crash.options.report(line.text, line.length, crash.options.arg);
    put_byte(&line, '\n');
    if (crash.options.fd >= 0) (void)!write(crash.options.fd, line.text, line.length);
}

static size_t index_of(int signal_number)
{
    return signal_number == signals[0] ? 0 : 1;
}

static void on_signal(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    if (!atomic_exchange(&crash.reported, true)) report(signal_number, info);
    /* What was there before is in force again, and the instruction that failed fails again; a signal that was sent
     * must be sent again. */
    sigaction(signal_number, &crash.before[index_of(signal_number)], NULL);
    if (info->si_code <= 0) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal_number);
    errno = saved;
}

int skink_crash_report(const skink_crash_options *options)
{
    skink_crash_options given;
    int err = SKINK__OPTIONS_READ(&given, options);
    if (err) return err;
    if (given.flags || given.fd < -1) return -EINVAL;
    if (atomic_exchange(&crash.installed, true)) return -EALREADY;
    crash.options = given;
    if (crash.options.fd == 0) crash.options.fd = STDERR_FILENO;
    crash.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < SIGNAL_COUNT; i++)
        if (sigaction(signals[i], &action, &crash.before[i])) return -errno;
    return 0;
}
