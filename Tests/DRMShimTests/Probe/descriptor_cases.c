// sync_files and dma-bufs of the real daemon: what the kernel's own answer to their ioctls.
#include "probe.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

struct gem_new {
    uint32_t handle, domain;
    uint64_t size, offset, map_handle;
    uint32_t tile_mode, tile_flags, channel_hint, align;
};
struct channel_alloc { uint32_t fb, tt; int32_t channel; uint32_t rest[19]; };
struct syncobj { uint32_t handle, flags; };
struct transfer { uint32_t from, to; uint64_t from_point, to_point; uint32_t flags, pad; };
struct sync_merge { char name[32]; int32_t fd2, fence; uint32_t flags, pad; };
struct fence_info { char object[32], driver[32]; int32_t status; uint32_t flags; uint64_t time; };
struct file_info { char name[32]; int32_t status; uint32_t flags, count, pad; uint64_t fences; };
struct deadline { uint64_t time, pad; };
struct buffer_fence { uint32_t flags; int32_t fd; };

#define D_GEM_NEW _IOWR('d', 0x80, struct gem_new)
#define D_GEM_CLOSE _IOW('d', 0x09, struct syncobj)
#define D_CHANNEL_ALLOC _IOWR('d', 0x42, struct channel_alloc)
#define D_VM_INIT _IOWR('d', 0x50, struct vm_init)
#define D_SYNCOBJ_CREATE _IOWR('d', 0xbf, struct syncobj)
#define D_TRANSFER _IOWR('d', 0xcc, struct transfer)
#define S_MERGE _IOWR('>', 3, struct sync_merge)
#define S_FILE_INFO _IOWR('>', 4, struct file_info)
#define S_SET_DEADLINE _IOW('>', 5, struct deadline)
#define B_SYNC _IOW('b', 0, uint64_t)
#define B_SET_NAME_A _IOW('b', 1, uint32_t)
#define B_SET_NAME _IOW('b', 1, uint64_t)
#define B_EXPORT _IOWR('b', 2, struct buffer_fence)
#define B_IMPORT _IOW('b', 3, struct buffer_fence)
enum { READ = 1, WRITE = 2, END = 4 };

// A GPU on which jobs wait for this process: each channel stops at a word of its page that is 0.
static int fd;
static volatile uint32_t *page;
static uint32_t page_handle;
static int32_t channels[2];
#define PAGE_ADDRESS 0x100000u

static void start_gpu(void) {
    fd = open_node();
    struct vm_init init = {(uint64_t)1 << 39, (uint64_t)1 << 39};
    CHECK(ioctl(fd, D_VM_INIT, &init) == 0);
    struct gem_new gem = {.domain = 4 | 8, .size = 4096};
    CHECK(ioctl(fd, D_GEM_NEW, &gem) == 0);
    page_handle = gem.handle;
    struct bind_op op = {.handle = gem.handle, .addr = PAGE_ADDRESS, .range = 4096};
    struct vm_bind bind = {.op_count = 1, .op_ptr = (uintptr_t)&op};
    CHECK(ioctl(fd, D_VM_BIND, &bind) == 0);
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)gem.map_handle);
    CHECK(page != MAP_FAILED);
    for (uint32_t n = 0; n < 2; n++) {
        struct channel_alloc channel = {0};
        CHECK(ioctl(fd, D_CHANNEL_ALLOC, &channel) == 0);
        channels[n] = channel.channel;
        // Host methods 0x10…0x1c: acquire when the word is 1.
        volatile uint32_t *push = page + 64 + n * 16;
        push[0] = 1u << 29 | 4u << 16 | 0x10u >> 2;
        push[1] = 0;
        push[2] = PAGE_ADDRESS + n * 4;
        push[3] = 1;
        push[4] = 1;
    }
}

static uint32_t new_syncobj(uint32_t flags) {
    struct syncobj object = {0, flags};
    CHECK(ioctl(fd, D_SYNCOBJ_CREATE, &object) == 0);
    return object.handle;
}

static int export_sync_file(uint32_t handle) {
    struct syncobj_fd object = {handle, 1, -1, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_EXPORT, &object) == 0);
    return object.fd;
}

