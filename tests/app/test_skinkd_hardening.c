/* SPDX-License-Identifier: MIT */
/* tests/app/test_skinkd_hardening.c - who skinkd runs as, and what its binaries are protected by. */
#include "loop/sanitizer.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include "tests/support/wait.h"
#include <elf.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Only an optimised build has calls that are checked. */
#if defined(__OPTIMIZE__) && defined(_FORTIFY_SOURCE)
#define SKINK_TEST_FORTIFIED 1
#else
#define SKINK_TEST_FORTIFIED 0
#endif

/* Beside the sanitizers' mappings elfutils may not find a module's functions; and code that was not optimised keeps
 * frame pointers, which end the walk of a blocked thread early (docs/dumps.md). A name of libc's must do then. */
#if defined(__OPTIMIZE__) && !SKINK__ASAN && !SKINK__TSAN
#define HAS_WHOLE_WALKS 1
#else
#define HAS_WHOLE_WALKS 0
#endif

/* --- the user --- */

static void read_status(pid_t pid, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = read(fd, text, size - 1);
    text[length < 0 ? 0 : length] = '\0';
    close(fd);
}

/* Goal: after the change of user nothing of root is left, and a stuck request is still recovered and explained. */
static void privileges_are_dropped_and_diagnosis_goes_on(void **state)
{
    (void)state;
    const struct passwd *nobody = getpwnam("nobody");
    if (geteuid() != 0 || !nobody) test_skip("only root can become nobody");
    struct skinkd *server = START("--user", "nobody", "--set", "loop.deadlock_timeout=200ms", "--set",
                                  "recovery.late_window=10ms", "--set", "shutdown.grace=500ms");
    char text[4096], expected[128];
    read_status(server->pid, text, sizeof text);
    /* cppcheck-suppress nullPointerRedundantCheck ; test_skip() does not return */
    unsigned user = nobody->pw_uid, group = nobody->pw_gid;
    snprintf(expected, sizeof expected, "\nUid:\t%u\t%u\t%u\t%u\n", user, user, user, user);
    assert_non_null(strstr(text, expected));
    snprintf(expected, sizeof expected, "\nGid:\t%u\t%u\t%u\t%u\n", group, group, group, group);
    assert_non_null(strstr(text, expected));
    assert_non_null(strstr(text, "\nCapEff:\t0000000000000000\n"));
    assert_non_null(strstr(text, "\nCapPrm:\t0000000000000000\n"));
    assert_non_null(strstr(text, "\nNoNewPrivs:\t1\n"));
    char *answer = http_get(server->http_port, "/stick?ms=5000&how=mutex");
    assert_int_equal(http_status(answer), 503);
    free(answer);
    bool explained = false;
    for (uint64_t deadline_ns = test_deadline_ns(10000); !explained && test_now_ns() < deadline_ns;) {
        answer = http_get(server->stats_port, "/incidents"); /* the report is made on a thread of its own */
        const char *id = strstr(answer, "\"id\": \"");
        if (id) {
            char target[128];
            snprintf(target, sizeof target, "/incidents/%.*s", (int)strcspn(id + 7, "\""), id + 7);
            char *incident = http_get(server->stats_port, target);
            explained = strstr(incident, "\"kind\": \"mutex\"") && strstr(incident, "\"owner\": {") &&
                        strstr(incident, HAS_WHOLE_WALKS ? "hold_mutex" : "nanosleep");
            free(incident);
        }
        free(answer);
        test_nap();
    }
    assert_true(explained);
    int status = skinkd_end(server, SIGTERM, 15000);
    assert_true(status == 0 || status == 3); /* the stray may have come back by now, or not */
    assert_non_null(strstr(server->err, "event=user_changed user=\"nobody\""));
    skinkd_free(server);
}

static void who_cannot_be_become_ends_with_1_and_a_sentence_that_says_who_that_was(void **state)
{
    (void)state;
    struct ended *ended =
        RUN("--user", "no-such-user", "--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0");
    assert_int_equal(ended->status, 1);
    assert_non_null(strstr(ended->err, "skinkd: --user: there is no user no-such-user\n"));
    free(ended);
    ended =
        RUN("--user", "root:no-such-group", "--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0");
    assert_int_equal(ended->status, 1);
    assert_non_null(strstr(ended->err, "skinkd: --user: there is no group no-such-group\n"));
    free(ended);
}

/* --- the binaries --- */

struct image {
    const unsigned char *bytes;
    size_t length;
};

static struct image map(const char *path)
{
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    void *bytes = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    assert_true(bytes != MAP_FAILED);
    close(fd);
    return (struct image){ bytes, (size_t)status.st_size };
}

static const Elf64_Phdr *segment(const struct image *image, uint32_t type)
{
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image->bytes;
    const Elf64_Phdr *segments = (const Elf64_Phdr *)(image->bytes + head->e_phoff);
    for (unsigned i = 0; i < head->e_phnum; i++)
        if (segments[i].p_type == type) return &segments[i];
    return NULL;
}

/* Is everything bound before main(), so that the table of functions can be read-only? */
static bool binds_at_start(const struct image *image)
{
    const Elf64_Phdr *dynamic = segment(image, PT_DYNAMIC);
    const Elf64_Dyn *entry = (const Elf64_Dyn *)(image->bytes + dynamic->p_offset);
    for (; entry->d_tag != DT_NULL; entry++)
        if ((entry->d_tag == DT_FLAGS && entry->d_un.d_val & DF_BIND_NOW) ||
            (entry->d_tag == DT_FLAGS_1 && entry->d_un.d_val & DF_1_NOW))
            return true;
    return false;
}

static void check(const char *path)
{
    struct image image = map(path);
    const Elf64_Ehdr *head = (const Elf64_Ehdr *)image.bytes;
    assert_memory_equal(head->e_ident, ELFMAG, SELFMAG);
    assert_int_equal(head->e_type, ET_DYN); /* position-independent */
    assert_non_null(segment(&image, PT_GNU_RELRO));
    assert_true(binds_at_start(&image));
    const Elf64_Phdr *stack = segment(&image, PT_GNU_STACK);
    assert_non_null(stack);
    assert_int_equal(stack->p_flags & PF_X, 0);
    assert_non_null(memmem(image.bytes, image.length, "__stack_chk_fail", 16));
    if (SKINK_TEST_FORTIFIED) assert_non_null(memmem(image.bytes, image.length, "printf_chk", 10));
    munmap((void *)image.bytes, image.length);
}

static void binaries_are_hardened(void **state)
{
    (void)state;
    check(TEST_SKINKD);
    check(TEST_BINARY_DIR "/libskink.so");
}

static const struct test_case cases[] = {
    CASE(privileges_are_dropped_and_diagnosis_goes_on),
    CASE(who_cannot_be_become_ends_with_1_and_a_sentence_that_says_who_that_was),
    CASE(binaries_are_hardened),
};
TEST_MAIN(cases, NULL, NULL)
