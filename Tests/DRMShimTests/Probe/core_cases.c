// The core of DRM as the real daemon serves it, mostly what is refused: errnos of drm_ioctl.c,
// drm_syncobj.c, drm_prime.c and drm_gem.c, which conformance suites ask for one by one.
#include "probe.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>

struct pair { uint32_t a, b; };
struct cap { uint64_t capability, value; };
struct transfer { uint32_t from, to; uint64_t from_point, to_point; uint32_t flags, pad; };
struct magic { uint32_t magic; };
struct client { int index, auth; unsigned long pid, uid, magic, iocs; };

#define D_CREATE _IOWR('d', 0xbf, struct pair)
#define D_DESTROY _IOWR('d', 0xc0, struct pair)
#define D_TRANSFER _IOWR('d', 0xcc, struct transfer)
#define D_GET_CAP _IOWR('d', 0x0c, struct cap)
#define D_SET_CLIENT_CAP _IOW('d', 0x0d, struct cap)
#define D_GEM_CLOSE _IOW('d', 0x09, struct pair)

static int fd;

static uint32_t create(uint32_t flags) {
    struct pair object = {0, flags};
    CHECK(ioctl(fd, D_CREATE, &object) == 0 && object.a != 0);
    return object.a;
}

static uint64_t later(uint64_t milliseconds) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec + milliseconds * 1000000u;
}

static int wait_for(uint32_t *handles, unsigned count, unsigned flags, int64_t timeout) {
    struct syncobj_wait wait = {(uintptr_t)handles, timeout, count, flags, 77, 0, 0};
    int result = ioctl(fd, D_SYNCOBJ_WAIT, &wait);
    return result < 0 ? -errno : (int)wait.first;
}

static int wait_points(
    uint32_t *handles, uint64_t *points, unsigned count, unsigned flags, int64_t timeout) {
    struct timeline_wait wait = {
        (uintptr_t)handles, (uintptr_t)points, timeout, count, flags, 77, 0, 0};
    int result = ioctl(fd, D_TIMELINE_WAIT, &wait);
    return result < 0 ? -errno : (int)wait.first;
}

static int signal_point(uint32_t handle, uint64_t point) {
    struct timeline_array array = {(uintptr_t)&handle, (uintptr_t)&point, 1, 0};
    return ioctl(fd, D_TIMELINE_SIGNAL, &array) < 0 ? -errno : 0;
}

static uint64_t query(uint32_t handle, uint32_t flags) {
    uint64_t point = 99;
    struct timeline_array array = {(uintptr_t)&handle, (uintptr_t)&point, 1, flags};
    CHECK(ioctl(fd, D_QUERY, &array) == 0);
    return point;
}

enum { ALL = 1, FOR_SUBMIT = 2, AVAILABLE = 4, DEADLINE = 8 };