// A sync_file of a job that ends when release_job is called.
static int pending(int n) {
    page[n] = 0;
    uint32_t handle = new_syncobj(0);
    struct sync signal = {.handle = handle};
    struct push push = {PAGE_ADDRESS + (64 + (unsigned)n * 16) * 4, 20, 0};
    struct exec exec = {(uint32_t)channels[n], 1, 0, 1, 0, (uintptr_t)&signal, (uintptr_t)&push};
    CHECK(ioctl(fd, D_EXEC, &exec) == 0);
    return export_sync_file(handle);
}

static void release_job(int n) { page[n] = 1; }

static bool is_readable(int file, int patience) {
    struct pollfd poller = {file, POLLIN, 0};
    int result = poll(&poller, 1, patience);
    CHECK(result >= 0 && (result == 0 || poller.revents & POLLIN));
    return result == 1;
}

static struct file_info information(int file, struct fence_info *fences, unsigned count) {
    struct file_info info = {.status = 77, .count = count, .fences = (uintptr_t)fences};
    CHECK(ioctl(file, S_FILE_INFO, &info) == 0);
    CHECK(info.flags == 0 && info.pad == 0 && info.fences == (uintptr_t)fences);
    return info;
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int merge(int a, int b, const char *name) {
    struct sync_merge data = {.fd2 = b, .fence = -1};
    strcpy(data.name, name);
    CHECK(ioctl(a, S_MERGE, &data) == 0);
    CHECK(data.fence >= 0 && fcntl(data.fence, F_GETFD) == FD_CLOEXEC && data.fd2 == b);
    return data.fence;
}

// As drivers/dma-buf/sync_file.c refuses.
static void refusals(int a, int b) {
    struct file_info bad = {.flags = 1};
    FAILS(ioctl(a, S_FILE_INFO, &bad), EINVAL);
    bad = (struct file_info){.pad = 1};
    FAILS(ioctl(a, S_FILE_INFO, &bad), EINVAL);
    FAILS(ioctl(a, S_FILE_INFO, (void *)16), EFAULT);
    bad = (struct file_info){.count = 1, .fences = 16};
    FAILS(ioctl(a, S_FILE_INFO, &bad), EFAULT);
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    int others[] = {-1, 999, pipes[0], fd};
    for (unsigned n = 0; n < 4; n++) {
        struct sync_merge data = {.fd2 = others[n], .fence = -9};
        FAILS(ioctl(a, S_MERGE, &data), ENOENT);
        CHECK(data.fence == -9);
    }
    struct sync_merge data = {.fd2 = b, .flags = 1};
    FAILS(ioctl(a, S_MERGE, &data), EINVAL);
    data = (struct sync_merge){.fd2 = b, .pad = 1};
    FAILS(ioctl(a, S_MERGE, &data), EINVAL);
    FAILS(ioctl(a, S_MERGE, NULL), EFAULT);
    struct deadline deadline = {now(), 0};
    CHECK(ioctl(a, S_SET_DEADLINE, &deadline) == 0);
    deadline.pad = 1;
    FAILS(ioctl(a, S_SET_DEADLINE, &deadline), EINVAL);
    FAILS(ioctl(a, _IO('>', 9), NULL), ENOTTY);
    // What is none of ours is the kernel's matter, also another pair of sockets.
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    struct file_info info = {0};
    FAILS(ioctl(pair[0], S_FILE_INFO, &info), ENOTTY);
    FAILS(ioctl(pipes[0], S_FILE_INFO, &info), ENOTTY);
    FAILS(ioctl(fd, S_FILE_INFO, &info), ENOTTY);
    FAILS(ioctl(999, S_FILE_INFO, &info), EBADF);
}

// As many elements as there are fences are written, and no more are looked at: the room behind them
// may be as long as its count has bits, and not be there.
static void rooms(int file) {
    unsigned counts[] = {1, 2, 4096, 0x10000000, 0x7fffffff, 0xffffffff};
    for (unsigned n = 0; n < sizeof counts / sizeof *counts; n++) {
        struct fence_info *last = (struct fence_info *)edge(sizeof *last);
        memset(last, 0x55, sizeof *last);
        struct file_info info = information(file, last, counts[n]);
        CHECK(info.status == 1 && info.count == 1);
        CHECK(last->status == 1 && last->flags == 0 && strcmp(last->driver, "stub") == 0);
        struct file_info bad = {.count = counts[n], .fences = (uintptr_t)last + 1};
        FAILS(ioctl(file, S_FILE_INFO, &bad), EFAULT);
        CHECK(bad.count == counts[n] && bad.status == 0 && bad.name[0] == 0);
        bad.flags = 1;
        FAILS(ioctl(file, S_FILE_INFO, &bad), EINVAL);
    }
}

// What needs no job, so that the kernel of any machine can be asked the same (with another driver).
static void idle_sync_files(void) {
    fd = open_node();
    int a = export_sync_file(new_syncobj(1)), b = export_sync_file(new_syncobj(1));
    CHECK(fcntl(a, F_GETFD) == FD_CLOEXEC && is_readable(a, 0));
    refusals(a, b);
    rooms(a);
    struct fence_info fences[2];
    struct file_info info = information(a, fences, 2);
    CHECK(info.status == 1 && info.count == 1 && fences[0].status == 1 && fences[0].flags == 0);
    CHECK(strcmp(fences[0].driver, "stub") == 0 && strcmp(fences[0].object, "stub") == 0);
    CHECK(strncmp(info.name, "stub-stub", 9) == 0 && fences[0].time <= now());
    int both = merge(a, b, "a name of thirty-one characters");
    info = information(both, fences, 2);
    CHECK(info.status == 1 && info.count == 1 && is_readable(both, 0));
    CHECK(strcmp(info.name, "a name of thirty-one characters") == 0);
    struct syncobj_fd import = {new_syncobj(0), 1, both, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_IMPORT, &import) == 0);
    uint32_t handle = import.handle;
    struct syncobj_wait wait = {.handles = (uintptr_t)&handle, .count = 1};
    CHECK(ioctl(fd, D_SYNCOBJ_WAIT, &wait) == 0);
}

