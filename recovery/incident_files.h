/* SPDX-License-Identifier: MIT */
/*
 * recovery/incident_files.h - one JSON file per incident, in a folder of the operator's.
 *
 * A file is written under another name and then renamed, so that who reads the folder sees whole files only; its mode
 * is 0600, since stacks and names may tell what others need not know. The newest SKINK__INCIDENT_FILES_MAX stay, those
 * of former processes counted in; older ones are removed. The helper thread's: a folder on a dead file server stops
 * nobody else.
 */
#ifndef SKINK_RECOVERY_INCIDENT_FILES_H
#define SKINK_RECOVERY_INCIDENT_FILES_H
#include "skink/incident.h"
#include <stdbool.h>
#include <stddef.h>

enum { SKINK__INCIDENT_FILES_MAX = 1000 };

struct skink__incident_files {
    char *folder; /* NULL: none is written */
    char **names; /* those that are there, oldest first; NULL before the folder was read */
    size_t count;
    bool has_read;
    bool has_failed; /* the last one could not be written, and that was said */
};

/* folder may be NULL or "". -ENOMEM. */
int skink__incident_files_init(struct skink__incident_files *files, const char *folder);
void skink__incident_files_fini(struct skink__incident_files *files);

/* Write an incident's file, or write it anew. 0 or a negative errno;
 * nothing is left of a file that could not be written. */
int skink__incident_files_write(struct skink__incident_files *files, const skink_incident *incident);
#endif
