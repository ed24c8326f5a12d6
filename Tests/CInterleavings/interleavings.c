#define _GNU_SOURCE
#include "CInterleavings.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// There only in a build with coverage.
extern int __llvm_profile_write_file(void) __attribute__((weak));
extern char *__llvm_profile_begin_counters(void) __attribute__((weak));
extern char *__llvm_profile_end_counters(void) __attribute__((weak));
/// The sum of all runs' coverage counters, in memory that they share.
static uint64_t *counter_sums;

static struct il_result *results;
static int logs[IL_SLOTS];
/// The explorer's end of the socket to the process that forks.
static int forker = -1;

_Noreturn static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

// MARK: the same start for every process

static void restart(char *const argv[]) {
    if (getenv("GPUVM_INTERLEAVINGS"))
        return;
    setenv("GPUVM_INTERLEAVINGS", "1", 1);
    // Hash tables without a random seed, and no interactive reports of crashes.
    setenv("SWIFT_DETERMINISTIC_HASHING", "1", 1);
    setenv("SWIFT_BACKTRACE", "enable=no", 0);
    // Where this is forbidden (some containers), what depends on addresses does not repeat.
    int old = personality(0xffffffff);
    if (old >= 0)
        (void)personality((unsigned long)old | ADDR_NO_RANDOMIZE);
    execv("/proc/self/exe", argv);
    fail("exec");
}

int il_has_fixed_addresses(void) {
    int old = personality(0xffffffff);
    return old >= 0 && (old & ADDR_NO_RANDOMIZE) != 0;
}

// MARK: the process that forks

/// On one CPU a hand-over between a run's threads is a context switch and no interrupt.
static void pin(unsigned index) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) == 0)
        return;
    unsigned wanted = index % (unsigned)CPU_COUNT(&allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || wanted-- != 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void prepare_run(const struct il_request *request) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(request->seconds);
    pin(request->slot);
    // What an allocation returns depends on the order of the allocations alone, and freed memory is
    // overwritten.
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_PERTURB, 0x5a);
    if (request->is_replay)
        return;
    (void)!ftruncate(logs[request->slot], 0);
    lseek(logs[request->slot], 0, SEEK_SET);
    dup2(logs[request->slot], STDERR_FILENO);
}

/// Forks a run for each request and tells the explorer of its end; returns in the runs only.
static void serve(int socket, struct il_request *request) {
    pid_t running[IL_SLOTS] = {0};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int ended = signalfd(-1, &child, SFD_CLOEXEC);
    if (ended < 0)
        fail("signalfd");
    for (;;) {
        struct pollfd polled[2] = {{.fd = socket, .events = POLLIN}, {.fd = ended, .events = POLLIN}};
        if (poll(polled, 2, -1) < 0)
            continue;
        if (polled[1].revents) {
            struct signalfd_siginfo info;
            (void)!read(ended, &info, sizeof info);
            int status;
            pid_t pid;
            while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
                for (uint32_t slot = 0; slot < IL_SLOTS; slot++)
                    if (running[slot] == pid) {
                        struct il_ended message = {
                            slot,
                            WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status)};
                        running[slot] = 0;
                        (void)!write(socket, &message, sizeof message);
                    }
        }
        if (!polled[0].revents)
            continue;
        if (read(socket, request, sizeof *request) != (ssize_t)sizeof *request)
            _exit(0);
        pid_t pid = fork();
        if (pid < 0)
            fail("fork");
        if (pid == 0) {
            close(socket);
            close(ended);
            prepare_run(request);
            return;
        }
        running[request->slot] = pid;
    }
}

// MARK: coverage

static size_t counter_bytes(void) {
    if (!__llvm_profile_write_file || !__llvm_profile_begin_counters || !__llvm_profile_end_counters)
        return 0;
    return (size_t)(__llvm_profile_end_counters() - __llvm_profile_begin_counters());
}

