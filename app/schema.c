/* SPDX-License-Identifier: MIT */
/* app/schema.c - the rows of the table that schema.h describes. To add a key: one enumerator, one row, then
 * `skink_reference --update` for the documents (a test says so if it is forgotten). */
#include "app/schema.h"
#include <string.h>

const struct config_section skink__config_sections[CONFIG_SECTION_COUNT] = {
    { "loop", "The loop thread and its tasks." },
    { "http", "The HTTP server." },
    { "concurrency", "How many requests are worked on at once, and where." },
    { "stats", "Metrics and health, served by a thread of their own." },
    { "health", "When a server that goes on nevertheless calls itself unhealthy." },
    { "log", "What the server says, and what it was asked." },
    { "shutdown", "The way down after SIGTERM." },
    { "recovery", "What happens when a task is stuck." },
    { "quarantine", "What happens to a route whose requests keep getting stuck." },
    { "detection", "Waits that would block the loop." },
};

const struct config_key skink__config_keys[CONFIG_ID_COUNT] = {
    [CONFIG_LOOP_DEADLOCK_TIMEOUT] = {
        .name = "loop.deadlock_timeout",
        .environment = "SKINK_LOOP_DEADLOCK_TIMEOUT",
        .type = CONFIG_DURATION,
        .fallback = "30s",
        .least = "10ms",
        .most = "24h",
        .reloadable = true,
        .sentence = "How long a task may hold the loop thread without suspending before it is declared stuck and "
                    "another thread goes on with the loop. It must be longer than the longest honest computation "
                    "between two waits.",
    },
    [CONFIG_LOOP_STACK_SIZE] = {
        .name = "loop.stack_size",
        .environment = "SKINK_LOOP_STACK_SIZE",
        .type = CONFIG_SIZE,
        .fallback = "64kb",
        .least = "16kb",
        .most = "64mb",
        .sentence = "Stack of each task. Only the pages that a task touches take memory.",
    },
    [CONFIG_LOOP_MAX_TASKS] = {
        .name = "loop.max_tasks",
        .environment = "SKINK_LOOP_MAX_TASKS",
        .type = CONFIG_COUNT,
        .fallback = "1048576",
        .least = "1",
        .most = "16777216",
        .sentence = "Living tasks past which a new one is refused; a request is then answered with 503.",
    },
    [CONFIG_LOOP_COUNT] = {
        .name = "loop.count",
        .environment = "SKINK_LOOP_COUNT",
        .type = CONFIG_COUNT,
        .fallback = "1",
        .least = "1",
        .most = "256",
        .sentence = "Loops, each with a thread and a listening socket of its own on the one port, among which the "
                    "kernel spreads the connections. Handlers of different loops run at the same time: what they share "
                    "needs locks. Limits of connections, requests and queues are those of the process, shared out "
                    "evenly.",
    },
    [CONFIG_HTTP_LISTEN] = {
        .name = "http.listen",
        .environment = "SKINK_HTTP_LISTEN",
        .type = CONFIG_ADDRESS,
        .fallback = "127.0.0.1:8080",
        .sentence = "Where requests are accepted, unless sockets are inherited. Port 0 takes a free one; the log line "
                    "`event=listening` says which.",
    },
    [CONFIG_HTTP_REUSE_PORT] = {
        .name = "http.reuse_port",
        .environment = "SKINK_HTTP_REUSE_PORT",
        .type = CONFIG_WORD,
        .fallback = "no",
        .words = "no yes",
        .sentence = "Whether other processes of the same user, with the same setting, may listen on the port of "
                    "`http.listen` as well; the kernel spreads connections over them.",
    },
    [CONFIG_HTTP_MAX_BODY] = {
        .name = "http.max_body",
        .environment = "SKINK_HTTP_MAX_BODY",
        .type = CONFIG_SIZE,
        .fallback = "1mb",
        .least = "1kb",
        .most = "1gb",
        .sentence = "Largest request body; a larger one is answered with 413.",
    },
    [CONFIG_HTTP_MAX_HEADER] = {
        .name = "http.max_header",
        .environment = "SKINK_HTTP_MAX_HEADER",
        .type = CONFIG_SIZE,
        .fallback = "16kb",
        .least = "1kb",
        .most = "1mb",
        .sentence = "Largest request line, headers and trailers together; more is answered with 431 or 414.",
    },
    [CONFIG_HTTP_HEADER_TIMEOUT] = {
        .name = "http.header_timeout",
        .environment = "SKINK_HTTP_HEADER_TIMEOUT",
        .type = CONFIG_DURATION,
        .fallback = "10s",
        .least = "10ms",
        .most = "1h",
        .reloadable = true,
        .sentence = "Time from the first byte of a request to its last, body included; a slower one is answered with "
                    "408.",
    },
    [CONFIG_HTTP_IDLE_TIMEOUT] = {
        .name = "http.idle_timeout",
        .environment = "SKINK_HTTP_IDLE_TIMEOUT",
        .type = CONFIG_DURATION,
        .fallback = "75s",
        .least = "10ms",
        .most = "24h",
        .reloadable = true,
        .sentence = "How long an open connection may wait for its next request before it is closed.",
    },
    [CONFIG_HTTP_REQUEST_TIMEOUT] = {
        .name = "http.request_timeout",
        .environment = "SKINK_HTTP_REQUEST_TIMEOUT",
        .type = CONFIG_DURATION,
        .fallback = "0s",
        .least = "0s",
        .most = "24h",
        .reloadable = true,
        .sentence = "How long a request may take from being complete to its answer, its time in a queue included. Past "
                    "it the client gets 504, and what the handler waits for ends with ETIMEDOUT. 0s sets no limit.",
    },
    [CONFIG_HTTP_MAX_CONNECTIONS] = {
        .name = "http.max_connections",
        .environment = "SKINK_HTTP_MAX_CONNECTIONS",
        .type = CONFIG_COUNT,
        .fallback = "10000",
        .least = "1",
        .most = "1000000",
        .sentence = "Open connections past which a new one is answered with 503 and closed.",
    },
    [CONFIG_CONCURRENCY_MAX_REQUESTS] = {
        .name = "concurrency.max_requests",
        .environment = "SKINK_CONCURRENCY_MAX_REQUESTS",
        .type = CONFIG_COUNT,
        .fallback = "0",
        .least = "0",
        .most = "16777216",
        .reloadable = true,
        .sentence = "Requests that are worked on at once; 0 is as many as come. One that is declared stuck does not "
                    "count any more.",
    },
    [CONFIG_CONCURRENCY_MAX_QUEUE] = {
        .name = "concurrency.max_queue",
        .environment = "SKINK_CONCURRENCY_MAX_QUEUE",
        .type = CONFIG_COUNT,
        .fallback = "1000",
        .least = "0",
        .most = "16777216",
        .reloadable = true,
        .sentence = "Requests past `concurrency.max_requests` that wait, in order of arrival; one more is answered "
                    "with 429. One whose client leaves leaves the queue.",
    },
    [CONFIG_CONCURRENCY_EXECUTION] = {
        .name = "concurrency.execution",
        .environment = "SKINK_CONCURRENCY_EXECUTION",
        .type = CONFIG_WORD,
        .fallback = "loop",
        .words = "loop threads serial",
        .sentence = "Where requests run: `loop`, many at once on the loop thread, where they may not block; `threads`, "
                    "one on each of many threads; `serial`, on threads as well, but one at a time in all. In the last "
                    "two they may block, for `loop.deadlock_timeout` or `http.request_timeout`, whichever is shorter: "
                    "then the client gets 504, and the thread is replaced and counted as a stray.",
    },
    [CONFIG_CONCURRENCY_THREADS] = {
        .name = "concurrency.threads",
        .environment = "SKINK_CONCURRENCY_THREADS",
        .type = CONFIG_COUNT,
        .fallback = "64",
        .least = "1",
        .most = "1024",
        .sentence = "Threads for requests whose execution is `threads` or `serial`. There are none while no request's "
                    "is.",
    },
    [CONFIG_CONCURRENCY_STACK_SIZE] = {
        .name = "concurrency.stack_size",
        .environment = "SKINK_CONCURRENCY_STACK_SIZE",
        .type = CONFIG_SIZE,
        .fallback = "1mb",
        .least = "16kb",
        .most = "64mb",
        .sentence = "Stack of each request on such a thread. Only the pages that it touches take memory.",
    },
    [CONFIG_HTTP_TRUSTED_PROXIES] = {
        .name = "http.trusted_proxies",
        .environment = "SKINK_HTTP_TRUSTED_PROXIES",
        .type = CONFIG_TEXT,
        .fallback = "",
        .takes = "addresses and networks between commas, such as \"10.0.0.0/8, fd00::/8\", or nothing",
        .sentence = "Whose `X-Forwarded-For` is believed when it says who the client is: addresses and networks "
                    "between commas, and `unix` for clients of a unix socket. Nobody's by default.",
    },
    [CONFIG_HTTP_SERVER_HEADER] = {
        .name = "http.server_header",
        .environment = "SKINK_HTTP_SERVER_HEADER",
        .type = CONFIG_TEXT,
        .fallback = "skink",
        .takes = "at most 128 ASCII characters, or nothing",
        .sentence = "The `Server` header of every answer; an empty one switches it off.",
    },
    [CONFIG_STATS_LISTEN] = {
        .name = "stats.listen",
        .environment = "SKINK_STATS_LISTEN",
        .type = CONFIG_ADDRESS,
        .fallback = "127.0.0.1:9464",
        .sentence = "Where `/metrics`, `/health`, `/incidents`, `/tasks` and `/threads` are served.",
    },
    [CONFIG_STATS_TOKEN_FILE] = {
        .name = "stats.token_file",
        .environment = "SKINK_STATS_TOKEN_FILE",
        .type = CONFIG_TEXT,
        .fallback = "",
        .takes = "a file's path, or nothing",
        .sentence = "A file with a token in its first line. If there is one, only those who send `Authorization: "
                    "Bearer` with it are served there; `/health` and what is below it is for everybody.",
    },
    [CONFIG_STATS_MAX_CONNECTIONS] = {
        .name = "stats.max_connections",
        .environment = "SKINK_STATS_MAX_CONNECTIONS",
        .type = CONFIG_COUNT,
        .fallback = "64",
        .least = "1",
        .most = "10000",
        .sentence = "Open connections to the stats endpoint past which a new one is answered with 503 and closed.",
    },
    [CONFIG_HEALTH_MAX_RSS] = {
        .name = "health.max_rss",
        .environment = "SKINK_HEALTH_MAX_RSS",
        .type = CONFIG_SIZE,
        .fallback = "0kb",
        .least = "0kb",
        .most = "16384gb",
        .reloadable = true,
        .sentence = "Resident memory above which `/health/live` and `/health/ready` turn bad, so that an orchestrator "
                    "starts the process anew. 0kb: never.",
    },
    [CONFIG_HEALTH_MAX_QUEUE_TIME] = {
        .name = "health.max_queue_time",
        .environment = "SKINK_HEALTH_MAX_QUEUE_TIME",
        .type = CONFIG_DURATION,
        .fallback = "10s",
        .least = "0s",
        .most = "24h",
        .reloadable = true,
        .sentence = "How long the queue of `concurrency.max_queue` may be full before `/health/ready` turns bad, so "
                    "that a balancer sends requests elsewhere. 0s: never.",
    },
    [CONFIG_LOG_LEVEL] = {
        .name = "log.level",
        .environment = "SKINK_LOG_LEVEL",
        .type = CONFIG_WORD,
        .fallback = "info",
        .words = "error warning info debug",
        .reloadable = true,
        .sentence = "The least important lines that are written. Those about requests are a matter of `log.access` "
                    "alone.",
    },
    [CONFIG_LOG_FORMAT] = {
        .name = "log.format",
        .environment = "SKINK_LOG_FORMAT",
        .type = CONFIG_WORD,
        .fallback = "logfmt",
        .words = "logfmt json",
        .sentence = "How lines are written.",
    },
    [CONFIG_LOG_FILE] = {
        .name = "log.file",
        .environment = "SKINK_LOG_FILE",
        .type = CONFIG_TEXT,
        .fallback = "",
        .takes = "a file's path, or nothing",
        .sentence = "Where lines go instead of standard error; SIGUSR1 opens it anew.",
    },
    [CONFIG_LOG_ACCESS] = {
        .name = "log.access",
        .environment = "SKINK_LOG_ACCESS",
        .type = CONFIG_WORD,
        .fallback = "no",
        .words = "no yes",
        .sentence = "Whether each request gets a line: who, what, and what became of it.",
    },
    [CONFIG_LOG_ACCESS_FILE] = {
        .name = "log.access_file",
        .environment = "SKINK_LOG_ACCESS_FILE",
        .type = CONFIG_TEXT,
        .fallback = "",
        .takes = "a file's path, or nothing",
        .sentence = "Where lines about requests go instead of `log.file`.",
    },
    [CONFIG_SHUTDOWN_DELAY] = {
        .name = "shutdown.delay",
        .environment = "SKINK_SHUTDOWN_DELAY",
        .type = CONFIG_DURATION,
        .fallback = "1s",
        .least = "0s",
        .most = "1h",
        .reloadable = true,
        .sentence = "How long the server goes on after SIGTERM, with its readiness bad and `Connection: close` in "
                    "every answer, before it refuses what is new. Long enough for a balancer to notice: two of its "
                    "checks. SIGINT leaves it out.",
    },
    [CONFIG_SHUTDOWN_GRACE] = {
        .name = "shutdown.grace",
        .environment = "SKINK_SHUTDOWN_GRACE",
        .type = CONFIG_DURATION,
        .fallback = "10s",
        .least = "0s",
        .most = "24h",
        .reloadable = true,
        .sentence = "How long requests in flight may go on after that, before they are cancelled.",
    },
    [CONFIG_RECOVERY_LATE_WINDOW] = {
        .name = "recovery.late_window",
        .environment = "SKINK_RECOVERY_LATE_WINDOW",
        .type = CONFIG_DURATION,
        .fallback = "1s",
        .least = "1ms",
        .most = "1h",
        .reloadable = true,
        .sentence = "How long a request that was declared stuck may still send its own answer. After it the client "
                    "gets 503, and a later answer is dropped and counted.",
    },
    [CONFIG_RECOVERY_STANDBY_THREADS] = {
        .name = "recovery.standby_threads",
        .environment = "SKINK_RECOVERY_STANDBY_THREADS",
        .type = CONFIG_COUNT,
        .fallback = "1",
        .least = "1",
        .most = "64",
        .sentence = "Threads that are parked for takeovers.",
    },
    [CONFIG_RECOVERY_MAX_STRAYS] = {
        .name = "recovery.max_strays",
        .environment = "SKINK_RECOVERY_MAX_STRAYS",
        .type = CONFIG_COUNT,
        .fallback = "8",
        .least = "1",
        .most = "4096",
        .sentence = "Living abandoned threads at which `recovery.on_limit` is done, until one of them returns. "
                    "Whatever that says, one more deadlock stops all tasks then.",
    },
    [CONFIG_RECOVERY_BURST] = {
        .name = "recovery.burst",
        .environment = "SKINK_RECOVERY_BURST",
        .type = CONFIG_COUNT,
        .fallback = "5",
        .least = "0",
        .most = "1000",
        .sentence = "`recovery.on_limit` is done as well when more tasks than this are declared stuck in "
                    "`recovery.burst_window`. 0 is no such limit.",
    },
    [CONFIG_RECOVERY_BURST_WINDOW] = {
        .name = "recovery.burst_window",
        .environment = "SKINK_RECOVERY_BURST_WINDOW",
        .type = CONFIG_DURATION,
        .fallback = "1m",
        .least = "100ms",
        .most = "24h",
        .sentence = "See `recovery.burst`.",
    },
    [CONFIG_RECOVERY_ON_LIMIT] = {
        .name = "recovery.on_limit",
        .environment = "SKINK_RECOVERY_ON_LIMIT",
        .type = CONFIG_WORD,
        .words = "unhealthy drain abort",
        .fallback = "unhealthy",
        .sentence = "What is done at the limits above. unhealthy: health turns bad and new requests are refused until "
                    "strays have returned, the window has passed, or SIGUSR2 says to go on. drain: the same, and the "
                    "server stops gracefully with exit status 70. abort: it ends with SIGABRT on the stuck thread, for "
                    "a core file.",
    },
    [CONFIG_RECOVERY_BLOCKING_GRACE] = {
        .name = "recovery.blocking_grace",
        .environment = "SKINK_RECOVERY_BLOCKING_GRACE",
        .type = CONFIG_DURATION,
        .fallback = "1ms",
        .least = "100us",
        .most = "1m",
        .sentence = "How long a stretch of a task that is known to block (`skink_blocking_begin`) may hold the loop "
                    "thread before another thread goes on with the loop.",
    },
    [CONFIG_RECOVERY_MAX_BLOCKING] = {
        .name = "recovery.max_blocking",
        .environment = "SKINK_RECOVERY_MAX_BLOCKING",
        .type = CONFIG_COUNT,
        .fallback = "64",
        .least = "1",
        .most = "4096",
        .sentence = "Threads that may be off the loop in such stretches at once. One more holds the loop thread, and "
                    "`loop.deadlock_timeout` is for it too.",
    },
    [CONFIG_RECOVERY_EXTEND_CEILING] = {
        .name = "recovery.extend_ceiling",
        .environment = "SKINK_RECOVERY_EXTEND_CEILING",
        .type = CONFIG_DURATION,
        .fallback = "5m",
        .least = "1ms",
        .most = "24h",
        .sentence = "By how much a task may extend one slice beyond its timeout (`skink_slice_extend`).",
    },
    [CONFIG_RECOVERY_INCIDENT_DIR] = {
        .name = "recovery.incident_dir",
        .environment = "SKINK_RECOVERY_INCIDENT_DIR",
        .type = CONFIG_TEXT,
        .fallback = "",
        .takes = "a folder's path, or nothing",
        .sentence = "A folder for one JSON file per incident, readable for the server's user only; it must exist. The "
                    "newest 1000 files are kept. Nothing is written if this is empty.",
    },
    [CONFIG_RECOVERY_ACTION] = {
        .name = "recovery.action",
        .environment = "SKINK_RECOVERY_ACTION",
        .type = CONFIG_WORD,
        .words = "takeover report abort off",
        .fallback = "takeover",
        .sentence = "What is done about a task that is stuck. takeover: another thread goes on with the loop. report: "
                    "an incident, and no more. abort: an incident, then SIGABRT on the stuck thread. off: nothing.",
    },
    [CONFIG_RECOVERY_REPORTS_PER_MINUTE] = {
        .name = "recovery.reports_per_minute",
        .environment = "SKINK_RECOVERY_REPORTS_PER_MINUTE",
        .type = CONFIG_COUNT,
        .fallback = "60",
        .least = "0",
        .most = "100000",
        .sentence = "Incidents that are logged and written to files, a quarter of them with the same stack. More are "
                    "only counted. 0 is no limit.",
    },
    [CONFIG_RECOVERY_LOG_NOTES] = {
        .name = "recovery.log_notes",
        .environment = "SKINK_RECOVERY_LOG_NOTES",
        .type = CONFIG_WORD,
        .words = "off on",
        .fallback = "off",
        .sentence = "Log a line for each task that has held the loop for half of its timeout. They are counted in any "
                    "case.",
    },
    [CONFIG_QUARANTINE_STRIKES] = {
        .name = "quarantine.strikes",
        .environment = "SKINK_QUARANTINE_STRIKES",
        .type = CONFIG_COUNT,
        .fallback = "3",
        .least = "0",
        .most = "32",
        .sentence = "How many requests of a route must be declared stuck in `quarantine.window` until the route is put "
                    "into quarantine: its requests are then answered with 503 at once. While more stuck requests than "
                    "this have not come back, one is enough. 0 never does that.",
    },
    [CONFIG_QUARANTINE_WINDOW] = {
        .name = "quarantine.window",
        .environment = "SKINK_QUARANTINE_WINDOW",
        .type = CONFIG_DURATION,
        .fallback = "2m",
        .least = "1s",
        .most = "24h",
        .sentence = "See `quarantine.strikes`. On one loop they come a `loop.deadlock_timeout` apart: the window must "
                    "be longer than they take together.",
    },
    [CONFIG_QUARANTINE_PERIOD] = {
        .name = "quarantine.period",
        .environment = "SKINK_QUARANTINE_PERIOD",
        .type = CONFIG_DURATION,
        .fallback = "30s",
        .least = "100ms",
        .most = "24h",
        .sentence = "How long a route stays in quarantine until one request is let through as a trial. If that one "
                    "ends, the route is free again; if it gets stuck, the route stays for another period.",
    },
    [CONFIG_DETECTION_MODE] = {
        .name = "detection.mode",
        .environment = "SKINK_DETECTION_MODE",
        .type = CONFIG_WORD,
        .fallback = "actual",
        .words = "off actual potential",
        .reloadable = true,
        .sentence = "What happens when a task blocks the loop thread in a wait of skink's: `actual` refuses what could "
                    "never end, since only a task of the same loop could end it; `potential` refuses every such wait, "
                    "for development; `off` leaves all of it to the watchdog.",
    },
    [CONFIG_DETECTION_STACK_TRACES] = {
        .name = "detection.stack_traces",
        .environment = "SKINK_DETECTION_STACK_TRACES",
        .type = CONFIG_WORD,
        .fallback = "on",
        .words = "off on",
        .sentence = "Whether the incident of a refused wait has the stacks of both sides: of the wait, and of the task "
                    "that it would have waited for. Only a wait that is refused pays for it.",
    },
};

