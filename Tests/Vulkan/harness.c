#include "harness.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

struct options options = {.seed = 4, .rounds = 1};

static int report_fd = -1;
static atomic_uint_fast64_t moved_bytes;
static atomic_flag ended = ATOMIC_FLAG_INIT;

static void send_line(char kind, const char *format, va_list arguments) {
    char line[1000] = {kind};
    int length = vsnprintf(line + 1, sizeof line - 2, format, arguments);
    if (length > (int)sizeof line - 3)
        length = (int)sizeof line - 3;
    line[length + 1] = '\n';
    if (write(report_fd, line, (size_t)length + 2) < 0)
        _exit(CASE_FAILED);
}

static void send_counts(void) {
    dprintf(report_fd, "%c%llu\n", REPORT_MOVED,
            (unsigned long long)atomic_load(&moved_bytes));
}

// The first thread to end the case has the last word; the others wait for the end of the process.
static void end_once(void) {
    if (atomic_flag_test_and_set(&ended))
        for (;;)
            pause();
}

void fail(const char *format, ...) {
    end_once();
    va_list arguments;
    va_start(arguments, format);
    send_line(REPORT_REASON, format, arguments);
    va_end(arguments);
    _exit(CASE_FAILED);
}

void skip(const char *format, ...) {
    end_once();
    va_list arguments;
    va_start(arguments, format);
    send_line(REPORT_REASON, format, arguments);
    va_end(arguments);
    _exit(CASE_SKIPPED);
}

void pass(void) {
    end_once();
    send_counts();
    _exit(CASE_PASSED);
}

void note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    send_line(REPORT_NOTE, format, arguments);
    va_end(arguments);
}

void moved(uint64_t bytes) { atomic_fetch_add(&moved_bytes, bytes); }

void report_open(int fd) {
    report_fd = fd;
    atomic_store(&moved_bytes, 0);
}

uint64_t report_moved(void) { return atomic_load(&moved_bytes); }

void report_close(void) { send_counts(); }

void expect_bytes(const void *got, const void *expected, size_t size, const char *format, ...) {
    if (memcmp(got, expected, size) == 0)
        return;
    const uint8_t *g = got, *e = expected;
    size_t first = size, differing = 0;
    for (size_t i = 0; i < size; i++)
        if (g[i] != e[i]) {
            if (differing++ == 0)
                first = i;
        }
    char what[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    fail("%s: %zu of %zu bytes differ, the first at 0x%zx: 0x%02x instead of 0x%02x", what,
         differing, size, first, g[first], e[first]);
}

struct random random_stream(const char *tag, uint64_t index) {
    uint64_t hash = 0xcbf29ce484222325;
    for (; *tag; tag++)
        hash = (hash ^ (uint8_t)*tag) * 0x100000001b3;
    struct random random = {options.seed * 0x9e3779b97f4a7c15 ^ hash};
    random.state ^= random_next(&(struct random){index});
    return random;
}

uint64_t random_next(struct random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

uint64_t random_below(struct random *random, uint64_t limit) {
    return (uint64_t)(((unsigned __int128)random_next(random) * limit) >> 64);
}

void random_fill(struct random *random, void *bytes, size_t size) {
    uint8_t *next = bytes;
    for (; size >= 8; size -= 8, next += 8)
        memcpy(next, &(uint64_t){random_next(random)}, 8);
    if (size > 0)
        memcpy(next, &(uint64_t){random_next(random)}, size);
}

void random_shuffle(struct random *random, uint32_t *values, size_t count) {
    for (size_t i = count; i > 1; i--) {
        size_t j = random_below(random, i);
        uint32_t swapped = values[i - 1];
        values[i - 1] = values[j];
        values[j] = swapped;
    }
}

uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void *allocate(size_t size) {
    void *bytes = calloc(1, size > 0 ? size : 1);
    REQUIRE(bytes != NULL, "the host is out of memory (%zu bytes)", size);
    return bytes;
}
