// mmap(2) of an open file: the daemon names the buffer's own memory, and that is mapped.
#include "shim.h"

#include <sys/mman.h>

static void *map(
    int file, uint64_t inode, void *address, size_t length, int protection, int flags,
    off_t offset) {
    int saved = errno;
    struct gpuvm_drm_mmap body = {
        .offset = (uint64_t)offset,
        .length = length,
        .protection = (uint32_t)protection,
        .flags = (uint32_t)flags,
    };
    struct gpuvm_drm_mmap_reply reply;
    struct iovec out = {&body, sizeof body}, in = {&reply, sizeof reply};
    struct shim_request request = {
        .opcode = GPUVM_DRM_MMAP, .out = &out, .out_count = 1, .in = &in, .in_count = 1};
    int result = shim_call(file, inode, &request);
    if (result == SHIM_REJECTED)
        result = -errno;
    if (result == 0)
        result = reply.result;
    if (result == 0 && request.received_count == 0)
        result = -EPROTO;
    void *mapped = MAP_FAILED;
    if (result == 0) {
        mapped = REAL(mmap)(
            address, length, protection, flags, request.received[0], (off_t)reply.offset);
        result = mapped == MAP_FAILED ? -errno : 0;
    }
    while (request.received_count > 0)
        syscall(SYS_close, request.received[--request.received_count]);
    shim_debug(
        "mmap(%p, %zu, 0x%x, 0x%x, %d, 0x%llx) = %p%s%s", address, length, (unsigned)protection,
        (unsigned)flags, file, (unsigned long long)offset, mapped, result < 0 ? " " : "",
        result < 0 ? strerrorname_np(-result) : "");
    errno = result < 0 ? -result : saved;
    return mapped;
}

// A socket cannot be mapped, so whatever could be was no open file. MAP_FIXED is asked about first:
// the kernel takes away what was there before it fails.
static SLOW void *slow_mmap(
    void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    uint64_t inode = shim_file_inode(fd);
    if (inode != 0)
        return map(fd, inode, address, length, protection, flags, offset);
    return REAL(mmap)(address, length, protection, flags, fd, offset);
}

static inline void *do_mmap(
    void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && !(flags & MAP_ANONYMOUS)) {
        if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))
            return slow_mmap(address, length, protection, flags, fd, offset);
        int saved = errno;
        void *mapped = REAL(mmap)(address, length, protection, flags, fd, offset);
        if (UNLIKELY(mapped == MAP_FAILED)) {
            int error = errno;
            uint64_t inode = shim_file_inode(fd);
            if (inode != 0) {
                errno = saved;
                return map(fd, inode, address, length, protection, flags, offset);
            }
            errno = error;
        }
        return mapped;
    }
    return REAL(mmap)(address, length, protection, flags, fd, offset);
}

EXPORT void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return do_mmap(address, length, protection, flags, fd, offset);
}

EXPORT void *mmap64(
    void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    return do_mmap(address, length, protection, flags, fd, offset);
}
