/* SPDX-License-Identifier: MIT */
/* test_civil_date.c - the library's own dates are the C library's. */
#include "loop/civil_date.h"
#include "tests/support/case.h"
#include <time.h>

static void assert_same(uint64_t days)
{
    time_t seconds = (time_t)(days * SKINK__SECONDS_A_DAY);
    struct tm tm;
    assert_non_null(gmtime_r(&seconds, &tm));
    struct skink__civil_date date = skink__civil_date_of(days);
    assert_int_equal(date.year, tm.tm_year + 1900);
    assert_int_equal(date.month, tm.tm_mon + 1);
    assert_int_equal(date.day, tm.tm_mday);
}

static void every_day_of_five_hundred_years_is_the_c_librarys(void **state)
{
    (void)state;
    for (uint64_t days = 0; days < 500 * 366; days++)
        assert_same(days);
}

static void leap_days_come_when_they_should(void **state)
{
    (void)state;
    static const struct {
        uint64_t days;
        struct skink__civil_date date;
    } known[] = {
        { 0, { 1970, 1, 1 } },     { 789, { 1972, 2, 29 } },    { 11016, { 2000, 2, 29 } },
        { 11017, { 2000, 3, 1 } }, { 20779, { 2026, 11, 22 } }, { 47540, { 2100, 2, 28 } },
        { 47541, { 2100, 3, 1 } }, { 157113, { 2400, 2, 29 } },
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct skink__civil_date date = skink__civil_date_of(known[i].days);
        assert_int_equal(date.year, known[i].date.year);
        assert_int_equal(date.month, known[i].date.month);
        assert_int_equal(date.day, known[i].date.day);
    }
}

static const struct test_case cases[] = {
    CASE(every_day_of_five_hundred_years_is_the_c_librarys),
    CASE(leap_days_come_when_they_should),
};
TEST_MAIN(cases, NULL, NULL)
