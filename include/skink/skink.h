/* SPDX-License-Identifier: MIT */
/* skink/skink.h - everything a program that embeds skink needs. One header per concept. */
#ifndef SKINK_SKINK_H
#define SKINK_SKINK_H
#include "skink/annot.h"
#include "skink/blocking.h"
#include "skink/clock.h"
#include "skink/crash.h"
#include "skink/detection.h"
#include "skink/dump.h"
#include "skink/error.h"
#include "skink/future.h"
#include "skink/hooks.h"
#include "skink/http_server.h"
#include "skink/incident.h"
#include "skink/io.h"
#include "skink/loopback.h"
#include "skink/middleware.h"
#include "skink/recovery.h"
#include "skink/request.h"
#include "skink/scheduler.h"
#include "skink/shutdown.h"
#include "skink/stats_server.h"
#include "skink/task.h"
#include "skink/token.h"
#include "skink/version.h"
#include "skink/workers.h"
#endif
