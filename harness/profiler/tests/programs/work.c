/* Spends 70, 20 and 10 % of its time in three functions, then waits for 100 ms. */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static volatile uint64_t sink;

#define WORK(name, part)                                                                                              \
    __attribute__((noinline)) static uint64_t name(uint64_t steps) {                                                  \
        uint64_t state = part;                                                                                        \
        for (uint64_t i = 0; i < steps * part; i++) state = (state ^ (state >> 29)) * 0xbf58476d1ce4e5b9ULL + part;  \
        return state;                                                                                                 \
    }

WORK(work_seventy, 70)
WORK(work_twenty, 20)
WORK(work_ten, 10)

int main(int count, char **arguments) {
    uint64_t rounds = count > 1 ? strtoull(arguments[1], NULL, 10) : 1000;
    for (uint64_t round = 0; round < rounds; round++) {
        uint64_t steps = 1000 + (sink & 1);
        sink += work_seventy(steps) + work_twenty(steps) + work_ten(steps);
    }
    struct timespec wait = {0, 100000000};
    nanosleep(&wait, NULL);
    return 0;
}
