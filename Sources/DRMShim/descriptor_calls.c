// What frees or takes descriptor numbers. An open file is recognised by what it is, not by its
// number, so duplicates need no attention; but the streams of a file go with its descriptor, and
// the streams' own numbers are not the program's to close.
#include "shim.h"

#include <linux/close_range.h>

static SLOW int close_file(int fd) {
    uint64_t inode = shim_file_inode(fd);
    int result = REAL(close)(fd);
    if (inode != 0) {
        int saved = errno;
        // Of the file, not of the descriptor: if another one is open, the next request makes a
        // stream again.
        (void)shim_hint_take(fd);
        shim_stream_drop(inode);
        shim_debug("close(%d) = %d", fd, result);
        errno = saved;
    }
    return result;
}

EXPORT int close(int fd) {
    if (UNLIKELY(shim_hint_take(fd)))
        return close_file(fd);
    if (UNLIKELY(shim_is_stream(fd))) {
        errno = EBADF;
        return -1;
    }
    return REAL(close)(fd);
}

// The file whose descriptor a call is about to replace.
static inline uint64_t replaced(int from, int to) {
    if (from == to || to < 0)
        return 0;
    if (UNLIKELY(shim_is_stream(to)))
        shim_stream_evict(to);
    return UNLIKELY(shim_hint_take(to)) ? shim_file_inode(to) : 0;
}

static inline int finish(int result, uint64_t inode) {
    if (UNLIKELY(inode != 0) && result >= 0) {
        int saved = errno;
        shim_stream_drop(inode);
        errno = saved;
    }
    return result;
}

EXPORT int dup2(int from, int to) {
    uint64_t inode = replaced(from, to);
    return finish(REAL(dup2)(from, to), inode);
}

EXPORT int dup3(int from, int to, int flags) {
    uint64_t inode = replaced(from, to);
    return finish(REAL(dup3)(from, to, flags), inode);
}

EXPORT int close_range(unsigned first, unsigned last, int flags) {
    if (!(flags & CLOSE_RANGE_CLOEXEC))
        shim_stream_drop_numbers(first, last);
    return REAL(close_range)(first, last, flags);
}

EXPORT void closefrom(int first) {
    shim_stream_drop_numbers(first < 0 ? 0 : (unsigned)first, ~0u);
    REAL(closefrom)(first);
}
