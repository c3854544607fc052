/* SPDX-License-Identifier: MIT */
/*
 * loop/switch_x86_64.S - the stack switch for the System V ABI on x86-64 (loop/switch.h).
 *
 * A suspended stack, from its sp upwards:
 *
 *     0  MXCSR (4 bytes), x87 control word (2 bytes), unused (2 bytes)
 *     8  r15, r14, r13, r12, rbx, rbp
 *    56  where it goes on
 *    64  the sp that it goes on with
 *
 * The way back is `pop; jmp`, not `ret`: the processor predicts a `ret` from the calls that it has seen on the stack we
 * come from, so that here it would be wrong nearly every time. A jump is predicted from where it went before.
 *
 * The unwind tables are right at every instruction, also between the two stacks, so a signal handler may unwind from
 * anywhere in here. A debugger unwinds a suspended stack from  rsp = its sp, rip = skink__switch_resume.
 *
 * Control-flow enforcement: every target of our jumps is a landing pad (endbr64), and the object says so (IBT). It does
 * not say SHSTK, since a switch of stacks leaves the shadow stack behind: the linker then leaves SHSTK out of the
 * program or library that contains us, and the C library runs the process without shadow stacks, or refuses to dlopen
 * the library into a process that insists on them.
 */
        .text

/* void skink__switch_stack(void **save_sp, void *to_sp) */
        .globl  skink__switch_stack
        .hidden skink__switch_stack
        .type   skink__switch_stack, @function
        .p2align 4
skink__switch_stack:
        .cfi_startproc
        endbr64
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movq    %rsp, (%rdi)

        /* From here on the same frame, word for word, on the other stack. */
        movq    %rsi, %rsp
        .globl  skink__switch_resume
        .hidden skink__switch_resume
skink__switch_resume:
        ldmxcsr (%rsp)
        fldcw   4(%rsp)
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        popq    %rdx
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rdx
        jmp     *%rdx
        .cfi_endproc
        .size   skink__switch_stack, . - skink__switch_stack

/* void *skink__switch_prepare(void *stack_bottom, void *stack_top, void (*enter)(void *), void *arg) */
        .globl  skink__switch_prepare
        .hidden skink__switch_prepare
        .type   skink__switch_prepare, @function
        .p2align 4
skink__switch_prepare:
        .cfi_startproc
        endbr64
        leaq    -64(%rsi), %rax
        andq    $-16, %rax
        stmxcsr (%rax)
        fnstcw  4(%rax)
        xorl    %esi, %esi
        movq    %rsi, 8(%rax)           /* r15 */
        movq    %rsi, 16(%rax)          /* r14 */
        movq    %rcx, 24(%rax)          /* r13: arg */
        movq    %rdx, 32(%rax)          /* r12: enter */
        movq    %rsi, 40(%rax)          /* rbx */
        movq    %rsi, 48(%rax)          /* rbp: 0 ends a walk along frame pointers */
        leaq    first_frame(%rip), %rdx
        movq    %rdx, 56(%rax)
        ret
        .cfi_endproc
        .size   skink__switch_prepare, . - skink__switch_prepare

/* Where a stack goes on for the first time, with sp a multiple of 16. It has no caller: unwinding ends here. */
        .type   first_frame, @function
        .p2align 4
first_frame:
        .cfi_startproc
        .cfi_undefined rip
        endbr64
        movq    %r13, %rdi
        call    *%r12
        ud2                             /* enter has returned, and there is nowhere to go */
        .cfi_endproc
        .size   first_frame, . - first_frame

        .section .note.GNU-stack, "", @progbits

/* NT_GNU_PROPERTY_TYPE_0 with GNU_PROPERTY_X86_FEATURE_1_AND = IBT */
        .section .note.gnu.property, "a"
        .p2align 3
        .long   4                       /* length of the name */
        .long   16                      /* length of the description */
        .long   5
        .asciz  "GNU"
        .long   0xc0000002
        .long   4
        .long   1
        .long   0
