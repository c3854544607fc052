/* SPDX-License-Identifier: MIT */
/* middleware/error_body.h - the one JSON form of errors. */
#ifndef SKINK_MIDDLEWARE_ERROR_BODY_H
#define SKINK_MIDDLEWARE_ERROR_BODY_H
#include "middleware/error_numbers.h"
#include <stddef.h>

enum { SKINK__ERROR_BODY_MESSAGE_MAX = 512, SKINK__ERROR_BODY_BYTES = 320 + 6 * SKINK__ERROR_BODY_MESSAGE_MAX };

/*
 * Write {"status":503,"error":true,"number":1002,"message":"...","request":"5f3a9c2e-17","incident":"..."} and a
 * newline into `body`; returns its length. request_id has no character that JSON escapes. A message of more than
 * SKINK__ERROR_BODY_MESSAGE_MAX bytes is cut (between characters); what is not UTF-8 in it is replaced. incident may be
 * NULL: then the field is left out.
 */
size_t skink__error_body(char body[SKINK__ERROR_BODY_BYTES], int status, int number, const char *message,
                         const char *request_id, const char *incident);
#endif
