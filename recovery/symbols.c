/* SPDX-License-Identifier: MIT */
/*
 * recovery/symbols.c - elfutils' libdwfl asked about our own process; see symbols.h.
 *
 * libdwfl is given the modules that /proc/self/maps tells of, and opens a module's file when an address in it is first
 * asked for. The dynamic loader is not asked (dladdr and the like), since a stuck thread may hold its lock. The list is
 * compared with the kernel's before an answer, at most every MAPS_FRESH_NS, so that what was loaded by dlopen() is
 * found and what took the place of an unloaded module is not mistaken for it.
 *
 * Answers are kept: the same few thousand addresses are asked for again and again.
 */
#include "recovery/symbols.h"
#include "loop/capability.h"
#include "loop/memory.h"
#include "recovery/modules.h"
#include "skink/clock.h"
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    INLINE_DEPTH_MAX = 16,
    ANSWERS_MAX = 1 << 16, /* then all are forgotten */
    STRING_BUCKETS = 1 << 10
};
#define MAPS_FRESH_NS (100 * SKINK_MS)
#define ROOM_BYTES ((size_t)128 << 20)

struct string {
    struct string *next; /* skink__symbols.strings */
    char text[];
};

/* What is known of one address. */
struct answer {
    uintptr_t pc; /* 0: the place is free */
    struct skink__frame *frames;
    size_t frame_count;
    const char *module;
    const char *unit;
    struct skink__unwind_rule rule;
    bool has_rule;
};

/* Held by all calls: elfutils is not made for several threads. */
static skink__mutex table_lock = PTHREAD_MUTEX_INITIALIZER;

struct skink__symbols {
    Dwfl *dwfl SKINK__GUARDED_BY(table_lock);          /* NULL before the first question, or when it cannot be had */
    uint64_t maps_hash SKINK__GUARDED_BY(table_lock);  /* of the list that dwfl was last given */
    uint64_t checked_ns SKINK__GUARDED_BY(table_lock); /* when the list was last compared with the kernel's; 0: never */
    struct answer *answers SKINK__GUARDED_BY(table_lock); /* open addressing; a power of two */
    size_t answer_count SKINK__GUARDED_BY(table_lock);
    size_t answer_slots SKINK__GUARDED_BY(table_lock);
    struct string *strings[STRING_BUCKETS] SKINK__GUARDED_BY(table_lock);
};

/* The one table. */
static struct skink__symbols *table SKINK__GUARDED_BY(table_lock);
static unsigned table_refs SKINK__GUARDED_BY(table_lock);

/* ---- strings ---- */

static uint64_t hash_bytes(uint64_t hash, const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211); /* FNV-1a */
    return hash;
}
#define HASH_SEED UINT64_C(14695981039346656037)

/* NULL without memory, as for NULL. */
static const char *intern(struct skink__symbols *symbols, const char *text) SKINK__REQUIRES(table_lock)
{
    if (!text) return NULL;
    size_t length = strlen(text);
    struct string **bucket = &symbols->strings[hash_bytes(HASH_SEED, text, length) % STRING_BUCKETS];
    for (struct string *string = *bucket; string; string = string->next)
        if (strcmp(string->text, text) == 0) return string->text;
    struct string *string = skink__alloc(sizeof *string + length + 1);
    if (!string) return NULL;
    memcpy(string->text, text, length + 1);
    string->next = *bucket;
    *bucket = string;
    return string->text;
}

static void strings_free(struct skink__symbols *symbols) SKINK__REQUIRES(table_lock)
{
    for (size_t i = 0; i < STRING_BUCKETS; i++)
        for (struct string *string = symbols->strings[i], *next; string; string = next) {
            next = string->next;
            skink__free(string);
        }
}

/* ---- answers ---- */

static void answers_free(struct skink__symbols *symbols) SKINK__REQUIRES(table_lock)
{
    for (size_t i = 0; i < symbols->answer_slots; i++)
        skink__free(symbols->answers[i].frames);
    skink__free(symbols->answers);
    symbols->answers = NULL;
    symbols->answer_count = symbols->answer_slots = 0;
}

