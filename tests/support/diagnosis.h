/* SPDX-License-Identifier: MIT */
/* tests/support/diagnosis.h - what the diagnosis of incidents makes once and keeps. */
#ifndef SKINK_TESTS_SUPPORT_DIAGNOSIS_H
#define SKINK_TESTS_SUPPORT_DIAGNOSIS_H

/* Have it made now, and kept to the end: for who compares descriptors afterwards. elfutils opens a client of
 * debuginfod, with sockets of its own, at the first address in a module without debugging information; any incident may
 * be the first. */
void test_warm_diagnosis(void);
#endif
