/* SPDX-License-Identifier: MIT */
/*
 * app/notify.h - telling the service manager how we are (sd_notify(3)), and that the watchdog is alive.
 *
 * The protocol is a datagram of NAME=value lines to the unix socket that $NOTIFY_SOCKET names; systemd and others speak
 * it. Without that variable nothing here does anything.
 */
#ifndef SKINK_APP_NOTIFY_H
#define SKINK_APP_NOTIFY_H
#include "skink/recovery.h"

/* Read and remove $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID, which are for this process and not for its
 * children. Once, before there are threads. */
void skink__notify_open(void);

/* Send lines such as "READY=1" or "STOPPING=1\nSTATUS=...". Never blocks; what cannot be sent is lost, and the log says
 * so once. Any thread. */
void skink__notify(const char *lines);

/* If the manager wants to hear from us: start a thread that asks the watchdog for a look, and says WATCHDOG=1 each time
 * it has had one, twice as often as is wanted. A watchdog that does not answer is not spoken for: then the manager ends
 * and restarts this process. Returns 0 or a negative errno. */
int skink__notify_watchdog_start(skink_recovery *recovery);

/* End that thread, if there is one; before the recovery is destroyed. */
void skink__notify_watchdog_stop(void);
#endif
