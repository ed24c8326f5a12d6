// The program that the shim's tests run: a fake daemon, and the clients that are preloaded.
#ifndef PROBE_H
#define PROBE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

#define NODE "/dev/dri/renderD128"
#define CHAR "/sys/dev/char/226:128"
// Of the fake daemon; the real one takes a number that the machine does not use.
extern const char *node;

// The uAPI as the tests need it, from its documentation; the shim's table is not looked at.
struct version {
    int major, minor, patch;
    size_t name_len;
    char *name;
    size_t date_len;
    char *date;
    size_t desc_len;
    char *desc;
};
struct getparam { uint64_t param, value; };
struct vm_init { uint64_t kernel_managed_addr, kernel_managed_size; };
struct bind_op { uint32_t op, flags, handle, pad; uint64_t addr, bo_offset, range; };
struct sync { uint32_t flags, handle; uint64_t value; };
struct push { uint64_t va; uint32_t va_len, flags; };
struct vm_bind {
    uint32_t op_count, flags, wait_count, sig_count;
    uint64_t wait_ptr, sig_ptr, op_ptr;
};
struct exec {
    uint32_t channel, push_count, wait_count, sig_count;
    uint64_t wait_ptr, sig_ptr, push_ptr;
};
struct prime { uint32_t handle, flags; int32_t fd; };
struct syncobj_fd { uint32_t handle, flags; int32_t fd; uint32_t pad; };
struct syncobj_eventfd { uint32_t handle, flags; uint64_t point; int32_t fd; uint32_t pad; };
struct syncobj_wait {
    uint64_t handles;
    int64_t timeout;
    uint32_t count, flags, first, pad;
    uint64_t deadline;
};
struct syncobj_array { uint64_t handles; uint32_t count, pad; };
struct timeline_array { uint64_t handles, points; uint32_t count, flags; };
struct timeline_wait {
    uint64_t handles, points;
    int64_t timeout;
    uint32_t count, flags, first, pad;
    uint64_t deadline;
};
struct unique { size_t length; char *text; };

#define D_VERSION _IOWR('d', 0x00, struct version)
#define D_UNIQUE _IOWR('d', 0x01, struct unique)
#define D_PRIME_EXPORT _IOWR('d', 0x2d, struct prime)
#define D_PRIME_IMPORT _IOWR('d', 0x2e, struct prime)
#define D_GETPARAM _IOWR('d', 0x40, struct getparam)
#define D_CHANNEL_FREE _IOW('d', 0x43, int32_t)
#define D_NVIF(bytes) _IOC(_IOC_READ | _IOC_WRITE, 'd', 0x47, bytes)
#define D_VM_INIT_WRITE_ONLY _IOW('d', 0x50, struct vm_init)
#define D_VM_BIND _IOWR('d', 0x51, struct vm_bind)
#define D_EXEC _IOWR('d', 0x52, struct exec)
#define D_SYNCOBJ_EXPORT _IOWR('d', 0xc1, struct syncobj_fd)
#define D_SYNCOBJ_IMPORT _IOWR('d', 0xc2, struct syncobj_fd)
#define D_SYNCOBJ_WAIT _IOWR('d', 0xc3, struct syncobj_wait)
#define D_SYNCOBJ_WAIT_OLD _IOC(_IOC_READ | _IOC_WRITE, 'd', 0xc3, 32)
#define D_SYNCOBJ_RESET _IOWR('d', 0xc4, struct syncobj_array)
#define D_SYNCOBJ_SIGNAL _IOWR('d', 0xc5, struct syncobj_array)
#define D_TIMELINE_WAIT _IOWR('d', 0xca, struct timeline_wait)
#define D_QUERY _IOWR('d', 0xcb, struct timeline_array)
#define D_TIMELINE_SIGNAL _IOWR('d', 0xcd, struct timeline_array)
#define D_EVENTFD _IOWR('d', 0xcf, struct syncobj_eventfd)

// The fake daemon's own: what it has seen. It answers when so many files have been closed.
struct fake_stats {
    uint64_t wait_closed;
    uint32_t opened, closed, streams, streams_now, cancelled, mmaps;
};
#define D_STATS _IOWR('d', 0x3e, struct fake_stats)
#define D_REJECTED _IOWR('d', 0x3d, struct getparam)  // an error of the protocol
#define D_UNKNOWN _IOWR('d', 0x3f, struct getparam)   // EINVAL
#define D_FINISH_WAITS _IO('d', 0x3c)                 // waits under way succeed
#define D_DIE _IO('d', 0x3b)                          // the daemon is gone
#define FAKE_MAP_HANDLE 0x100000000u
#define FAKE_MAP_PAGES 4u

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            printf("%s:%d: %s (errno %d %s)\n", __FILE__, __LINE__, #condition, errno,             \
                   strerror(errno));                                                               \
            fflush(stdout);                                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)
#define FAILS(call, error) CHECK((errno = 0, (call) == -1) && errno == (error))

int fake_daemon(const char *path);
void write_tree(const char *root);
int print_needed(const char *library);
int measure_startup(const char *library);

int open_node(void);
void check_works(int fd);
// That a stat is the node's.
void check_node(mode_t mode, dev_t rdev);
// Whether a directory lists a name, once and of this type (or DT_UNKNOWN).
bool has(const char *path, const char *name, unsigned char type);
// The last bytes before memory that is not there.
char *edge(size_t bytes);
struct fake_stats stats(int control, unsigned wait_closed);

struct test_case { const char *name; void (*run)(void); };
extern const struct test_case path_cases[], way_cases[], ioctl_cases[], process_cases[];
// With the real daemon: probe real CASE, probe list-real.
extern const struct test_case descriptor_cases[], core_cases[], stress_cases[];
int inherited(int fd);
int received(int socket);
int descriptor_received(int socket);
int executed(int kept, int closed);
int measure_calls(void);

#endif
