/* SPDX-License-Identifier: MIT */
/* recovery/descriptor_target.h - what a file descriptor of this process is, as a text for reports. */
#ifndef SKINK_RECOVERY_DESCRIPTOR_TARGET_H
#define SKINK_RECOVERY_DESCRIPTOR_TARGET_H
#include <stddef.h>

/* "/var/lib/x", "pipe:[81]", "socket:[77] 127.0.0.1:5432" (the other side's address), "socket:[78] listening on
 * [::1]:80"; "" if it is not open. */
void skink__descriptor_target(int fd, char *ret_text, size_t text_bytes);
#endif
