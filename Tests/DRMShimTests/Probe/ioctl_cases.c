// Arguments, arrays, descriptors, mappings and bad pointers.
#include "probe.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

const char *node = NODE;

int open_node(void) {
    int fd = open(node, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

void check_works(int fd) {
    struct getparam p = {11, 0};
    errno = 77;
    CHECK(ioctl(fd, D_GETPARAM, &p) == 0);
    CHECK(p.param == 11 && p.value == 11 * 3 + 7);
    CHECK(errno == 77);  // success leaves it alone
}

struct fake_stats stats(int control, unsigned wait_closed) {
    struct fake_stats s = {.wait_closed = wait_closed};
    CHECK(ioctl(control, D_STATS, &s) == 0);
    return s;
}

// Arrays as the fake daemon expects them.
static void fill(
    struct bind_op *ops, unsigned op_count, struct sync *syncs, unsigned count, unsigned first) {
    for (unsigned n = 0; n < op_count; n++)
        ops[n] = (struct bind_op){.handle = n + 5, .addr = 0x1000u * n};
    for (unsigned n = 0; n < count; n++)
        syncs[n] = (struct sync){.value = n + first};
}

static void flat(void) {
    int fd = open_node();
    check_works(fd);
    struct getparam p = {99, 5};
    FAILS(ioctl(fd, D_GETPARAM, &p), EINVAL);
    FAILS(ioctl(fd, D_UNKNOWN, &p), EINVAL);
    FAILS(ioctl(fd, _IO('d', 0x7f), NULL), EINVAL);
    // What is written only is not read back, what is written back is.
    struct vm_init init = {1, 2};
    CHECK(ioctl(fd, D_VM_INIT_WRITE_ONLY, &init) == 0);
    CHECK(init.kernel_managed_addr == 1 && init.kernel_managed_size == 2);
    const int32_t constant = 5;
    CHECK(ioctl(fd, D_CHANNEL_FREE, &constant) == 0 && constant == 5);
    unsigned sizes[] = {24, 56, 72, 136, 160, 4097, 16383};
    for (unsigned n = 0; n < sizeof sizes / sizeof *sizes; n++) {
        unsigned char data[16384];
        for (unsigned at = 0; at < sizeof data; at++)
            data[at] = (unsigned char)(at * 7);
        CHECK(ioctl(fd, D_NVIF(sizes[n]), data) == 0);
        for (unsigned at = 0; at < sizeof data; at++)
            CHECK(data[at] == (unsigned char)(at >= 24 && at < sizes[n] ? at * 7 ^ 0x55 : at * 7));
    }
    // An error of the protocol leaves the argument as it was, and the stream usable.
    p = (struct getparam){3, 4};
    FAILS(ioctl(fd, D_REJECTED, &p), EIO);
    CHECK(p.param == 3 && p.value == 4);
    check_works(fd);
    // Other descriptors are not the shim's.
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    FAILS(ioctl(pipes[0], D_GETPARAM, &p), ENOTTY);
    FAILS(ioctl(-1, D_GETPARAM, &p), EBADF);
    FAILS(ioctl(fd, FIONREAD + 0x40000, &p), ENOTTY);
}

static void nested(void) {
    int fd = open_node();
    struct version v = {0};
    CHECK(ioctl(fd, D_VERSION, &v) == 0);
    CHECK(v.major == 1 && v.minor == 4 && v.patch == 1);
    CHECK(v.name_len == 7 && v.date_len == 8 && v.desc_len == 6);
    char name[16] = "###############", date[9] = "", desc[3] = "##";
    v.name = name, v.date = date, v.desc = desc;
    v.name_len = 12, v.desc_len = 2;
    CHECK(ioctl(fd, D_VERSION, &v) == 0);
    CHECK(memcmp(name, "nouveau########", 15) == 0);  // the rest is left alone
    CHECK(strcmp(date, "20260101") == 0 && strcmp(desc, "a ") == 0);
    CHECK(v.name == name && v.date == date && v.desc == desc && v.name_len == 7);
    v = (struct version){.name_len = ~(size_t)0};  // no pointer: only asked for
    CHECK(ioctl(fd, D_VERSION, &v) == 0 && v.name_len == 7);

    struct bind_op ops[9];
    struct sync waits[3], signals[5];
    for (unsigned n = 0; n < 9; n++) {
        fill(ops, n, waits, n % 4, 77);
        fill(NULL, 0, signals, n % 6, 99);
        struct vm_bind b = {n, 1, n % 4, n % 6, (uintptr_t)waits, (uintptr_t)signals,
                            (uintptr_t)ops};
        CHECK(ioctl(fd, D_VM_BIND, &b) == 0);
        CHECK(b.flags == 0x81 && b.op_count == n);
        CHECK(b.wait_ptr == (uintptr_t)waits && b.sig_ptr == (uintptr_t)signals
              && b.op_ptr == (uintptr_t)ops);
    }
    ops[0].handle = 0;
    struct vm_bind bad = {1, 0, 0, 0, 0, 0, (uintptr_t)ops};
    FAILS(ioctl(fd, D_VM_BIND, &bad), EPROTO);
    struct push pushes[3] = {{0, 4, 0}, {0x2000, 4, 1}, {0x4000, 8, 0}};
    struct exec e = {0, 3, 0, 0, 0, 0, (uintptr_t)pushes};
    CHECK(ioctl(fd, D_EXEC, &e) == 0);
    // No pushes is legal, and pointers without a count are not looked at.
    e = (struct exec){0, 0, 0, 0, 16, 16, 16};
    CHECK(ioctl(fd, D_EXEC, &e) == 0);

    uint32_t handles[3] = {4, 5, 0};
    uint64_t points[3] = {1, 2, 3};
    struct timeline_array query = {(uintptr_t)handles, (uintptr_t)points, 2, 0};
    CHECK(ioctl(fd, D_QUERY, &query) == 0 && points[0] == 40 && points[1] == 50 && points[2] == 3);
    points[0] = points[1] = 9;
    query.count = 3;
    FAILS(ioctl(fd, D_QUERY, &query), ENOENT);
    CHECK(points[0] == 40 && points[1] == 50 && points[2] == 3);
    CHECK(ioctl(fd, D_TIMELINE_SIGNAL, &query) == 0);
    query.points = 0;
    CHECK(ioctl(fd, D_TIMELINE_SIGNAL, &query) == 1);
    struct syncobj_array array = {(uintptr_t)handles, 2, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_RESET, &array) == 0 && ioctl(fd, D_SYNCOBJ_SIGNAL, &array) == 0);
    array.count = 0;
    FAILS(ioctl(fd, D_SYNCOBJ_SIGNAL, &array), EINVAL);
    struct syncobj_wait wait = {.handles = (uintptr_t)handles, .timeout = 5, .count = 2};
    CHECK(ioctl(fd, D_SYNCOBJ_WAIT, &wait) == 0);
    CHECK(ioctl(fd, D_SYNCOBJ_WAIT_OLD, &wait) == 0);  // an older program's struct
    wait.timeout = 0;
    FAILS(ioctl(fd, D_SYNCOBJ_WAIT, &wait), ETIME);
    struct timeline_wait timeline = {(uintptr_t)handles, (uintptr_t)points, 5, 3, 0, 0, 0, 0};
    CHECK(ioctl(fd, D_TIMELINE_WAIT, &timeline) == 0);
}

// More than a message holds, both ways.
static void large(void) {
    int fd = open_node();
    unsigned count = 4096;
    struct bind_op *ops = malloc(sizeof *ops * count);
    struct sync waits[256], signals[256];
    fill(ops, count, waits, 256, 77);
    fill(NULL, 0, signals, 256, 99);
    struct vm_bind b = {count, 1, 256, 256, (uintptr_t)waits, (uintptr_t)signals, (uintptr_t)ops};
    CHECK(ioctl(fd, D_VM_BIND, &b) == 0 && b.flags == 0x81);
    count = 100000;
    uint32_t *handles = malloc(sizeof *handles * count);
    uint64_t *points = calloc(count, sizeof *points);
    for (unsigned n = 0; n < count; n++)
        handles[n] = n + 1;
    struct timeline_array query = {(uintptr_t)handles, (uintptr_t)points, count, 0};
    CHECK(ioctl(fd, D_QUERY, &query) == 0);
    for (unsigned n = 0; n < count; n++)
        CHECK(points[n] == (n + 1) * (uint64_t)10);
    // The kernel, too, has no memory for these.
    query.count = 0xffffffff;
    FAILS(ioctl(fd, D_QUERY, &query), ENOMEM);
    // Long and bad.
    b.op_ptr = 4096;
    FAILS(ioctl(fd, D_VM_BIND, &b), EFAULT);
    check_works(fd);
    int free_before = dup(0);
    for (unsigned n = 0; n < 20; n++) {
        query.count = count;
        CHECK(ioctl(fd, D_QUERY, &query) == 0);
    }
    CHECK(dup(0) == free_before + 1);  // no descriptor is left behind
}

static __attribute__((noinline)) void soil_stack(int value) {
    char bytes[16384];
    memset(bytes, value, sizeof bytes);
    __asm__ volatile("" : : "r"(bytes) : "memory");
}

// A call takes no descriptor, whatever lies on the stack.
static void no_descriptor_left(void) {
    int fd = open_node();
    check_works(fd);
    struct rlimit limit, full;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    full = limit;
    int next = dup(0);
    CHECK(next >= 0 && close(next) == 0);
    full.rlim_cur = (rlim_t)next;
    CHECK(setrlimit(RLIMIT_NOFILE, &full) == 0);
    FAILS(dup(0), EMFILE);
    for (int value = 0; value < 256; value += 15) {
        soil_stack(value);
        check_works(fd);
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

char *edge(size_t bytes) {
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && munmap(pages + 4096, 4096) == 0);
    return pages + 4096 - bytes;
}

static void *read_only(const void *contents, size_t bytes) {
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    memcpy(page, contents, bytes);
    CHECK(mprotect(page, 4096, PROT_READ) == 0);
    return page;
}

static void faults(void) {
    int fd = open_node();
    uintptr_t bad[] = {0, 16, 4096, (uintptr_t)edge(0), (uintptr_t)edge(4), ~(uintptr_t)0xfff,
                       0x8000000000000000u};
    for (unsigned n = 0; n < sizeof bad / sizeof *bad; n++) {
        void *p = (void *)bad[n];
        // The argument itself.
        unsigned long requests[] = {D_GETPARAM, D_VERSION, D_VM_BIND, D_EXEC, D_QUERY, D_NVIF(72),
                                    D_SYNCOBJ_WAIT, D_PRIME_EXPORT, D_PRIME_IMPORT,
                                    D_VM_INIT_WRITE_ONLY, D_EVENTFD};
        for (unsigned r = 0; r < sizeof requests / sizeof *requests; r++)
            FAILS(ioctl(fd, requests[r], p), EFAULT);
        FAILS(ioctl(fd, D_UNKNOWN, p), EINVAL);  // nobody looks at the argument
        // Each pointer in it; the others are good.
        struct bind_op ops[2];
        struct sync syncs[2], signals[2];
        fill(ops, 2, syncs, 2, 77);
        fill(NULL, 0, signals, 2, 99);
        for (unsigned which = 0; which < 3; which++) {
            struct vm_bind b = {2, 0, 2, 2, which == 0 ? bad[n] : (uintptr_t)syncs,
                                which == 1 ? bad[n] : (uintptr_t)signals,
                                which == 2 ? bad[n] : (uintptr_t)ops};
            FAILS(ioctl(fd, D_VM_BIND, &b), EFAULT);
            struct exec e = {0, 1, 1, 1, b.wait_ptr, b.sig_ptr, b.op_ptr};
            FAILS(ioctl(fd, D_EXEC, &e), EFAULT);
            char room[8];
            struct version v = {0, 0, 0, 8, which == 0 ? p : room, 8, which == 1 ? p : room, 8,
                                which == 2 ? p : room};
            if (bad[n] != 0)  // which only asks for the length
                FAILS(ioctl(fd, D_VERSION, &v), EFAULT);
        }
        uint32_t handles[2] = {4, 5};
        uint64_t points[2] = {1, 2};
        struct timeline_array query = {bad[n], (uintptr_t)points, 2, 0};
        FAILS(ioctl(fd, D_QUERY, &query), EFAULT);
        FAILS(ioctl(fd, D_TIMELINE_SIGNAL, &query), EFAULT);
        query = (struct timeline_array){(uintptr_t)handles, bad[n], 2, 0};
        FAILS(ioctl(fd, D_QUERY, &query), EFAULT);
        if (bad[n] != 0)
            FAILS(ioctl(fd, D_TIMELINE_SIGNAL, &query), EFAULT);
        struct syncobj_wait wait = {.handles = bad[n], .timeout = 5, .count = 2};
        FAILS(ioctl(fd, D_SYNCOBJ_WAIT, &wait), EFAULT);
        struct timeline_wait timeline = {bad[n], (uintptr_t)points, 5, 2, 0, 0, 0, 0};
        FAILS(ioctl(fd, D_TIMELINE_WAIT, &timeline), EFAULT);
        struct syncobj_array array = {bad[n], 2, 0};
        FAILS(ioctl(fd, D_SYNCOBJ_RESET, &array), EFAULT);
        FAILS(ioctl(fd, D_SYNCOBJ_SIGNAL, &array), EFAULT);
        check_works(fd);
    }
    // What cannot be written: the call is done, the answer has no place.
    struct getparam p = {11, 0};
    struct getparam *constant = read_only(&p, sizeof p);
    FAILS(ioctl(fd, D_GETPARAM, constant), EFAULT);
    check_works(fd);
    uint32_t handles[2] = {4, 5};
    uint64_t points[2] = {1, 2};
    struct timeline_array query = {(uintptr_t)handles, (uintptr_t)read_only(points, 16), 2, 0};
    FAILS(ioctl(fd, D_QUERY, &query), EFAULT);
    check_works(fd);
    // A descriptor that nobody learns of does not stay.
    int next = dup(0);
    close(next);
    struct prime prime = {1, O_CLOEXEC, -1};
    FAILS(ioctl(fd, D_PRIME_EXPORT, read_only(&prime, sizeof prime)), EFAULT);
    CHECK(dup(0) == next);
    check_works(fd);
    // Good to the last byte.
    struct getparam *last = (void *)edge(sizeof p);
    *last = p;
    CHECK(ioctl(fd, D_GETPARAM, last) == 0 && last->value == 40);
    struct bind_op *ops = (void *)edge(sizeof *ops * 2);
    fill(ops, 2, NULL, 0, 0);
    struct vm_bind b = {2, 0, 0, 0, 0, 0, (uintptr_t)ops};
    CHECK(ioctl(fd, D_VM_BIND, &b) == 0);
    CHECK(stats(fd, 0).streams == 1);  // none of it cost a stream
}

static void descriptors(void) {
    int fd = open_node();
    struct prime prime = {1, 0, -1};
    CHECK(ioctl(fd, D_PRIME_EXPORT, &prime) == 0 && prime.fd > fd);
    CHECK(fcntl(prime.fd, F_GETFD) == 0);
    uint64_t word;
    CHECK(pread(prime.fd, &word, 8, 4096) == 8 && word == 0xabc1);
    int plain = prime.fd;
    prime = (struct prime){1, O_CLOEXEC | O_RDWR, -1};
    CHECK(ioctl(fd, D_PRIME_EXPORT, &prime) == 0 && fcntl(prime.fd, F_GETFD) == FD_CLOEXEC);
    CHECK(ioctl(fd, D_PRIME_IMPORT, &prime) == 0 && prime.handle == 42);
    prime.fd = plain;
    CHECK(ioctl(fd, D_PRIME_IMPORT, &prime) == 0);
    prime.fd = 0;
    FAILS(ioctl(fd, D_PRIME_IMPORT, &prime), EINVAL);
    prime.fd = 777;
    FAILS(ioctl(fd, D_PRIME_IMPORT, &prime), EBADF);
    prime = (struct prime){0, 0, -7};
    FAILS(ioctl(fd, D_PRIME_EXPORT, &prime), ENOENT);
    CHECK(prime.fd == -7);
    struct syncobj_fd object = {3, 0, -1, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_EXPORT, &object) == 0 && fcntl(object.fd, F_GETFD) == FD_CLOEXEC);
    CHECK(ioctl(fd, D_SYNCOBJ_IMPORT, &object) == 0 && object.handle == 42);
    object.fd = -1;
    FAILS(ioctl(fd, D_SYNCOBJ_IMPORT, &object), EINVAL);
    int event = eventfd(0, EFD_NONBLOCK);
    struct syncobj_eventfd request = {3, 0, 1, event, 0};
    CHECK(ioctl(fd, D_EVENTFD, &request) == 0);
    eventfd_t value;
    CHECK(eventfd_read(event, &value) == 0 && value == 1);
    request.fd = 777;
    FAILS(ioctl(fd, D_EVENTFD, &request), EBADF);
}

static void mapping(void) {
    int fd = open_node();
    int next = dup(0);
    close(next);
    uint64_t *map = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, FAKE_MAP_HANDLE);
    CHECK(map != MAP_FAILED && map[0] == 0xabc0 && map[512] == 0xabc1 && map[1536] == 0xabc3);
    map[0] = 0x1234;  // the daemon's own memory
    struct getparam p = {50, 0};
    CHECK(ioctl(fd, D_GETPARAM, &p) == 0 && p.value == 0x1234);
    uint64_t *part = mmap64(NULL, 4096, PROT_READ, MAP_SHARED, fd, FAKE_MAP_HANDLE + 8192);
    CHECK(part != MAP_FAILED && part[0] == 0xabc2);
    char *place = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    place[0] = 'a', place[4096] = 'b', place[8192] = 'c';
    uint64_t *fixed = mmap(place + 4096, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd,
                           FAKE_MAP_HANDLE + 4096);
    CHECK((char *)fixed == place + 4096 && fixed[0] == 0xabc1);
    CHECK(place[0] == 'a' && place[8192] == 'c');
    // What fails takes nothing away.
    CHECK(mmap(place + 8192, 4096, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0x5000) == MAP_FAILED);
    CHECK(errno == EINVAL && place[8192] == 'c');
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0x5000) == MAP_FAILED && errno == EINVAL);
    CHECK(dup(0) == next);
    unsigned before = stats(fd, 0).mmaps;
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, pipes[0], 0) == MAP_FAILED && errno == ENODEV);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, 999, 0) == MAP_FAILED && errno == EBADF);
    CHECK(stats(fd, 0).mmaps == before);
}

static void daemon_dies(void) {
    int fd = open_node();
    check_works(fd);
    FAILS(ioctl(fd, D_DIE), ENODEV);
    struct getparam p = {1, 0};
    FAILS(ioctl(fd, D_GETPARAM, &p), ENODEV);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, FAKE_MAP_HANDLE) == MAP_FAILED);
    CHECK(errno == ENODEV);
    FAILS(open(NODE, O_RDWR), ENXIO);
    CHECK(close(fd) == 0);
}

const struct test_case ioctl_cases[] = {
    {"flat", flat}, {"nested", nested}, {"large", large}, {"faults", faults},
    {"no-descriptor-left", no_descriptor_left}, {"descriptors", descriptors}, {"mapping", mapping},
    {"daemon-dies", daemon_dies}, {NULL, NULL},
};