const char skink__config_list_sentence[] =
    "Settings of single routes, by the pattern that a module added; a path that no module added is an error at start. "
    "A list, to be set in the file only.";

const struct config_key skink__config_route_keys[CONFIG_ROUTE_ID_COUNT] = {
    [CONFIG_ROUTE_PATH] = {
        .name = "path",
        .type = CONFIG_PATH,
        .required = true,
        .reloadable = true,
        .sentence = "The route's pattern, as the module wrote it.",
    },
    [CONFIG_ROUTE_DEADLOCK_TIMEOUT] = {
        .name = "deadlock_timeout",
        .type = CONFIG_DURATION,
        .least = "10ms",
        .most = "24h",
        .reloadable = true,
        .sentence = "Instead of `loop.deadlock_timeout`, for requests on this route.",
    },
    [CONFIG_ROUTE_ACTION] = {
        .name = "action",
        .type = CONFIG_WORD,
        .words = "takeover report abort off",
        .reloadable = true,
        .sentence = "Instead of `recovery.action`, for requests on this route.",
    },
    [CONFIG_ROUTE_REQUEST_TIMEOUT] = {
        .name = "request_timeout",
        .type = CONFIG_DURATION,
        .least = "1ms",
        .most = "24h",
        .reloadable = true,
        .sentence = "Instead of `http.request_timeout`, for requests on this route.",
    },
    [CONFIG_ROUTE_MAX_REQUESTS] = {
        .name = "max_requests",
        .type = CONFIG_COUNT,
        .least = "0",
        .most = "16777216",
        .reloadable = true,
        .sentence = "Requests on this route, all its methods together, that are worked on at once; 0, and nothing, is "
                    "as many as `concurrency.max_requests` lets in. A request passes this limit first.",
    },
    [CONFIG_ROUTE_MAX_QUEUE] = {
        .name = "max_queue",
        .type = CONFIG_COUNT,
        .least = "0",
        .most = "16777216",
        .reloadable = true,
        .sentence = "Requests past this route's `max_requests` that wait; one more is answered with 429. Without it "
                    "none waits.",
    },
    [CONFIG_ROUTE_EXECUTION] = {
        .name = "execution",
        .type = CONFIG_WORD,
        .words = "loop threads serial",
        .sentence = "Instead of `concurrency.execution`, for requests on this route. All that are `serial` run one at "
                    "a time, of whatever route they are.",
    },
};

const struct config_key *skink__config_key_find(const char *name)
{
    for (size_t i = 0; i < CONFIG_ID_COUNT; i++)
        if (strcmp(skink__config_keys[i].name, name) == 0) return &skink__config_keys[i];
    return NULL;
}

const struct config_section *skink__config_section_find(const char *name)
{
    for (size_t i = 0; i < CONFIG_SECTION_COUNT; i++)
        if (strcmp(skink__config_sections[i].name, name) == 0) return &skink__config_sections[i];
    return NULL;
}
