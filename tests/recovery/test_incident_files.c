/* SPDX-License-Identifier: MIT */
/* One JSON file per incident: whole, private, bounded in number, and no harm done where none can be written. */
#include "recovery/incident_files.h"
#include "skink/clock.h"
#include "tests/recovery/fixture.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct folder {
    char path[64];
    struct skink__incident_files files;
};

static int setup(void **state)
{
    static struct folder folder;
    /* In memory where that is possible: each file is made safe on the disk, and these are a thousand. */
    snprintf(folder.path, sizeof folder.path, "%s/skink-test-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    *state = &folder;
    return mkdtemp(folder.path) && skink__incident_files_init(&folder.files, folder.path) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
    struct folder *folder = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder->path);
    skink__incident_files_fini(&folder->files);
    return system(command);
}

static skink_incident incident_of(uint64_t number)
{
    skink_incident incident = { .number = number, .scheduler = "loop", .task = "task", .wchan = "", .state = 'S' };
    snprintf(incident.id, sizeof incident.id, "abc-%llu", (unsigned long long)number);
    return incident;
}

static size_t count_entries(const char *path)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(dir);
    return count;
}

static char *path_of(const struct folder *folder, const char *id)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/incident-%s.json", folder->path, id);
    return path;
}

static void check_outcome(const char *path, const char *outcome)
{
    json_t *json = json_load_file(path, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "outcome")), outcome);
    json_decref(json);
}

static void file_is_private_and_written_anew(void **state)
{
    struct folder *folder = *state;
    struct stat status;
    skink_incident incident = incident_of(1);
    umask(0);
    assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0);
    assert_int_equal(stat(path_of(folder, "abc-1"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    check_outcome(path_of(folder, "abc-1"), "still stuck");
    incident.finished_after_ns = 3 * SKINK_S / 2;
    assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0);
    check_outcome(path_of(folder, "abc-1"), "finished after 1.500 s");
    assert_int_equal(count_entries(folder->path), 1);
}

static void leave_old_file(const struct folder *folder, const char *name, time_t age_s)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - age_s } };
    assert_int_equal(futimens(fd, times), 0);
    close(fd);
}

/* Those of former processes count in; what is not ours stays. */
static void newest_files_are_kept(void **state)
{
    struct folder *folder = *state;
    leave_old_file(folder, "notes.txt", 5000);
    leave_old_file(folder, "incident-no-end", 5000);
    leave_old_file(folder, "incident-old-2.json", 3000);
    leave_old_file(folder, "incident-old-1.json", 4000);
    for (uint64_t number = 1; number <= SKINK__INCIDENT_FILES_MAX - 1; number++) {
        skink_incident incident = incident_of(number);
        assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0);
        assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0); /* is the same file */
    }
    assert_int_not_equal(access(path_of(folder, "old-1"), F_OK), 0);
    assert_int_equal(access(path_of(folder, "old-2"), F_OK), 0);
    assert_int_equal(count_entries(folder->path), SKINK__INCIDENT_FILES_MAX + 2);
    for (uint64_t number = 2000; number < 2003; number++) {
        skink_incident incident = incident_of(number);
        assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0);
    }
    assert_int_not_equal(access(path_of(folder, "old-2"), F_OK), 0);
    assert_int_not_equal(access(path_of(folder, "abc-2"), F_OK), 0);
    assert_int_equal(access(path_of(folder, "abc-3"), F_OK), 0);
    assert_int_equal(count_entries(folder->path), SKINK__INCIDENT_FILES_MAX + 2);
}

static void full_disk_leaves_nothing_half_written(void **state)
{
    struct folder *folder = *state;
    struct rlimit limit, small;
    skink_incident incident = incident_of(1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 100; /* bytes, of any file: like a disk that is full after them */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int err = skink__incident_files_write(&folder->files, &incident);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(err, -EFBIG);
    assert_int_equal(count_entries(folder->path), 0);
    assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0);
    assert_int_equal(count_entries(folder->path), 1);
}

static void missing_folder_is_an_error_until_it_is_there(void **state)
{
    struct folder *folder = *state;
    skink_incident incident = incident_of(1);
    assert_int_equal(rmdir(folder->path), 0);
    assert_int_equal(skink__incident_files_write(&folder->files, &incident), -ENOENT);
    assert_int_equal(mkdir(folder->path, 0700), 0);
    assert_int_equal(skink__incident_files_write(&folder->files, &incident), 0);
}

/* ---- with a recovery ---- */

static _Atomic int failures_told, successes_told;

static void hear(skink_log_level level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    if (strncmp(line, "event=incident_file_failed ", 27) == 0) atomic_fetch_add(&failures_told, 1);
    if (strncmp(line, "event=incident_file_works_again ", 32) == 0) atomic_fetch_add(&successes_told, 1);
}

__attribute__((constructor)) static void install_hook(void)
{
    skink_hooks hooks = SKINK_HOOKS_INIT;
    hooks.log = hear;
    if (skink_hooks_set(&hooks) != 0) abort();
}

static void get_stuck_once(struct fixture *f)
{
    struct stuck s;
    uint64_t told = atomic_load(&f->incidents), returned = fixture_stats(f).strays_returned;
    stuck_init(&s);
    stuck_spawn(f, &s);
    test_wait_until(atomic_load(&f->incidents) > told, 15000);
    stuck_release(&s);
    test_wait_until(atomic_load(&s.ended), 15000);
    test_wait_until(fixture_stats(f).strays_returned > returned, 15000);
}

static uint64_t files_written(struct fixture *f)
{
    return fixture_stats(f).incident_files;
}

/* Without a folder it is said once, each time that it begins, and recovery goes on. */
static void recovery_goes_on_without_files_and_says_so_once(void **state)
{
    struct folder *folder = *state;
    struct fixture f;
    skink_recovery_options options = SKINK_RECOVERY_OPTIONS_INIT;
    options.incident_dir = folder->path;
    fixture_start(&f, &options);
    get_stuck_once(&f);
    test_wait_until(files_written(&f) == 2, 5000); /* stuck, and how it ended */
    json_t *json = json_load_file(path_of(folder, f.last.id), 0, NULL);
    assert_non_null(json);
    const char *outcome = json_string_value(json_object_get(json, "outcome"));
    assert_int_equal(strncmp(outcome, "finished after ", 15), 0);
    json_decref(json);

    assert_int_equal(unlink(path_of(folder, f.last.id)), 0);
    assert_int_equal(rmdir(folder->path), 0);
    get_stuck_once(&f);
    get_stuck_once(&f);
    test_wait_until(fixture_stats(&f).incident_files_failed == 4, 5000);
    assert_int_equal(atomic_load(&failures_told), 1);
    assert_int_equal(fixture_stats(&f).takeovers, 3);

    assert_int_equal(mkdir(folder->path, 0700), 0);
    get_stuck_once(&f);
    test_wait_until(files_written(&f) == 4, 5000);
    assert_int_equal(atomic_load(&failures_told), 1);
    assert_int_equal(atomic_load(&successes_told), 1);
    assert_int_equal(fixture_stop(&f), 0);
}

static const struct test_case cases[] = {
    CASE(file_is_private_and_written_anew),
    CASE(newest_files_are_kept),
    CASE(full_disk_leaves_nothing_half_written),
    CASE(missing_folder_is_an_error_until_it_is_there),
    CASE_TIMEOUT(recovery_goes_on_without_files_and_says_so_once, 40),
};
TEST_MAIN(cases, setup, teardown)
