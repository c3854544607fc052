/* SPDX-License-Identifier: MIT */
/* test_prometheus.c - the writer of the text format, and the process metrics written with it. */
#include "middleware/process_metrics.h"
#include "middleware/prometheus.h"
#include "skink/hooks.h"
#include "tests/support/case.h"
#include "tests/support/process.h"
#include "tests/support/wait.h"
#include <errno.h>
#include <fcntl.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int setup(void **state)
{
    struct skink__prometheus *w = malloc(sizeof *w);
    if (!w) return -1;
    skink__prometheus_init(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    skink__prometheus_fini(*state);
    free(*state);
    return 0;
}

/* The page so far, as a string that lives until the next call. */
static const char *page(const struct skink__prometheus *w)
{
    static char text[64 * 1024];
    assert_false(w->failed);
    assert_true(w->length < sizeof text);
    if (w->length) memcpy(text, w->text, w->length);
    text[w->length] = '\0';
    return text;
}

static void family_is_announced_once(void **state)
{
    struct skink__prometheus *w = *state;
    char same[] = "x_total"; /* not the same pointer */
    skink__prometheus_family(w, SKINK__COUNTER, "x_total", "Xs.");
    skink__prometheus_count(w, NULL, 1);
    skink__prometheus_family(w, SKINK__COUNTER, same, "Xs.");
    skink__prometheus_count(w, (struct skink__label[]){ { "a", "b" }, { "c", "d" }, { 0 } }, 2);
    skink__prometheus_family(w, SKINK__GAUGE, "y", "Ys.");
    skink__prometheus_count(w, NULL, 0);
    assert_string_equal(page(w), "# HELP x_total Xs.\n# TYPE x_total counter\nx_total 1\nx_total{a=\"b\",c=\"d\"} 2\n"
                                 "# HELP y Ys.\n# TYPE y gauge\ny 0\n");
}

static void label_values_and_help_are_escaped(void **state)
{
    struct skink__prometheus *w = *state;
    skink__prometheus_family(w, SKINK__GAUGE, "x", "back\\slash, line\nfeed, \"quotes\"");
    skink__prometheus_count(w, (struct skink__label[]){ { "l", "\\ \n \" {},=" }, { 0 } }, 7);
    assert_string_equal(page(w), "# HELP x back\\\\slash, line\\nfeed, \"quotes\"\n# TYPE x gauge\n"
                                 "x{l=\"\\\\ \\n \\\" {},=\"} 7\n");
}

/* One label value that is no UTF-8 makes Prometheus refuse the whole page. */
static void bytes_that_are_no_utf8_are_replaced(void **state)
{
#define BAD "\xEF\xBF\xBD"
    static const struct {
        const char *given, *written;
    } texts[] = {
        { "gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F" },                     /* two bytes, twice */
        { "\xE2\x82\xAC\xF0\x9F\xA6\x8E", "\xE2\x82\xAC\xF0\x9F\xA6\x8E" }, /* three and four */
        { "a\xFFz", "a" BAD "z" },                                          /* never a byte of UTF-8 */
        { "\x80", BAD },                                                    /* continues nothing */
        { "\xC3", BAD },                                                    /* cut at the end */
        { "\xE2\x82z", BAD BAD "z" },                                       /* cut in the middle */
        { "\xC0\xAF", BAD BAD },                                            /* overlong */
        { "\xE0\x9F\xBF", BAD BAD BAD },                                    /* overlong */
        { "\xED\xA0\x80", BAD BAD BAD },                                    /* a surrogate */
        { "\xF4\x90\x80\x80", BAD BAD BAD BAD },                            /* beyond Unicode */
        { "\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF" },                         /* the last of it */
    };
    struct skink__prometheus *w = *state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "# HELP x X.\n# TYPE x gauge\nx{l=\"%s\"} 1\n", texts[i].written);
        skink__prometheus_clear(w, SIZE_MAX);
        skink__prometheus_family(w, SKINK__GAUGE, "x", "X.");
        skink__prometheus_count(w, (struct skink__label[]){ { "l", texts[i].given }, { 0 } }, 1);
        assert_string_equal(page(w), expected);
    }
}

