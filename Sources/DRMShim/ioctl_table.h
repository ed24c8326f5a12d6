// What the arguments of ioctls point to, and which descriptors they name.
#ifndef GPUVM_SHIM_IOCTL_TABLE_H
#define GPUVM_SHIM_IOCTL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

// An array that a pointer of the argument leads to; pointers have 64 bits. None of the arrays below
// has pointers of its own.
struct shim_block_rule {
    uint8_t flags;          // GPUVM_DRM_BLOCK_* and SHIM_BLOCK_*
    uint8_t count_bytes;    // 4 or 8: the width of the count field
    uint16_t pointer_offset, count_offset;
    uint16_t element_bytes;
};
// A null pointer is no array whatever the count says: the kernel looks at the pointer first.
#define SHIM_BLOCK_OPTIONAL 0x10u
// Text: no longer than this, however much room the program has for it.
#define SHIM_BLOCK_TEXT 0x20u
#define SHIM_MAX_TEXT 4096u

// A descriptor in the argument.
struct shim_fd_rule {
    uint8_t direction;  // SHIM_FD_*
    uint8_t bad;        // of SHIM_FD_IN: the kernel's errno for a number that is not open
    uint16_t offset;    // of the 32-bit field
    // Of SHIM_FD_OUT: the 32-bit field whose O_CLOEXEC bit says that the descriptor is
    // close-on-exec; SHIM_ALWAYS_CLOEXEC: it always is.
    uint16_t cloexec_offset;
};
enum { SHIM_FD_NONE, SHIM_FD_IN, SHIM_FD_OUT };
#define SHIM_ALWAYS_CLOEXEC 0xffffu

#define SHIM_MAX_RULES 3
struct shim_ioctl_rule {
    const char *name;
    uint8_t direction;      // _IOC_READ | _IOC_WRITE as the kernel defines it
    uint8_t any_direction;  // copied both ways whatever the request says
    uint8_t interruptible;  // waits, and a signal ends the wait
    // No call of the kernel's: it answers EINVAL before it looks at the argument.
    uint8_t unknown;
    // The driver answers other mistakes before it reads an array; the daemon cannot do the call
    // without its arrays.
    uint8_t arrays_late;
    // The count of the only array is room, of which no more is used than the daemon has elements.
    uint8_t ask_count;
    // The argument is no struct but text of at most so many bytes with its end; 0: a struct.
    uint8_t text;
    uint8_t block_count;
    struct shim_block_rule blocks[SHIM_MAX_RULES];
    struct shim_fd_rule fd;   // SHIM_FD_IN or SHIM_FD_OUT
    struct shim_fd_rule fd2;  // SHIM_FD_OUT, where `fd` is SHIM_FD_IN
};

// The rule of an ioctl of the type 'd'; an argument alone, in both directions, if it is unknown.
const struct shim_ioctl_rule *shim_ioctl_rule(unsigned number);

// Which of the descriptors that open files give out a request is for. Those of other types of
// descriptors have the same numbers.
enum shim_descriptor { SHIM_NO_DESCRIPTOR, SHIM_SYNC_FILE, SHIM_DMA_BUF };
// The rule of an ioctl on one of them; null for every other request.
const struct shim_ioctl_rule *shim_descriptor_rule(uint32_t request, enum shim_descriptor *kind);

#pragma GCC visibility pop
#endif
