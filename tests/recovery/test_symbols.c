/* SPDX-License-Identifier: MIT */
/* Functions, files and lines of this very program; and rules that lead from a frame to its caller. */
#include "loop/sanitizer.h"
#include "recovery/symbols.h"
#include "recovery/unwind.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FRAMES_MAX = 8 };

static uintptr_t inner_pc; /* in inlined_one(), which is inlined into outer_one() */
static int inner_line, call_line;

static inline __attribute__((always_inline)) void inlined_one(void)
{
#if defined(__x86_64__)
    inner_line = __LINE__ + 1;
    __asm__ volatile("0: lea 0b(%%rip), %0" : "=r"(inner_pc));
#else
    inner_line = __LINE__ + 1;
    __asm__ volatile("adr %0, ." : "=r"(inner_pc));
#endif
}

__attribute__((noinline)) static void outer_one(void)
{
    call_line = __LINE__ + 1;
    inlined_one();
}

__attribute__((noinline)) static uintptr_t here(void)
{
    return (uintptr_t)__builtin_return_address(0) - 1;
}

static struct skink__symbols *open_symbols(void)
{
    struct skink__symbols *symbols;
    assert_int_equal(skink__symbols_create(&symbols), 0);
    return symbols;
}

static void find_names_function_file_and_line(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    int line = __LINE__ + 1;
    uintptr_t pc = here();
    struct skink__frame frames[FRAMES_MAX];
    assert_int_equal(skink__symbols_find(symbols, pc, frames, FRAMES_MAX), 1);
    assert_string_equal(frames[0].function, "find_names_function_file_and_line");
    assert_non_null(strstr(frames[0].file, "tests/recovery/test_symbols.c"));
    assert_int_equal(frames[0].line, line);
    assert_false(frames[0].inlined);
    assert_int_equal(frames[0].pc, pc);
    skink__symbols_destroy(symbols);
}

static void find_unfolds_inlined_functions_innermost_first(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    outer_one();
    struct skink__frame frames[FRAMES_MAX];
    assert_int_equal(skink__symbols_find(symbols, inner_pc, frames, FRAMES_MAX), 2);
    assert_string_equal(frames[0].function, "inlined_one");
    assert_true(frames[0].inlined);
    assert_int_equal(frames[0].line, inner_line);
    assert_string_equal(frames[1].function, "outer_one");
    assert_false(frames[1].inlined);
    assert_int_equal(frames[1].line, call_line);
    assert_non_null(strstr(frames[1].file, "test_symbols.c"));
    assert_int_equal(skink__symbols_find(symbols, inner_pc, frames, 1), 1);
    assert_string_equal(frames[0].function, "inlined_one");
    skink__symbols_destroy(symbols);
}

static void strings_stay_the_same_and_outlive_further_questions(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    struct skink__symbols *again = open_symbols();
    assert_ptr_equal(symbols, again); /* one table for the process */
    struct skink__frame first, second;
    uintptr_t pc = here();
    skink__symbols_find(symbols, pc, &first, 1);
    for (uintptr_t i = 0; i < 2000; i++)
        skink__symbols_find(symbols, (uintptr_t)open_symbols + i % 64, &second, 1);
    skink__symbols_find(symbols, pc, &second, 1);
    assert_ptr_equal(first.function, second.function);
    assert_ptr_equal(first.file, second.file);
    skink__symbols_destroy(again);
    assert_string_equal(first.function, "strings_stay_the_same_and_outlive_further_questions");
    skink__symbols_destroy(symbols);
}

static void an_address_of_no_module_is_told_as_a_number(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(page, MAP_FAILED);
    struct skink__frame frame;
    char expected[32];
    snprintf(expected, sizeof expected, "0x%zx", (size_t)page + 16);
    assert_int_equal(skink__symbols_find(symbols, (uintptr_t)page + 16, &frame, 1), 1);
    assert_string_equal(frame.function, expected);
    assert_null(frame.file);
    assert_null(skink__symbols_module(symbols, (uintptr_t)page + 16));
    assert_int_equal(skink__symbols_find(symbols, 0, &frame, 1), 1);
    assert_string_equal(frame.function, "?");
    munmap(page, 4096);
    skink__symbols_destroy(symbols);
}

