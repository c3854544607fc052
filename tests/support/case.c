/* SPDX-License-Identifier: MIT */
/* tests/support/case.c - the main of every test program. */
#include "tests/support/case.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_NO_SUCH_CASE = 2, EXIT_SKIPPED = 77 };

static int skipped; /* main thread only */

void test_skip(const char *why)
{
    skipped++;
    fprintf(stderr, "skipped: %s\n", why);
    skip();
    abort(); /* skip() jumps back into cmocka */
}

static const struct test_case *find(const struct test_case *cases, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(cases[i].name, name) == 0) return &cases[i];
    return NULL;
}

int test_main(int argc, char **argv, const struct test_case *cases, size_t count, CMFixtureFunction setup,
              CMFixtureFunction teardown)
{
    if (argc > 1) {
        cases = find(cases, count, argv[1]);
        count = 1;
        if (!cases) {
            fprintf(stderr, "%s: no case '%s'\n", argv[0], argv[1]);
            return EXIT_NO_SUCH_CASE;
        }
    }
    struct CMUnitTest *tests = calloc(count, sizeof *tests);
    if (!tests) return 1;
    for (size_t i = 0; i < count; i++)
        tests[i] = (struct CMUnitTest){
            .name = cases[i].name, .test_func = cases[i].run, .setup_func = setup, .teardown_func = teardown
        };
    int failed = _cmocka_run_group_tests(argv[0], tests, count, NULL, NULL);
    free(tests);
    if (failed != 0) return 1;
    return argc > 1 && skipped > 0 ? EXIT_SKIPPED : 0;
}
