/* SPDX-License-Identifier: MIT */
/* app/character.h - which bytes are text. */
#ifndef SKINK_APP_CHARACTER_H
#define SKINK_APP_CHARACTER_H
#include <stddef.h>

/* Bytes of the UTF-8 character at `text`, of which `left` bytes are there, if it is one that may stand in a YAML file
 * (tabs and line ends may, other control characters may not), else 0. */
size_t skink__character_length(const char *text, size_t left);

/* The same for a character that shows: no line end and no tab either. */
size_t skink__printable_length(const char *text, size_t left);

/* NULL if there is nothing but characters that show, else what is wrong with it: "has a control character in it". */
const char *skink__text_fault(const char *text, size_t length);
#endif