static const char *seconds_of(struct skink__prometheus *w, uint64_t value_ns)
{
    skink__prometheus_clear(w, SIZE_MAX);
    skink__prometheus_family(w, SKINK__GAUGE, "x", "X.");
    skink__prometheus_seconds(w, NULL, value_ns);
    return strrchr(page(w), ' ') + 1;
}

static void nanoseconds_are_written_as_exact_seconds(void **state)
{
    assert_string_equal(seconds_of(*state, 0), "0\n");
    assert_string_equal(seconds_of(*state, 1), "0.000000001\n");
    assert_string_equal(seconds_of(*state, 250000000), "0.25\n");
    assert_string_equal(seconds_of(*state, 10000000000), "10\n");
    assert_string_equal(seconds_of(*state, 100000000001), "100.000000001\n");
    assert_string_equal(seconds_of(*state, UINT64_MAX), "18446744073.709551615\n");
}

static const char *number_of(struct skink__prometheus *w, double value)
{
    skink__prometheus_clear(w, SIZE_MAX);
    skink__prometheus_family(w, SKINK__GAUGE, "x", "X.");
    skink__prometheus_number(w, NULL, value);
    return strrchr(page(w), ' ') + 1;
}

static void numbers_have_their_special_values(void **state)
{
    assert_string_equal(number_of(*state, NAN), "NaN\n");
    assert_string_equal(number_of(*state, -NAN), "NaN\n");
    assert_string_equal(number_of(*state, INFINITY), "+Inf\n");
    assert_string_equal(number_of(*state, -INFINITY), "-Inf\n");
    assert_string_equal(number_of(*state, 0), "0\n");
    assert_string_equal(number_of(*state, 0.1), "0.1\n");
    assert_string_equal(number_of(*state, -1.5e300), "-1.5e+300\n");
    assert_true(strtod(number_of(*state, DBL_MAX), NULL) == DBL_MAX);
    assert_true(strtod(number_of(*state, 1.0 / 3), NULL) == 1.0 / 3);
}

/* Locales with a decimal comma are not installed everywhere; localedef makes one where it is. */
static void decimal_comma_of_the_host_stays_out(void **state)
{
    char folder[] = "/tmp/skink-locale-XXXXXX", command[256];
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >%s/log 2>&1", folder, folder);
    int made = system(command);
    setenv("LOCPATH", folder, 1);
    const char *set = made == 0 ? setlocale(LC_ALL, "de_DE.UTF-8") : NULL;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    if (!set) test_skip("no locale with a decimal comma can be made here (localedef, de_DE)");

    char comma[8];
    snprintf(comma, sizeof comma, "%.1f", 0.5);
    assert_string_equal(comma, "0,5"); /* or this test shows nothing */
    assert_string_equal(number_of(*state, 0.5), "0.5\n");
    assert_string_equal(seconds_of(*state, 500000000), "0.5\n");
    setlocale(LC_ALL, "C");
}

