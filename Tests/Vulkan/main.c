// Moves memory through a Vulkan driver and compares every byte: no draw, no dispatch. Each case
// runs in a process of its own, so that a crash, a hang or a lost device is that case's failure.
#include <errno.h>
#include <fnmatch.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gpu.h"
#include "harness.h"
#include "report.h"

static const struct test_case *const lists[] = {
    buffer_cases,      memory_cases,       semaphore_cases,    event_cases,
    image_cases,       sparse_buffer_cases, sparse_chain_cases, sparse_image_cases,
    thread_cases,      random_cases,       fault_cases,        benchmark_cases,
};
enum { LISTS = sizeof lists / sizeof lists[0] };

// What the process of a case said.
struct outcome {
    int status;
    bool timed_out;
    char reason[1000];
    char notes[1000];
    unsigned long long moved;
    double seconds;
};

static const char usage[] =
    "usage: vkmove [options]\n"
    "  --list           print the cases\n"
    "  --only PATTERNS  run these (shell patterns, separated by commas)\n"
    "  --seed N         the seed of all random numbers (0 takes one from the clock)\n"
    "  --rounds N       make the random cases N times as long\n"
    "  --timeout S      seconds that a case may take (60)\n"
    "  --device NAME    take the device whose name contains NAME\n"
    "  --universal      do not use a queue for transfers alone\n"
    "  --assume-strict  unbound sparse memory reads zero until it is written, even if the device\n"
    "                   does not say so\n"
    "  --validate       load the Khronos validation layer; a message fails the case\n"
    "  --no-barriers    leave out the barriers between transfers\n"
    "  --no-fork        run the cases in this process, for a debugger; the first that fails or is\n"
    "                   skipped ends it\n"
    "  --verbose        print each case's description\n"
    "exit status: 0 all passed, 1 some failed, 2 nothing was run, 64 bad usage\n";

static bool is_wanted(const struct test_case *test, const char *only) {
    if (only == NULL)
        return !test->named_only;
    char patterns[1000];
    snprintf(patterns, sizeof patterns, "%s", only);
    char *rest = patterns, *pattern;
    while ((pattern = strsep(&rest, ",")) != NULL)
        if (fnmatch(pattern, test->name, 0) == 0)
            return true;
    return false;
}

static void run_case(const struct test_case *test, int fd) {
    report_open(fd);
    struct gpu gpu;
    gpu_open(&gpu);
    test->run(&gpu);
    gpu_close(&gpu);
}

static void take_line(struct outcome *outcome, const char *line) {
    switch (line[0]) {
    case REPORT_REASON:
        snprintf(outcome->reason, sizeof outcome->reason, "%s", line + 1);
        break;
    case REPORT_NOTE: {
        size_t used = strlen(outcome->notes);
        snprintf(outcome->notes + used, sizeof outcome->notes - used, ", %s", line + 1);
        break;
    }
    case REPORT_MOVED:
        outcome->moved = strtoull(line + 1, NULL, 10);
        break;
    default:
        break;
    }
}

// Reads the pipe until its end or the deadline; false at the deadline.
static bool read_report(int fd, uint64_t deadline, struct outcome *outcome) {
    char text[4096];
    size_t used = 0;
    for (;;) {
        uint64_t time = now();
        if (time >= deadline)
            return false;
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        int ready = poll(&polled, 1, (int)minimum((deadline - time) / 1000000 + 1, 1000000));
        if (ready <= 0)
            continue;
        ssize_t count = read(fd, text + used, sizeof text - 1 - used);
        if (count <= 0)
            return true;
        used += (size_t)count;
        text[used] = 0;
        char *start = text, *end;
        while ((end = strchr(start, '\n')) != NULL) {
            *end = 0;
            take_line(outcome, start);
            start = end + 1;
        }
        used -= (size_t)(start - text);
        memmove(text, start, used);
        if (used == sizeof text - 1)
            used = 0;
    }
}

static struct outcome run_in_child(const struct test_case *test, unsigned timeout) {
    struct outcome outcome = {.status = -1};
    int ends[2];
    if (pipe(ends) < 0) {
        perror("pipe");
        exit(1);
    }
    uint64_t start = now();
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        close(ends[0]);
        run_case(test, ends[1]);
        report_close();
        exit(CASE_PASSED);
    }
    close(ends[1]);
    if (!read_report(ends[0], start + timeout * 1000000000ull, &outcome)) {
        outcome.timed_out = true;
        kill(child, SIGKILL);
    }
    close(ends[0]);
    while (waitpid(child, &outcome.status, 0) < 0 && errno == EINTR)
        continue;
    outcome.seconds = (double)(now() - start) / 1e9;
    return outcome;
}

