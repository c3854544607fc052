/* SPDX-License-Identifier: MIT */
/*
 * app/tools/skink_reference.c - brings the documents up to the table of configuration keys.
 *
 *     skink_reference --update FILE...   write the reference between the marks anew
 *     skink_reference --check FILE...    exit status 1 and a message when that would change something
 */
#include "app/allocate.h"
#include "app/reference.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *read_file(const char *file)
{
    FILE *stream = fopen(file, "r");
    if (!stream) return NULL;
    size_t length = 0, room = 1 << 20;
    char *text = skink__app_alloc(room + 1);
    length = fread(text, 1, room, stream);
    text[length] = '\0';
    fclose(stream);
    return text;
}

static bool write_file(const char *file, const char *text)
{
    FILE *stream = fopen(file, "w");
    if (!stream) return false;
    bool written = fputs(text, stream) >= 0;
    return fclose(stream) == 0 && written;
}

/* Returns 0 when the file is, or has been brought, up to date. */
static int handle(const char *file, bool update)
{
    enum reference_format format;
    char *renewed = NULL;
    char *text = read_file(file);
    if (!text || skink__reference_format_of(file, &format) || skink__reference_renew(format, text, &renewed)) {
        fprintf(stderr, "%s: not a document with the lines \"%s\" and \"%s\"\n", file, REFERENCE_BEGIN, REFERENCE_END);
        free(text);
        return 1;
    }
    int status = 0;
    if (strcmp(text, renewed)) {
        if (update)
            status = !write_file(file, renewed);
        else
            status = 1;
        fprintf(stderr, "%s: %s\n", file, status ? "not up to date; run skink_reference --update" : "updated");
    }
    free(renewed);
    free(text);
    return status;
}

int main(int argc, char **argv)
{
    bool update = argc > 2 && strcmp(argv[1], "--update") == 0;
    if (!update && !(argc > 2 && strcmp(argv[1], "--check") == 0)) {
        fputs("usage: skink_reference --update|--check FILE...\n", stderr);
        return 2;
    }
    int status = 0;
    for (int i = 2; i < argc; i++)
        status |= handle(argv[i], update);
    return status;
}
