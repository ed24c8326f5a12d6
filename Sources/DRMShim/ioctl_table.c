// The table of DRM ioctls: what of the core a render node has, and nouveau's.
//
// An OUT block is IN as well: the kernel leaves alone what it has no answer for (the points of a
// QUERY that failed, the room behind a name), and so the daemon has to know it.
#include "ioctl_table.h"

#include <asm/ioctl.h>
#include <errno.h>
#include <linux/dma-buf.h>
#include <linux/sync_file.h>

#include "gpuvm_drm.h"

#define R _IOC_READ
#define W _IOC_WRITE
#define RW (_IOC_READ | _IOC_WRITE)
#define IN GPUVM_DRM_BLOCK_IN
#define OUT (GPUVM_DRM_BLOCK_IN | GPUVM_DRM_BLOCK_OUT)
#define TEXT (SHIM_BLOCK_TEXT | SHIM_BLOCK_OPTIONAL)

#define BLOCK(flags_, pointer_, count_, element_)                                                  \
    {.flags = (flags_), .count_bytes = 4, .pointer_offset = (pointer_), .count_offset = (count_),  \
     .element_bytes = (element_)}
#define STRING(flags_, pointer_, count_)                                                           \
    {.flags = (flags_), .count_bytes = 8, .pointer_offset = (pointer_), .count_offset = (count_),  \
     .element_bytes = 1}
#define BLOCKS(count_, ...) .block_count = (count_), .blocks = {__VA_ARGS__}
#define NOUVEAU(number) (0x40 + (number))

static const struct shim_ioctl_rule rules[256] = {
    // The core: include/uapi/drm/drm.h.
    [0x00] = {"VERSION", RW,
              BLOCKS(3, STRING(OUT | TEXT, 24, 16), STRING(OUT | TEXT, 40, 32),
                     STRING(OUT | TEXT, 56, 48))},
    [0x01] = {"GET_UNIQUE", RW, BLOCKS(1, STRING(OUT | TEXT, 8, 0))},
    [0x02] = {"GET_MAGIC", R},
    [0x05] = {"GET_CLIENT", RW},
    [0x07] = {"SET_VERSION", RW},
    [0x09] = {"GEM_CLOSE", W},
    [0x0a] = {"GEM_FLINK", RW},
    [0x0b] = {"GEM_OPEN", RW},
    [0x0c] = {"GET_CAP", RW},
    [0x0d] = {"SET_CLIENT_CAP", W},
    [0x11] = {"AUTH_MAGIC", W},
    [0x1e] = {"SET_MASTER", 0},
    [0x1f] = {"DROP_MASTER", 0},
    [0x2d] = {"PRIME_HANDLE_TO_FD", RW, .fd = {SHIM_FD_OUT, 0, 8, 4}},
    [0x2e] = {"PRIME_FD_TO_HANDLE", RW, .fd = {SHIM_FD_IN, EBADF, 8, 0}},
    [0xbf] = {"SYNCOBJ_CREATE", RW},
    [0xc0] = {"SYNCOBJ_DESTROY", RW},
    [0xc1] = {"SYNCOBJ_HANDLE_TO_FD", RW, .fd = {SHIM_FD_OUT, 0, 8, SHIM_ALWAYS_CLOEXEC}},
    [0xc2] = {"SYNCOBJ_FD_TO_HANDLE", RW, .fd = {SHIM_FD_IN, EINVAL, 8, 0}},
    [0xc3] = {"SYNCOBJ_WAIT", RW, .interruptible = 1, BLOCKS(1, BLOCK(IN, 0, 16, 4))},
    [0xc4] = {"SYNCOBJ_RESET", RW, BLOCKS(1, BLOCK(IN, 0, 8, 4))},
    [0xc5] = {"SYNCOBJ_SIGNAL", RW, BLOCKS(1, BLOCK(IN, 0, 8, 4))},
    [0xca] = {"SYNCOBJ_TIMELINE_WAIT", RW, .interruptible = 1,
              BLOCKS(2, BLOCK(IN, 0, 24, 4), BLOCK(IN | SHIM_BLOCK_OPTIONAL, 8, 24, 8))},
    [0xcb] = {"SYNCOBJ_QUERY", RW, BLOCKS(2, BLOCK(IN, 0, 16, 4), BLOCK(OUT, 8, 16, 8))},
    [0xcc] = {"SYNCOBJ_TRANSFER", RW},
    [0xcd] = {"SYNCOBJ_TIMELINE_SIGNAL", RW,
              BLOCKS(2, BLOCK(IN, 0, 16, 4), BLOCK(IN | SHIM_BLOCK_OPTIONAL, 8, 16, 8))},
    [0xcf] = {"SYNCOBJ_EVENTFD", RW, .fd = {SHIM_FD_IN, EBADF, 16, 0}},
    [0xd1] = {"SET_CLIENT_NAME", RW, BLOCKS(1, STRING(IN | SHIM_BLOCK_OPTIONAL, 8, 0))},

    // nouveau: include/uapi/drm/nouveau_drm.h. Another driver's numbers mean other things, but this
    // table is the only one so far; a second driver brings a second one.
    [NOUVEAU(0x00)] = {"NOUVEAU_GETPARAM", RW},
    [NOUVEAU(0x01)] = {"NOUVEAU_SETPARAM", RW},
    [NOUVEAU(0x02)] = {"NOUVEAU_CHANNEL_ALLOC", RW},
    [NOUVEAU(0x03)] = {"NOUVEAU_CHANNEL_FREE", W},
    [NOUVEAU(0x04)] = {"NOUVEAU_GROBJ_ALLOC", W},
    [NOUVEAU(0x05)] = {"NOUVEAU_NOTIFIEROBJ_ALLOC", RW},
    [NOUVEAU(0x06)] = {"NOUVEAU_GPUOBJ_FREE", W},
    // The kernel hands it to another interpreter before its usual checks.
    [NOUVEAU(0x07)] = {"NOUVEAU_NVIF", RW, .any_direction = 1},
    [NOUVEAU(0x08)] = {"NOUVEAU_SVM_INIT", RW},
    [NOUVEAU(0x09)] = {"NOUVEAU_SVM_BIND", RW},
    [NOUVEAU(0x10)] = {"NOUVEAU_VM_INIT", RW},
    [NOUVEAU(0x11)] = {"NOUVEAU_VM_BIND", RW, .arrays_late = 1,
                       BLOCKS(3, BLOCK(IN, 16, 8, 16), BLOCK(IN, 24, 12, 16),
                              BLOCK(IN, 32, 0, 40))},
    [NOUVEAU(0x12)] = {"NOUVEAU_EXEC", RW, .arrays_late = 1,
                       BLOCKS(3, BLOCK(IN, 16, 8, 16), BLOCK(IN, 24, 12, 16),
                              BLOCK(IN, 32, 4, 16))},
    [NOUVEAU(0x13)] = {"NOUVEAU_GET_ZCULL_INFO", R},
    [NOUVEAU(0x40)] = {"NOUVEAU_GEM_NEW", RW},
    // Relocations are for chips without an MMU: this one's driver never reads them.
    [NOUVEAU(0x41)] = {"NOUVEAU_GEM_PUSHBUF", RW, .arrays_late = 1,
                       BLOCKS(2, BLOCK(IN, 8, 4, 40), BLOCK(IN, 32, 20, 24))},
    [NOUVEAU(0x42)] = {"NOUVEAU_GEM_CPU_PREP", W, .interruptible = 1},
    [NOUVEAU(0x43)] = {"NOUVEAU_GEM_CPU_FINI", W},
    [NOUVEAU(0x44)] = {"NOUVEAU_GEM_INFO", RW},
};

