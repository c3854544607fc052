/* SPDX-License-Identifier: MIT */
/* recovery/own_memory.c - process_vm_readv() on oneself; where a sandbox forbids that, /proc/self/mem. */
#include "recovery/own_memory.h"
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static bool read_by_file(uintptr_t address, void *to, size_t bytes)
{
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t got = pread(fd, to, bytes, (off_t)address);
    close(fd);
    return got == (ssize_t)bytes;
}

bool skink__own_memory_read(uintptr_t address, void *to, size_t bytes)
{
    if (address == 0) return false;
    struct iovec local = { .iov_base = to, .iov_len = bytes };
    struct iovec remote = { .iov_base = (void *)address, .iov_len = bytes };
    ssize_t got = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    return got == (ssize_t)bytes || (got < 0 && read_by_file(address, to, bytes));
}

bool skink__stack_word(struct skink__stack_reader *reader, uintptr_t address, uintptr_t *ret_word)
{
    const uintptr_t mask = sizeof reader->bytes - 1;
    if (address == 0 || address % sizeof(uintptr_t)) return false;
    if (reader->page != (address & ~mask)) {
        reader->page = 0;
        if (!skink__own_memory_read(address & ~mask, reader->bytes, sizeof reader->bytes)) return false;
        reader->page = address & ~mask;
    }
    memcpy(ret_word, &reader->bytes[address & mask], sizeof *ret_word);
    return true;
}
