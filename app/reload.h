/* SPDX-License-Identifier: MIT */
/*
 * app/reload.h - reading the configuration again while the server runs (SIGHUP).
 *
 * All or nothing: with a mistake in it nothing changes. What cannot be changed in a running server stays as it is, and
 * the log names it.
 */
#ifndef SKINK_APP_RELOAD_H
#define SKINK_APP_RELOAD_H
#include "app/assembly.h"
#include "app/config.h"
#include "skink/stats_server.h"

/* Read the sources anew into `running`, which the assembly was started with, and have it applied. Main thread. */
void skink__reload(struct config *running, const struct config_sources *sources, struct assembly *assembly);

/* A configuration was taken over at this moment. */
void skink__reload_note_success(void);

/* How often that was done, for the page of metrics. */
#define SKINK__RELOAD_METRICS 3
extern const skink_host_metric skink__reload_metrics[SKINK__RELOAD_METRICS];
#endif