static void histogram_is_cumulative_and_agrees_with_itself(void **state)
{
    struct skink__prometheus *w = *state;
    const uint64_t bounds[] = { 500000, 1000000000, 2500000000 }, counts[] = { 3, 0, 4, 5 };
    struct skink__histogram histogram = {
        .bounds_ns = bounds, .counts = counts, .bucket_count = 4, .sum_ns = 61500000000
    };
    skink__prometheus_family(w, SKINK__HISTOGRAM, "x_seconds", "X.");
    skink__prometheus_histogram(w, NULL, &histogram);
    skink__prometheus_histogram(w, (struct skink__label[]){ { "r", "/" }, { 0 } }, &histogram);
    assert_string_equal(page(w), "# HELP x_seconds X.\n# TYPE x_seconds histogram\n"
                                 "x_seconds_bucket{le=\"0.0005\"} 3\n"
                                 "x_seconds_bucket{le=\"1\"} 3\n"
                                 "x_seconds_bucket{le=\"2.5\"} 7\n"
                                 "x_seconds_bucket{le=\"+Inf\"} 12\n"
                                 "x_seconds_sum 61.5\n"
                                 "x_seconds_count 12\n"
                                 "x_seconds_bucket{r=\"/\",le=\"0.0005\"} 3\n"
                                 "x_seconds_bucket{r=\"/\",le=\"1\"} 3\n"
                                 "x_seconds_bucket{r=\"/\",le=\"2.5\"} 7\n"
                                 "x_seconds_bucket{r=\"/\",le=\"+Inf\"} 12\n"
                                 "x_seconds_sum{r=\"/\"} 61.5\n"
                                 "x_seconds_count{r=\"/\"} 12\n");
}

static void page_grows_and_its_memory_is_kept_to_a_limit(void **state)
{
    struct skink__prometheus *w = *state;
    skink__prometheus_family(w, SKINK__COUNTER, "x_total", "X.");
    for (unsigned i = 0; i < 20000; i++)
        skink__prometheus_count(w, NULL, i);
    assert_false(w->failed);
    assert_memory_equal(w->text + w->length - 14, "x_total 19999\n", 14);
    size_t capacity = w->capacity;
    assert_true(capacity >= w->length);
    skink__prometheus_clear(w, capacity);
    assert_int_equal(w->length, 0);
    assert_int_equal(w->capacity, capacity);
    skink__prometheus_clear(w, capacity - 1);
    assert_int_equal(w->capacity, 0);
    skink__prometheus_family(w, SKINK__COUNTER, "x_total", "X."); /* announced anew on the new page */
    assert_string_equal(page(w), "# HELP x_total X.\n# TYPE x_total counter\n");
}

/* ---- memory runs out at each allocation in turn ---- */

static unsigned allocations_left;

static void *scarce_reallocate(void *memory, size_t size_bytes, void *arg)
{
    (void)arg;
    if (!allocations_left) return NULL;
    allocations_left--;
    return realloc(memory, size_bytes);
}

static void *scarce_allocate(size_t size_bytes, void *arg)
{
    return scarce_reallocate(NULL, size_bytes, arg);
}

static void scarce_release(void *memory, void *arg)
{
    (void)arg;
    free(memory);
}

static void writer_says_when_memory_ran_out(void **state)
{
    struct skink__prometheus *w = *state;
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.allocate = scarce_allocate;
    hooks.reallocate = scarce_reallocate;
    hooks.release = scarce_release;
    assert_int_equal(skink_hooks_set(&hooks), 0);
    for (unsigned n = 0; n < 6; n++) {
        allocations_left = n;
        skink__prometheus_clear(w, 0);
        skink__prometheus_family(w, SKINK__COUNTER, "x_total", "X.");
        for (unsigned i = 0; i < 6000; i++) /* 77 KB: four growths after the first */
            skink__prometheus_count(w, NULL, i);
        assert_int_equal(w->failed, n < 5);
    }
}

/* ---- the process ---- */

static void stat_line_is_read_behind_any_name(void **state)
{
    (void)state;
    struct skink__process_stat stat;
    assert_true(skink__process_stat_parse(
        "4242 (a) R 9 (b) S 1 4242 4242 0 -1 4194560 500 0 3 0 12 7 0 0 20 0 17 0 987654 12345678 321 "
        "18446744073709551615 1 1 0 0",
        &stat));
    assert_int_equal(stat.threads, 17);
    assert_int_equal(stat.start_ticks, 987654);
    assert_int_equal(stat.virtual_bytes, 12345678);
    assert_int_equal(stat.resident_pages, 321);
    assert_false(skink__process_stat_parse("", &stat));
    assert_false(skink__process_stat_parse("4242 (x) S 1 2 3", &stat));
}