static void syncobjs(void) {
    fd = open_node();
    struct pair object = {0, 0};
    FAILS(ioctl(fd, D_DESTROY, &object), EINVAL);
    object = (struct pair){create(0), 0xdeadbeef};
    FAILS(ioctl(fd, D_DESTROY, &object), EINVAL);
    object.b = 0;
    CHECK(ioctl(fd, D_DESTROY, &object) == 0);
    FAILS(ioctl(fd, D_DESTROY, &object), EINVAL);
    object = (struct pair){0, 0xdeadbeef};
    FAILS(ioctl(fd, D_CREATE, &object), EINVAL);

    uint32_t handle = create(0);
    struct syncobj_fd share = {0, 0, 0, 0};
    FAILS(ioctl(fd, D_SYNCOBJ_EXPORT, &share), EINVAL);
    share = (struct syncobj_fd){handle, 0xdeadbee0, 0, 0};
    FAILS(ioctl(fd, D_SYNCOBJ_EXPORT, &share), EINVAL);
    share = (struct syncobj_fd){handle, 0, 0, 0xdeadbeef};
    FAILS(ioctl(fd, D_SYNCOBJ_EXPORT, &share), EINVAL);
    share = (struct syncobj_fd){0, 1, 0, 0};  // of a sync_file the look-up fails otherwise
    FAILS(ioctl(fd, D_SYNCOBJ_EXPORT, &share), ENOENT);
    share = (struct syncobj_fd){handle, 1, 0, 0};  // nothing was submitted
    FAILS(ioctl(fd, D_SYNCOBJ_EXPORT, &share), EINVAL);
    int wrong[] = {-1, 0, 999, fd};
    for (unsigned n = 0; n < 4; n++) {
        share = (struct syncobj_fd){handle, 0, wrong[n], 0};
        FAILS(ioctl(fd, D_SYNCOBJ_IMPORT, &share), EINVAL);
        share = (struct syncobj_fd){handle, 1, wrong[n], 0};
        FAILS(ioctl(fd, D_SYNCOBJ_IMPORT, &share), EINVAL);
    }
    share = (struct syncobj_fd){handle, 0, -1, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_EXPORT, &share) == 0 && share.fd >= 0);
    struct syncobj_fd back = {0, 0xdeadbee0, share.fd, 0};
    FAILS(ioctl(fd, D_SYNCOBJ_IMPORT, &back), EINVAL);
    back = (struct syncobj_fd){0, 0, share.fd, 0xdeadbeef};
    FAILS(ioctl(fd, D_SYNCOBJ_IMPORT, &back), EINVAL);
    back = (struct syncobj_fd){0, 1, share.fd, 0};  // no sync_file
    FAILS(ioctl(fd, D_SYNCOBJ_IMPORT, &back), EINVAL);
    back = (struct syncobj_fd){0, 0, share.fd, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_IMPORT, &back) == 0 && back.handle != handle);
    CHECK(close(share.fd) == 0);
    // Two names of one object.
    uint32_t both[2] = {handle, back.handle};
    struct syncobj_array array = {(uintptr_t)both, 1, 0};
    CHECK(ioctl(fd, D_SYNCOBJ_SIGNAL, &array) == 0);
    CHECK(wait_for(&both[1], 1, 0, 0) == 0);
    array.handles = (uintptr_t)&both[1];
    CHECK(ioctl(fd, D_SYNCOBJ_RESET, &array) == 0);
    CHECK(wait_for(both, 1, 0, 0) == -EINVAL);

    array = (struct syncobj_array){(uintptr_t)both, 0, 0};
    FAILS(ioctl(fd, D_SYNCOBJ_SIGNAL, &array), EINVAL);
    FAILS(ioctl(fd, D_SYNCOBJ_RESET, &array), EINVAL);
    array = (struct syncobj_array){(uintptr_t)both, 2, 0xdeadbeef};
    FAILS(ioctl(fd, D_SYNCOBJ_SIGNAL, &array), EINVAL);
    FAILS(ioctl(fd, D_SYNCOBJ_RESET, &array), EINVAL);
    uint32_t one_bad[2] = {handle, 0};
    array = (struct syncobj_array){(uintptr_t)one_bad, 2, 0};
    FAILS(ioctl(fd, D_SYNCOBJ_SIGNAL, &array), ENOENT);
    FAILS(ioctl(fd, D_SYNCOBJ_RESET, &array), ENOENT);
    CHECK(wait_for(both, 1, 0, 0) == -EINVAL);  // all or nothing
    CHECK(wait_for(one_bad, 2, 0, 0) == -ENOENT);
    CHECK(wait_for(both, 1, 0xdead0000, 0) == -EINVAL);
    CHECK(wait_for(both, 1, AVAILABLE, 0) == -EINVAL);  // of timelines only
    CHECK(wait_for(both, 0, 0, 0) >= 0);
}

