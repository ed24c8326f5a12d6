// Open files across fork, exec, dup, threads, signals and other processes.
#include "probe.h"

#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static void reap(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void check_device(int fd) {
    struct stat s;
    CHECK(fstat(fd, &s) == 0 && S_ISCHR(s.st_mode));
    CHECK(major(s.st_rdev) == 226 && minor(s.st_rdev) == 128);
}

// fork: the child has the file and none of the parent's streams.
static void forking(void) {
    int control = open_node(), fd = open_node();
    check_works(fd);
    unsigned before = stats(control, 0).streams;
    pid_t child = fork();
    if (child == 0) {
        for (int n = 0; n < 200; n++)
            check_works(fd);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            close(control);
            check_works(fd);
            _exit(0);
        }
        reap(grandchild);
        check_works(fd);
        _exit(0);
    }
    for (int n = 0; n < 200; n++)
        check_works(fd);
    reap(child);
    check_works(fd);
    struct fake_stats s = stats(control, 0);
    CHECK(s.streams == before + 2);  // one a process
    CHECK(s.closed == 0);
    // The end of the parent's file while a child lives is not the end of the file.
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    child = fork();
    if (child == 0) {
        char go;
        close(pipes[1]);
        CHECK(read(pipes[0], &go, 1) == 1);
        check_works(fd);
        _exit(0);
    }
    close(pipes[0]);
    CHECK(close(fd) == 0);
    CHECK(stats(control, 0).closed == 0);
    CHECK(write(pipes[1], "g", 1) == 1);
    reap(child);
    CHECK(stats(control, 1).closed == 1);
}

// What clone(2) makes without the C library knowing: it has copies of the streams.
static void raw_fork(void) {
    int fd = open_node();
    check_works(fd);
    struct clone_args arguments = {.exit_signal = SIGCHLD};
    pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child < 0 && errno == ENOSYS)
        child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    for (int n = 0; n < 50; n++)
        check_works(fd);
    if (child == 0)
        _exit(0);
    reap(child);
    // A vfork child closes its own descriptors only.
    unsigned before = stats(fd, 0).streams;
    child = vfork();
    if (child == 0) {
        close(fd);
        for (int n = 3; n < 600; n++)
            close(n);
        _exit(0);
    }
    reap(child);
    check_works(fd);
    CHECK(stats(fd, 0).streams == before);
}

int inherited(int fd) {
    uint64_t *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, FAKE_MAP_HANDLE + 4096);
    CHECK(map != MAP_FAILED && map[0] == 0xabc1);
    check_device(fd);
    check_works(fd);
    CHECK(close(fd) == 0);
    return 0;
}

static void execute(const char *mode, int fd) {
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    execl("/proc/self/exe", "probe", mode, number, (char *)NULL);
    _exit(99);
}

// exec: the new program knows the file by what it is.
static void executing(void) {
    int control = open_node();
    int fd = open(NODE, O_RDWR);
    CHECK(fd >= 0);
    check_works(fd);
    pid_t child = fork();
    if (child == 0)
        execute("inherited", fd);
    reap(child);
    // Straight from here, streams and all: they are close-on-exec.
    child = fork();
    if (child == 0) {
        check_works(fd);
        execute("inherited", fd);
    }
    reap(child);
    check_works(fd);
    CHECK(close(fd) == 0);
    CHECK(stats(control, 1).streams_now == 1);
}

int received(int socket) {
    char byte;
    _Alignas(8) char room[CMSG_SPACE(sizeof(int))];
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = sizeof room};
    CHECK(recvmsg(socket, &message, 0) == 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    check_works(fd);
    check_device(fd);
    return inherited(fd);
}

// SCM_RIGHTS: to a program that never opened a device.
static void passing(void) {
    int control = open_node(), fd = open_node(), ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        close(fd);
        execute("received", ends[1]);
    }
    char byte = 'x';
    _Alignas(8) char room[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = sizeof room};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    CHECK(close(fd) == 0);  // it lives on the way
    reap(child);
    CHECK(stats(control, 1).closed == 1);
}

