/* SPDX-License-Identifier: MIT */
/*
 * loop/uv_means.h - is there what libuv is about to need?
 *
 * The first loop of a process opens a pipe, and the first work for the pool creates the pool's threads. Where that
 * fails libuv ends the process by abort(); and a loop for which descriptors run out half-way leaves one open (1.44). So
 * it is tried here before, and an error returned. Who takes what is needed between the trial and the call is not kept
 * from it: that is a matter of microseconds.
 */
#ifndef SKINK_LOOP_UV_MEANS_H
#define SKINK_LOOP_UV_MEANS_H
#include "loop/capability.h"
#include <uv.h>

/* Before uv_loop_init(): 0, -EMFILE or -ENFILE. */
int skink__uv_has_descriptors(void);

/* uv_queue_work(), but -EAGAIN when the pool has no threads and they cannot be created. */
int skink__uv_queue_work(uv_loop_t *loop, uv_work_t *request, uv_work_cb work, uv_after_work_cb done);
#endif