static void waits(void) {
    fd = open_node();
    // Unsubmitted, signalled: what each combination answers (drm_syncobj_array_wait_timeout).
    uint32_t empty = create(0), done = create(1);
    uint32_t mixed[2] = {empty, done}, dones[2] = {done, done};
    CHECK(wait_for(&empty, 1, 0, 0) == -EINVAL);
    CHECK(wait_for(&empty, 1, FOR_SUBMIT, 0) == -ETIME);
    CHECK(wait_for(&empty, 1, FOR_SUBMIT, (int64_t)later(5)) == -ETIME);
    CHECK(wait_for(&done, 1, 0, 0) == 0 && wait_for(&done, 1, 0, -5) == 0);
    CHECK(wait_for(&done, 1, DEADLINE, 0) == 0);
    CHECK(wait_for(mixed, 2, 0, 0) == -EINVAL);
    CHECK(wait_for(mixed, 2, ALL, 0) == -EINVAL);
    CHECK(wait_for(mixed, 2, FOR_SUBMIT, 0) == 1);
    CHECK(wait_for(mixed, 2, ALL | FOR_SUBMIT, (int64_t)later(5)) == -ETIME);
    CHECK(wait_for(dones, 2, ALL, 0) >= 0);

    uint32_t line = create(0);
    uint64_t point = 10;
    CHECK(wait_points(&line, &point, 1, 0, 0) == -EINVAL);
    CHECK(wait_points(&line, &point, 1, FOR_SUBMIT, (int64_t)later(5)) == -ETIME);
    CHECK(wait_points(&line, &point, 1, AVAILABLE, 0) == -ETIME);
    CHECK(wait_points(&line, &point, 1, 0xdead0000, 0) == -EINVAL);
    CHECK(wait_points(&line, &point, 0, 0, 0) >= 0);
    CHECK(query(line, 0) == 0);
    CHECK(signal_point(line, 10) == 0 && query(line, 0) == 10 && query(line, 1) == 10);
    for (point = 0; point <= 10; point++)
        CHECK(wait_points(&line, &point, 1, 0, 0) == 0);
    CHECK(wait_points(&line, &point, 1, 0, 0) == -EINVAL);
    CHECK(signal_point(line, UINT64_MAX - 1) == 0 && query(line, 0) == UINT64_MAX - 1);
    CHECK(signal_point(0, 10) == -ENOENT);
    struct timeline_array array = {(uintptr_t)&line, (uintptr_t)&point, 1, 1};
    FAILS(ioctl(fd, D_TIMELINE_SIGNAL, &array), EINVAL);
    array = (struct timeline_array){(uintptr_t)&line, (uintptr_t)&point, 0, 0};
    FAILS(ioctl(fd, D_TIMELINE_SIGNAL, &array), EINVAL);
    FAILS(ioctl(fd, D_QUERY, &array), EINVAL);
    array = (struct timeline_array){(uintptr_t)&line, (uintptr_t)&point, 1, 0xdeadbeef};
    FAILS(ioctl(fd, D_QUERY, &array), EINVAL);
    uint32_t none = 0;
    array = (struct timeline_array){(uintptr_t)&none, (uintptr_t)&point, 1, 0};
    FAILS(ioctl(fd, D_QUERY, &array), ENOENT);

    uint32_t target = create(0);
    struct transfer move = {line, target, 10, 0, 0, 0};
    CHECK(ioctl(fd, D_TRANSFER, &move) == 0 && wait_for(&target, 1, 0, 0) == 0);
    move = (struct transfer){line, target, 10, 7, 0, 0};
    CHECK(ioctl(fd, D_TRANSFER, &move) == 0 && query(target, 0) == 7);
    move.pad = 1;
    FAILS(ioctl(fd, D_TRANSFER, &move), EINVAL);
    move = (struct transfer){0, target, 10, 0, 0, 0};
    FAILS(ioctl(fd, D_TRANSFER, &move), ENOENT);
    move = (struct transfer){line, 0, 10, 0, 0, 0};
    FAILS(ioctl(fd, D_TRANSFER, &move), ENOENT);
    move = (struct transfer){empty, target, 0, 0, 0, 0};
    FAILS(ioctl(fd, D_TRANSFER, &move), EINVAL);

    int event = eventfd(0, EFD_NONBLOCK), pipes[2];
    eventfd_t value;
    CHECK(event >= 0 && pipe(pipes) == 0);
    uint32_t fresh = create(0);
    struct syncobj_eventfd request = {0, 0, 1, event, 0};
    FAILS(ioctl(fd, D_EVENTFD, &request), ENOENT);
    request = (struct syncobj_eventfd){fresh, 0xdead0000, 1, event, 0};
    FAILS(ioctl(fd, D_EVENTFD, &request), EINVAL);
    request = (struct syncobj_eventfd){fresh, 0, 1, event, 0xdeadbeef};
    FAILS(ioctl(fd, D_EVENTFD, &request), EINVAL);
    request = (struct syncobj_eventfd){fresh, 0, 1, 999, 0};
    FAILS(ioctl(fd, D_EVENTFD, &request), EBADF);
    request = (struct syncobj_eventfd){fresh, 0, 1, pipes[0], 0};
    FAILS(ioctl(fd, D_EVENTFD, &request), EINVAL);
    for (unsigned flags = 0; flags <= AVAILABLE; flags += AVAILABLE) {
        request = (struct syncobj_eventfd){fresh, flags, 5 + flags, event, 0};
        CHECK(ioctl(fd, D_EVENTFD, &request) == 0);
        CHECK(eventfd_read(event, &value) == -1 && errno == EAGAIN);
        CHECK(signal_point(fresh, 5 + flags) == 0);
        struct pollfd poller = {event, POLLIN, 0};
        CHECK(poll(&poller, 1, 20000) == 1);
        CHECK(eventfd_read(event, &value) == 0 && value == 1);
    }
    // Already there.
    CHECK(ioctl(fd, D_EVENTFD, &request) == 0);
    struct pollfd poller = {event, POLLIN, 0};
    CHECK(poll(&poller, 1, 20000) == 1);
}