static struct answer *answer_slot(struct answer *answers, size_t slots, uintptr_t pc)
{
    size_t i = (pc * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (slots - 1);
    while (answers[i].pc && answers[i].pc != pc)
        i = (i + 1) & (slots - 1);
    return &answers[i];
}

static bool answers_grow(struct skink__symbols *symbols) SKINK__REQUIRES(table_lock)
{
    if (symbols->answer_count >= ANSWERS_MAX) answers_free(symbols);
    size_t slots = symbols->answer_slots ? 2 * symbols->answer_slots : 256;
    struct answer *answers = skink__zalloc(slots * sizeof *answers);
    if (!answers) return false;
    for (size_t i = 0; i < symbols->answer_slots; i++)
        if (symbols->answers[i].pc) *answer_slot(answers, slots, symbols->answers[i].pc) = symbols->answers[i];
    skink__free(symbols->answers);
    symbols->answers = answers;
    symbols->answer_slots = slots;
    return true;
}

/* ---- modules ---- */

/* Build ids, and /usr/lib/debug. elfutils' own search for debugging information goes on to debuginfod servers when the
 * environment names some, and a report must not wait for a network: then only build ids are tried. */
static int find_debuginfo(Dwfl_Module *module, void **user, const char *module_name, Dwarf_Addr base, const char *file,
                          const char *link, GElf_Word link_crc, char **ret_file)
{
    const char *servers = getenv("DEBUGINFOD_URLS");
    if (servers && *servers)
        return dwfl_build_id_find_debuginfo(module, user, module_name, base, file, link, link_crc, ret_file);
    return dwfl_standard_find_debuginfo(module, user, module_name, base, file, link, link_crc, ret_file);
}

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_linux_proc_find_elf,
    .find_debuginfo = find_debuginfo,
};

/* Without memory libdw ends the process by exit(), or reads what it did not get. So it is asked nothing unless there is
 * room for far more than it takes for a module; who asks again later may get an answer then. */
static bool has_room(void)
{
    void *room = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) return false;
    munmap(room, ROOM_BYTES);
    return true;
}

static uint64_t hash_modules(FILE *maps)
{
    uint64_t hash = HASH_SEED;
    struct skink__module module = { 0 }; /* nothing undefined between its members */
    struct skink__module_reader reader = { .maps = maps };
    while (skink__module_read(&reader, &module))
        hash = hash_bytes(hash, (const char *)&module, offsetof(struct skink__module, path) + strlen(module.path));
    skink__module_reader_end(&reader);
    return hash;
}

static void report_modules(struct skink__symbols *symbols, FILE *maps) SKINK__REQUIRES(table_lock)
{
    if (!symbols->dwfl) symbols->dwfl = dwfl_begin(&callbacks);
    if (!symbols->dwfl) return;
    struct skink__module module;
    struct skink__module_reader reader = { .maps = maps };
    dwfl_report_begin(symbols->dwfl);
    rewind(maps);
    while (skink__module_read(&reader, &module))
        dwfl_report_module(symbols->dwfl, module.path, module.start, module.end);
    dwfl_report_end(symbols->dwfl, NULL, NULL);
    skink__module_reader_end(&reader);
}

static void refresh_modules(struct skink__symbols *symbols) SKINK__REQUIRES(table_lock)
{
    uint64_t now = skink_now();
    if ((symbols->checked_ns && now - symbols->checked_ns < MAPS_FRESH_NS) || !has_room()) return;
    symbols->checked_ns = now;
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps) return;
    uint64_t hash = hash_modules(maps);
    if (hash != symbols->maps_hash || !symbols->dwfl) {
        report_modules(symbols, maps);
        symbols->maps_hash = hash;
        answers_free(symbols);
    }
    fclose(maps);
}

/* libdwfl counts what lies right behind a module as part of it, and what lies in the gaps that are left where a
 * module's parts are aligned to more than a page (64 KiB on aarch64). A file that cannot be read says
 * nothing of that. */
static Dwfl_Module *module_at(struct skink__symbols *symbols, uintptr_t pc) SKINK__REQUIRES(table_lock)
{
    Dwarf_Addr start, end, bias, address = pc;
    Dwfl_Module *module = symbols->dwfl ? dwfl_addrmodule(symbols->dwfl, pc) : NULL;
    if (module) dwfl_module_info(module, NULL, &start, &end, NULL, NULL, NULL, NULL);
    if (!module || pc < start || pc >= end) return NULL;
    return !dwfl_module_getelf(module, &bias) || dwfl_module_address_section(module, &address, &bias) ? module : NULL;
}

static const char *module_name(Dwfl_Module *module, Dwarf_Addr *ret_start)
{
    const char *name = dwfl_module_info(module, NULL, ret_start, NULL, NULL, NULL, NULL, NULL);
    const char *slash = name ? strrchr(name, '/') : NULL;
    return slash ? slash + 1 : name;
}

/* ---- functions ---- */

/* The frames being collected for one address. */
struct collector {
    struct skink__symbols *symbols;
    uintptr_t pc;
    struct skink__frame frames[INLINE_DEPTH_MAX];
    size_t count;
    const char *unit;
};

