/* SPDX-License-Identifier: MIT */
/* app/module_loader.c - loading a module, with a message for each way in which that can fail (see module_loader.h). */
#include "app/module_loader.h"
#include "app/allocate.h"
#include "skink/error.h"
#include "skink/module.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULES_MAX 256

typedef int (*module_init)(const skink_module *module);

/* Without a slash the loader would look in the system's folders and not here. */
static void *open_object(const char *file)
{
    if (strchr(file, '/')) return dlopen(file, RTLD_NOW | RTLD_LOCAL);
    char *here = skink__app_format("./%s", file);
    void *object = dlopen(here, RTLD_NOW | RTLD_LOCAL);
    free(here);
    return object;
}

/* The loader gives the same object for the same file; its routes would collide with themselves. */
static bool check_first(const char *file, void *object, char *complaint)
{
    static void *loaded[MODULES_MAX];
    static size_t count;
    for (size_t i = 0; i < count; i++) {
        if (loaded[i] != object) continue;
        snprintf(complaint, MODULE_COMPLAINT_BYTES, "%s: loaded already; expected each --module once", file);
        return false;
    }
    if (count == MODULES_MAX) {
        snprintf(complaint, MODULE_COMPLAINT_BYTES, "%s: too many modules; expected at most %d", file, MODULES_MAX);
        return false;
    }
    loaded[count++] = object;
    return true;
}

static bool check_abi(const char *file, void *object, char *complaint)
{
    const uint32_t *abi = dlsym(object, "skink_module_abi");
    if (!abi) {
        snprintf(complaint, MODULE_COMPLAINT_BYTES,
                 "%s: not a module of skink: it has no skink_module_abi; write SKINK_MODULE; at file level and define "
                 "skink_module_init (skink/module.h)",
                 file);
        return false;
    }
    if (*abi == SKINK_MODULE_ABI) return true;
    snprintf(complaint, MODULE_COMPLAINT_BYTES,
             "%s: built for version %u of the module interface, this skinkd has version %u; build the module anew",
             file, (unsigned)*abi, (unsigned)SKINK_MODULE_ABI);
    return false;
}

static bool run_init(const char *file, void *object, skink_scheduler *scheduler, skink_http_server *http_server,
                     uint32_t loop_count, char *complaint)
{
    module_init init;
    void *symbol = dlsym(object, "skink_module_init");
    memcpy(&init, &symbol, sizeof init); /* ISO C has no conversion from void * to a function */
    if (!init) {
        snprintf(complaint, MODULE_COMPLAINT_BYTES, "%s: it has no skink_module_init (skink/module.h)", file);
        return false;
    }
    /* The module may keep the pointer, and nothing says for how long: so each has one of its own, for ever. */
    static skink_module modules[MODULES_MAX];
    static size_t count;
    skink_module *module = &modules[count++]; /* check_first() has counted as well */
    *module = (skink_module){ .abi = SKINK_MODULE_ABI,
                              .path = file,
                              .scheduler = scheduler,
                              .http_server = http_server,
                              .loop_count = loop_count };
    int error = init(module);
    if (error == 0) return true;
    snprintf(complaint, MODULE_COMPLAINT_BYTES, "%s: skink_module_init failed with %d (%s)", file, error,
             error < 0 ? skink_strerror(error) : "not a negative errno");
    return false;
}

bool skink__module_load(const char *file, skink_scheduler *scheduler, skink_http_server *http_server,
                        uint32_t loop_count, char complaint[MODULE_COMPLAINT_BYTES])
{
    if (access(file, R_OK)) { /* the loader's own words for this are less clear */
        snprintf(complaint, MODULE_COMPLAINT_BYTES, "%s: %s", file, strerror(errno));
        return false;
    }
    void *object = open_object(file);
    if (!object) {
        snprintf(complaint, MODULE_COMPLAINT_BYTES, "cannot load the module: %s", dlerror());
        return false;
    }
    return check_first(file, object, complaint) && check_abi(file, object, complaint) &&
           run_init(file, object, scheduler, http_server, loop_count, complaint);
}