/* libc has its exported symbols, whether its debugging information is installed or not. */
static void the_c_library_is_named(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    uintptr_t pc = (uintptr_t)dlsym(RTLD_NEXT, "gnu_get_libc_version"); /* no sanitizer has its own */
    assert_true(pc != 0);
    struct skink__frame frames[FRAMES_MAX];
    size_t count = skink__symbols_find(symbols, pc, frames, FRAMES_MAX);
    assert_non_null(strstr(frames[count - 1].function, "gnu_get_libc_version"));
    assert_non_null(strstr(skink__symbols_module(symbols, pc), "libc"));
    skink__symbols_destroy(symbols);
}

static const char *build_module(const char *flags, const char *name)
{
    static char path[256];
    char command[1024];
    snprintf(path, sizeof path, "%s/tests/%s_%ld.so", TEST_BINARY_DIR, name, (long)getpid());
    snprintf(command, sizeof command,
             "printf 'static __attribute__((noinline)) int hidden(int a){return a+1;}\\n"
             "int late_one(int a){return hidden(a)*2;}\\n"
             "int (*const hidden_at)(int) = hidden;\\n' | cc -x c -shared -fPIC -O1 %s -o %s -",
             flags, path);
    return system(command) == 0 ? path : NULL;
}

static void a_module_that_is_loaded_later_is_found(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    struct skink__frame frame;
    skink__symbols_find(symbols, here(), &frame, 1); /* the modules of this moment are known now */
    const char *path = build_module("-g", "late");
    if (!path) test_skip("no compiler `cc`");
    void *module = dlopen(path, RTLD_NOW);
    assert_non_null(module);
    uintptr_t pc = (uintptr_t)dlsym(module, "late_one");
    test_wait_until((skink__symbols_find(symbols, pc, &frame, 1), strcmp(frame.function, "late_one") == 0), 2000);
    assert_true(frame.line > 0);
    dlclose(module);
    remove(path);
    skink__symbols_destroy(symbols);
}

/* Without debugging information: exported functions by the dynamic symbol table, others by module and offset, and never
 * by the name of a neighbour. */
static void a_stripped_module_gives_names_or_offsets(void **state)
{
    (void)state;
    const char *path = build_module("-s", "stripped");
    if (!path) test_skip("no compiler `cc`");
    void *module = dlopen(path, RTLD_NOW);
    assert_non_null(module);
    struct skink__symbols *symbols = open_symbols();
    struct skink__frame frame;
    assert_int_equal(skink__symbols_find(symbols, (uintptr_t)dlsym(module, "late_one"), &frame, 1), 1);
    assert_string_equal(frame.function, "late_one");
    assert_null(frame.file);
    uintptr_t hidden = *(uintptr_t *)dlsym(module, "hidden_at");
    assert_int_equal(skink__symbols_find(symbols, hidden, &frame, 1), 1);
    assert_non_null(strstr(frame.function, "stripped_"));
    assert_non_null(strstr(frame.function, ".so+0x"));
    skink__symbols_destroy(symbols);
    dlclose(module);
    remove(path);
}

/* All of a file for reading, right below where it is loaded, as libelf does when there is room. */
static void *map_below(const char *path, uintptr_t loaded_at, size_t *ret_size)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &status), 0);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = ((size_t)status.st_size + page - 1) & ~(page - 1);
    void *mapped = MAP_FAILED;
    for (uintptr_t at = loaded_at - size; mapped == MAP_FAILED && at > size; at -= page)
        mapped = mmap((void *)at, size, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
    close(fd);
    assert_ptr_not_equal(mapped, MAP_FAILED);
    *ret_size = size;
    return mapped;
}

