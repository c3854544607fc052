/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the programs of this folder share: the clock, the arguments, and how a result is printed.
 *
 * A result is one line of CSV, `question,side,round,value,unit`; bench/run collects them and makes the table. Every
 * round runs all sides, one after the other, so that a ratio compares neighbours in time.
 */
#ifndef SKINK_BENCH_H
#define SKINK_BENCH_H
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The clock itself and not skink_now(), so that the baselines owe nothing to the library. */
static inline uint64_t bench_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static inline void bench_row(const char *question, const char *side, int round, double value, const char *unit)
{
    printf("%s,%s,%d,%.6g,%s\n", question, side, round, value, unit);
    fflush(stdout);
}

/* A benchmark of something that failed is worth nothing: say what, and stop. */
_Noreturn static inline void bench_die(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, strerror(err < 0 ? -err : err));
    exit(1);
}

static inline void bench_check(const char *what, int err)
{
    if (err) bench_die(what, err);
}

static int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median; sorts the samples. */
static inline double bench_median(double *samples, size_t count)
{
    qsort(samples, count, sizeof *samples, bench_compare);
    return count % 2 ? samples[count / 2] : (samples[count / 2 - 1] + samples[count / 2]) / 2;
}

/* PROGRAM [ROUNDS [SIZE]] */
static inline long bench_argument(int argc, char **argv, int index, long otherwise)
{
    if (argc <= index) return otherwise;
    char *end;
    long value = strtol(argv[index], &end, 10);
    if (*end || value <= 0) bench_die(argv[index], EINVAL);
    return value;
}
#endif
