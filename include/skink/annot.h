/* SPDX-License-Identifier: MIT */
/*
 * skink/annot.h - the words that stand on every declaration.
 *
 * Each marker tells where a function may be called from and whether it gives up the thread. They expand to nothing:
 * documentation that cannot drift from the declaration it stands on. That a call is made from the right place is
 * checked when it is made (-EPERM), and inside the library by assertions that are always on.
 */
#ifndef SKINK_ANNOT_H
#define SKINK_ANNOT_H

#if defined(__GNUC__)
#define SKINK_API __attribute__((visibility("default")))
#define SKINK_NODISCARD __attribute__((warn_unused_result))
#define SKINK_PRINTF(format_index, first_index) __attribute__((format(printf, format_index, first_index)))
#else
#define SKINK_API
#define SKINK_NODISCARD
#define SKINK_PRINTF(format_index, first_index)
#endif

/* May be called from every thread: a task, the runtime section, or a thread that skink does not know. */
#define SKINK_ANY_THREAD

/* Only inside a task. Elsewhere the function does nothing, and returns -EPERM (NULL, if it returns a pointer). */
#define SKINK_IN_TASK

/* Inside a task it may suspend that task, and nothing else. After it the task may be on another thread: read errno and
 * thread-locals anew. So may any other call, when the slice is overdue or its thread has been abandoned
 * (docs/embedding.md, "What changes at a suspension"). */
#define SKINK_SUSPENDS

/* Really blocks the calling thread. On a loop thread that stops every other task until it is over. */
#define SKINK_BLOCKS

#endif
