/* SPDX-License-Identifier: MIT */
/* app/module_loader.h - shared objects with handlers (skink/module.h). */
#ifndef SKINK_APP_MODULE_LOADER_H
#define SKINK_APP_MODULE_LOADER_H
#include "skink/http_server.h"
#include "skink/scheduler.h"
#include <stdbool.h>

#define MODULE_COMPLAINT_BYTES 512

/*
 * Load the module and let it add its routes. On false `complaint` says why not. What was loaded stays: nothing says
 * when the last thread has left a module's code (a stray may never), so it is not unloaded before the process ends.
 */
bool skink__module_load(const char *file, skink_scheduler *scheduler, skink_http_server *http_server,
                        uint32_t loop_count, char complaint[MODULE_COMPLAINT_BYTES]);
#endif
