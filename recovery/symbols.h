/* SPDX-License-Identifier: MIT */
/*
 * recovery/symbols.h - from an address in this process to functions, files and lines, and to its caller's frame.
 *
 * The process has one table, shared by all who ask for it: debugging information is large. It knows what elfutils finds
 * in the files of the mapped modules: debugging information (also where a distribution installs it apart), else the
 * symbol table, else the module's name. Nothing is fetched from the network.
 *
 * Owns     all strings it has given out, and the open files behind them.
 * Threads  helper threads: a call may take 100 ms (the first one of a module), reads files, allocates by malloc() and
 *          holds a mutex meanwhile. Never a loop thread, never the watchdog.
 */
#ifndef SKINK_RECOVERY_SYMBOLS_H
#define SKINK_RECOVERY_SYMBOLS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct skink__symbols;

/* One function at an address. Strings live as long as the table. */
struct skink__frame {
    const char *function; /* never NULL: "module+0x12" or "0x12" without a symbol */
    const char *file;     /* NULL: not known */
    int line;             /* 0: not known    */
    bool inlined;         /* into the function of the next frame */
    uintptr_t pc;         /* as asked for */
};

/* A reference on the process's table. Nothing is read before the first question. -ENOMEM */
int skink__symbols_create(struct skink__symbols **ret_symbols);
void skink__symbols_destroy(struct skink__symbols *symbols); /* NULL is fine; the last one closes it */

/* Read what the first report would have to read else: for a helper thread that has just started. */
void skink__symbols_warm(struct skink__symbols *symbols);

/*
 * The functions at pc, the innermost inlined one first, the one that really was called last; at most `max`, and at
 * least one. pc is the address of an instruction: of a return address, pass the one before it (pc - 1).
 */
size_t skink__symbols_find(struct skink__symbols *symbols, uintptr_t pc, struct skink__frame *frames, size_t max);

/* The last part of the file name of the module that pc is in ("libc.so.6"), or NULL. */
const char *skink__symbols_module(struct skink__symbols *symbols, uintptr_t pc);

/* The source file that the code at pc was compiled from, as the compiler was given it; NULL: not known. It is the file
 * of the unit also where a function of another file was inlined. */
const char *skink__symbols_unit(struct skink__symbols *symbols, uintptr_t pc);

/* Where a caller's registers are, for most code of most compilers: the frame's upper end (CFA) is a distance from the
 * stack or frame pointer, and the rest is in memory at a distance from that. */
enum skink__unwind_kind {
    SKINK__UNWIND_UNKNOWN = 0, /* no unwind information, or of a kind that this cannot say */
    SKINK__UNWIND_STEP,        /* the fields hold                                          */
    SKINK__UNWIND_LAST         /* it has no caller                                         */
};
enum skink__unwind_fp {
    SKINK__UNWIND_FP_SAME = 0, /* the caller's frame pointer is in its register   */
    SKINK__UNWIND_FP_SAVED,    /* ... is in memory                                */
    SKINK__UNWIND_FP_LOST
};

struct skink__unwind_rule {
    uint8_t kind;        /* enum skink__unwind_kind */
    uint8_t fp;          /* enum skink__unwind_fp */
    bool cfa_from_fp;    /* else from the stack pointer */
    bool ra_in_register; /* aarch64: the return address is in the link register: only of an innermost frame */
    int32_t cfa_offset;  /* CFA - register */
    int32_t ra_offset;   /* where the return address is - CFA */
    int32_t fp_offset;   /* with SAVED: where it is - CFA */
};

/* The rule at pc (as above). */
struct skink__unwind_rule skink__symbols_unwind_rule(struct skink__symbols *symbols, uintptr_t pc);
#endif