static const struct shim_ioctl_rule unknown = {"an unknown ioctl", RW, .unknown = 1};

const struct shim_ioctl_rule *shim_ioctl_rule(unsigned number) {
    return number < 256 && rules[number].name ? &rules[number] : &unknown;
}

// include/uapi/linux/sync_file.h and dma-buf.h, by the whole request. What the machine's headers
// may be too old for has its number here.
static const struct {
    uint32_t request;
    uint8_t kind;  // enum shim_descriptor
    struct shim_ioctl_rule rule;
} descriptor_rules[] = {
    {SYNC_IOC_MERGE, SHIM_SYNC_FILE,
     {"SYNC_IOC_MERGE", RW, .fd = {SHIM_FD_IN, ENOENT, 32, 0},
      .fd2 = {SHIM_FD_OUT, 0, 36, SHIM_ALWAYS_CLOEXEC}}},
    {SYNC_IOC_FILE_INFO, SHIM_SYNC_FILE,
     {"SYNC_IOC_FILE_INFO", RW, .ask_count = 1, BLOCKS(1, BLOCK(OUT, 48, 40, 80))}},
    {0x40103e05u, SHIM_SYNC_FILE, {"SYNC_IOC_SET_DEADLINE", W}},
    {DMA_BUF_IOCTL_SYNC, SHIM_DMA_BUF, {"DMA_BUF_IOCTL_SYNC", W, .interruptible = 1}},
    {0x40046201u, SHIM_DMA_BUF, {"DMA_BUF_SET_NAME_A", W, .text = 32}},
    {0x40086201u, SHIM_DMA_BUF, {"DMA_BUF_SET_NAME_B", W, .text = 32}},
    {0xc0086202u, SHIM_DMA_BUF,
     {"DMA_BUF_IOCTL_EXPORT_SYNC_FILE", RW, .fd = {SHIM_FD_OUT, 0, 4, SHIM_ALWAYS_CLOEXEC}}},
    {0x40086203u, SHIM_DMA_BUF,
     {"DMA_BUF_IOCTL_IMPORT_SYNC_FILE", W, .fd = {SHIM_FD_IN, EINVAL, 4, 0}}},
};

const struct shim_ioctl_rule *shim_descriptor_rule(uint32_t request, enum shim_descriptor *kind) {
    for (size_t index = 0; index < sizeof descriptor_rules / sizeof *descriptor_rules; index++)
        if (descriptor_rules[index].request == request) {
            *kind = (enum shim_descriptor)descriptor_rules[index].kind;
            return &descriptor_rules[index].rule;
        }
    return NULL;
}
