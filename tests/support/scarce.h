/* SPDX-License-Identifier: MIT */
/*
 * tests/support/scarce.h - memory that fails when a test wants it to, through the library's hooks (skink/hooks.h).
 *
 * A test of a call runs it again and again, with its first, second, third ... allocation failing, until it gets through
 * without coming to the one that fails:
 *
 *     for (long n = 0, failed = 1; failed; n++) {
 *         ... open what the call needs ...
 *         scarce_fail(n);
 *         int err = the_call();
 *         failed = scarce_end();
 *         assert_int_equal(err, failed ? -ENOMEM : 0);
 *         ... the same call succeeds now; close everything ...
 *         scarce_assert_no_blocks();
 *     }
 */
#ifndef SKINK_TESTS_SUPPORT_SCARCE_H
#define SKINK_TESTS_SUPPORT_SCARCE_H

/* Set the hooks: before anything else of the library. Fails the case when it cannot. Once is enough for a process. */
void scarce_install(void);

/* From now on: n allocations of any thread succeed, the next one fails, and those after it succeed. */
void scarce_fail(long n);

/* From now on every allocation of any thread fails. */
void scarce_fail_all(void);

/* How many have failed since then? */
long scarce_failures(void);

/* From now on none fails. How many have failed since scarce_fail() or scarce_fail_all()? */
long scarce_end(void);

/* Blocks allocated and not released. */
long scarce_blocks(void);

/* Wait for a few seconds (threads that end release what they hold) until there is no block;
 * fail the case if one stays. */
void scarce_assert_no_blocks(void);
#endif
