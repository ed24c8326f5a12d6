// Threads that open, ask, pass on and close at once, with forks in between: the real daemon, the
// same steps whatever the timing.
#include "probe.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

struct pair { uint32_t a, b; };
#define D_CREATE _IOWR('d', 0xbf, struct pair)
#define D_DESTROY _IOWR('d', 0xc0, struct pair)

static void pass(int socket, int fd) {
    char byte = 'x';
    _Alignas(8) char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = sizeof room};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    CHECK(sendmsg(socket, &message, 0) == 1);
}

static int take(int socket) {
    char byte;
    _Alignas(8) char room[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = sizeof room};
    CHECK(recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

// A syncobj of a file of its own: what one file says of it says another.
static void use(int fd) {
    struct pair object = {0, 1};
    CHECK(ioctl(fd, D_CREATE, &object) == 0);
    struct syncobj_wait wait = {.handles = (uintptr_t)&object.a, .count = 1};
    CHECK(ioctl(fd, D_SYNCOBJ_WAIT, &wait) == 0);
    struct syncobj_fd share = {object.a, 1, -1, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_EXPORT, &share) == 0);
    struct pollfd poller = {share.fd, POLLIN, 0};
    CHECK(poll(&poller, 1, 20000) == 1 && close(share.fd) == 0);
    struct stat s;
    CHECK(fstat(fd, &s) == 0 && S_ISCHR(s.st_mode));
    object.b = 0;
    CHECK(ioctl(fd, D_DESTROY, &object) == 0);
}

static void reap(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

enum { THREADS = 8, ROUNDS = 30, FIRST_NUMBER = 600 };

static void *work(void *argument) {
    int index = (int)(intptr_t)argument, place = FIRST_NUMBER + index, ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        int fd = open_node();
        use(fd);
        // To a number that had another file before.
        CHECK(dup2(fd, place) == place);
        use(place);
        pass(ends[0], fd);
        CHECK(close(fd) == 0);
        int received = take(ends[1]);
        use(received);
        if ((round + index) % 10 == 0) {
            pid_t child = fork();
            if (child == 0) {
                use(place);
                use(received);
                int own = open(node, O_RDWR);
                CHECK(own >= 0);
                use(own);
                if (index % 2 == 0)
                    CHECK(close_range(3, ~0u, 0) == 0);
                else
                    closefrom(3);
                own = open(node, O_RDWR);
                CHECK(own == 3);
                use(own);
                _exit(0);
            }
            reap(child);
        }
        CHECK(close(received) == 0);
        use(place);
    }
    CHECK(close(place) == 0 && close(ends[0]) == 0 && close(ends[1]) == 0);
    return NULL;
}

static int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 2048; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void stress(void) {
    int fd = open_node();
    use(fd);
    int before = open_descriptors();
    pthread_t threads[THREADS];
    for (intptr_t n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, work, (void *)n) == 0);
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    use(fd);
    // The streams of closed files go with them, at the latest when another one is opened.
    int again = open_node();
    CHECK(close(again) == 0);
    CHECK(open_descriptors() <= before + 1);
    // A file without close-on-exec, and one with, in another program.
    int kept = open(node, O_RDWR);
    CHECK(kept >= 0);
    pid_t child = fork();
    if (child == 0) {
        char numbers[2][16];
        snprintf(numbers[0], 16, "%d", kept);
        snprintf(numbers[1], 16, "%d", fd);
        execl("/proc/self/exe", "probe", "executed", numbers[0], numbers[1], node, (char *)NULL);
        _exit(99);
    }
    reap(child);
    use(kept);
}

int executed(int kept, int closed) {
    struct stat s;
    CHECK(fcntl(closed, F_GETFD) < 0 && fstat(kept, &s) == 0);
    CHECK(S_ISCHR(s.st_mode) && major(s.st_rdev) == 226);
    use(kept);
    return 0;
}

const struct test_case stress_cases[] = {{"stress", stress}, {NULL, NULL}};

// MARK: what a program pays that has nothing to do with DRM

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double measure(int kind, int fd, int rounds) {
    struct timespec start, end;
    int values[2];
    struct stat s;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int n = 0; n < rounds; n++)
        switch (kind) {
        case 0: CHECK(ioctl(fd, FIONREAD, values) == 0); break;
        case 1: CHECK(close(open("/etc/passwd", O_RDONLY | O_CLOEXEC)) == 0); break;
        case 2: CHECK(stat("/etc/passwd", &s) == 0); break;
        case 3: CHECK(fstat(fd, &s) == 0); break;
        }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec))
        / rounds;
}

// Medians of calls, ns each; the caller interleaves runs with the shim and without.
int measure_calls(void) {
    enum { SAMPLES = 31 };
    static double samples[SAMPLES];
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    for (int kind = 0; kind < 4; kind++) {
        for (int n = 0; n < SAMPLES; n++)
            samples[n] = measure(kind, pipes[0], 500);
        qsort(samples, SAMPLES, sizeof *samples, compare);
        printf("%.0f%s", samples[SAMPLES / 2], kind == 3 ? "\n" : " ");
    }
    return 0;
}
