/* SPDX-License-Identifier: MIT */
/* loop/descriptor.h - descriptors for which 0 means none. */
#ifndef SKINK_LOOP_DESCRIPTOR_H
#define SKINK_LOOP_DESCRIPTOR_H

/* What a system call has just returned as a new descriptor, or another one for the same if it is 0, which a host that
 * has closed its standard input leaves free. -errno, also of that call. */
int skink__descriptor_not_zero(int fd);
#endif