static void collect(struct collector *collector, const char *function, const char *file, int line, bool inlined)
    SKINK__REQUIRES(table_lock)
{
    if (collector->count == INLINE_DEPTH_MAX) return;
    collector->frames[collector->count++] = (struct skink__frame){
        .function = intern(collector->symbols, function),
        .file = intern(collector->symbols, file),
        .line = line,
        .inlined = inlined,
        .pc = collector->pc,
    };
}

/* The compilation unit that pc is in. clang writes no index from addresses to units unless it is told to. */
static Dwarf_Die *unit_at(Dwfl_Module *module, uintptr_t pc, Dwarf_Addr *ret_bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(module, pc, ret_bias);
    if (unit) return unit;
    while ((unit = dwfl_module_nextcu(module, unit, ret_bias)))
        if (dwarf_haspc(unit, pc - *ret_bias) == 1) return unit;
    return NULL;
}

static bool number_attribute(Dwarf_Die *die, unsigned name, Dwarf_Word *ret_value)
{
    Dwarf_Attribute attribute;
    return dwarf_formudata(dwarf_attr(die, name, &attribute), ret_value) == 0;
}

/* The chain of blocks and functions around pc as the code has them, innermost first; the caller frees it. What
 * dwarf_getscopes() says of an inlined function goes on with where that is written, not with where it was inlined. */
static int scopes_at(Dwarf_Die *unit, Dwarf_Addr address, Dwarf_Die **ret_scopes)
{
    Dwarf_Die *scopes = NULL;
    if (dwarf_getscopes(unit, address, &scopes) <= 0) return 0;
    Dwarf_Die innermost = scopes[0];
    free(scopes);
    *ret_scopes = NULL;
    int count = dwarf_getscopes_die(&innermost, ret_scopes);
    return count > 0 ? count : 0;
}

/* From debugging information; false: there is none for pc. */
static bool collect_from_dwarf(struct collector *collector, Dwfl_Module *module, const char *symbol)
    SKINK__REQUIRES(table_lock)
{
    Dwarf_Addr bias;
    Dwarf_Die *unit = unit_at(module, collector->pc, &bias);
    if (!unit) return false;
    collector->unit = intern(collector->symbols, dwarf_diename(unit));
    Dwarf_Line *source = dwarf_getsrc_die(unit, collector->pc - bias);
    const char *file = source ? dwarf_linesrc(source, NULL, NULL) : NULL;
    int line = 0;
    if (source) dwarf_lineno(source, &line);

    Dwarf_Files *files = NULL;
    dwarf_getsrcfiles(unit, &files, NULL);
    Dwarf_Die *scopes = NULL;
    int count = scopes_at(unit, collector->pc - bias, &scopes);
    bool found = false;
    for (int i = 0; i < count && !found; i++) {
        int tag = dwarf_tag(&scopes[i]);
        if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram) continue;
        found = tag == DW_TAG_subprogram;
        const char *name = dwarf_diename(&scopes[i]);
        collect(collector, name || !found ? name : symbol, file, line, !found);
        if (found) break;
        Dwarf_Word file_index, call_line; /* from DWARF 5 on, the first file has the number 0 */
        bool has_file = files && number_attribute(&scopes[i], DW_AT_call_file, &file_index);
        file = has_file ? dwarf_filesrc(files, file_index, NULL, NULL) : NULL;
        line = number_attribute(&scopes[i], DW_AT_call_line, &call_line) ? (int)call_line : 0;
    }
    free(scopes);
    if (!found && symbol) collect(collector, symbol, file, line, false); /* assembly: lines, but no functions */
    return collector->count > 0;
}

/* The symbol whose extent pc is in; not merely the last one before it. */
static const char *symbol_at(Dwfl_Module *module, uintptr_t pc)
{
    GElf_Off offset;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(module, pc, &offset, &symbol, NULL, NULL, NULL);
    return name && *name && offset < symbol.st_size ? name : NULL;
}

static void collect_all(struct collector *collector, Dwfl_Module *module) SKINK__REQUIRES(table_lock)
{
    char text[320];
    snprintf(text, sizeof text, "0x%" PRIxPTR, collector->pc);
    if (module) {
        const char *symbol = symbol_at(module, collector->pc);
        if (collect_from_dwarf(collector, module, symbol)) return;
        Dwarf_Addr start = 0;
        const char *name = module_name(module, &start);
        if (symbol)
            snprintf(text, sizeof text, "%s", symbol);
        else if (name)
            snprintf(text, sizeof text, "%s+0x%" PRIx64, name, (uint64_t)(collector->pc - start));
    }
    collect(collector, text, NULL, 0, false);
}