static void sync_files(void) {
    start_gpu();
    uint64_t before = now();
    int a = pending(0), b = pending(1);
    CHECK(!is_readable(a, 0) && !is_readable(b, 0));
    struct fence_info fences[4];
    memset(fences, 0x55, sizeof fences);
    struct file_info info = information(a, NULL, 0);
    CHECK(info.status == 0 && info.count == 1 && info.name[0] != 0);
    info = information(a, fences, 4);
    CHECK(info.status == 0 && info.count == 1 && fences[0].status == 0 && fences[0].time == 0);
    CHECK(fences[0].flags == 0 && fences[0].driver[0] != 0 && fences[0].object[0] != 0);
    CHECK(fences[1].status == 0x55555555);

    int both = merge(a, b, "both of them"), same = merge(a, a, "");
    CHECK(information(both, NULL, 0).count == 2 && information(same, NULL, 0).count == 1);
    CHECK(strcmp(information(both, NULL, 0).name, "both of them") == 0);
    struct fence_info *two = (struct fence_info *)edge(2 * sizeof *two);
    CHECK(information(both, two, 0xffffffff).count == 2);
    CHECK(two[0].status == 0 && two[1].status == 0 && two[1].driver[0] != 0);
    struct file_info small = {.count = 1, .fences = (uintptr_t)fences};
    FAILS(ioctl(both, S_FILE_INFO, &small), EINVAL);
    // Merging with what is merged takes it apart.
    int again = merge(both, b, "again");
    CHECK(information(again, fences, 4).count == 2);

    refusals(a, b);
    release_job(0);
    CHECK(is_readable(a, 20000) && !is_readable(b, 0) && !is_readable(both, 0));
    info = information(a, fences, 1);
    CHECK(info.status == 1 && fences[0].status == 1);
    CHECK(fences[0].time >= before && fences[0].time <= now());
    CHECK(information(both, fences, 4).status == 0);
    release_job(1);
    CHECK(is_readable(both, 20000) && is_readable(again, 20000) && is_readable(b, 20000));
    CHECK(information(both, NULL, 0).status == 1);
    // Of what has signalled, one is left.
    CHECK(information(merge(a, b, "x"), NULL, 0).count == 1);
    // It can be imported, and then is what it was.
    struct syncobj_fd import = {new_syncobj(0), 1, both, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_IMPORT, &import) == 0);
    uint32_t handle = import.handle;
    struct syncobj_wait wait = {.handles = (uintptr_t)&handle, .count = 1};
    CHECK(ioctl(fd, D_SYNCOBJ_WAIT, &wait) == 0);
    // A signalled sync object's fence is the kernel's stub.
    int stub = export_sync_file(new_syncobj(1));
    CHECK(information(stub, fences, 1).status == 1 && strcmp(fences[0].driver, "stub") == 0);
}

