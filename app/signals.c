/* SPDX-License-Identifier: MIT */
/* app/signals.c - blocked everywhere, waited for in one thread (see signals.h). */
#include "app/signals.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

/* The process tells itself by a signal of its own: one that it shares with the outside could be taken for the second
 * SIGTERM. It is never unblocked, only waited for. */
#define SIGNAL_ASKED (SIGRTMIN) /* not the highest: recovery takes that, and loop threads do not block it */

static _Atomic int asked_status;  /* 0: nobody has asked */
static _Atomic int second_status; /* of end_at_once() */

static void fill(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigaddset(signals, SIGUSR1);
    sigaddset(signals, SIGUSR2);
    sigaddset(signals, SIGNAL_ASKED);
}

/* Waiting for them in one thread needs them blocked in all, so this comes before the first thread. */
void skink__signals_block(void)
{
    sigset_t signals;
    signal(SIGPIPE, SIG_IGN); /* a client that hangs up is an error of that write and no more */
    fill(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

/* The thread that takes them meanwhile. Not the main thread with them unblocked: what threads the foreign code starts
 * would have them unblocked as well, for ever. */
static struct {
    pthread_t thread;
    bool running;
} heed;

static void fill_ends(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
}

static void *wait_for_end(void *arg)
{
    sigset_t ends, signals;
    int number = 0;
    (void)arg;
    fill_ends(&ends);
    signals = ends;
    sigaddset(&signals, SIGNAL_ASKED); /* it is no longer needed */
    while (sigwait(&signals, &number) != 0) {
    }
    if (number == SIGNAL_ASKED) return NULL;
    signal(number, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
    raise(number);
    _exit(128 + number); /* the first process of a container: for that one the kernel does not do it */
}

void skink__signals_heed(void)
{
    /* Without a thread they wait until somebody asks for them. */
    heed.running = pthread_create(&heed.thread, NULL, wait_for_end, NULL) == 0;
}

void skink__signals_heed_no_more(void)
{
    if (!heed.running) return;
    pthread_kill(heed.thread, SIGNAL_ASKED);
    pthread_join(heed.thread, NULL);
    heed.running = false;
}

int skink__signals_wait(void)
{
    sigset_t signals;
    int number = 0;
    fill(&signals);
    while (sigwait(&signals, &number) != 0) {
    }
    return number == SIGNAL_ASKED ? 0 : number;
}

static void end_at_once(int number)
{
    (void)number;
    _exit(atomic_load(&second_status));
}

/* They reach the main thread, wherever it waits. */
void skink__signals_arm_second(int status)
{
    struct sigaction action = { .sa_handler = end_at_once };
    sigset_t signals;
    atomic_store(&second_status, status);
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    fill_ends(&signals);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

void skink__signals_ask_to_stop(int status)
{
    int nobody = 0;
    if (atomic_compare_exchange_strong(&asked_status, &nobody, status)) kill(getpid(), SIGNAL_ASKED);
}

int skink__signals_asked_status(void)
{
    return atomic_load(&asked_status);
}