/* ---- unwind rules ---- */

#if defined(__x86_64__)
enum { FP_REGISTER = 6, SP_REGISTER = 7 };
#elif defined(__aarch64__)
enum { FP_REGISTER = 29, SP_REGISTER = 31 };
#else
enum { FP_REGISTER = -1, SP_REGISTER = -1 }; /* no rule is ever found */
#endif

static bool to_int32(Dwarf_Word word, int32_t *ret)
{
    int64_t value = (int64_t)word;
    if (value < INT32_MIN || value > INT32_MAX) return false;
    *ret = (int32_t)value;
    return true;
}

/* CFA = a register + offset */
static bool read_cfa(Dwarf_Frame *frame, struct skink__unwind_rule *rule)
{
    Dwarf_Op *ops;
    size_t count;
    if (dwarf_frame_cfa(frame, &ops, &count) != 0 || count != 1) return false;
    int number;
    Dwarf_Word offset;
    if (ops[0].atom >= DW_OP_breg0 && ops[0].atom <= DW_OP_breg31) {
        number = ops[0].atom - DW_OP_breg0;
        offset = ops[0].number;
    } else if (ops[0].atom == DW_OP_bregx) {
        number = (int)ops[0].number;
        offset = ops[0].number2;
    } else {
        return false;
    }
    rule->cfa_from_fp = number == FP_REGISTER;
    return (number == FP_REGISTER || number == SP_REGISTER) && to_int32(offset, &rule->cfa_offset);
}

enum place { PLACE_MEMORY, PLACE_SAME, PLACE_UNDEFINED, PLACE_OTHER };

/* Where the caller's value of a register is: in memory at CFA + *ret_offset, or elsewhere. */
static enum place read_place(Dwarf_Frame *frame, int number, int32_t *ret_offset)
{
    Dwarf_Op memory[3], *ops;
    size_t count;
    if (dwarf_frame_register(frame, number, memory, &ops, &count) != 0) return PLACE_OTHER;
    if (count == 0) return ops ? PLACE_UNDEFINED : PLACE_SAME;
    if (ops[0].atom != DW_OP_call_frame_cfa || count > 2) return PLACE_OTHER;
    *ret_offset = 0;
    if (count == 1) return PLACE_MEMORY;
    return ops[1].atom == DW_OP_plus_uconst && to_int32(ops[1].number, ret_offset) ? PLACE_MEMORY : PLACE_OTHER;
}

static struct skink__unwind_rule read_rule(Dwarf_Frame *frame)
{
    struct skink__unwind_rule rule = { .kind = SKINK__UNWIND_UNKNOWN };
    const struct skink__unwind_rule unknown = rule;
    bool signal = false;
    int ra = dwarf_frame_info(frame, NULL, NULL, &signal);
    if (ra < 0 || signal) return unknown;
    enum place place = read_place(frame, ra, &rule.ra_offset);
    if (place == PLACE_UNDEFINED) {
        rule.kind = SKINK__UNWIND_LAST;
        return rule;
    }
    if (place == PLACE_OTHER || !read_cfa(frame, &rule)) return unknown;
    rule.ra_in_register = place == PLACE_SAME;
    place = read_place(frame, FP_REGISTER, &rule.fp_offset);
    rule.fp = place == PLACE_SAME     ? SKINK__UNWIND_FP_SAME
              : place == PLACE_MEMORY ? SKINK__UNWIND_FP_SAVED
                                      : SKINK__UNWIND_FP_LOST;
    rule.kind = SKINK__UNWIND_STEP;
    return rule;
}

static struct skink__unwind_rule rule_at(Dwfl_Module *module, uintptr_t pc)
{
    struct skink__unwind_rule rule = { .kind = SKINK__UNWIND_UNKNOWN };
    Dwarf_Addr bias = 0;
    Dwarf_Frame *frame = NULL;
    Dwarf_CFI *cfi = module ? dwfl_module_eh_cfi(module, &bias) : NULL;
    if (!cfi || dwarf_cfi_addrframe(cfi, pc - bias, &frame) != 0) {
        cfi = module ? dwfl_module_dwarf_cfi(module, &bias) : NULL;
        if (!cfi || dwarf_cfi_addrframe(cfi, pc - bias, &frame) != 0) return rule;
    }
    rule = read_rule(frame);
    free(frame);
    return rule;
}

/* ---- questions, under the lock ---- */

