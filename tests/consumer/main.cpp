/* SPDX-License-Identifier: MIT */
/* tests/consumer/main.cpp - the same from C++: a lambda as the task, a future for its result. */
#include <skink/skink.h>

#include <cstdio>

int main()
{
    skink_scheduler *scheduler = nullptr;
    skink_future *answer = nullptr;
    void *value = nullptr;
    static int number = 42;
    int err = skink_scheduler_create(nullptr, &scheduler);
    if (err == 0) err = skink_scheduler_start(scheduler);
    if (err == 0) err = skink_future_create(&answer);
    if (err == 0)
        err = skink_post(
            scheduler,
            [](void *arg) {
                if (skink_future_complete(static_cast<skink_future *>(arg), &number) != 0)
                    std::puts("completed twice?");
            },
            answer);
    if (err == 0) err = skink_await(answer, SKINK_FOREVER, &value);
    if (err != 0) {
        std::fprintf(stderr, "consumer: %s\n", skink_strerror(err));
        return 1;
    }
    skink_future_unref(answer);
    skink_scheduler_destroy(scheduler);
    std::printf("skink %s says %d\n", skink_version(), *static_cast<int *>(value));
    return value == &number ? 0 : 1;
}
