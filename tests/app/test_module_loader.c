/* SPDX-License-Identifier: MIT */
/* tests/app/test_module_loader.c - each way in which a module can be wrong, and what skinkd says about it. */
#include "config_fixture.h"
#include "skinkd_fixture.h"
#include "tests/support/case.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULES TEST_BINARY_DIR "/tests/modules/"

/* skinkd must refuse to start, with status 1 and these words. */
static void refused(const char *module, const char *said)
{
    struct ended *ended =
        RUN("--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0", "--module", module);
    if (!strstr(ended->err, said)) print_error("said: %s", ended->err);
    assert_non_null(strstr(ended->err, said));
    assert_int_equal(ended->status, 1);
    assert_null(strstr(ended->err, "event=started"));
    free(ended);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    refused("/nonexistent/handlers.so", "skinkd: /nonexistent/handlers.so: No such file or directory\n");
    refused("handlers.so", "skinkd: handlers.so: No such file or directory\n");
}

static void a_file_that_is_no_shared_object_is_named(void **state)
{
    (void)state;
    char *file = temporary_file("text", 4);
    refused(file, "skinkd: cannot load the module: ");
    refused(file, file);
    refused("/tmp", "skinkd: cannot load the module: /tmp: ");
    unlink(file);
    free(file);
}

static void a_module_without_its_mark_is_refused(void **state)
{
    (void)state;
    refused(MODULES "no_abi.so", "no_abi.so: not a module of skink: it has no skink_module_abi");
}

static void a_module_for_another_version_is_refused(void **state)
{
    (void)state;
    refused(
        MODULES "wrong_abi.so",
        "wrong_abi.so: built for version 42 of the module interface, this skinkd has version 1; build the module anew");
}

static void a_module_without_entry_point_is_refused(void **state)
{
    (void)state;
    refused(MODULES "no_init.so", "no_init.so: it has no skink_module_init");
}

static void a_module_that_cannot_begin_says_why(void **state)
{
    (void)state;
    refused(MODULES "failing_init.so",
            "failing_init.so: skink_module_init failed with -28 (no space left on device)\n");
    refused(MODULES "positive_init.so", "positive_init.so: skink_module_init failed with 5 (not a negative errno)\n");
}

static void the_same_module_twice_is_refused(void **state)
{
    (void)state;
    struct ended *ended = RUN("--set", "http.listen=127.0.0.1:0", "--set", "stats.listen=127.0.0.1:0", "--module",
                              TEST_DEMO_MODULE, "--module", TEST_DEMO_MODULE);
    assert_non_null(strstr(ended->err, "demo.so: loaded already"));
    assert_int_equal(ended->status, 1);
    free(ended);
}

static void a_bare_name_is_looked_for_in_the_current_folder(void **state)
{
    (void)state;
    assert_int_equal(chdir(TEST_BINARY_DIR "/tests/modules"), 0);
    refused("failing_init.so", "failing_init.so: skink_module_init failed with -28");
}

/* Nothing is served yet, so there is nothing to be waited for. */
static void a_module_that_hangs_can_be_ended(void **state)
{
    (void)state;
    static const int signals[] = { SIGTERM, SIGINT };
    for (int i = 0; i < 2; i++) {
        struct skinkd *server =
            program_start(TEST_SKINKD, (const char *const[]){ "--module", MODULES "hanging_init.so", NULL });
        assert_true(skinkd_says(server, "hanging_init: begun\n", 5000));
        assert_int_equal(skinkd_end(server, signals[i], 5000), 128 + signals[i]);
        skinkd_free(server);
    }
}

static const struct test_case cases[] = {
    CASE(a_missing_file_is_named),
    CASE(a_file_that_is_no_shared_object_is_named),
    CASE(a_module_without_its_mark_is_refused),
    CASE(a_module_for_another_version_is_refused),
    CASE(a_module_without_entry_point_is_refused),
    CASE(a_module_that_cannot_begin_says_why),
    CASE(the_same_module_twice_is_refused),
    CASE(a_bare_name_is_looked_for_in_the_current_folder),
    CASE(a_module_that_hangs_can_be_ended),
};
TEST_MAIN(cases, NULL, NULL)
