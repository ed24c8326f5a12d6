// What every case uses: how it fails, how it counts, where its random numbers come from.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gpu;

// One case. It runs in a process of its own, with a device of its own, and returns if all is well.
struct test_case {
    const char *name;
    const char *what;
    void (*run)(struct gpu *gpu);
    // Runs only if it is named: it measures, or asks for more than the rules promise.
    bool named_only;
};

struct options {
    uint64_t seed;
    // Part of a device's name; NULL takes the first device.
    const char *device;
    // Work goes to the universal queue even if the device has one for transfers alone.
    bool universal;
    // Unbound sparse memory that nothing was written to must read zero even if the device does not
    // say so.
    bool assume_strict;
    // Any message of the Khronos validation layer fails the case.
    bool validate;
    // No barriers between transfers: what the validation layer or a daemon should then report.
    bool unordered;
    // Multiplies the rounds of the random cases.
    unsigned rounds;
};
extern struct options options;

// Ends the case; callable from any of its threads.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Ends it well, with its device left as it is.
_Noreturn void pass(void);
_Noreturn void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define REQUIRE(condition, ...) \
    do {                        \
        if (!(condition))       \
            fail(__VA_ARGS__);  \
    } while (0)

// Counts bytes that the device was told to write: a case that moves none proves nothing.
void moved(uint64_t bytes);
// Adds a remark to the case's PASS line.
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Fails with the first difference and the number of them.
void expect_bytes(const void *got, const void *expected, size_t size, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// splitmix64: a small generator whose whole state is the seed.
struct random {
    uint64_t state;
};
// A stream that depends on the run's seed and on the tag alone.
struct random random_stream(const char *tag, uint64_t index);
uint64_t random_next(struct random *random);
// Uniform enough in 0..<limit; limit is not 0.
uint64_t random_below(struct random *random, uint64_t limit);
void random_fill(struct random *random, void *bytes, size_t size);
void random_shuffle(struct random *random, uint32_t *values, size_t count);

// CLOCK_MONOTONIC in ns.
uint64_t now(void);
void *allocate(size_t size);

static inline uint64_t minimum(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t maximum(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t round_up(uint64_t value, uint64_t unit) {
    return (value + unit - 1) / unit * unit;
}

// The lists of cases, each ended by a case without a name.
extern const struct test_case buffer_cases[], memory_cases[], semaphore_cases[], event_cases[],
    image_cases[], sparse_buffer_cases[], sparse_chain_cases[], sparse_image_cases[],
    thread_cases[], random_cases[], fault_cases[], benchmark_cases[];
