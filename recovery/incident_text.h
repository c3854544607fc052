/* SPDX-License-Identifier: MIT */
/* recovery/incident_text.h - an incident as a log line, and as a block that a person reads. */
#ifndef SKINK_RECOVERY_INCIDENT_TEXT_H
#define SKINK_RECOVERY_INCIDENT_TEXT_H
#include "skink/incident.h"
#include <stddef.h>

enum { SKINK__INCIDENT_BLOCK_BYTES = 4096, SKINK__INCIDENT_LINE_BYTES = 1024 };

/* "event=deadlock id=... cause=lock ...", one line in logfmt. */
void skink__incident_line(const skink_incident *incident, char text[SKINK__INCIDENT_LINE_BYTES]);

/* Lines that begin with a bar and end with a newline; what does not fit is left out, whole lines, and that is said. The
 * length. */
size_t skink__incident_block(const skink_incident *incident, char text[SKINK__INCIDENT_BLOCK_BYTES]);
#endif
