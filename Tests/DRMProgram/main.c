// A DRM program with a known course, for the tests of `gpuvmctl run`: each of its cases makes calls that
// the tests count by hand. What it does not expect ends it with status 1 and a line that says where.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sync_file.h>
#include <pty.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

// include/uapi/drm/drm.h, nouveau_drm.h.
struct getparam { uint64_t param, value; };
struct vm_init { uint64_t address, size; };
struct gem_new {
    uint32_t handle, domain;
    uint64_t size, offset, map_handle;
    uint32_t tile_mode, tile_flags, align, pad;
};
struct bind_op { uint32_t op, flags, handle, pad; uint64_t addr, bo_offset, range; };
struct vm_bind {
    uint32_t op_count, flags, wait_count, sig_count;
    uint64_t wait_ptr, sig_ptr, op_ptr;
};
struct channel { uint32_t fb, tt; int32_t id; uint32_t domains, notifier, rest[17]; };
struct sync { uint32_t flags, handle; uint64_t value; };
struct push { uint64_t va; uint32_t va_len, flags; };
struct exec {
    uint32_t channel, push_count, wait_count, sig_count;
    uint64_t wait_ptr, sig_ptr, push_ptr;
};
struct handle { uint32_t handle, flags; };
struct syncobj_fd { uint32_t handle, flags; int32_t fd; uint32_t pad; };
struct syncobj_wait { uint64_t handles; int64_t timeout; uint32_t count, flags, first, pad; };

#define GETPARAM _IOWR('d', 0x40, struct getparam)
#define CHANNEL_ALLOC _IOWR('d', 0x42, struct channel)
#define VM_INIT _IOWR('d', 0x50, struct vm_init)
#define VM_BIND _IOWR('d', 0x51, struct vm_bind)
#define EXEC _IOWR('d', 0x52, struct exec)
#define GEM_NEW _IOWR('d', 0x80, struct gem_new)
#define GEM_CLOSE _IOW('d', 0x09, struct handle)
#define SYNCOBJ_CREATE _IOWR('d', 0xbf, struct handle)
#define SYNCOBJ_EXPORT _IOWR('d', 0xc1, struct syncobj_fd)
#define SYNCOBJ_WAIT _IOWR('d', 0xc3, struct syncobj_wait)
#define NOBODYS _IOWR('d', 0x7f, struct getparam)

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, strerror(errno));           \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

// The machine may have render nodes of its own: the one whose driver answers is wanted.
static int open_node(void) {
    DIR *directory = opendir("/dev/dri");
    CHECK(directory);
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[300];
        struct getparam p = {.param = 4};
        snprintf(path, sizeof path, "/dev/dri/%s", entry->d_name);
        if (strncmp(entry->d_name, "renderD", 7) != 0) continue;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, GETPARAM, &p) == 0) {
            closedir(directory);
            return fd;
        }
        if (fd >= 0) close(fd);
    }
    CHECK(!"no render node");
    return -1;
}

static void bind_all(int fd, struct bind_op *ops, unsigned count) {
    struct vm_bind request = {.op_count = count, .op_ptr = (uintptr_t)ops};
    CHECK(ioctl(fd, VM_BIND, &request) == 0);
}

static struct gem_new make_buffer(int fd, uint64_t size) {
    struct gem_new buffer = {.domain = 0x2e, .size = size};
    CHECK(ioctl(fd, GEM_NEW, &buffer) == 0);
    return buffer;
}

static int open_with_vm(void) {
    int fd = open_node();
    struct vm_init init = {1ull << 39, 1ull << 39};
    CHECK(ioctl(fd, VM_INIT, &init) == 0);
    return fd;
}

// What the core makes of it: 3 maps, 1 remap, 3 unmaps, 1 sparse region made, 1 removed.
static void binds(void) {
    int fd = open_with_vm();
    struct gem_new buffer = make_buffer(fd, 0x10000);
    // The middle of the first mapping is unmapped: a remap.
    struct bind_op first = {.handle = buffer.handle, .addr = 0x100000, .range = 0x10000};
    bind_all(fd, &first, 1);
    struct bind_op middle = {.op = 1, .addr = 0x104000, .range = 0x4000};
    bind_all(fd, &middle, 1);
    struct bind_op sparse[] = {
        {.flags = 0x100, .addr = 0x400000, .range = 0x100000},
        {.handle = buffer.handle, .addr = 0x410000, .bo_offset = 0x2000, .range = 0x2000},
    };
    bind_all(fd, &sparse[0], 1);
    bind_all(fd, &sparse[1], 1);
    struct bind_op rest[] = {
        {.op = 1, .addr = 0x410000, .range = 0x2000},
        {.op = 1, .addr = 0x100000, .range = 0x10000},
    };
    bind_all(fd, rest, 2);
    struct bind_op gone = {.op = 1, .flags = 0x100, .addr = 0x400000, .range = 0x100000};
    bind_all(fd, &gone, 1);
    bind_all(fd, &first, 1);
    struct handle name = {.handle = buffer.handle};
    CHECK(ioctl(fd, GEM_CLOSE, &name) == 0);
    // Twice what the driver has no answer for, and one call that there is not.
    struct getparam unknown = {.param = 9999};
    for (int n = 0; n < 2; n++) CHECK(ioctl(fd, GETPARAM, &unknown) == -1 && errno == EINVAL);
    CHECK(ioctl(fd, NOBODYS, &unknown) == -1 && errno == EINVAL);
    close(fd);
}

