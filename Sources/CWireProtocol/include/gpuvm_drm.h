// The part of the protocol that the preloaded DRM shim speaks: open files and flattened ioctls.
//
// An *open file* of a DRM node is a connection to the daemon's socket whose first message is
// GPUVM_DRM_OPEN instead of GPUVM_HELLO. Its descriptor is what the program gets from open(2): the
// kernel counts dup, fork and SCM_RIGHTS for us, and the end of the last copy is the end of the file.
// No request travels on it. Each process (each thread where it blocks) makes a socketpair of type
// SOCK_SEQPACKET and sends one end over it with GPUVM_DRM_STREAM; on the other end it talks:
// gpuvm_header framing, one request at a time, replies in order.
//
// All structs are little-endian, naturally aligned, without implicit padding, as in gpuvm_protocol.h.
#ifndef GPUVM_DRM_H
#define GPUVM_DRM_H

#include <stdint.h>

#include "gpuvm_protocol.h"

enum gpuvm_drm_opcode {
    GPUVM_DRM_OPEN = 128,    // on a new connection; reply: gpuvm_drm_open_reply
    GPUVM_DRM_STREAM = 129,  // on the open file; fds: [0] a SOCK_SEQPACKET end; no struct, no reply
    GPUVM_DRM_IOCTL = 130,   // on a stream
    GPUVM_DRM_MMAP = 131,    // on a stream
};

// DESCRIPTORS is no node: a program that got a sync_file or a dma-buf from somebody else has no open
// file of its own, and its ioctls on those go on streams of this one.
enum gpuvm_drm_node { GPUVM_DRM_PRIMARY = 0, GPUVM_DRM_RENDER = 2, GPUVM_DRM_DESCRIPTORS = 3 };

struct gpuvm_drm_open {
    uint32_t magic;  // GPUVM_PROTOCOL_MAGIC
    uint16_t major, minor;
    uint32_t node;   // enum gpuvm_drm_node
    uint32_t minor_number;  // of the device node: 128 for renderD128
    char name[GPUVM_NAME_BYTES];  // of the program
};
struct gpuvm_drm_open_reply {
    uint16_t major, minor;
    uint32_t client_id;
    char driver[GPUVM_NAME_BYTES];  // "nouveau"
};

// A block is memory that a pointer in the argument (or in an earlier block) leads to. The shim copies
// IN blocks into the message and OUT blocks back from the reply; it never gives the daemon a pointer.
#define GPUVM_DRM_BLOCK_IN 0x1u
#define GPUVM_DRM_BLOCK_OUT 0x2u
struct gpuvm_drm_block {
    uint32_t parent;          // 0: the argument; n: block n-1 of this call
    uint32_t pointer_offset;  // of the 64-bit pointer inside its parent
    uint32_t bytes;           // as the count fields say; 0 for a null pointer with count 0
    uint32_t flags;           // GPUVM_DRM_BLOCK_*
};
// Followed by: the argument (arg_bytes, padded to 8), gpuvm_drm_block[block_count], then the bytes of
// each IN block in order, each padded to 8. fds: the descriptors that the argument names (PRIME,
// syncobj and sync_file imports, eventfds), in the order of the table; the fields keep their numbers,
// which mean nothing to the daemon. An ioctl of a sync_file or a dma-buf (its type is not that of DRM)
// has the descriptor that it is on before them; the daemon finds the object by identity, and answers
// -ENOTTY for what is none of its own.
struct gpuvm_drm_ioctl {
    uint32_t request;    // as the program gave it: size and direction differ between clients, dispatch
                         // on _IOC_NR
    uint32_t arg_bytes;  // _IOC_SIZE(request), at most 16383
    uint32_t block_count;  // at most GPUVM_DRM_MAX_BLOCKS
    uint32_t flags;      // GPUVM_DRM_IOCTL_*
};
#define GPUVM_DRM_MAX_BLOCKS 8u
#define GPUVM_DRM_IOCTL_NONBLOCK 0x1u  // the file is O_NONBLOCK
// Followed by the argument as it is written back (padded to 8) and the bytes of each OUT block in
// order, each padded to 8, all of them also when `result` is an error. fds: descriptors that the call
// returns, in the order of the table; the shim writes their numbers into the fields.
// The header's status is 0; an error that the kernel would answer is `result` = -errno.
struct gpuvm_drm_ioctl_reply {
    int32_t result;      // what ioctl(2) returns, or -errno
    uint32_t arg_bytes;
    uint32_t block_count;
    uint32_t reserved;
};

struct gpuvm_drm_mmap {
    uint64_t offset, length;  // bytes; the offset is the buffer's map handle plus a page offset
    uint32_t protection;      // PROT_*
    uint32_t flags;           // MAP_*
};
// fds: [0] the buffer's memfd. The shim maps it itself, so that MAP_FIXED is honoured.
struct gpuvm_drm_mmap_reply {
    uint64_t offset;  // in the memfd
    int32_t result;   // 0 or -errno
    uint32_t reserved;
};

#endif