int descriptor_received(int socket) {
    char byte;
    _Alignas(8) char room[CMSG_SPACE(sizeof(int) * 2)];
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = sizeof room};
    CHECK(recvmsg(socket, &message, 0) == 1);
    int fds[2];
    memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fds);
    CHECK(information(fds[0], NULL, 0).status == 0);
    struct buffer_fence import = {WRITE, fds[0]};
    CHECK(ioctl(fds[1], B_IMPORT, &import) == 0);
    CHECK(write(socket, "i", 1) == 1);
    uint64_t flags = READ;
    CHECK(ioctl(fds[1], B_SYNC, &flags) == 0);  // until the job ends
    CHECK(information(fds[0], NULL, 0).status == 1);
    return 0;
}

static void on_alarm(int number) { (void)number; }

static void buffers(void) {
    start_gpu();
    // Not mapped on the GPU: nouveau's jobs write to every buffer of theirs that can be shared.
    struct gem_new own = {.domain = 4 | 8, .size = 4096};
    CHECK(ioctl(fd, D_GEM_NEW, &own) == 0);
    struct prime prime = {own.handle, O_CLOEXEC | O_RDWR, -1};
    CHECK(ioctl(fd, D_PRIME_EXPORT, &prime) == 0);
    int buffer = prime.fd;
    CHECK(lseek(buffer, 0, SEEK_END) == 4096 && lseek(buffer, 0, SEEK_SET) == 0);
    uint32_t *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
    CHECK(map != MAP_FAILED);
    uint32_t *direct =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)own.map_handle);
    CHECK(direct != MAP_FAILED);
    direct[1000] = 0x1234;
    CHECK(map[1000] == 0x1234);
    uint64_t flags;
    for (flags = 1; flags < 8; flags++)
        if (flags & (READ | WRITE))
            CHECK(ioctl(buffer, B_SYNC, &flags) == 0);
    uint64_t wrong[] = {0, END, 8, READ | 8, (uint64_t)1 << 63 | READ};
    for (unsigned n = 0; n < 5; n++)
        FAILS(ioctl(buffer, B_SYNC, &wrong[n]), EINVAL);
    FAILS(ioctl(buffer, B_SYNC, (void *)16), EFAULT);
    CHECK(ioctl(buffer, B_SET_NAME, "a name of thirty-one characters") == 0);
    CHECK(ioctl(buffer, B_SET_NAME_A, "") == 0);
    FAILS(ioctl(buffer, B_SET_NAME, "a name of thirty-two characters."), EINVAL);
    FAILS(ioctl(buffer, B_SET_NAME, (char *)16), EFAULT);
    struct buffer_fence data = {0, -5};
    FAILS(ioctl(buffer, B_EXPORT, &data), EINVAL);
    data.flags = 4;
    FAILS(ioctl(buffer, B_EXPORT, &data), EINVAL);
    CHECK(data.fd == -5);
    FAILS(ioctl(buffer, B_EXPORT, NULL), EFAULT);
    FAILS(ioctl(buffer, _IO('b', 9), NULL), ENOTTY);
    // Idle: signalled.
    data = (struct buffer_fence){READ | WRITE, -1};
    CHECK(ioctl(buffer, B_EXPORT, &data) == 0 && fcntl(data.fd, F_GETFD) == FD_CLOEXEC);
    CHECK(is_readable(data.fd, 0));

    // A reader's fence holds up writers, a writer's all.
    int job = pending(0);
    struct buffer_fence import = {READ, job};
    CHECK(ioctl(buffer, B_IMPORT, &import) == 0);
    data = (struct buffer_fence){READ, -1};
    CHECK(ioctl(buffer, B_EXPORT, &data) == 0 && is_readable(data.fd, 0));
    data = (struct buffer_fence){WRITE, -1};
    CHECK(ioctl(buffer, B_EXPORT, &data) == 0 && !is_readable(data.fd, 0));
    flags = READ;
    CHECK(ioctl(buffer, B_SYNC, &flags) == 0);
    int next = pending(1);
    import = (struct buffer_fence){WRITE, next};
    CHECK(ioctl(buffer, B_IMPORT, &import) == 0);
    struct buffer_fence both = {WRITE, -1};
    CHECK(ioctl(buffer, B_EXPORT, &both) == 0 && information(both.fd, NULL, 0).count == 2);
    // The wait of a CPU access is one that a signal ends.
    struct sigaction action = {.sa_handler = on_alarm};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        struct timespec pause = {0, 5000000};
        while (getppid() == parent) {
            kill(parent, SIGUSR1);
            (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        }
        _exit(0);
    }
    flags = READ;
    FAILS(ioctl(buffer, B_SYNC, &flags), EINTR);
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) != child)
        CHECK(errno == EINTR);
    release_job(0);
    release_job(1);
    CHECK(ioctl(buffer, B_SYNC, &flags) == 0);
    CHECK(is_readable(both.fd, 20000) && is_readable(next, 20000));
    int wrong_fds[] = {-1, 999, buffer, fd};
    for (unsigned n = 0; n < 4; n++) {
        import = (struct buffer_fence){WRITE, wrong_fds[n]};
        FAILS(ioctl(buffer, B_IMPORT, &import), EINVAL);
    }
    import = (struct buffer_fence){0, next};
    FAILS(ioctl(buffer, B_IMPORT, &import), EINVAL);
    // Memory of the program's own is no dma-buf, sealed or not.
    int memory = memfd_create("own", MFD_ALLOW_SEALING);
    CHECK(ftruncate(memory, 4096) == 0);
    flags = READ;
    FAILS(ioctl(memory, B_SYNC, &flags), ENOTTY);
    CHECK(fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    FAILS(ioctl(memory, B_SYNC, &flags), ENOTTY);
    FAILS(ioctl(fd, B_SYNC, &flags), ENOTTY);
    FAILS(ioctl(999, B_SYNC, &flags), EBADF);
    // A job is a writer of what it could reach.
    prime = (struct prime){page_handle, O_CLOEXEC | O_RDWR, -1};
    CHECK(ioctl(fd, D_PRIME_EXPORT, &prime) == 0);
    job = pending(0);
    data = (struct buffer_fence){READ, -1};
    CHECK(ioctl(prime.fd, B_EXPORT, &data) == 0 && !is_readable(data.fd, 0));
    release_job(0);
    CHECK(ioctl(prime.fd, B_SYNC, &flags) == 0 && is_readable(data.fd, 20000));
    // It outlives the handle.
    struct gem_new gem = {.domain = 4 | 8, .size = 8192};
    CHECK(ioctl(fd, D_GEM_NEW, &gem) == 0);
    prime = (struct prime){gem.handle, O_CLOEXEC | O_RDWR, -1};
    CHECK(ioctl(fd, D_PRIME_EXPORT, &prime) == 0);
    struct syncobj closing = {gem.handle, 0};
    CHECK(ioctl(fd, D_GEM_CLOSE, &closing) == 0);
    CHECK(ioctl(prime.fd, B_SYNC, &flags) == 0 && lseek(prime.fd, 0, SEEK_END) == 8192);
    data = (struct buffer_fence){READ | WRITE, -1};
    CHECK(ioctl(prime.fd, B_EXPORT, &data) == 0 && is_readable(data.fd, 0));
    CHECK(ioctl(fd, D_PRIME_IMPORT, &prime) == 0);
}

