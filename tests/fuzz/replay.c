/* SPDX-License-Identifier: MIT */
/*
 * tests/fuzz/replay.c - the main of a fuzz target in a build without libFuzzer.
 *
 * Feeds it every file of a folder whole; an empty or missing folder fails, since then nothing would be tested.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    /* Exactly as large as the input, so that AddressSanitizer sees one byte too many. */
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    uint8_t *data = size >= 0 ? malloc((size_t)size) : NULL;
    int result = -1;
    rewind(file);
    if (data && fread(data, 1, (size_t)size, file) == (size_t)size) result = LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    fclose(file);
    return result;
}

int main(int argc, char **argv)
{
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    int inputs = 0;
    int bad = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        inputs++;
        if (replay(path) != 0) {
            fprintf(stderr, "not accepted: %s\n", path);
            bad++;
        }
    }
    closedir(dir);
    printf("%d inputs, %d bad\n", inputs, bad);
    return inputs == 0 || bad > 0;
}
