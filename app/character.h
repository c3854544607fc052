/* SPDX-License-Identifier: MIT */
/* app/character.h - which bytes are text. */
#ifndef SKINK_APP_CHARACTER_H
#define SKINK_APP_CHARACTER_H
#include <stdbool.h>
#include <stddef.h>

/* Bytes of the UTF-8 character at `text`, of which `left` bytes are there, if it is one that may stand in a YAML file
 * (tabs and line ends may, other control characters may not), else 0. */
size_t skink__character_length(const char *text, size_t left);

/* Nothing but characters that show: no control characters, no line ends, no broken UTF-8. */
bool skink__text_is_printable(const char *text, size_t length);
#endif