// Three children on files of their own, one of which forks again on the inherited file: 10 GETPARAMs each.
static void forks(void) {
    int fd = open_node();
    for (int n = 0; n < 3; n++) {
        if (fork() != 0) continue;
        int own = open_node();
        int grandchild = n == 0 ? fork() : -1;
        for (int call = 0; call < 10; call++) {
            struct getparam p = {.param = 4};
            CHECK(ioctl(grandchild == 0 ? fd : own, GETPARAM, &p) == 0);
        }
        if (grandchild > 0) {
            int status;
            CHECK(waitpid(grandchild, &status, 0) == grandchild && status == 0);
        }
        exit(0);
    }
    int status;
    for (int n = 0; n < 3; n++) CHECK(wait(&status) > 0 && status == 0);
    close(fd);
}

// Submits a push buffer and waits for it; whether it succeeded is the daemon's to say.
static void submit(const uint32_t *words, uint32_t count, uint64_t address) {
    int fd = open_with_vm();
    struct gem_new buffer = make_buffer(fd, 0x1000);
    struct bind_op map = {.handle = buffer.handle, .addr = 0x10000, .range = 0x1000};
    bind_all(fd, &map, 1);
    uint32_t *memory =
        mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)buffer.map_handle);
    CHECK(memory != MAP_FAILED);
    memcpy(memory, words, count * sizeof *words);
    struct channel channel = {0};
    CHECK(ioctl(fd, CHANNEL_ALLOC, &channel) == 0);
    struct handle syncobj = {0};
    CHECK(ioctl(fd, SYNCOBJ_CREATE, &syncobj) == 0);
    struct push push = {.va = address, .va_len = count * sizeof *words};
    struct sync signal = {.handle = syncobj.handle};
    struct exec exec = {
        .channel = (uint32_t)channel.id, .push_count = 1, .sig_count = 1,
        .sig_ptr = (uintptr_t)&signal, .push_ptr = (uintptr_t)&push,
    };
    CHECK(ioctl(fd, EXEC, &exec) == 0);
    struct syncobj_wait wait = {
        .handles = (uintptr_t)&syncobj.handle, .timeout = INT64_MAX, .count = 1};
    ioctl(fd, SYNCOBJ_WAIT, &wait);
    close(fd);
}

// The push buffer lies where nothing is mapped.
static void fault(void) {
    const uint32_t nothing[2] = {0, 0};
    submit(nothing, 2, 0xdead0000);
}

// clc5c0.h: SET_OBJECT on subchannel 1, then SEND_SIGNALING_PCAS_B (0x2bc), which dispatches.
static void dispatch(void) {
    const uint32_t words[] = {
        1u << 29 | 1u << 16 | 1u << 13, 0xc5c0, 1u << 29 | 1u << 16 | 1u << 13 | 0x2bc >> 2, 1};
    submit(words, 4, 0x10000);
}

static const char *answer(int result) { return result == 0 ? "0" : strerrorname_np(errno); }

