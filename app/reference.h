/* SPDX-License-Identifier: MIT */
/*
 * app/reference.h - the documents' list of all keys, made from the table.
 *
 * Each document has a line with REFERENCE_BEGIN in it and one with REFERENCE_END; what stands between them is made
 * here, the rest is written by hand.
 */
#ifndef SKINK_APP_REFERENCE_H
#define SKINK_APP_REFERENCE_H

#define REFERENCE_BEGIN "reference: begin"
#define REFERENCE_END "reference: end"

enum reference_format {
    REFERENCE_MARKDOWN, /* docs/configuration.md */
    REFERENCE_MAN,      /* docs/skinkd.8         */
    REFERENCE_YAML      /* app/skinkd.yaml       */
};

/* The format for a file of that name, by its ending. Returns 0, or -EINVAL for another ending. */
int skink__reference_format_of(const char *file, enum reference_format *ret_format);

/*
 * The document as it should be: the caller's text with the part between the marks made anew. On 0 the caller frees
 * *ret_text. -EINVAL when the marks are missing.
 */
int skink__reference_renew(enum reference_format format, const char *text, char **ret_text);
#endif
