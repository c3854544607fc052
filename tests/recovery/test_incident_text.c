/* SPDX-License-Identifier: MIT */
/* An incident as a log line and as a block: what stands in them, and that they stay within their bounds. */
#include "recovery/incident_text.h"
#include "skink/clock.h"
#include "tests/support/case.h"
#include <stdio.h>
#include <string.h>

static const skink_frame two_frames[] = {
    { .function = "__futex_wait", .object = "libc.so.6", .inlined = true },
    { .function = "get_user", .file = "/src/users.c", .line = 41, .object = "app.so" },
};

static skink_incident lock_incident(void)
{
    static const skink_incident_owner owner = { .tid = 77,
                                                .thread = "worker",
                                                .what = "pool worker",
                                                .kind = "mutex",
                                                .address = 0xb0,
                                                .stack = two_frames + 1,
                                                .frame_count = 1 };
    return (skink_incident){ .id = "abc-7",
                             .generation = 2,
                             .scheduler = "loop",
                             .task = "GET /users/{id}",
                             .method = "GET",
                             .route = "/users/{id}",
                             .request_id = 12,
                             .cause = SKINK_CAUSE_LOCK,
                             .action = SKINK_ACTION_TAKEOVER,
                             .slice_ns = 1003 * SKINK_MS,
                             .effective_ns = SKINK_S,
                             .strays = 1,
                             .tid = 4711,
                             .state = 'S',
                             .wchan = "futex_wait_queue",
                             .syscall = "futex",
                             .capture = SKINK_CAPTURE_WALKED,
                             .tasks_living = 9,
                             .stack = two_frames,
                             .frame_count = 2,
                             .waits_on = { .kind = "mutex",
                                           .address = 0xa0,
                                           .descriptor = -1,
                                           .chain = &owner,
                                           .chain_length = 1,
                                           .cycle = true } };
}

static void line_has_what_one_searches_for(void **state)
{
    (void)state;
    char line[SKINK__INCIDENT_LINE_BYTES];
    skink_incident incident = lock_incident();
    skink__incident_line(&incident, line);
    assert_string_equal(line,
                        "event=deadlock id=abc-7 scheduler=loop generation=2 task=\"GET /users/{id}\" slice_ms=1003 "
                        "effective_ms=1000 cause=lock action=takeover strays=1 method=GET route=\"/users/{id}\" "
                        "request=12 syscall=\"futex\" waits_on=mutex address=0xa0 owner_tid=77 owner=\"pool worker\" "
                        "cycle=1 cpu_ms=0 run_delay_ms=0 tid=4711 state=S wchan=futex_wait_queue capture=walked "
                        "tasks=9 at=\"get_user\"");
}

static void names_cannot_break_the_line(void **state)
{
    (void)state;
    char line[SKINK__INCIDENT_LINE_BYTES], task[1200];
    skink_incident incident = lock_incident();
    incident.task = "a\nb \"c\" \\";
    skink__incident_line(&incident, line);
    assert_non_null(strstr(line, " task=\"a?b \\\"c\\\" \\\\\" slice_ms=1003 "));
    memset(task, '"', sizeof task - 1);
    task[sizeof task - 1] = '\0';
    incident.task = incident.route = task;
    incident.waits_on.target = task;
    incident.waits_on.descriptor = 3;
    skink__incident_line(&incident, line);
    assert_true(strlen(line) < sizeof line);
    assert_non_null(strstr(line, "cause=lock"));
}

static void block_tells_it_to_a_person(void **state)
{
    (void)state;
    char block[SKINK__INCIDENT_BLOCK_BYTES];
    skink_incident incident = lock_incident();
    size_t length = skink__incident_block(&incident, block);
    assert_int_equal(length, strlen(block));
    assert_string_equal(block, "| incident abc-7: GET /users/{id} held the loop thread for 1.003 s\n"
                               "| cause lock: it waits for a lock\n"
                               "| system call: futex\n"
                               "| waits on mutex at 0xa0\n"
                               "| thread 4711, generation 2, state S in futex_wait_queue, processor time 0.000 s, run "
                               "delay 0.000 s\n"
                               "| in flight: 9 tasks, 0 ready, 0 suspended; 1 strays\n"
                               "| stack (read from outside):\n"
                               "|   #0 __futex_wait in libc.so.6 (inlined)\n"
                               "|   #1 get_user at /src/users.c:41\n"
                               "| owned by thread 77 \"worker\", pool worker, which waits on mutex at 0xb0\n"
                               "|   #0 get_user at /src/users.c:41\n"
                               "| a cycle: each waits for the next, and the last for one before it\n");
}

static void a_deadlock_of_threads_is_one_sentence_before_the_stacks(void **state)
{
    (void)state;
    char block[SKINK__INCIDENT_BLOCK_BYTES];
    skink_incident incident = lock_incident();
    incident.cycle_tid = 4711;
    skink__incident_block(&incident, block);
    const char *sentence = strstr(block, "| cause lock: it waits for a lock\n"
                                         "| deadlock: thread 4711 waits for a mutex of thread 77 (pool worker), which "
                                         "waits for a mutex of thread 4711\n");
    assert_non_null(sentence);
    assert_null(strstr(block, "a cycle: "));
    incident.waits_on.chain_length = 0; /* it has locked it already */
    skink__incident_block(&incident, block);
    assert_non_null(strstr(block, "| deadlock: thread 4711 waits for a mutex of thread 4711, which is itself\n"));
}

static void block_is_cut_at_4_kb_between_lines(void **state)
{
    (void)state;
    char block[SKINK__INCIDENT_BLOCK_BYTES], name[700];
    static skink_frame frames[400];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    for (size_t length = 1; length < sizeof name; length += 13) {
        skink_incident incident = lock_incident();
        const char *function = name + sizeof name - 1 - length;
        for (size_t i = 0; i < 400; i++)
            frames[i] = (skink_frame){ .function = function, .file = function, .line = 1 };
        incident.stack = frames;
        incident.frame_count = 400;
        size_t used = skink__incident_block(&incident, block);
        assert_int_equal(used, strlen(block));
        assert_true(used < SKINK__INCIDENT_BLOCK_BYTES);
        assert_true(used > SKINK__INCIDENT_BLOCK_BYTES - 700);
        assert_string_equal(block + used - strlen("\n| ... (cut)\n"), "\n| ... (cut)\n");
        for (const char *line = block; *line; line = strchr(line, '\n') + 1)
            assert_int_equal(strncmp(line, "| ", 2), 0);
    }
}

static void every_cause_and_capture_is_explained(void **state)
{
    (void)state;
    char block[SKINK__INCIDENT_BLOCK_BYTES], start[64];
    for (int cause = 0; cause < SKINK_CAUSES; cause++) {
        skink_incident incident = lock_incident();
        incident.cause = (skink_cause)cause;
        incident.capture = (skink_capture)cause;
        skink__incident_block(&incident, block);
        snprintf(start, sizeof start, "\n| cause %s", skink_cause_name((skink_cause)cause));
        assert_non_null(strstr(block, start));
        assert_non_null(strstr(block, "\n| stack ("));
    }
}

static const struct test_case cases[] = {
    CASE(line_has_what_one_searches_for),     CASE(names_cannot_break_the_line),
    CASE(block_tells_it_to_a_person),         CASE(a_deadlock_of_threads_is_one_sentence_before_the_stacks),
    CASE(block_is_cut_at_4_kb_between_lines), CASE(every_cause_and_capture_is_explained),
};
TEST_MAIN(cases, NULL, NULL)
