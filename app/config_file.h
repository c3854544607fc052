/* SPDX-License-Identifier: MIT */
/* app/config_file.h - the bytes of a configuration file. */
#ifndef SKINK_APP_CONFIG_FILE_H
#define SKINK_APP_CONFIG_FILE_H
#include "app/problems.h"
#include <stdbool.h>
#include <stddef.h>

#define CONFIG_FILE_MAX_BYTES (1u << 20) /* a few kilobytes are usual; what is larger is another file */

/* Read it whole; the first time pipes and /dev/stdin too. `again`: a pipe is refused, for it would be empty, or be
 * waited for without end. On true the caller frees *ret_bytes. On false a problem was added. */
bool skink__config_file_read(const char *file, bool again, struct problems *problems, char **ret_bytes,
                             size_t *ret_length);
#endif