static void duplicates(void) {
    int control = open_node();
    int fd = open_node();
    check_works(fd);
    int copies[5] = {dup(fd), dup2(fd, 100), dup3(fd, 101, O_CLOEXEC), fcntl(fd, F_DUPFD, 50),
                     fcntl(fd, F_DUPFD_CLOEXEC, 50)};
    CHECK(copies[1] == 100 && copies[2] == 101);
    for (int n = 0; n < 5; n++) {
        check_device(copies[n]);
        check_works(copies[n]);
    }
    CHECK(stats(control, 0).opened == 2);
    CHECK(close(fd) == 0);
    FAILS(close(fd), EBADF);
    struct getparam p = {1, 0};
    FAILS(ioctl(fd, D_GETPARAM, &p), EBADF);
    for (int n = 0; n < 5; n++) {
        CHECK(stats(control, 0).closed == 0);
        check_works(copies[n]);
        if (n == 1)
            CHECK(dup2(0, copies[n]) == copies[n]);  // replaced, not closed
        else
            CHECK(close(copies[n]) == 0);
    }
    struct fake_stats s = stats(control, 1);
    CHECK(s.closed == 1 && s.streams_now == 1);  // this one
    // A number that is used again is what it is now.
    int pipes[2];
    CHECK(pipe(pipes) == 0 && (pipes[0] == fd || pipes[1] == fd));
    FAILS(ioctl(fd, D_GETPARAM, &p), ENOTTY);
    // Two opens are two files.
    int a = open_node(), b = open_node();
    check_works(a);
    check_works(b);
    CHECK(stats(control, 0).streams_now == 3);
    close(a);
    check_works(b);
    CHECK(stats(control, 2).streams_now == 2);
    // Closed behind the shim's back: the next open notices.
    syscall(SYS_close, b);
    CHECK(stats(control, 3).streams_now == 1);
    a = open_node();
    check_works(a);
}

// Programs that close what they do not know do not close the streams.
static void closing_all(void) {
    int fd = open_node();
    check_works(fd);
    for (int n = fd + 1; n < 1024; n++)
        close(n);
    check_works(fd);
    CHECK(stats(fd, 0).streams == 1);
    // A stream gives way to a program that wants its number.
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int n = fd + 1; n < 1024 && n < (int)limit.rlim_cur; n++) {
        CHECK(dup2(0, n) == n);
        check_works(fd);
    }
    CHECK(close_range((unsigned)fd + 1, ~0u, 0) == 0);
    check_works(fd);
    closefrom(fd + 1);
    check_works(fd);
}

static _Atomic int blocked;
static int shared_fd;

static void *blocking(void *argument) {
    uint32_t handle = 3;
    struct syncobj_wait wait = {.handles = (uintptr_t)&handle, .timeout = INT64_MAX, .count = 1};
    atomic_fetch_add(&blocked, 1);
    int result = ioctl(shared_fd, D_SYNCOBJ_WAIT, &wait);
    *(int *)argument = result == 0 ? 0 : errno;
    return NULL;
}

static void *working(void *argument) {
    unsigned count = (unsigned)(uintptr_t)argument % 60 + 1;
    struct bind_op ops[64];
    for (int round = 0; round < 300; round++) {
        for (unsigned n = 0; n < count; n++)
            ops[n] = (struct bind_op){.handle = n + 5, .addr = 0x1000u * n};
        struct vm_bind b = {count, 0, 0, 0, 0, 0, (uintptr_t)ops};
        CHECK(ioctl(shared_fd, D_VM_BIND, &b) == 0 && b.op_count == count && b.flags == 0x80);
        struct getparam p = {count + (unsigned)round, 0};
        p.param += 100;
        CHECK(ioctl(shared_fd, D_GETPARAM, &p) == 0 && p.value == p.param * 3 + 7);
        if (round % 50 == 0) {
            int copy = dup(shared_fd);
            check_works(copy);
            CHECK(close(copy) == 0);  // drops idle streams under everybody's feet
        }
    }
    return NULL;
}

