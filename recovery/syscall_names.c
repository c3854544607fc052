/* SPDX-License-Identifier: MIT */
/*
 * recovery/syscall_names.c - see syscall_names.h.
 *
 * Those that can take long. Some exist on some processors only; the newer ones have numbers only in newer headers.
 */
#include "recovery/syscall_names.h"
#include <stddef.h>
#include <sys/syscall.h>

#define PLAIN(name)                                                                                                    \
    {                                                                                                                  \
        SYS_##name, #name, SKINK__CALL_PLAIN                                                                           \
    }
#define DESCRIPTOR(name)                                                                                               \
    {                                                                                                                  \
        SYS_##name, #name, SKINK__CALL_DESCRIPTOR                                                                      \
    }

static const struct skink__call calls[] = {
    { SYS_futex, "futex", SKINK__CALL_FUTEX },
    { SYS_ppoll, "ppoll", SKINK__CALL_POLL },
#ifdef SYS_poll
    { SYS_poll, "poll", SKINK__CALL_POLL },
#endif
    DESCRIPTOR(read),
    DESCRIPTOR(write),
    DESCRIPTOR(readv),
    DESCRIPTOR(writev),
    DESCRIPTOR(pread64),
    DESCRIPTOR(pwrite64),
    DESCRIPTOR(preadv),
    DESCRIPTOR(pwritev),
    DESCRIPTOR(preadv2),
    DESCRIPTOR(pwritev2),
    DESCRIPTOR(recvfrom),
    DESCRIPTOR(recvmsg),
    DESCRIPTOR(recvmmsg),
    DESCRIPTOR(sendto),
    DESCRIPTOR(sendmsg),
    DESCRIPTOR(sendmmsg),
    DESCRIPTOR(accept),
    DESCRIPTOR(accept4),
    DESCRIPTOR(connect),
    DESCRIPTOR(shutdown),
    DESCRIPTOR(close),
    DESCRIPTOR(ioctl),
    DESCRIPTOR(fcntl),
    DESCRIPTOR(flock),
    DESCRIPTOR(fsync),
    DESCRIPTOR(fdatasync),
    DESCRIPTOR(syncfs),
    DESCRIPTOR(sync_file_range),
    DESCRIPTOR(ftruncate),
    DESCRIPTOR(fallocate),
    DESCRIPTOR(fstat),
    DESCRIPTOR(getdents64),
    DESCRIPTOR(sendfile),
    DESCRIPTOR(copy_file_range),
    DESCRIPTOR(splice),
    DESCRIPTOR(tee),
    DESCRIPTOR(vmsplice),
    DESCRIPTOR(epoll_pwait),
#ifdef SYS_epoll_wait
    DESCRIPTOR(epoll_wait),
#endif
#ifdef SYS_epoll_pwait2
    DESCRIPTOR(epoll_pwait2),
#endif
#ifdef SYS_io_uring_enter
    DESCRIPTOR(io_uring_enter),
#endif
#ifdef SYS_select
    PLAIN(select),
#endif
#ifdef SYS_open
    PLAIN(open),
    PLAIN(stat),
    PLAIN(lstat),
    PLAIN(access),
    PLAIN(rename),
    PLAIN(unlink),
    PLAIN(mkdir),
    PLAIN(rmdir),
    PLAIN(readlink),
#endif
#ifdef SYS_pause
    PLAIN(pause),
#endif
#ifdef SYS_vfork
    PLAIN(vfork),
    PLAIN(fork),
#endif
#ifdef SYS_clone3
    PLAIN(clone3),
#endif
#ifdef SYS_futex_waitv
    PLAIN(futex_waitv),
#endif
    PLAIN(pselect6),
    PLAIN(openat),
    PLAIN(newfstatat),
    PLAIN(statx),
    PLAIN(faccessat),
    PLAIN(renameat2),
    PLAIN(unlinkat),
    PLAIN(mkdirat),
    PLAIN(readlinkat),
    PLAIN(statfs),
    PLAIN(truncate),
    PLAIN(mount),
    PLAIN(umount2),
    PLAIN(sync),
    PLAIN(msync),
    PLAIN(mmap),
    PLAIN(munmap),
    PLAIN(mprotect),
    PLAIN(mlock),
    PLAIN(madvise),
    PLAIN(nanosleep),
    PLAIN(clock_nanosleep),
    PLAIN(sched_yield),
    PLAIN(rt_sigsuspend),
    PLAIN(rt_sigtimedwait),
    PLAIN(wait4),
    PLAIN(waitid),
    PLAIN(clone),
    PLAIN(execve),
    PLAIN(ptrace),
    PLAIN(semop),
    PLAIN(semtimedop),
    PLAIN(msgrcv),
    PLAIN(msgsnd),
    PLAIN(mq_timedreceive),
    PLAIN(mq_timedsend),
    PLAIN(io_getevents),
    PLAIN(getrandom),
    PLAIN(membarrier),
    PLAIN(bpf),
    PLAIN(finit_module),
    PLAIN(restart_syscall),
};

const struct skink__call *skink__call_find(long number)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == number) return &calls[i];
    return NULL;
}