/* The kept answer, made if need be; NULL without memory. What it lacks may be asked for. */
static struct answer *ask(struct skink__symbols *symbols, uintptr_t pc) SKINK__REQUIRES(table_lock)
{
    refresh_modules(symbols);
    if (2 * (symbols->answer_count + 1) > symbols->answer_slots && !answers_grow(symbols)) return NULL;
    struct answer *answer = answer_slot(symbols->answers, symbols->answer_slots, pc);
    bool complete = answer->pc && answer->frames && answer->has_rule;
    if (!complete && !has_room()) return NULL;
    if (!answer->pc) {
        answer->pc = pc;
        symbols->answer_count++;
        Dwfl_Module *module = module_at(symbols, pc);
        Dwarf_Addr start;
        answer->module = module ? intern(symbols, module_name(module, &start)) : NULL;
    }
    return answer;
}

static void find_frames(struct skink__symbols *symbols, struct answer *answer) SKINK__REQUIRES(table_lock)
{
    struct collector collector = { .symbols = symbols, .pc = answer->pc };
    collect_all(&collector, module_at(symbols, answer->pc));
    answer->frames = skink__alloc(collector.count * sizeof *answer->frames);
    if (!answer->frames) return;
    for (size_t i = 0; i < collector.count; i++)
        if (!collector.frames[i].function) collector.frames[i].function = "?"; /* without a name, or without memory */
    memcpy(answer->frames, collector.frames, collector.count * sizeof *answer->frames);
    answer->frame_count = collector.count;
    answer->unit = collector.unit;
}

size_t skink__symbols_find(struct skink__symbols *symbols, uintptr_t pc, struct skink__frame *frames, size_t max)
{
    if (max == 0) return 0;
    size_t count = 0;
    skink__mutex_lock(&table_lock);
    struct answer *answer = pc ? ask(symbols, pc) : NULL;
    if (answer && !answer->frames) find_frames(symbols, answer);
    for (; answer && count < max && count < answer->frame_count; count++)
        frames[count] = answer->frames[count];
    skink__mutex_unlock(&table_lock);
    if (count) return count;
    frames[0] = (struct skink__frame){ .function = "?", .pc = pc };
    return 1;
}

const char *skink__symbols_unit(struct skink__symbols *symbols, uintptr_t pc)
{
    skink__mutex_lock(&table_lock);
    struct answer *answer = pc ? ask(symbols, pc) : NULL;
    if (answer && !answer->frames) find_frames(symbols, answer);
    const char *unit = answer ? answer->unit : NULL;
    skink__mutex_unlock(&table_lock);
    return unit;
}

const char *skink__symbols_module(struct skink__symbols *symbols, uintptr_t pc)
{
    skink__mutex_lock(&table_lock);
    struct answer *answer = pc ? ask(symbols, pc) : NULL;
    const char *module = answer ? answer->module : NULL;
    skink__mutex_unlock(&table_lock);
    return module;
}

struct skink__unwind_rule skink__symbols_unwind_rule(struct skink__symbols *symbols, uintptr_t pc)
{
    struct skink__unwind_rule rule = { .kind = SKINK__UNWIND_UNKNOWN };
    skink__mutex_lock(&table_lock);
    struct answer *answer = pc ? ask(symbols, pc) : NULL;
    if (answer && !answer->has_rule) {
        answer->rule = rule_at(module_at(symbols, pc), pc);
        answer->has_rule = true;
    }
    if (answer) rule = answer->rule;
    skink__mutex_unlock(&table_lock);
    return rule;
}

void skink__symbols_warm(struct skink__symbols *symbols)
{
    /* Of us, and of the C library, in which most threads that are stuck are. */
    const uintptr_t warm[] = { (uintptr_t)skink__symbols_warm + 1, (uintptr_t)memcpy, (uintptr_t)pthread_mutex_lock };
    struct skink__frame frame;
    for (size_t i = 0; i < sizeof warm / sizeof *warm; i++) {
        skink__symbols_find(symbols, warm[i], &frame, 1);
        skink__symbols_unwind_rule(symbols, warm[i]);
    }
}

/* ---- create and destroy ---- */

int skink__symbols_create(struct skink__symbols **ret_symbols)
{
    skink__mutex_lock(&table_lock);
    if (!table) table = skink__zalloc(sizeof *table);
    int err = table ? 0 : -ENOMEM;
    if (table) table_refs++;
    *ret_symbols = table;
    skink__mutex_unlock(&table_lock);
    return err;
}

void skink__symbols_destroy(struct skink__symbols *symbols)
{
    if (!symbols) return;
    skink__mutex_lock(&table_lock);
    if (--table_refs == 0) {
        answers_free(symbols);
        strings_free(symbols);
        if (symbols->dwfl) dwfl_end(symbols->dwfl);
        skink__free(symbols);
        table = NULL;
    }
    skink__mutex_unlock(&table_lock);
}
