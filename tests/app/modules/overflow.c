/* SPDX-License-Identifier: MIT */
/* tests/app/modules/overflow.c - GET /overflow runs over the end of its stack. */
#include "skink/module.h"
#include <string.h>

SKINK_MODULE;

static __attribute__((noinline)) int dig(int depth)
{
    volatile char frame[512];
    memset((char *)frame, depth & 0xff, sizeof frame);
    return depth < 0 ? 0 : dig(depth + 1) + frame[depth % 512];
}

static void overflow(skink_request *request, void *arg)
{
    (void)arg;
    skink_respond(request, 200 + dig(1) % 2, NULL, NULL, 0);
}

int skink_module_init(const skink_module *module)
{
    return skink_http_route(module->http_server, "GET", "/overflow", NULL, overflow, NULL);
}
