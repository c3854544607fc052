/* SPDX-License-Identifier: MIT */
/*
 * loop/switch_aarch64.S - the stack switch for the AAPCS64 (loop/switch.h).
 *
 * A suspended stack, from its sp upwards:
 *
 *     0  x29, x30 (where it goes on)
 *    16  x19 to x28
 *    96  d8 to d15, the halves of the vector registers that a call keeps
 *   160  FPCR, unused
 *   176  the sp that it goes on with
 *
 * The way back is a plain jump, for the reason given in switch_x86_64.S, except in builds with branch target
 * identification: there a jump may only go to a landing pad, which the place behind a call is not, but a `ret`
 * anywhere. FPCR is written only when it differs, as that drains the pipeline. A debugger unwinds a suspended stack
 * from sp = its sp, pc = skink__switch_resume. Guarded control stacks are not supported, and not claimed below
 * (shadow_stack.c).
 */
#define FRAME 176

#ifdef __ARM_FEATURE_BTI_DEFAULT
#define LANDING_PAD bti c
#define RETURN ret
#else
#define LANDING_PAD hint 34 /* the same instruction, by the name that every assembler knows */
#define RETURN br x30
#endif

        .text

/* void skink__switch_stack(void **save_sp, void *to_sp) */
        .globl  skink__switch_stack
        .hidden skink__switch_stack
        .type   skink__switch_stack, %function
        .p2align 4
skink__switch_stack:
        .cfi_startproc
        LANDING_PAD
        sub     sp, sp, #FRAME
        .cfi_def_cfa_offset FRAME
        stp     x29, x30, [sp]
        .cfi_rel_offset x29, 0
        .cfi_rel_offset x30, 8
        stp     x19, x20, [sp, #16]
        .cfi_rel_offset x19, 16
        .cfi_rel_offset x20, 24
        stp     x21, x22, [sp, #32]
        .cfi_rel_offset x21, 32
        .cfi_rel_offset x22, 40
        stp     x23, x24, [sp, #48]
        .cfi_rel_offset x23, 48
        .cfi_rel_offset x24, 56
        stp     x25, x26, [sp, #64]
        .cfi_rel_offset x25, 64
        .cfi_rel_offset x26, 72
        stp     x27, x28, [sp, #80]
        .cfi_rel_offset x27, 80
        .cfi_rel_offset x28, 88
        stp     d8, d9, [sp, #96]
        .cfi_rel_offset d8, 96
        .cfi_rel_offset d9, 104
        stp     d10, d11, [sp, #112]
        .cfi_rel_offset d10, 112
        .cfi_rel_offset d11, 120
        stp     d12, d13, [sp, #128]
        .cfi_rel_offset d12, 128
        .cfi_rel_offset d13, 136
        stp     d14, d15, [sp, #144]
        .cfi_rel_offset d14, 144
        .cfi_rel_offset d15, 152
        mrs     x9, fpcr
        str     x9, [sp, #160]
        mov     x10, sp
        str     x10, [x0]

        /* From here on the same frame, word for word, on the other stack; x9 is what FPCR holds. */
        mov     sp, x1
        b       .Lresume_with_fpcr
        .globl  skink__switch_resume
        .hidden skink__switch_resume
skink__switch_resume:
        mrs     x9, fpcr
.Lresume_with_fpcr:
        ldr     x10, [sp, #160]
        cmp     x9, x10
        b.eq    1f
        msr     fpcr, x10
1:      ldp     x29, x30, [sp]
        .cfi_restore x29
        .cfi_restore x30
        ldp     x19, x20, [sp, #16]
        .cfi_restore x19
        .cfi_restore x20
        ldp     x21, x22, [sp, #32]
        .cfi_restore x21
        .cfi_restore x22
        ldp     x23, x24, [sp, #48]
        .cfi_restore x23
        .cfi_restore x24
        ldp     x25, x26, [sp, #64]
        .cfi_restore x25
        .cfi_restore x26
        ldp     x27, x28, [sp, #80]
        .cfi_restore x27
        .cfi_restore x28
        ldp     d8, d9, [sp, #96]
        .cfi_restore d8
        .cfi_restore d9
        ldp     d10, d11, [sp, #112]
        .cfi_restore d10
        .cfi_restore d11
        ldp     d12, d13, [sp, #128]
        .cfi_restore d12
        .cfi_restore d13
        ldp     d14, d15, [sp, #144]
        .cfi_restore d14
        .cfi_restore d15
        add     sp, sp, #FRAME
        .cfi_def_cfa_offset 0
        RETURN
        .cfi_endproc
        .size   skink__switch_stack, . - skink__switch_stack

/* void *skink__switch_prepare(void *stack_bottom, void *stack_top, void (*enter)(void *), void *arg) */
        .globl  skink__switch_prepare
        .hidden skink__switch_prepare
        .type   skink__switch_prepare, %function
        .p2align 4
skink__switch_prepare:
        .cfi_startproc
        LANDING_PAD
        sub     x0, x1, #FRAME
        and     x0, x0, #-16
        adr     x9, first_frame
        mrs     x10, fpcr
        stp     xzr, x9, [x0]           /* x29: 0 ends a walk along frame pointers */
        stp     x2, x3, [x0, #16]       /* x19: enter, x20: arg */
        stp     xzr, xzr, [x0, #32]
        stp     xzr, xzr, [x0, #48]
        stp     xzr, xzr, [x0, #64]
        stp     xzr, xzr, [x0, #80]
        stp     xzr, xzr, [x0, #96]
        stp     xzr, xzr, [x0, #112]
        stp     xzr, xzr, [x0, #128]
        stp     xzr, xzr, [x0, #144]
        str     x10, [x0, #160]
        ret
        .cfi_endproc
        .size   skink__switch_prepare, . - skink__switch_prepare

/* Where a stack goes on for the first time, with sp a multiple of 16. It has no caller: unwinding ends here. */
        .type   first_frame, %function
        .p2align 4
first_frame:
        .cfi_startproc
        .cfi_undefined x30
        hint    36                      /* bti j, to be jumped to */
        mov     x0, x20
        blr     x19
        brk     #1000                   /* enter has returned, and there is nowhere to go */
        .cfi_endproc
        .size   first_frame, . - first_frame

        .section .note.GNU-stack, "", %progbits

#ifdef __ARM_FEATURE_BTI_DEFAULT
/* NT_GNU_PROPERTY_TYPE_0 with GNU_PROPERTY_AARCH64_FEATURE_1_AND = BTI */
        .section .note.gnu.property, "a"
        .p2align 3
        .long   4                       /* length of the name */
        .long   16                      /* length of the description */
        .long   5
        .asciz  "GNU"
        .long   0xc0000000
        .long   4
        .long   1
        .long   0
#endif