// dup, fork, exec, SCM_RIGHTS and close, of both kinds; the other process has no open file.
static void descriptors_travel(void) {
    start_gpu();
    int job = pending(0);
    struct prime prime = {page_handle, O_CLOEXEC | O_RDWR, -1};
    CHECK(ioctl(fd, D_PRIME_EXPORT, &prime) == 0);
    int copies[2] = {dup(job), dup2(prime.fd, 300)};
    CHECK(close(job) == 0 && close(prime.fd) == 0);
    CHECK(information(copies[0], NULL, 0).status == 0);
    uint64_t flags = READ | END;
    CHECK(ioctl(copies[1], B_SYNC, &flags) == 0);
    // Closing everything above, by number or by range, does not take away how they are asked about.
    CHECK(close_range(301, ~0u, 0) == 0);
    CHECK(information(copies[0], NULL, 0).status == 0);
    for (int n = 301; n < 1024; n++)
        close(n);
    CHECK(information(copies[0], NULL, 0).status == 0);
    // Its number, like any other, can become the program's, which then closes it.
    for (int n = 301; n < 1024; n++)
        CHECK(dup2(0, n) == n && close(n) == 0);
    CHECK(information(copies[0], NULL, 0).status == 0);
    CHECK(close_range(301, ~0u, 0) == 0);
    for (int n = 301; n < 1024; n++)
        CHECK(fcntl(0, F_DUPFD, n) == n && close(n) == 0);
    CHECK(information(copies[0], NULL, 0).status == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(information(copies[0], NULL, 0).status == 0);
        CHECK(ioctl(copies[1], B_SYNC, &flags) == 0);
        _exit(0);
    }
    int status, ends[2];
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    child = fork();
    if (child == 0) {
        close(ends[0]);
        char number[16];
        snprintf(number, sizeof number, "%d", ends[1]);
        execl("/proc/self/exe", "probe", "descriptor-received", number, (char *)NULL);
        _exit(99);
    }
    close(ends[1]);
    char byte = 'x';
    _Alignas(8) char room[CMSG_SPACE(sizeof copies)] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = room,
                             .msg_controllen = sizeof room};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){CMSG_LEN(sizeof copies), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), copies, sizeof copies);
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    CHECK(read(ends[0], &byte, 1) == 1);
    release_job(0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(close(copies[0]) == 0);
    struct file_info info = {0};
    FAILS(ioctl(copies[0], S_FILE_INFO, &info), EBADF);
}

