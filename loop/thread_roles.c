/* SPDX-License-Identifier: MIT */
/* loop/thread_roles.c - a table with a place per thread; see thread_roles.h. */
#include "loop/thread_roles.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

enum { PLACES = 1024 }; /* more threads than this, and some are not known */

static struct {
    _Atomic int tid;            /* 0: free. Taken by compare-exchange, by the thread itself */
    _Atomic(const char *) role; /* its own thread writes; release, for readers that found the tid */
} places[PLACES];

static pthread_key_t ending_key;
static pthread_once_t ending_once = PTHREAD_ONCE_INIT;
static bool has_key;

/* At the end of a thread; its place, plus one, is the key's value. */
static void leave_place(void *value)
{
    size_t i = (size_t)value - 1;
    atomic_store_explicit(&places[i].role, NULL, memory_order_relaxed);
    atomic_store_explicit(&places[i].tid, 0, memory_order_release);
}

static void make_key(void)
{
    has_key = pthread_key_create(&ending_key, leave_place) == 0;
}

static size_t take_place(int tid)
{
    for (size_t i = 0; i < PLACES; i++) {
        int nobody = 0;
        if (atomic_load_explicit(&places[i].tid, memory_order_relaxed) == 0 &&
            atomic_compare_exchange_strong(&places[i].tid, &nobody, tid))
            return i + 1;
    }
    return 0;
}

void skink__thread_role_set(const char *role)
{
    pthread_once(&ending_once, make_key);
    if (!has_key) return;
    size_t place = (size_t)pthread_getspecific(ending_key);
    if (!place) {
        place = take_place((int)gettid());
        if (!place) return;
        pthread_setspecific(ending_key, (void *)place);
    }
    atomic_store_explicit(&places[place - 1].role, role, memory_order_release);
}

const char *skink__thread_role(pid_t tid)
{
    for (size_t i = 0; i < PLACES; i++)
        if (atomic_load_explicit(&places[i].tid, memory_order_acquire) == (int)tid)
            return atomic_load_explicit(&places[i].role, memory_order_acquire);
    return NULL;
}

void skink__thread_role_set_pool(void)
{
    static _Thread_local bool told __attribute__((tls_model("initial-exec")));
    if (told) return;
    told = true;
    skink__thread_role_set(SKINK__ROLE_POOL);
}
