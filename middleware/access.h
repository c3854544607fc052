/* SPDX-License-Identifier: MIT */
/* middleware/access.h - telling the host what became of a request (skink/access.h). */
#ifndef SKINK_MIDDLEWARE_ACCESS_H
#define SKINK_MIDDLEWARE_ACCESS_H
#include "middleware/request.h"

/* Its state and status say how it ended. Runtime section; the server has somebody to tell. */
void skink__access_tell(const skink_request *request, uint64_t wall_ns);
#endif
