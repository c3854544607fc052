/* SPDX-License-Identifier: MIT */
/* recovery/modules.h - which program, libraries and modules lie where in this process. */
#ifndef SKINK_RECOVERY_MODULES_H
#define SKINK_RECOVERY_MODULES_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A file whose code is mapped: from its first byte to the last of its parts. */
struct skink__module {
    uintptr_t start, end;
    uint64_t device, inode;
    char path[4096]; /* cut if longer */
};

/* A reader of /proc/self/maps, zeroed but for the stream. */
struct skink__module_reader {
    FILE *maps;     /* of who opened it */
    bool has_begun; /* what follows is of the reader itself */
    char *line;
    size_t line_size;
    struct skink__mapping {
        uintptr_t start, end;
        uint64_t offset, device, inode;
        const char *path; /* in line; NULL: there are no more */
        bool is_executable;
    } next;
};

/* The next one, in the order of addresses; false: there are no more. A file that is mapped twice is two. Files that are
 * mapped for reading only, as whoever reads them does, are left out. */
bool skink__module_read(struct skink__module_reader *reader, struct skink__module *ret_module);

/* Does not close the stream. */
void skink__module_reader_end(struct skink__module_reader *reader);
#endif