static void core(void) {
    fd = open_node();
    struct cap cap = {0x13, 77};
    CHECK(ioctl(fd, D_GET_CAP, &cap) == 0 && cap.value == 1);
    cap = (struct cap){0x14, 77};
    CHECK(ioctl(fd, D_GET_CAP, &cap) == 0 && cap.value == 1);
    cap = (struct cap){5, 77};
    CHECK(ioctl(fd, D_GET_CAP, &cap) == 0 && cap.value == 3);
    cap = (struct cap){6, 77};
    CHECK(ioctl(fd, D_GET_CAP, &cap) == 0 && cap.value == 1);
    cap = (struct cap){3, 1};
    FAILS(ioctl(fd, D_SET_CLIENT_CAP, &cap), EACCES);
    // What a render node does not have, by number: GET_UNIQUE, GET_MAGIC, GET_CLIENT, SET_VERSION,
    // FLINK, OPEN, AUTH_MAGIC, SET_MASTER, DROP_MASTER, mode setting, leases, GETFB2, CLOSEFB.
    unsigned char room[256] = {0};
    static const uint8_t denied[] = {0x01, 0x02, 0x05, 0x06, 0x07, 0x0a, 0x0b, 0x10, 0x11,
                                     0x12, 0x13, 0x1e, 0x1f, 0x3a, 0x3b, 0xa0, 0xa7, 0xb2,
                                     0xb3, 0xb4, 0xbc, 0xbe, 0xc6, 0xc9, 0xce, 0xd0};
    for (unsigned n = 0; n < sizeof denied; n++)
        FAILS(ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'd', denied[n], 64), room), EACCES);
    static const uint8_t unknown[] = {0x60, 0x7f, 0x8f, 0x9f, 0xe0, 0xff};
    for (unsigned n = 0; n < sizeof unknown; n++) {
        FAILS(ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'd', unknown[n], 64), room), EINVAL);
        FAILS(ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'd', unknown[n], 64), NULL), EINVAL);
    }
    for (unsigned n = 0; n < sizeof room; n++)
        CHECK(room[n] == 0);

    struct pair close_handle = {0, 0};
    FAILS(ioctl(fd, D_GEM_CLOSE, &close_handle), EINVAL);
    struct prime prime = {0, 0, -1};
    FAILS(ioctl(fd, D_PRIME_EXPORT, &prime), ENOENT);
    prime = (struct prime){0, 0xdeadbeef, -1};
    FAILS(ioctl(fd, D_PRIME_EXPORT, &prime), EINVAL);
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    prime = (struct prime){0, 0, pipes[0]};
    FAILS(ioctl(fd, D_PRIME_IMPORT, &prime), EINVAL);
    prime.fd = 0;
    FAILS(ioctl(fd, D_PRIME_IMPORT, &prime), EINVAL);
    prime.fd = 999;
    FAILS(ioctl(fd, D_PRIME_IMPORT, &prime), EBADF);

    // Sizes: shorter arguments are extended by zeros, of longer ones the rest comes back as it was.
    struct { struct pair object; uint64_t beyond; } longer = {{0, 0}, 0x1122334455667788};
    CHECK(ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'd', 0xbf, sizeof longer), &longer) == 0);
    CHECK(longer.object.a != 0 && longer.beyond == 0x1122334455667788);
    struct pair shorter = {77, 0xdeadbeef};  // the flags are not of this call
    CHECK(ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 'd', 0xbf, 4), &shorter) == 0);
    CHECK(shorter.a != 77 && shorter.b == 0xdeadbeef);
    // Direction: without the write half nothing is read, without the read half nothing is written.
    struct pair out_only = {77, 0xdeadbeef};
    CHECK(ioctl(fd, _IOC(_IOC_READ, 'd', 0xbf, 8), &out_only) == 0);
    CHECK(out_only.a != 77 && out_only.b == 0);
    struct pair in_only = {77, 0};
    CHECK(ioctl(fd, _IOC(_IOC_WRITE, 'd', 0xbf, 8), &in_only) == 0 && in_only.a == 77);
    CHECK(ioctl(fd, _IOC(_IOC_NONE, 'd', 0xbf, 8), NULL) == 0);
}

