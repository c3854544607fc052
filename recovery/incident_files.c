/* SPDX-License-Identifier: MIT */
/* recovery/incident_files.c - see incident_files.h. */
#include "recovery/incident_files.h"
#include "loop/memory.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME_START "incident-"
#define NAME_END ".json"
enum { NAME_BYTES = sizeof NAME_START + SKINK_INCIDENT_ID_BYTES + sizeof NAME_END };

int skink__incident_files_init(struct skink__incident_files *files, const char *folder)
{
    *files = (struct skink__incident_files){ 0 };
    if (!folder || !*folder) return 0;
    files->folder = skink__strdup(folder);
    return files->folder ? 0 : -ENOMEM;
}

void skink__incident_files_fini(struct skink__incident_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        skink__free(files->names[i]);
    skink__free(files->names);
    skink__free(files->folder);
    *files = (struct skink__incident_files){ 0 };
}

/* ---- which files there are ---- */

struct found {
    char *name;
    struct timespec changed;
};

static int by_age(const void *left, const void *right)
{
    const struct timespec *a = &((const struct found *)left)->changed, *b = &((const struct found *)right)->changed;
    if (a->tv_sec != b->tv_sec) return a->tv_sec < b->tv_sec ? -1 : 1;
    if (a->tv_nsec != b->tv_nsec) return a->tv_nsec < b->tv_nsec ? -1 : 1;
    return 0;
}

static bool is_ours(const char *name)
{
    size_t length = strlen(name), end = sizeof NAME_END - 1;
    return length < NAME_BYTES && strncmp(name, NAME_START, sizeof NAME_START - 1) == 0 && length > end &&
           strcmp(name + length - end, NAME_END) == 0;
}

static struct found *find_files(DIR *dir, size_t *ret_count)
{
    struct found *found = NULL;
    size_t count = 0, room = 0;
    for (const struct dirent *entry; (entry = readdir(dir));) {
        struct stat status;
        if (!is_ours(entry->d_name)) continue;
        if (fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) || !S_ISREG(status.st_mode)) continue;
        if (count == room) {
            room = room ? 2 * room : 64;
            struct found *larger = skink__realloc(found, room * sizeof *found);
            if (!larger) break; /* those that are not known are not removed */
            found = larger;
        }
        found[count].name = skink__strdup(entry->d_name);
        if (!found[count].name) break;
        found[count++].changed = status.st_mtim;
    }
    *ret_count = count;
    return found;
}

/* Drop the oldest until there is room for one more. */
static void make_room(struct skink__incident_files *files, int folder)
{
    size_t drop = files->count < SKINK__INCIDENT_FILES_MAX ? 0 : files->count - SKINK__INCIDENT_FILES_MAX + 1;
    for (size_t i = 0; i < drop; i++) {
        unlinkat(folder, files->names[i], 0); /* somebody else may have removed it */
        skink__free(files->names[i]);
    }
    files->count -= drop;
    memmove(files->names, files->names + drop, files->count * sizeof *files->names);
}

/* At the first file: what former processes have left. */
static void read_folder(struct skink__incident_files *files, int folder)
{
    size_t count = 0;
    int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
    if (!dir) {
        if (copy >= 0) close(copy);
        return;
    }
    files->has_read = true;
    struct found *found = find_files(dir, &count);
    closedir(dir);
    size_t room = count < SKINK__INCIDENT_FILES_MAX ? SKINK__INCIDENT_FILES_MAX : count;
    files->names = skink__alloc(room * sizeof *files->names);
    if (found) qsort(found, count, sizeof *found, by_age);
    for (size_t i = 0; found && i < count; i++) {
        if (files->names)
            files->names[files->count++] = found[i].name;
        else
            skink__free(found[i].name);
    }
    skink__free(found);
}

static bool is_known(const struct skink__incident_files *files, const char *name)
{
    for (size_t i = files->count; i > 0; i--)
        if (strcmp(files->names[i - 1], name) == 0) return true;
    return false;
}

/* Without memory for its name it stays for ever; a process that starts later removes it. */
static void note_file(struct skink__incident_files *files, int folder, const char *name)
{
    if (!files->names || is_known(files, name)) return;
    make_room(files, folder);
    char *copy = skink__strdup(name);
    if (copy) files->names[files->count++] = copy;
}

/* ---- writing ---- */

static int write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return -errno;
        text += written;
        length -= (size_t)written;
    }
    return 0;
}

static int write_file(int folder, const char *name, const char *text, size_t length)
{
    char draft[NAME_BYTES + 8];
    snprintf(draft, sizeof draft, ".%s.tmp", name);
    unlinkat(folder, draft, 0); /* of a process that ended in the middle */
    int fd = openat(folder, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    int err = write_all(fd, text, length);
    if (close(fd) && !err) err = -errno; /* some file systems tell only here that there is no room */
    if (!err && renameat(folder, draft, folder, name)) err = -errno;
    if (err) unlinkat(folder, draft, 0);
    return err;
}

int skink__incident_files_write(struct skink__incident_files *files, const skink_incident *incident)
{
    if (!files->folder) return 0;
    char name[NAME_BYTES], *text;
    size_t length;
    snprintf(name, sizeof name, NAME_START "%s" NAME_END, incident->id);
    int err = skink_incident_json(incident, &text, &length);
    if (err) return err;
    int folder = open(files->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    err = folder < 0 ? -errno : 0;
    if (!err) {
        if (!files->has_read) read_folder(files, folder);
        err = write_file(folder, name, text, length);
        if (!err) note_file(files, folder, name);
        close(folder);
    }
    skink_incident_json_free(text);
    return err;
}
