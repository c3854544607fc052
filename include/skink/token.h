/* SPDX-License-Identifier: MIT */
/*
 * skink/token.h - cancellation that is handed down: tokens of one's own, with deadlines, and the scopes they hold for.
 *
 * A token says "stop", and why. It fires once: by skink_token_fire(), because its deadline has passed, or because the
 * token that it was derived from has fired. Work on the thread pool polls it (skink_token_status()). Tasks need not: in
 * a scope of the token each of their waits ends when it fires.
 *
 *     skink_token *token;
 *     error = skink_token_derive(skink_token_current(), skink_after(200 * SKINK_MS), &token);
 *     error = skink_scope_begin(token);
 *     ... every wait in here ends after 200 ms at the latest, with -ETIMEDOUT; or with -ECANCELED as before ...
 *     skink_scope_end();
 *     skink_token_unref(token);
 *
 * Threads  tokens any; scopes inside a task. More     docs/embedding.md, "Deadlines and cancellation";
 * skink_task_token() and skink_token_status() are in skink/task.h.
 */
#ifndef SKINK_TOKEN_H
#define SKINK_TOKEN_H
#include "skink/annot.h"
#include "skink/clock.h"
#include "skink/task.h"
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/*
 * Make a token that fires with its parent, and with -ETIMEDOUT at deadline_ns (SKINK_FOREVER: none of its own) or at
 * the parent's deadline. A parent of NULL is none. Of a parent that has fired comes one that has fired. On 0 the caller
 * owns one reference, and the token keeps one on its parent.
 *   -EAGAIN  derived from a derived one, 32 deep
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_token_derive(skink_token *parent, uint64_t deadline_ns,
                                                 skink_token **ret_token) SKINK_ANY_THREAD;

/* Fire it, and all that were derived from it, with a negative errno. -EALREADY: it had fired before; -EINVAL: reason is
 * not negative. */
SKINK_API int skink_token_fire(skink_token *token, int reason) SKINK_ANY_THREAD;

/* When it fires by itself; SKINK_FOREVER: never, and for NULL. */
SKINK_API uint64_t skink_token_deadline(const skink_token *token) SKINK_ANY_THREAD;

/*
 * From here on, until skink_scope_end(), every wait of the calling task also ends when the token fires, with the
 * token's reason, and none begins afterwards. Scopes nest; each keeps a reference on its token. A scope that is still
 * open when the task ends goes with it. skink_offload() is the exception it always is: it does not return before work
 * that runs has ended.
 *   -EPERM  outside of a task
 *   -EINVAL a NULL
 *   -ENOMEM
 */
SKINK_NODISCARD SKINK_API int skink_scope_begin(skink_token *token) SKINK_IN_TASK;

/* End the innermost scope. Returns what its token says, as skink_token_status(); -EINVAL when there is no scope. The
 * result may be ignored. */
SKINK_API int skink_scope_end(void) SKINK_IN_TASK;

/* The token of the innermost scope, or else skink_task_token(): what to derive from. NULL as that. Borrowed. */
SKINK_API skink_token *skink_token_current(void) SKINK_IN_TASK;

#ifdef __cplusplus
}
#endif
#endif
