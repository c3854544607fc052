/* SPDX-License-Identifier: MIT */
/*
 * loop/civil_date.h - the date of a day, in the proleptic Gregorian calendar.
 *
 * gmtime_r() would do, but it takes a lock of the C library's, which a stuck task may hold. All of it is here, since
 * skinkd, which cannot reach the library's internal functions, writes dates as well.
 */
#ifndef SKINK_LOOP_CIVIL_DATE_H
#define SKINK_LOOP_CIVIL_DATE_H
#include <stdint.h>

enum { SKINK__SECONDS_A_DAY = 86400 };

struct skink__civil_date {
    unsigned year;
    unsigned month; /* from 1 */
    unsigned day;   /* from 1 */
};

/* Of the day with this many days between it and 1970-01-01.
 * Years start in March here, so that the leap day comes last. */
static inline struct skink__civil_date skink__civil_date_of(uint64_t days)
{
    enum { DAYS_TO_1970 = 719468 /* from 0000-03-01 */, DAYS_OF_4 = 1460, DAYS_OF_100 = 36524, DAYS_OF_400 = 146097 };
    days += DAYS_TO_1970;
    unsigned day_of_era = (unsigned)(days % DAYS_OF_400);
    unsigned year_of_era =
        (day_of_era - day_of_era / DAYS_OF_4 + day_of_era / DAYS_OF_100 - day_of_era / (DAYS_OF_400 - 1)) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month = (5 * day_of_year + 2) / 153; /* from 0; five months from March or August on have 153 days */
    return (struct skink__civil_date){
        .year = (unsigned)(days / DAYS_OF_400 * 400) + year_of_era + (month >= 10),
        .month = month < 10 ? month + 3 : month - 9,
        .day = day_of_year - (153 * month + 2) / 5 + 1,
    };
}
#endif