// Chains into merged files into chains: each stands for two jobs still, and lets go of all.
static void nested_fences(void) {
    start_gpu();
    int a = pending(0), b = pending(1), last = dup(a);
    uint32_t line = new_syncobj(0), binary = new_syncobj(0);
    for (uint64_t point = 1; point <= 300; point++) {
        int both = merge(last, b, "nested");
        CHECK(information(both, NULL, 0).count == 2);
        struct syncobj_fd object = {binary, 1, both, 0};
        CHECK(ioctl(fd, D_SYNCOBJ_IMPORT, &object) == 0);
        struct transfer move = {binary, line, 0, point, 0, 0};
        CHECK(ioctl(fd, D_TRANSFER, &move) == 0);
        move = (struct transfer){line, binary, point, 0, 0, 0};
        CHECK(ioctl(fd, D_TRANSFER, &move) == 0);
        CHECK(close(last) == 0 && close(both) == 0);
        last = export_sync_file(binary);
        CHECK(information(last, NULL, 0).count == 2 && !is_readable(last, 0));
    }
    release_job(0);
    CHECK(is_readable(a, 20000) && !is_readable(last, 0));
    release_job(1);
    CHECK(is_readable(b, 20000) && is_readable(last, 20000));
}

const struct test_case descriptor_cases[] = {
    {"idle-sync-files", idle_sync_files}, {"sync-files", sync_files}, {"buffers", buffers},
    {"descriptors-travel", descriptors_travel}, {"nested-fences", nested_fences}, {NULL, NULL},
};