/* The value of a sample without labels on the page; -1 if there is none. */
static double value_on_page(struct skink__prometheus *w, const char *name)
{
    skink__prometheus_clear(w, SIZE_MAX);
    skink__process_metrics_write(w, skink__process_start_unix_ns());
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *found = strstr(page(w), line);
    return found ? strtod(found + strlen(line), NULL) : -1;
}

static void *burn_20_ms(void *arg)
{
    struct timespec used = { 0 };
    while (used.tv_sec == 0 && used.tv_nsec < 20000000)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return arg;
}

static void process_metrics_follow_the_process(void **state)
{
    struct skink__prometheus *w = *state;
    double fds = value_on_page(w, "process_open_fds");
    assert_true(fds == (double)test_fd_count(0));
    int more[10];
    for (unsigned i = 0; i < 10; i++)
        more[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(value_on_page(w, "process_open_fds") == fds + 10);
    for (unsigned i = 0; i < 10; i++)
        close(more[i]);

    double cpu = value_on_page(w, "process_cpu_seconds_total");
    assert_true(cpu >= 0);
    pthread_t thread; /* all threads count, those that have ended included */
    assert_int_equal(pthread_create(&thread, NULL, burn_20_ms, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(value_on_page(w, "process_cpu_seconds_total") > cpu + 0.02);

    double resident = value_on_page(w, "process_resident_memory_bytes");
    enum { MORE_BYTES = 32 * 1024 * 1024 };
    char *memory = malloc(MORE_BYTES);
    assert_non_null(memory);
    memset(memory, 1, MORE_BYTES);
    double difference = value_on_page(w, "process_resident_memory_bytes") - resident;
    assert_true(difference > 0.9 * MORE_BYTES);
    free(memory);
    assert_true(value_on_page(w, "process_virtual_memory_bytes") > resident);
    assert_true(value_on_page(w, "process_threads") == test_thread_count(0));
}

static void process_limits_are_told(void **state)
{
    struct skink__prometheus *w = *state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 100;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(value_on_page(w, "process_max_fds") == 100);
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    if (limit.rlim_cur == RLIM_INFINITY) assert_true(isinf(value_on_page(w, "process_virtual_memory_max_bytes")));
}

/* A child's start is known to this test from both sides. */
static void process_start_time_is_when_it_was_started(void **state)
{
    (void)state;
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    struct timespec before, after;
    clock_gettime(CLOCK_REALTIME, &before);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uint64_t start = skink__process_start_unix_ns();
        _exit(write(pipe_fds[1], &start, sizeof start) != sizeof start);
    }
    uint64_t start = 0;
    assert_int_equal(read(pipe_fds[0], &start, sizeof start), sizeof start);
    clock_gettime(CLOCK_REALTIME, &after);
    assert_int_equal(waitpid(child, NULL, 0), child);
    /* The kernel keeps it in hundredths of a second, rounded down. */
    double seconds = (double)start / 1e9;
    assert_true(seconds > (double)before.tv_sec + (double)before.tv_nsec / 1e9 - 0.02);
    assert_true(seconds < (double)after.tv_sec + (double)after.tv_nsec / 1e9 + 0.02);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static const struct test_case cases[] = {
    CASE(family_is_announced_once),
    CASE(label_values_and_help_are_escaped),
    CASE(bytes_that_are_no_utf8_are_replaced),
    CASE(nanoseconds_are_written_as_exact_seconds),
    CASE(numbers_have_their_special_values),
    CASE_PLAIN(decimal_comma_of_the_host_stays_out, 40),
    CASE(histogram_is_cumulative_and_agrees_with_itself),
    CASE(page_grows_and_its_memory_is_kept_to_a_limit),
    CASE(writer_says_when_memory_ran_out),
    CASE(stat_line_is_read_behind_any_name),
    CASE(process_metrics_follow_the_process),
    CASE(process_limits_are_told),
    CASE(process_start_time_is_when_it_was_started),
};
TEST_MAIN(cases, setup, teardown)
