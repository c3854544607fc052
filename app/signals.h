/* SPDX-License-Identifier: MIT */
/*
 * app/signals.h - what the process is told from outside, taken in one place by the main thread.
 *
 * Threads  block before the first thread; heed, wait and arm in the main thread; ask_to_stop anywhere.
 */
#ifndef SKINK_APP_SIGNALS_H
#define SKINK_APP_SIGNALS_H

/* Block them in this thread and in all that it will create. SIGPIPE is ignored from here on. */
void skink__signals_block(void);

/* Between the two a SIGTERM or SIGINT ends the process as it does any other: for a time in which foreign code runs that
 * may hang, and there is nothing yet to be ended with care. */
void skink__signals_heed(void);
void skink__signals_heed_no_more(void);

/* Wait for the next one: SIGTERM, SIGINT, SIGHUP, SIGUSR1 (the logs have been moved away), SIGUSR2 (an operator says to
 * go on), or 0 when the process itself asked to stop. */
int skink__signals_wait(void);

/* From now on a further SIGTERM or SIGINT ends the process at once with this status, whatever it is doing. */
void skink__signals_arm_second(int status);

/* As if SIGTERM had come: for parts of the process that find that it should go. `status`, not 0, is what it is to end
 * with; the first one asked for stays. While it is on its way down already, nothing changes but the status. Any
 * thread. */
void skink__signals_ask_to_stop(int status);

/* The status asked for; 0 when nobody did. */
int skink__signals_asked_status(void);
#endif
