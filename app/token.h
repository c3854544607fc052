/* SPDX-License-Identifier: MIT */
/* app/token.h - a secret that stands in a file, so that neither the configuration nor the
 * list of processes shows it. */
#ifndef SKINK_APP_TOKEN_H
#define SKINK_APP_TOKEN_H
#include <stdbool.h>

enum { TOKEN_BYTES = 257, TOKEN_COMPLAINT_BYTES = 600 };

/* The first line of the file, without blanks around it; "" when `path` is "". False: there is no token in it, and
 * `complaint` says why. A file that others may read is complained of in the log alone. */
bool skink__token_read(const char *path, char token[TOKEN_BYTES], char complaint[TOKEN_COMPLAINT_BYTES]);
#endif