static void share_counters(void) {
    size_t bytes = counter_bytes();
    if (bytes == 0)
        return;
    counter_sums = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counter_sums == MAP_FAILED)
        fail("mmap");
}

static void add_counters(void) {
    if (!counter_sums)
        return;
    const uint64_t *counters = (const uint64_t *)__llvm_profile_begin_counters();
    for (size_t i = 0; i < counter_bytes() / sizeof *counters; i++)
        if (counters[i])
            __atomic_fetch_add(&counter_sums[i], counters[i], __ATOMIC_RELAXED);
}

void il_write_coverage(void) {
    if (!counter_sums)
        return;
    uint64_t *counters = (uint64_t *)__llvm_profile_begin_counters();
    for (size_t i = 0; i < counter_bytes() / sizeof *counters; i++)
        counters[i] += counter_sums[i];
    // The file itself is written at exit.
}

int il_begin(char *const argv[], struct il_request *request) {
    restart(argv);
    results = mmap(NULL, IL_SLOTS * sizeof *results, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        fail("mmap");
    for (int slot = 0; slot < IL_SLOTS; slot++)
        if ((logs[slot] = memfd_create("interleavings-log", MFD_CLOEXEC)) < 0)
            fail("memfd_create");
    share_counters();
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        fail("socketpair");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        close(ends[0]);
        serve(ends[1], request);
        return 1;
    }
    close(ends[1]);
    forker = ends[0];
    return 0;
}

// MARK: the explorer

int il_start_run(const struct il_request *request) {
    memset(&results[request->slot], 0, sizeof results[request->slot]);
    return write(forker, request, sizeof *request) < 0 ? -errno : 0;
}

int il_wait_run(struct il_ended *ended) {
    ssize_t count;
    do {
        count = read(forker, ended, sizeof *ended);
    } while (count < 0 && errno == EINTR);
    if (count == (ssize_t)sizeof *ended)
        return 0;
    return count < 0 ? -errno : -EPIPE;
}

struct il_result *il_result_of(uint32_t slot) { return &results[slot]; }

size_t il_read_log(uint32_t slot, char *bytes, size_t capacity) {
    off_t size = lseek(logs[slot], 0, SEEK_END);
    off_t start = size > (off_t)capacity ? size - (off_t)capacity : 0;
    ssize_t count = pread(logs[slot], bytes, capacity, start);
    return count > 0 ? (size_t)count : 0;
}

// MARK: both

void il_exit(int status) {
    add_counters();
    _exit(status);
}

int il_cpu_count(void) {
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return 1;
    int count = CPU_COUNT(&allowed);
    return count > 0 ? count : 1;
}

#define NUMBERS 65536
static uint64_t numbered[NUMBERS];
static uint32_t number_at[NUMBERS];
static uint32_t number_count;

uint32_t il_number_of(uint64_t address) {
    uint32_t at = (uint32_t)((address * 0x9e3779b97f4a7c15u) >> 48);
    for (uint32_t probes = 0; probes < NUMBERS; probes++, at = (at + 1) % NUMBERS) {
        if (numbered[at] == address)
            return number_at[at];
        if (numbered[at] == 0) {
            numbered[at] = address;
            return number_at[at] = ++number_count;
        }
    }
    return 0;
}

void il_print_point(uint64_t clock, uint32_t thread, const char *name, const char *kind,
                    const char *lock_class, uint64_t address) {
    char number[16] = "";
    if (address != 0)
        snprintf(number, sizeof number, " #%u", il_number_of(address));
    fprintf(stderr, "%llu %u %s %s%s%s%s\n", (unsigned long long)clock, thread, name, kind,
            lock_class ? " " : "", lock_class ? lock_class : "", number);
}

void il_complain(const char *text) { fprintf(stderr, "%s\n", text); }

void il_copy_text(char *to, size_t capacity, const char *from) {
    size_t length = strnlen(from, capacity - 1);
    memcpy(to, from, length);
    to[length] = 0;
}