// What nouveau looks at before it reads an array. Source: nouveau_gem.c, nouveau_exec.c.
static void arrays(void) {
    struct pushbuf {
        uint32_t channel, buffers_count;
        uint64_t buffers;
        uint32_t relocs_count, push_count;
        uint64_t relocs, pushes;
        uint32_t suffix[2];
        uint64_t vram, gart;
    };
    const unsigned long request = _IOWR('d', 0x81, struct pushbuf);
    struct channel { uint32_t fb, tt; int32_t id; uint32_t rest[19]; } channel = {0};
    int old = open(node, O_RDWR);
    CHECK(old >= 0 && ioctl(old, _IOWR('d', 0x42, struct channel), &channel) == 0);
    uint32_t id = (uint32_t)channel.id;
    char room[1025 * 40] = {0};
    uintptr_t good = (uintptr_t)room, bad[] = {16, (uintptr_t)edge(4), 0};
    for (unsigned n = 0; n < sizeof bad / sizeof *bad; n++) {
        struct { struct pushbuf call; int error; } cases[] = {
            // Nothing is pushed: nothing is read, and the sizes are told.
            {{id, 9, bad[n], 9, 0, bad[n], bad[n], {5, 6}, 0, 0}, 0},
            {{id, 0xffffffff, bad[n], 0xffffffff, 0, bad[n], bad[n], {5, 6}, 0, 0}, 0},
            {{id + 99, 1, bad[n], 0, 1, 0, bad[n], {5, 6}, 0, 0}, ENOENT},
            {{id + 99, 0xffffffff, bad[n], 0, 1, 0, bad[n], {5, 6}, 0, 0}, ENOENT},
            {{id, 1, bad[n], 0, 513, 0, bad[n], {5, 6}, 0, 0}, EINVAL},
            {{id, 1, bad[n], 0, 0xffffffff, 0, bad[n], {5, 6}, 0, 0}, EINVAL},
            {{id, 1025, bad[n], 0, 1, 0, bad[n], {5, 6}, 0, 0}, EINVAL},
            {{id, 0xffffffff, bad[n], 0, 1, 0, good, {5, 6}, 0, 0}, EINVAL},
            {{id, 1, bad[n], 1025, 1, 0, bad[n], {5, 6}, 0, 0}, EINVAL},
            {{id, 1, bad[n], 0xffffffff, 1, 0, bad[n], {5, 6}, 0, 0}, EINVAL},
            {{id, 1, bad[n], 0, 1, 0, good, {5, 6}, 0, 0}, EFAULT},
            {{id, 1, good, 0, 1, 0, bad[n], {5, 6}, 0, 0}, EFAULT},
            {{id, 1024, bad[n], 1024, 512, 0, bad[n], {5, 6}, 0, 0}, EFAULT},
            // The push names a buffer that is not listed: the list is read before that is seen.
            {{id, 0, bad[n], 0, 1, 0, good, {5, 6}, 0, 0}, EINVAL},
        };
        for (unsigned c = 0; c < sizeof cases / sizeof *cases; c++) {
            struct pushbuf call = cases[c].call;
            int result = ioctl(old, request, &call);
            if (cases[c].error == 0)
                CHECK(result == 0);
            else
                CHECK(result == -1 && errno == cases[c].error);
            CHECK(call.pushes == cases[c].call.pushes && call.buffers == cases[c].call.buffers);
            CHECK((call.vram != 0) == (cases[c].error != ENOENT));
            CHECK((call.gart != 0) == (cases[c].error != ENOENT));
            // The words that old chips' pushes ended with are cleared once the arrays are there.
            bool read = cases[c].error == 0 || c == sizeof cases / sizeof *cases - 1;
            CHECK(call.suffix[0] == (read ? 0 : 5) && call.suffix[1] == (read ? 0 : 6));
        }
    }
    struct exec exec = {1, 1, 0, 0, 0, 0, 16};
    FAILS(ioctl(old, D_EXEC, &exec), ENOSYS);
    int new = open(node, O_RDWR);
    struct vm_init init = {(uint64_t)1 << 39, (uint64_t)1 << 39};
    CHECK(new >= 0 && ioctl(new, _IOWR('d', 0x50, struct vm_init), &init) == 0);
    CHECK(ioctl(new, _IOWR('d', 0x42, struct channel), &channel) == 0);
    id = (uint32_t)channel.id;
    exec = (struct exec){id + 99, 1, 0, 0, 0, 0, 16};
    FAILS(ioctl(new, D_EXEC, &exec), ENOENT);
    exec = (struct exec){id, 511, 0, 0, 0, 0, 16};
    FAILS(ioctl(new, D_EXEC, &exec), EINVAL);
    exec = (struct exec){id, 0xffffffff, 0, 0, 0, 0, 16};
    FAILS(ioctl(new, D_EXEC, &exec), EINVAL);
    exec = (struct exec){id, 1, 0, 0, 0, 0, 16};
    FAILS(ioctl(new, D_EXEC, &exec), EFAULT);
    exec = (struct exec){id, 0, 1, 0, 16, 0, 0};
    FAILS(ioctl(new, D_EXEC, &exec), EFAULT);
    exec = (struct exec){id, 0, 0xffffffff, 0, 16, 0, 0};
    FAILS(ioctl(new, D_EXEC, &exec), ENOMEM);
    exec = (struct exec){id, 0, 0, 0, 16, 16, 16};
    CHECK(ioctl(new, D_EXEC, &exec) == 0);
    struct pushbuf call = {.channel = id, .push_count = 1, .pushes = 16};
    FAILS(ioctl(new, request, &call), ENOSYS);
    struct vm_bind bind = {1, 0, 0, 0, 0, 0, 16};
    FAILS(ioctl(new, D_VM_BIND, &bind), EFAULT);
    bind.op_count = 0xffffffff;
    FAILS(ioctl(new, D_VM_BIND, &bind), ENOMEM);
    CHECK(close(old) == 0 && close(new) == 0);
}

static void device_tree(void) {
    static const char *const attributes[] = {
        "vendor", "device", "subsystem_vendor", "subsystem_device", "revision", "class", "config",
        "irq", "resource", "enable", "numa_node", "boot_vga", "modalias", "uevent"};
    char path[256], text[1024];
    for (unsigned n = 0; n < sizeof attributes / sizeof *attributes; n++) {
        snprintf(
            path, sizeof path, "/sys/class/drm/%s/device/%s", strrchr(node, '/') + 1,
            attributes[n]);
        int file = open(path, O_RDONLY);
        CHECK(file >= 0 && read(file, text, sizeof text) > 1);
        close(file);
    }
    snprintf(path, sizeof path, "/sys/class/drm/%s/device/subsystem", strrchr(node, '/') + 1);
    CHECK(realpath(path, text) && strcmp(text, "/sys/bus/pci") == 0);
}

const struct test_case core_cases[] = {
    {"syncobjs", syncobjs}, {"waits", waits}, {"core", core}, {"arrays", arrays},
    {"device-tree", device_tree},
    {NULL, NULL},
};