// One call of each kind that can be made to fail, and what it answered; then the wait for a job, and what
// the channel answers behind it.
static void errors(void) {
    int fd = open_node();
    struct vm_init init = {1ull << 39, 1ull << 39};
    printf("vm-init %s\n", answer(ioctl(fd, VM_INIT, &init)));
    for (int n = 0; n < 4; n++) {
        struct gem_new buffer = {.domain = 0x2e, .size = 0x1000};
        printf("gem-new %s\n", answer(ioctl(fd, GEM_NEW, &buffer)));
    }
    struct gem_new buffer = make_buffer(fd, 0x1000);
    struct bind_op map = {.handle = buffer.handle, .addr = 0x10000, .range = 0x1000};
    struct vm_bind bind = {.op_count = 1, .op_ptr = (uintptr_t)&map};
    printf("vm-bind %s\n", answer(ioctl(fd, VM_BIND, &bind)));
    struct channel channel = {0};
    printf("channel-alloc %s\n", answer(ioctl(fd, CHANNEL_ALLOC, &channel)));
    struct handle syncobj = {0};
    printf("syncobj-create %s\n", answer(ioctl(fd, SYNCOBJ_CREATE, &syncobj)));
    void *memory =
        mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)buffer.map_handle);
    printf("mmap %s\n", answer(memory == MAP_FAILED));
    // Two words that are no-ops: the memory is new.
    struct push push = {.va = 0x10000, .va_len = 8};
    struct sync signal = {.handle = syncobj.handle};
    struct exec exec = {
        .channel = (uint32_t)channel.id, .push_count = 1, .sig_count = 1,
        .sig_ptr = (uintptr_t)&signal, .push_ptr = (uintptr_t)&push,
    };
    printf("exec %s\n", answer(ioctl(fd, EXEC, &exec)));
    struct syncobj_wait wait = {
        .handles = (uintptr_t)&syncobj.handle, .timeout = INT64_MAX, .count = 1};
    printf("wait %s\n", answer(ioctl(fd, SYNCOBJ_WAIT, &wait)));
    struct exec check = {.channel = (uint32_t)channel.id};
    printf("check %s\n", answer(ioctl(fd, EXEC, &check)));
    close(fd);
}

static volatile sig_atomic_t interrupts, terminations;
static void count_interrupt(int number) { (void)number, interrupts++; }
static void count_termination(int number) { (void)number, terminations++; }

// Says "ready", counts the signals until SIGTERM or 0.3 s after the first SIGINT, and says them.
static void count_signals(void) {
    struct sigaction action = {.sa_handler = count_interrupt};
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = count_termination;
    sigaction(SIGTERM, &action, NULL);
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    // The test's own standard streams are there, and no signal is blocked.
    for (int number = 1; number < 32; number++)
        if (sigismember(&before, number)) printf("blocked %d\n", number);
    puts("ready");
    fflush(stdout);
    while (!interrupts && !terminations) sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    // A second one would come at once.
    for (int n = 0; n < 30 && !terminations; n++) usleep(10000);
    printf("SIGINT %d SIGTERM %d\n", (int)interrupts, (int)terminations);
    exit(interrupts ? 42 : 43);
}

// Runs the arguments on a terminal of their own, types ^C when they say "ready", and prints the rest.
static int terminal(char **words) {
    int master;
    pid_t child = forkpty(&master, NULL, NULL, NULL);
    CHECK(child >= 0);
    if (child == 0) {
        execv(words[0], words);
        _exit(127);
    }
    char text[4096];
    size_t used = 0;
    int typed = 0;
    for (ssize_t count; (count = read(master, text + used, sizeof text - 1 - used)) > 0;) {
        used += (size_t)count;
        text[used] = 0;
        if (!typed && strstr(text, "ready")) typed = write(master, "\003", 1) == 1;
    }
    fwrite(text, 1, used, stdout);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// A sync_file of a signalled syncobj, and what it says of itself.
static void sync_file(void) {
    int fd = open_node();
    struct handle syncobj = {.flags = 1};
    CHECK(ioctl(fd, SYNCOBJ_CREATE, &syncobj) == 0);
    struct syncobj_fd export = {.handle = syncobj.handle, .flags = 1, .fd = -1};
    CHECK(ioctl(fd, SYNCOBJ_EXPORT, &export) == 0);
    struct sync_file_info info = {0};
    CHECK(ioctl(export.fd, SYNC_IOC_FILE_INFO, &info) == 0);
    CHECK(info.status == 1);
    close(export.fd);
    close(fd);
}

// The same before a line arrives at standard input and after it: the daemon is another one then.
static void restart(void) {
    sync_file();
    puts("ready");
    fflush(stdout);
    CHECK(getchar() == '\n');
    sync_file();
    puts("again");
}

int main(int count, char **words) {
    const char *which = count > 1 ? words[1] : "";
    if (!strcmp(which, "binds")) return binds(), 0;
    if (!strcmp(which, "forks")) return forks(), 0;
    if (!strcmp(which, "fault")) return fault(), 0;
    if (!strcmp(which, "dispatch")) return dispatch(), 0;
    if (!strcmp(which, "errors")) return errors(), 0;
    if (!strcmp(which, "count-signals")) return count_signals(), 0;
    if (!strcmp(which, "restart")) return restart(), 0;
    if (!strcmp(which, "terminal") && count > 2) return terminal(words + 2);
    fprintf(stderr, "usage: %s binds|forks|fault|dispatch|errors|count-signals|restart|terminal PROGRAM…\n",
            words[0]);
    return 64;
}