static struct outcome run_here(const struct test_case *test) {
    struct outcome outcome = {.status = 0};
    uint64_t start = now();
    run_case(test, STDERR_FILENO);
    outcome.seconds = (double)(now() - start) / 1e9;
    outcome.moved = report_moved();
    return outcome;
}

// Prints the verdict; returns a CASE_ value.
static int judge(const struct test_case *test, const struct outcome *outcome, unsigned timeout) {
    const int status = outcome->status;
    char reason[1200] = "";
    if (outcome->timed_out)
        snprintf(reason, sizeof reason, "did not end in %u s", timeout);
    else if (WIFSIGNALED(status))
        snprintf(reason, sizeof reason, "killed by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == CASE_SKIPPED) {
        printf("SKIP %-28s %6.2f s  %s\n", test->name, outcome->seconds, outcome->reason);
        return CASE_SKIPPED;
    } else if (WEXITSTATUS(status) != CASE_PASSED)
        snprintf(reason, sizeof reason, "%s",
                 outcome->reason[0] ? outcome->reason : "the process ended early");
    else if (outcome->moved == 0)
        snprintf(reason, sizeof reason, "moved nothing");
    if (reason[0]) {
        printf("FAIL %-28s %6.2f s  seed %llu: %s\n", test->name, outcome->seconds,
               (unsigned long long)options.seed, reason);
        return CASE_FAILED;
    }
    printf("PASS %-28s %6.2f s  %llu bytes%s\n", test->name, outcome->seconds, outcome->moved,
           outcome->notes);
    return CASE_PASSED;
}

static uint64_t number(const char *text) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != 0) {
        fprintf(stderr, "vkmove: %s is not a number\n", text);
        exit(64);
    }
    return value;
}

int main(int argc, char **argv) {
    static const struct option table[] = {
        {"list", no_argument, NULL, 'l'},       {"only", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'}, {"rounds", required_argument, NULL, 'r'},
        {"timeout", required_argument, NULL, 't'}, {"device", required_argument, NULL, 'd'},
        {"universal", no_argument, NULL, 'u'},  {"assume-strict", no_argument, NULL, 'z'},
        {"validate", no_argument, NULL, 'v'},   {"no-fork", no_argument, NULL, 'n'},
        {"no-barriers", no_argument, NULL, 'b'},
        {"verbose", no_argument, NULL, 'w'},    {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *only = NULL;
    unsigned timeout = 60;
    bool list = false, forks = true, verbose = false;
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case 'l': list = true; break;
        case 'o': only = optarg; break;
        case 's': options.seed = number(optarg); break;
        case 'r': options.rounds = (unsigned)number(optarg); break;
        case 't': timeout = (unsigned)number(optarg); break;
        case 'd': options.device = optarg; break;
        case 'u': options.universal = true; break;
        case 'z': options.assume_strict = true; break;
        case 'v': options.validate = true; break;
        case 'b': options.unordered = true; break;
        case 'n': forks = false; break;
        case 'w': verbose = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 64;
        }
    }
    if (optind != argc || options.rounds == 0 || timeout == 0) {
        fputs(usage, stderr);
        return 64;
    }
    if (options.seed == 0)
        options.seed = (uint64_t)time(NULL) << 16 | (uint64_t)getpid();
    setvbuf(stdout, NULL, _IOLBF, 0);

    unsigned passed = 0, failed = 0, skipped = 0;
    uint64_t start = now();
    for (size_t i = 0; i < LISTS; i++)
        for (const struct test_case *test = lists[i]; test->name != NULL; test++) {
            if (list) {
                printf("%-28s %s%s\n", test->name, test->what,
                       test->named_only ? " (only if named)" : "");
                continue;
            }
            if (!is_wanted(test, only))
                continue;
            if (verbose)
                printf("     %s: %s\n", test->name, test->what);
            struct outcome outcome = forks ? run_in_child(test, timeout) : run_here(test);
            switch (judge(test, &outcome, timeout)) {
            case CASE_PASSED: passed++; break;
            case CASE_SKIPPED: skipped++; break;
            default: failed++; break;
            }
        }
    if (list)
        return 0;
    printf("vkmove: %u passed, %u failed, %u skipped, %.1f s, seed %llu\n", passed, failed,
           skipped, (double)(now() - start) / 1e9, (unsigned long long)options.seed);
    return failed > 0 ? 1 : passed > 0 ? 0 : 2;
}
