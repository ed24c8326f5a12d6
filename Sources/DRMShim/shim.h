// What the files of the shim share.
//
// Rules for all of them. Calls that are async-signal-safe in libc stay so on the paths that the
// shim handles: no malloc, no lock, system calls instead of cancellation points. errno changes only
// where the kernel would change it. What the shim does not handle goes to the next library as it
// came.
#ifndef GPUVM_SHIM_H
#define GPUVM_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gpuvm_drm.h"
#include "gpuvm_drm_shim.h"

_Static_assert(sizeof(void *) == 8, "structs of 32-bit programs are not translated");
_Static_assert(sizeof(struct stat) == sizeof(struct stat64), "stat and stat64 are one");

#pragma GCC visibility push(hidden)

// An interposed function.
#define EXPORT __attribute__((visibility("default")))
// Off the way of programs that do not touch DRM: large frames must not be theirs.
#define SLOW __attribute__((noinline, cold))
#define LIKELY(condition) __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

// The next library's function of this name, looked up at the first use.
#define REAL(name)                                                                                 \
    ({                                                                                             \
        static _Atomic(void *) slot_;                                                              \
        (__typeof__(name) *)shim_real(&slot_, #name);                                              \
    })
void *shim_find(_Atomic(void *) *slot, const char *name);
static inline void *shim_real(_Atomic(void *) *slot, const char *name) {
    void *function = atomic_load_explicit(slot, memory_order_acquire);
    return UNLIKELY(!function) ? shim_find(slot, name) : function;
}

// MARK: Configuration (config.c)

struct shim_config {
    const char *socket, *tree;  // null: not set
    size_t tree_length;
    bool mask, debug;
};
struct shim_config shim_config(void);

// Writes one line to stderr if GPUVM_SHIM_DEBUG is set; errno stays.
void shim_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

// A result of the form -errno as a libc function returns it.
static inline int shim_result(int result) {
    if (result >= 0)
        return result;
    errno = -result;
    return -1;
}

// MARK: Memory of the program (copy.c)

// Copies from an address that the program gave: 0 or -EFAULT, never a signal.
int shim_copy_in(void *to, uintptr_t from, size_t bytes);
// Copies to an address that the program gave: the same.
int shim_copy_out(uintptr_t to, const void *from, size_t bytes);
// Copies a string with its end: its length, -EFAULT, or -ENAMETOOLONG without an end in `room`
// bytes.
ssize_t shim_copy_string(char *to, const char *from, size_t room);
// Whether the byte at an address can be read.
bool shim_readable(const void *address);

// MARK: The device tree (tree.c)

enum shim_place {
    SHIM_ELSEWHERE,  // not in the tree: `path` is the machine's
    SHIM_IN_TREE,    // `path` is the file that stands for it
    SHIM_NOWHERE,    // `error`
};
struct shim_location {
    enum shim_place place;
    int error;         // positive errno
    mode_t type;       // S_IFMT of the tree's file
    bool node;         // it describes a device node
    bool merged;       // a directory to which the machine's own of that path adds entries
    char path[PATH_MAX];
    char name[PATH_MAX];  // as the program knows it, without symbolic links
};
struct shim_node {
    dev_t rdev;
    mode_t mode;  // with S_IFCHR
};

extern _Atomic bool shim_tree_directory_seen;

// Whether a relative path may name something of the tree: its own directories, or the first step
// from one of the machine's into it.
bool shim_relative_candidate(const char *path);

// The byte at a place behind one that can be read; -1 if a page begins there that is not there.
static inline int shim_next(const char *place) {
    if (UNLIKELY(((uintptr_t)place & 4095) == 0) && !shim_readable(place))
        return -1;
    return (unsigned char)*place;
}

// Whether a path begins so; it is not read beyond that.
static inline bool shim_begins(const char *path, const char *prefix) {
    for (; *prefix; path++, prefix++)
        if (shim_next(path) != *prefix)
            return false;
    return true;
}

bool shim_absolute_candidate(const char *path);

// The cheap test in front of everything: can the shim have an answer for this path, which is there?
static inline bool shim_possible(int directory, const char *path) {
    if (path[0] != '/')
        return UNLIKELY(directory != AT_FDCWD) && path[0] != 0 && shim_relative_candidate(path);
    int second = shim_next(path + 1);
    return UNLIKELY(second == 'd' || second == 's' || second == 'p')
        && shim_absolute_candidate(path);
}

// The same before anybody has looked at the path. One that is not there goes on to the kernel,
// which answers EFAULT.
static inline bool shim_candidate(int directory, const char *path) {
    return shim_readable(path) && shim_possible(directory, path);
}

// The same after the kernel's answer to a call that changes nothing, which has read the path unless
// it says otherwise: other programs then pay for no look at it. Restores errno if so.
static inline bool shim_knows_better(int directory, const char *path, long result, int saved) {
    if (UNLIKELY(result < 0) && (errno == EFAULT || (errno == EINVAL && !shim_readable(path))))
        return false;
    if (LIKELY(!shim_possible(directory, path)))
        return false;
    errno = saved;
    return true;
}

// Finds a candidate. False: nothing here concerns the shim, the arguments go on as they are.
bool shim_locate(int directory, const char *path, bool follow, struct shim_location *location);
// What a node's file says; -errno if it cannot be read.
int shim_read_node(const char *path, struct shim_node *node);
// The program may now hold a descriptor of a directory of the tree.
void shim_note_directory(void);
// The path of an open directory of the tree as the program knows it.
bool shim_directory_name(int fd, char name[PATH_MAX]);
// The node that /proc/self/fd/N (or /dev/fd/N) leads to, if N is an open file of one.
bool shim_descriptor_link(const char *path, char name[PATH_MAX]);

// MARK: Open files (file.c)

// Opens a node: the descriptor of a new connection to the daemon, or -errno.
int shim_open_node(const struct shim_node *node, int flags);
// An open file of no node, for requests on descriptors that other files gave out: the process's
// own, made at the first call. Its descriptor, or -errno.
int shim_control_file(uint64_t *inode);
// Whether a socket is an open file of a node.
bool shim_identify(int fd, dev_t *rdev);
// The inode of an open file of a node; 0: it is something else.
uint64_t shim_file_inode(int fd);
// Sends all of it or fails: 0 or -errno.
int shim_send(
    int socket, const struct iovec *pieces, size_t count, const int *fds, size_t fd_count);

// MARK: Streams (stream.c)

struct shim_slot;
struct shim_stream {
    int fd;
    uint32_t serial;         // of the request that is under way
    struct shim_slot *slot;  // null: of this call alone
};
// A stream of the file for one request: 0 or -errno. `fresh` says whether nothing has used it yet.
int shim_stream_take(int file, uint64_t inode, struct shim_stream *stream, bool *fresh);
// Gives it back; one that is not in step with the daemon is closed.
void shim_stream_return(struct shim_stream *stream, bool in_step);
// A copy of a new descriptor where programs do not look for theirs; `fd` is closed.
int shim_move_high(int fd);
// Closes what is idle: of one file, or of files that no longer exist.
void shim_stream_drop(uint64_t inode);
void shim_stream_sweep(void);
bool shim_is_stream(int fd);
// Counts the control file among the streams: a program cannot close it by accident.
void shim_stream_control(int fd);
// Makes room at a number that the program wants.
void shim_stream_evict(int fd);
void shim_stream_drop_numbers(unsigned first, unsigned last);

// Descriptors that were seen to be open files of nodes: a hint for close(2).
void shim_hint_set(int fd);
bool shim_hint_take(int fd);

// MARK: Requests (request.c)

#define SHIM_MAX_PIECES 64
struct shim_request {
    uint16_t opcode;
    bool interruptible;  // a signal ends the call, and the daemon's side of it
    bool peek;           // look at the reply before it is scattered: it may be long
    const struct iovec *out;  // after the header
    size_t out_count;
    const int *fds;
    size_t fd_count;
    const struct iovec *in;   // where the reply goes: the contents after the header
    size_t in_count;
    int received[GPUVM_MAX_MESSAGE_FDS];  // close-on-exec; the caller's
    size_t received_count;
    bool sent;  // the daemon has the request
};
// One request and its reply: 0 or -errno.
int shim_call(int file, uint64_t inode, struct shim_request *request);
#define SHIM_REJECTED 1  // the reply was an error of the protocol: `in` may be overwritten

int shim_ioctl(int fd, uint64_t inode, uint32_t request, uintptr_t argument);

#pragma GCC visibility pop
#endif
