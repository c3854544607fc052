/* SPDX-License-Identifier: MIT */
/*
 * app/schema.h - the table of all configuration keys.
 *
 * One row per key; everything else is made from it: reading the file, the environment and --set, the checks and
 * their messages, --print-config, the stock file app/skinkd.yaml, the reference in docs/configuration.md and
 * the one in the man page. A key that is not in the table does not exist.
 */
#ifndef SKINK_APP_SCHEMA_H
#define SKINK_APP_SCHEMA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a value is written, and what it is kept as. */
enum config_type {
    CONFIG_DURATION, /* "30s"; nanoseconds                                        */
    CONFIG_SIZE,     /* "64kb"; bytes                                             */
    CONFIG_COUNT,    /* "8"; a whole number                                       */
    CONFIG_ADDRESS,  /* "127.0.0.1:8080" and the other forms of skink_http_listen */
    CONFIG_PATH,     /* "/hello"; a route's pattern                               */
    CONFIG_WORD,     /* one of the key's words; kept as its position among them   */
    CONFIG_TEXT      /* any text that can be shown, such as a file's path         */
};

/* Keys in the order in which documents and --print-config show them. */
enum config_id {
    CONFIG_LOOP_DEADLOCK_TIMEOUT,
    CONFIG_LOOP_STACK_SIZE,
    CONFIG_LOOP_MAX_TASKS,
    CONFIG_LOOP_COUNT,
    CONFIG_HTTP_LISTEN,
    CONFIG_HTTP_REUSE_PORT,
    CONFIG_HTTP_MAX_BODY,
    CONFIG_HTTP_MAX_HEADER,
    CONFIG_HTTP_HEADER_TIMEOUT,
    CONFIG_HTTP_IDLE_TIMEOUT,
    CONFIG_HTTP_REQUEST_TIMEOUT,
    CONFIG_HTTP_MAX_CONNECTIONS,
    CONFIG_HTTP_TRUSTED_PROXIES,
    CONFIG_HTTP_SERVER_HEADER,
    CONFIG_CONCURRENCY_MAX_REQUESTS,
    CONFIG_CONCURRENCY_MAX_QUEUE,
    CONFIG_CONCURRENCY_EXECUTION,
    CONFIG_CONCURRENCY_THREADS,
    CONFIG_CONCURRENCY_STACK_SIZE,
    CONFIG_STATS_LISTEN,
    CONFIG_STATS_TOKEN_FILE,
    CONFIG_STATS_MAX_CONNECTIONS,
    CONFIG_HEALTH_MAX_RSS,
    CONFIG_HEALTH_MAX_QUEUE_TIME,
    CONFIG_LOG_LEVEL,
    CONFIG_LOG_FORMAT,
    CONFIG_LOG_FILE,
    CONFIG_LOG_ACCESS,
    CONFIG_LOG_ACCESS_FILE,
    CONFIG_SHUTDOWN_DELAY,
    CONFIG_SHUTDOWN_GRACE,
    CONFIG_RECOVERY_LATE_WINDOW,
    CONFIG_RECOVERY_STANDBY_THREADS,
    CONFIG_RECOVERY_MAX_STRAYS,
    CONFIG_RECOVERY_BURST,
    CONFIG_RECOVERY_BURST_WINDOW,
    CONFIG_RECOVERY_ON_LIMIT,
    CONFIG_RECOVERY_BLOCKING_GRACE,
    CONFIG_RECOVERY_MAX_BLOCKING,
    CONFIG_RECOVERY_EXTEND_CEILING,
    CONFIG_RECOVERY_INCIDENT_DIR,
    CONFIG_RECOVERY_ACTION,
    CONFIG_RECOVERY_REPORTS_PER_MINUTE,
    CONFIG_RECOVERY_LOG_NOTES,
    CONFIG_QUARANTINE_STRIKES,
    CONFIG_QUARANTINE_WINDOW,
    CONFIG_QUARANTINE_PERIOD,
    CONFIG_DETECTION_MODE,
    CONFIG_DETECTION_STACK_TRACES,
    CONFIG_ID_COUNT
};

/* Keys of one element of the list `routes`. */
enum config_route_id {
    CONFIG_ROUTE_PATH,
    CONFIG_ROUTE_DEADLOCK_TIMEOUT,
    CONFIG_ROUTE_ACTION,
    CONFIG_ROUTE_REQUEST_TIMEOUT,
    CONFIG_ROUTE_MAX_REQUESTS,
    CONFIG_ROUTE_MAX_QUEUE,
    CONFIG_ROUTE_EXECUTION,
    CONFIG_ROUTE_ID_COUNT
};

struct config_key {
    const char *name;        /* "loop.deadlock_timeout"; in a list's element without the list: "path"         */
    const char *environment; /* the variable that sets it, spelt out so that a search finds it; NULL: none    */
    enum config_type type;
    const char *fallback; /* the default, as a user would write it; NULL: none                                */
    const char *least;    /* the range, written the same way; NULL where there is none                         */
    const char *most;
    const char *words;    /* of CONFIG_WORD, with a blank between them: "loop threads serial"                 */
    const char *takes;    /* of CONFIG_TEXT, for messages and the reference: "a file's path, or nothing"      */
    bool reloadable;      /* SIGHUP changes it while the server runs                                         */
    bool required;        /* in a list's element                                                              */
    const char *sentence; /* what it does; one or two sentences for the reference                             */
};

struct config_section {
    const char *name;
    const char *sentence;
};

#define CONFIG_SECTION_COUNT 10
#define CONFIG_LIST_NAME "routes" /* the one key that is a list; it can be set in the file only */

extern const struct config_key skink__config_keys[CONFIG_ID_COUNT];
extern const struct config_key skink__config_route_keys[CONFIG_ROUTE_ID_COUNT];
extern const struct config_section skink__config_sections[CONFIG_SECTION_COUNT];
extern const char skink__config_list_sentence[];

/* The key of that name; NULL without one. */
const struct config_key *skink__config_key_find(const char *name);

/* The section of that name; NULL without one. */
const struct config_section *skink__config_section_find(const char *name);
#endif
