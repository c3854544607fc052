/* SPDX-License-Identifier: MIT */
/* middleware/pipeline.h - the middlewares, outermost first, and the handler behind them. */
#ifndef SKINK_MIDDLEWARE_PIPELINE_H
#define SKINK_MIDDLEWARE_PIPELINE_H
#include "middleware/request.h"

/* In the request's task: run all of it. Whether it answered is for the caller to see. */
void skink__pipeline_run(skink_request *request);
#endif
