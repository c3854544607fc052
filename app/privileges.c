/* SPDX-License-Identifier: MIT */
/* app/privileges.c - from root to somebody else, with no way back (see privileges.h). */
#include "app/privileges.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct identity {
    char name[64];
    uid_t user;
    gid_t group;
};

/* What cannot be done with whom, and why, if the system said. */
static bool complain(char *complaint, const char *what, const char *name, int error)
{
    snprintf(complaint, PRIVILEGES_COMPLAINT_BYTES, "--user: %s %.64s%s%s", what, name, error ? ": " : "",
             error ? strerror(error) : "");
    return false;
}

/* "name" or "name:group". There is one thread that asks, so the functions that share memory will do. */
static bool find(const char *who, struct identity *identity, char *complaint)
{
    size_t length = strcspn(who, ":");
    snprintf(identity->name, sizeof identity->name, "%.*s", (int)length, who);
    errno = 0;
    const struct passwd *user = getpwnam(identity->name);
    if (!user) return complain(complaint, "there is no user", identity->name, errno);
    identity->user = user->pw_uid;
    identity->group = user->pw_gid;
    if (who[length] == '\0') return true;
    const struct group *group = getgrnam(who + length + 1);
    if (!group) return complain(complaint, "there is no group", who + length + 1, errno);
    identity->group = group->gr_gid;
    return true;
}

static bool become(const struct identity *identity)
{
    if (initgroups(identity->name, identity->group) != 0) return false;
    if (setresgid(identity->group, identity->group, identity->group) != 0) return false;
    return setresuid(identity->user, identity->user, identity->user) == 0;
}

bool skink__privileges_drop(const char *who, char complaint[PRIVILEGES_COMPLAINT_BYTES])
{
    struct identity identity = { 0 };
    if (!who) return true;
    if (!find(who, &identity, complaint)) return false;
    if (identity.user == geteuid() && identity.group == getegid()) return true;
    if (!become(&identity)) return complain(complaint, "cannot become", identity.name, errno);
    if (identity.user != 0 && setresuid(0, 0, 0) == 0)
        return complain(complaint, "can become root again after having become", identity.name, 0);
    /* The kernel forbids who has changed its user to look at itself through /proc,
     * until it says that it may be looked at. */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return true;
}
