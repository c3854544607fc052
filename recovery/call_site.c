/* SPDX-License-Identifier: MIT */
/* recovery/call_site.c - see call_site.h. */
#include "recovery/call_site.h"
#include "recovery/own_memory.h"
#include <string.h>

/* What calls and the stubs of a program that is linked dynamically look like, for the processors that we know:
 * follow_stub() says where the code at `address` jumps to by way of a table, called_from() where the call before a
 * return address goes to, follow_jump() where a jump goes. 0: the code does not say. */

#if defined(__x86_64__)
static uintptr_t follow_stub(uintptr_t address)
{
    unsigned char code[16];
    if (!skink__own_memory_read(address, code, sizeof code)) return 0;
    size_t at = memcmp(code, "\xf3\x0f\x1e\xfa", 4) == 0 ? 4 : 0; /* endbr64 */
    if (code[at] == 0xf2) at++;                                   /* bnd */
    if (code[at] != 0xff || code[at + 1] != 0x25) return 0;       /* jmp *distance(%rip) */
    int32_t distance;
    memcpy(&distance, &code[at + 2], sizeof distance);
    uintptr_t target;
    uintptr_t entry = address + at + 6 + (uintptr_t)(intptr_t)distance;
    return skink__own_memory_read(entry, &target, sizeof target) ? target : 0;
}

static uintptr_t called_from(uintptr_t return_address)
{
    unsigned char code[6];
    int32_t distance;
    uintptr_t target = 0;
    if (!skink__own_memory_read(return_address - sizeof code, code, sizeof code)) return 0;
    memcpy(&distance, &code[2], sizeof distance);
    uintptr_t end = return_address + (uintptr_t)(intptr_t)distance;
    if (code[1] == 0xe8) return end; /* call end */
    if (code[0] != 0xff || code[1] != 0x15) return 0;
    return skink__own_memory_read(end, &target, sizeof target) ? target : 0; /* call *end */
}

static uintptr_t follow_jump(uintptr_t address)
{
    (void)address; /* nobody asks */
    return 0;
}
#elif defined(__aarch64__)
/* The lowest `bits` of a word as a number with a sign. */
static int64_t signed_bits(uint64_t word, unsigned bits)
{
    return (int64_t)(word << (64 - bits)) >> (64 - bits);
}

static uintptr_t follow_stub(uintptr_t address)
{
    uint32_t code[3];
    uintptr_t target;
    if (!skink__own_memory_read(address, code, sizeof code)) return 0;
    size_t at = code[0] == 0xd503245f ? 1 : 0; /* bti c */
    address += at * sizeof *code;
    if ((code[at] & 0x9f00001f) != 0x90000010) return 0;     /* adrp x16, page */
    if ((code[at + 1] & 0xffc003ff) != 0xf9400211) return 0; /* ldr x17, [x16, offset] */
    int64_t pages = signed_bits((code[at] >> 5 & 0x7ffff) << 2 | (code[at] >> 29 & 3), 21);
    uintptr_t entry = (address & ~(uintptr_t)0xfff) + (uintptr_t)(pages * 4096) + (code[at + 1] >> 10 & 0xfff) * 8;
    return skink__own_memory_read(entry, &target, sizeof target) ? target : 0;
}

static uintptr_t called_from(uintptr_t return_address)
{
    uint32_t code;
    if (!skink__own_memory_read(return_address - sizeof code, &code, sizeof code)) return 0;
    if ((code & 0xfc000000) != 0x94000000) return 0; /* bl distance */
    return return_address - sizeof code + (uintptr_t)(signed_bits(code, 26) * 4);
}

static uintptr_t follow_jump(uintptr_t address)
{
    uint32_t code;
    if (!skink__own_memory_read(address, &code, sizeof code) || (code & 0xfc000000) != 0x14000000) return 0;
    return address + (uintptr_t)(signed_bits(code, 26) * 4); /* b distance */
}
#else
static uintptr_t follow_jump(uintptr_t address)
{
    (void)address;
    return 0;
}

static uintptr_t follow_stub(uintptr_t address)
{
    (void)address;
    return 0;
}

static uintptr_t called_from(uintptr_t return_address)
{
    (void)return_address;
    return 0;
}
#endif

bool skink__call_site_is_c_library(struct skink__symbols *symbols, uintptr_t pc)
{
    const char *module = skink__symbols_module(symbols, pc);
    return module && (strncmp(module, "libc.so", 7) == 0 || strncmp(module, "libc-2", 6) == 0 ||
                      strncmp(module, "libpthread", 10) == 0);
}

uintptr_t skink__call_site_target(struct skink__symbols *symbols, uintptr_t return_address)
{
    uintptr_t target = called_from(return_address);
    if (target && !skink__call_site_is_c_library(symbols, target)) target = follow_stub(target);
    return target && skink__call_site_is_c_library(symbols, target) ? target : 0;
}

uintptr_t skink__call_site_jump(struct skink__symbols *symbols, uintptr_t pc)
{
    uintptr_t target = follow_jump(pc);
    return target && skink__call_site_is_c_library(symbols, target) ? target : 0;
}
