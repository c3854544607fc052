/* SPDX-License-Identifier: MIT */
/*
 * recovery/modules.c - the modules that /proc/self/maps tells of; see modules.h.
 *
 * dwfl_linux_proc_maps_report() does the same, but takes all mappings of a file that follow one another for one module.
 * libelf maps the files that it reads, and the kernel gives it the room right below what was mapped last: often that is
 * the very module, which then seemed to begin too early, and its functions were other ones.
 */
#include "recovery/modules.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool parse(const char *line, struct skink__mapping *ret_mapping, int *ret_path_at)
{
    unsigned major, minor;
    char permissions[5];
    struct skink__mapping mapping = { 0 };
    int path_at = 0;
    int fields = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &mapping.start,
                        &mapping.end, permissions, &mapping.offset, &major, &minor, &mapping.inode, &path_at);
    if (fields != 7 || line[path_at] != '/') return false;
    mapping.device = (uint64_t)major << 32 | minor;
    mapping.is_executable = permissions[2] == 'x';
    *ret_mapping = mapping;
    *ret_path_at = path_at;
    return true;
}

/* On to the next mapping of a file. */
static void advance(struct skink__module_reader *reader)
{
    int path_at;
    reader->next.path = NULL;
    while (getline(&reader->line, &reader->line_size, reader->maps) > 0) {
        if (!parse(reader->line, &reader->next, &path_at)) continue;
        reader->line[strcspn(reader->line, "\n")] = '\0';
        reader->next.path = reader->line + path_at;
        return;
    }
}

/* Each module begins with the begin of its file. */
static bool is_part_of(const struct skink__mapping *mapping, const struct skink__module *module)
{
    return mapping->path && mapping->offset != 0 && mapping->inode == module->inode &&
           mapping->device == module->device && strcmp(mapping->path, module->path) == 0;
}

bool skink__module_read(struct skink__module_reader *reader, struct skink__module *ret_module)
{
    const struct skink__mapping *next = &reader->next;
    if (!reader->has_begun) advance(reader);
    reader->has_begun = true;
    while (next->path) {
        bool is_executable = next->is_executable;
        unsigned parts = 1;
        ret_module->start = next->start;
        ret_module->end = next->end;
        ret_module->device = next->device;
        ret_module->inode = next->inode;
        snprintf(ret_module->path, sizeof ret_module->path, "%s", next->path);
        for (advance(reader); is_part_of(next, ret_module); advance(reader)) {
            ret_module->end = next->end;
            is_executable |= next->is_executable;
            parts++;
        }
        /* A program may have its code moved to larger pages, which are of no file: then its other parts tell. */
        if (is_executable || parts > 1) return true;
    }
    return false;
}

void skink__module_reader_end(struct skink__module_reader *reader)
{
    free(reader->line);
    reader->line = NULL;
}