static void threads(void) {
    int control = open_node();
    shared_fd = open_node();
    pthread_t waiters[4], workers[8];
    int results[4];
    for (int n = 0; n < 4; n++)
        CHECK(pthread_create(&waiters[n], NULL, blocking, &results[n]) == 0);
    for (uintptr_t n = 0; n < 8; n++)
        CHECK(pthread_create(&workers[n], NULL, working, (void *)(n * 8)) == 0);
    for (int n = 0; n < 8; n++)
        pthread_join(workers[n], NULL);
    // All four wait by now or will; each round ends those that do.
    for (int finished = 0; finished < 4;) {
        int now = ioctl(control, D_FINISH_WAITS);
        CHECK(now >= 0);
        finished += now;
    }
    for (int n = 0; n < 4; n++) {
        pthread_join(waiters[n], NULL);
        CHECK(results[n] == 0);
    }
    check_works(shared_fd);
}

static _Atomic int caught;
static void on_signal(int number) {
    (void)number;
    int saved = errno;
    caught++;
    struct getparam p = {1, 0};
    (void)ioctl(shared_fd, D_GETPARAM, &p);  // in a handler, in the middle of another
    errno = saved;
}

// Signals until the thread is done; it may not wait yet at the first.
static int interrupt(int flags) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = flags};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    int result = -1;
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, blocking, &result) == 0);
    struct timespec pause = {0, 2000000};
    for (int n = 0; n < 2000; n++) {
        pthread_kill(thread, SIGUSR1);
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        if (pthread_tryjoin_np(thread, NULL) == 0)
            return result;
        if (flags & SA_RESTART && n > 20) {
            while (ioctl(shared_fd, D_FINISH_WAITS) == 0) {
            }
            pthread_join(thread, NULL);
            return result;
        }
    }
    CHECK(!"the wait never ended");
    return -1;
}

// A signal ends a wait as it ends the kernel's, and the daemon learns of it.
static void signals(void) {
    shared_fd = open_node();
    CHECK(interrupt(0) == EINTR);
    CHECK(caught > 0);
    int result = interrupt(SA_RESTART);
    CHECK(result == 0);
    check_works(shared_fd);
    int probe = open_node();
    check_works(probe);
    CHECK(stats(shared_fd, 0).cancelled >= 1);
}

static void nothing(int number) { (void)number; }

// Ends waits that no signal has ended.
static void *rescue(void *argument) {
    struct timespec pause = {0, 100000000};
    while (!atomic_load((_Atomic bool *)argument)) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        CHECK(ioctl(shared_fd, D_FINISH_WAITS) >= 0);
    }
    return NULL;
}

// One signal early in a wait, when the thread is still awake for the reply, ends it: it is not lost.
// A busy machine may let one come before the call.
static void one_signal(void) {
    enum { TRIES = 40 };
    struct sigaction action = {.sa_handler = nothing};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    sigset_t mine, before;
    _Atomic bool done = false;
    pthread_t thread;
    shared_fd = open_node();
    check_works(shared_fd);
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR2);
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(pthread_sigmask(SIG_BLOCK, &mine, &before) == 0);
    CHECK(pthread_create(&thread, NULL, rescue, &done) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    int ended = 0;
    for (int n = 0; n < TRIES; n++) {
        struct itimerspec once = {.it_value = {0, (40 + n) * 1000}};
        int result = 0;
        CHECK(timer_settime(timer, 0, &once, NULL) == 0);
        blocking(&result);
        CHECK(result == 0 || result == EINTR);
        ended += result == EINTR;
    }
    atomic_store(&done, true);
    pthread_join(thread, NULL);
    CHECK(timer_delete(timer) == 0);
    CHECK(ended >= TRIES / 2);
}

const struct test_case process_cases[] = {
    {"forking", forking}, {"raw-fork", raw_fork}, {"executing", executing}, {"passing", passing},
    {"duplicates", duplicates}, {"closing-all", closing_all}, {"threads", threads},
    {"signals", signals}, {"one-signal", one_signal}, {NULL, NULL},
};