static void a_file_that_is_read_is_no_part_of_the_module(void **state)
{
    (void)state;
    const char *path = build_module("-g", "read");
    if (!path) test_skip("no compiler `cc`");
    void *module = dlopen(path, RTLD_NOW);
    assert_non_null(module);
    Dl_info info;
    struct skink__frame frame;
    uintptr_t pc = (uintptr_t)dlsym(module, "late_one");
    assert_true(dladdr((void *)pc, &info) != 0);
    size_t size;
    void *mapped = map_below(path, (uintptr_t)info.dli_fbase, &size);
    struct skink__symbols *symbols = open_symbols();
    assert_int_equal(skink__symbols_find(symbols, pc, &frame, 1), 1);
    assert_string_equal(frame.function, "late_one");
    assert_true(frame.line > 0);
    skink__symbols_destroy(symbols);
    munmap(mapped, size);
    dlclose(module);
    remove(path);
}

/* elfutils would ask the servers that this variable names for what is not on this machine. */
static void nothing_is_fetched_from_the_network(void **state)
{
    (void)state;
    if (!dlopen("libdebuginfod.so.1", RTLD_NOW)) test_skip("no libdebuginfod, so nothing could be fetched");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    setenv("DEBUGINFOD_URLS", url, 1);
    setenv("DEBUGINFOD_TIMEOUT", "1", 1);
    const char *path = build_module("-s -Wl,--build-id", "unfetched");
    if (!path) test_skip("no compiler `cc`");
    void *module = dlopen(path, RTLD_NOW);
    assert_non_null(module);
    struct skink__symbols *symbols = open_symbols();
    struct skink__frame frame;
    skink__symbols_find(symbols, (uintptr_t)dlsym(module, "late_one"), &frame, 1);
    assert_string_equal(frame.function, "late_one");
    assert_int_equal(accept(fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    skink__symbols_destroy(symbols);
    dlclose(module);
    remove(path);
    close(fd);
}

/* ---- rules ---- */

/* Walk up from this function by rules alone. */
__attribute__((noinline)) static size_t walk(struct skink__symbols *symbols, uintptr_t *pcs, size_t max)
{
    uintptr_t pc, sp, fp;
#if defined(__x86_64__)
    __asm__ volatile("lea (%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2" : "=r"(pc), "=r"(sp), "=r"(fp));
#else
    __asm__ volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29" : "=r"(pc), "=r"(sp), "=r"(fp));
#endif
    size_t count = 0;
    while (count < max) {
        struct skink__unwind_rule rule = skink__symbols_unwind_rule(symbols, pc);
        if (rule.kind != SKINK__UNWIND_STEP) break;
        uintptr_t cfa = (rule.cfa_from_fp ? fp : sp) + (uintptr_t)(intptr_t)rule.cfa_offset;
        pcs[count++] = pc = skink__unwind_plain(*(uintptr_t *)(cfa + (uintptr_t)(intptr_t)rule.ra_offset)) - 1;
        if (rule.fp == SKINK__UNWIND_FP_SAVED) fp = *(uintptr_t *)(cfa + (uintptr_t)(intptr_t)rule.fp_offset);
        sp = cfa;
    }
    return count;
}

__attribute__((noinline)) static size_t through_a_frame_of_unknown_size(struct skink__symbols *symbols, uintptr_t *pcs,
                                                                        size_t max, size_t bytes)
{
    volatile char *room = __builtin_alloca(bytes); /* makes the compiler use a frame pointer */
    room[0] = 1;
    size_t count = walk(symbols, pcs, max);
    return count + (size_t)room[0] - 1;
}

static void rules_lead_to_the_caller_and_end_at_the_first_frame(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    uintptr_t pcs[64];
    size_t count = through_a_frame_of_unknown_size(symbols, pcs, 64, 100 + (size_t)(getpid() % 64));
    assert_true(count > 3);
    assert_true(count < 64); /* it came to an end by itself */
    const char *const expected[] = { "through_a_frame_of_unknown_size",
                                     "rules_lead_to_the_caller_and_end_at_the_first_frame" };
    for (size_t i = 0; i < 2; i++) {
        struct skink__frame frames[FRAMES_MAX];
        size_t depth = skink__symbols_find(symbols, pcs[i], frames, FRAMES_MAX);
        assert_string_equal(frames[depth - 1].function, expected[i]);
    }
    struct skink__frame frames[FRAMES_MAX];
    size_t depth = skink__symbols_find(symbols, pcs[count - 1], frames, FRAMES_MAX);
    assert_non_null(strstr(frames[depth - 1].function, "_start"));
    skink__symbols_destroy(symbols);
}

static void *ask_many(void *arg)
{
    struct skink__frame frames[FRAMES_MAX];
    for (uintptr_t i = 0; i < 500; i++)
        skink__symbols_find(arg, (uintptr_t)outer_one + i % 200, frames, FRAMES_MAX);
    return NULL;
}

static void several_threads_may_ask(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_many, symbols), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    skink__symbols_destroy(symbols);
}

static void a_known_address_is_answered_within_a_millisecond(void **state)
{
    (void)state;
    struct skink__symbols *symbols = open_symbols();
    skink__symbols_warm(symbols);
    struct skink__frame frames[FRAMES_MAX];
    skink__symbols_find(symbols, here(), frames, FRAMES_MAX);
    uint64_t begun = test_now_ns();
    enum { QUESTIONS = 1000 };
    for (int i = 0; i < QUESTIONS; i++)
        skink__symbols_find(symbols, (uintptr_t)walk + 1 + (uintptr_t)(i % 10), frames, FRAMES_MAX);
    assert_true(test_now_ns() - begun < QUESTIONS * test_ms(1));
    skink__symbols_destroy(symbols);
}

/* Ask with so much memory more than there is in use, in a process of its own. */
static int status_with_room(rlim_t bytes)
{
    pid_t child = fork();
    if (child == 0) {
        FILE *file = fopen("/proc/self/statm", "re");
        unsigned long pages = 0;
        if (!file || fscanf(file, "%lu", &pages) != 1) _exit(3);
        fclose(file);
        rlim_t limit = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + bytes;
        struct skink__symbols *symbols;
        if (skink__symbols_create(&symbols) || setrlimit(RLIMIT_AS, &(struct rlimit){ limit, RLIM_INFINITY })) _exit(4);
        skink__symbols_warm(symbols);
        if (setrlimit(RLIMIT_AS, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY })) _exit(5);
        skink__symbols_warm(symbols);
        struct skink__frame frame;
        skink__symbols_find(symbols, (uintptr_t)status_with_room, &frame, 1);
        _exit(strcmp(frame.function, "status_with_room") ? 6 : 0);
    }
    int status = -1;
    return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

static void without_memory_there_are_no_names_for_the_time_being(void **state)
{
    (void)state;
#if SKINK__ASAN || SKINK__TSAN
    test_skip("the address space of a sanitizer is huge");
#endif
    struct rlimit space;
    assert_int_equal(getrlimit(RLIMIT_AS, &space), 0);
    if (space.rlim_max != RLIM_INFINITY) test_skip("the address space is limited");
    for (rlim_t megabytes = 0; megabytes <= 32; megabytes++)
        assert_int_equal(status_with_room(megabytes << 20), 0);
}

static const struct test_case cases[] = {
    CASE(find_names_function_file_and_line),
    CASE(find_unfolds_inlined_functions_innermost_first),
    CASE(strings_stay_the_same_and_outlive_further_questions),
    CASE(an_address_of_no_module_is_told_as_a_number),
    CASE(the_c_library_is_named),
    CASE(a_module_that_is_loaded_later_is_found),
    CASE(a_stripped_module_gives_names_or_offsets),
    CASE(a_file_that_is_read_is_no_part_of_the_module),
    CASE(nothing_is_fetched_from_the_network),
    CASE(rules_lead_to_the_caller_and_end_at_the_first_frame),
    CASE(several_threads_may_ask),
    CASE(a_known_address_is_answered_within_a_millisecond),
    CASE_TIMEOUT(without_memory_there_are_no_names_for_the_time_being, 60),
};
TEST_MAIN(cases, NULL, NULL)
