// An ioctl through the DRM shim, made of bytes; see CFuzz.h.
#include "../../../Sources/DRMShim/shim.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "../../../Sources/DRMShim/ioctl_table.h"
#include "CFuzz.h"

int gpuvm_fuzz_ioctl(int fd, unsigned long request, ...);

#define BLOCK_ROOM 8192u
#define PAGE 4096u
#define SERIAL 77u

static struct {
    const uint8_t *next, *end;
} input;

static uint8_t byte(void) { return input.next < input.end ? *input.next++ : 0; }
static uint32_t dword(void) {
    uint32_t value = byte();
    for (int shift = 8; shift < 32; shift += 8)
        value |= (uint32_t)byte() << shift;
    return value;
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "fuzz failure: the shim %s\n", what);
    abort();
}

// MARK: What the shim's other files would do

static int ends[2];  // the shim's, the daemon's

int shim_stream_take(int file, uint64_t inode, struct shim_stream *stream, bool *fresh) {
    (void)file, (void)inode;
    *stream = (struct shim_stream){ends[0], SERIAL, NULL};
    *fresh = true;
    return 0;
}
void shim_stream_return(struct shim_stream *stream, bool in_step) { (void)stream, (void)in_step; }
void shim_stream_drop(uint64_t inode) { (void)inode; }
void shim_stream_sweep(void) {}
void shim_stream_control(int fd) { (void)fd; }
int shim_move_high(int fd) { return fd; }
void shim_hint_set(int fd) { (void)fd; }
uint64_t shim_file_inode(int fd) { return fd == ends[0] ? 1 : 0; }
int shim_control_file(uint64_t *inode) {
    *inode = 1;
    return ends[0];
}

// MARK: The program's memory

// Pages with nothing behind them; what is not the argument or a block keeps its pattern.
struct area {
    uint8_t *base;
    size_t bytes;
};
static struct area argument_area, block_areas[SHIM_MAX_RULES];

static struct area reserve(size_t bytes) {
    uint8_t *base = mmap(
        NULL, bytes + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED || mprotect(base + bytes, PAGE, PROT_NONE) < 0)
        abort();
    return (struct area){base, bytes};
}

// The last bytes of an area; in front of them is the pattern.
static uint8_t *last(struct area area, size_t bytes) {
    memset(area.base, 0xa5, area.bytes);
    return area.base + area.bytes - bytes;
}

static void check_front(struct area area, size_t used) {
    for (size_t index = 0; index + used < area.bytes; index++)
        if (area.base[index] != 0xa5)
            fail("wrote in front of the program's memory");
}

// MARK: The daemon's answer

static size_t padded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

// An answer with contents of `expected` bytes; the input says what is wrong with it.
static void send_answer(size_t expected) {
    static uint8_t contents[PAGE + SHIM_MAX_RULES * BLOCK_ROOM + 64];
    uint8_t how = byte(), descriptors = byte();
    size_t bytes = expected;
    struct gpuvm_header header = {
        .opcode = GPUVM_DRM_IOCTL, .flags = GPUVM_HEADER_REPLY, .serial = SERIAL};
    struct gpuvm_drm_ioctl_reply reply = {
        .result = how & 1 ? -(int32_t)byte() : 0, .arg_bytes = dword()};
    memset(contents, byte(), sizeof contents);
    memcpy(contents, &reply, sizeof reply);
    for (size_t index = sizeof reply; index < 64; index++)
        contents[index] = byte();
    switch (how >> 4) {
    case 15: bytes = dword() % sizeof contents; break;
    case 14: bytes += 8; break;
    case 13: bytes = bytes > 8 ? bytes - 8 : 0; break;
    case 12: header.serial = dword(); break;
    case 11: header.status = (int32_t)dword(); break;
    case 10: header.opcode = (uint16_t)dword(); break;
    case 9: header.flags = (uint16_t)dword(); break;
    case 8: header.status = 5, bytes = sizeof(struct gpuvm_error_reply) + byte(); break;
    default: break;
    }
    if (bytes > sizeof contents)
        bytes = sizeof contents;
    header.length = how >> 4 == 7 ? dword() : (uint32_t)(sizeof header + bytes);
    struct iovec pieces[2] = {{&header, sizeof header}, {contents, bytes}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    int fds[3], count = 0;
    if (how >> 4 == 6) {
        // Outside of the message.
        int memory = memfd_create("answer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (memory >= 0 && write(memory, contents, bytes) == (ssize_t)bytes)
            fds[count++] = memory;
        header.flags |= GPUVM_HEADER_EXTERNAL;
        header.length = (uint32_t)bytes;
        message.msg_iovlen = 1;
    }
    for (int more = descriptors >= 128 ? descriptors & 3 : 0; more > 0 && count < 3; more--)
        fds[count++] = dup(0);
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {0};
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        *rights = (struct cmsghdr){
            CMSG_LEN(sizeof(int) * (size_t)count), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(rights), fds, sizeof(int) * (size_t)count);
    }
    sendmsg(ends[1], &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (count > 0)
        close(fds[--count]);
}

// MARK: What the daemon got

// Whether a request is one that the daemon's decoder takes.
static void check_request(const struct shim_ioctl_rule *rule) {
    static _Alignas(8) uint8_t message[GPUVM_MAX_INLINE + 1];
    struct gpuvm_header header;
    struct gpuvm_drm_ioctl call;
    for (;;) {
        struct iovec piece = {message, sizeof message};
        _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * GPUVM_MAX_MESSAGE_FDS)];
        struct msghdr received = {
            .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control,
            .msg_controllen = sizeof control};
        ssize_t size = recvmsg(ends[1], &received, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size < 0)
            return;
        int memory = -1;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(&received); part;
             part = CMSG_NXTHDR(&received, part)) {
            size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            for (size_t index = 0; index < count; index++) {
                int fd;
                memcpy(&fd, CMSG_DATA(part) + index * sizeof fd, sizeof fd);
                if (index == 0)
                    memory = fd;
                else
                    close(fd);
            }
        }
        if (size < (ssize_t)sizeof header)
            fail("sent a message without a header");
        memcpy(&header, message, sizeof header);
        size_t bytes = (size_t)size - sizeof header;
        uint8_t *body = message + sizeof header;
        bool outside = header.flags & GPUVM_HEADER_EXTERNAL;
        if (outside ? bytes != 0 || memory < 0 : header.length != (uint32_t)size)
            fail("sent a header with another length");
        if (!outside) {
            if (bytes < sizeof call)
                fail("sent an ioctl without its struct");
            memcpy(&call, body, sizeof call);
            if (call.arg_bytes != _IOC_SIZE(call.request)
                || call.block_count > GPUVM_DRM_MAX_BLOCKS)
                fail("sent an ioctl of another size");
            size_t used = sizeof call + padded(call.arg_bytes);
            const struct gpuvm_drm_block *blocks = (void *)(body + used);
            used += call.block_count * sizeof *blocks;
            if (used > bytes)
                fail("sent less than it counts");
            for (uint32_t index = 0; index < call.block_count; index++) {
                uint64_t pointer = 0;
                size_t at = blocks[index].pointer_offset;
                if (!rule->text && at + sizeof pointer <= call.arg_bytes) {
                    memcpy(&pointer, body + sizeof call + at, sizeof pointer);
                    if (pointer != 0)
                        fail("gave a pointer away");
                }
                if (blocks[index].flags & GPUVM_DRM_BLOCK_IN)
                    used += padded(blocks[index].bytes);
            }
            if (used != bytes)
                fail("sent another length than it counts");
        }
        if (memory >= 0)
            close(memory);
    }
}

// MARK: A call

// Requests as programs send them; every rule of both tables.
static const uint32_t requests[] = {
    0xc0406400, 0xc0106401, 0x80046402, 0xc0286405, 0xc0106407, 0x40086409, 0xc008640a, 0xc010640b,
    0xc010640c, 0x4010640d, 0x40046411, 0x0000641e, 0x0000641f, 0xc00c642d, 0xc00c642e, 0xc00864bf,
    0xc00864c0, 0xc01064c1, 0xc01864c1, 0xc01064c2, 0xc01864c2, 0xc02864c3, 0xc01064c4, 0xc01064c5,
    0xc03064ca, 0xc01864cb, 0xc02064cc, 0xc01864cd, 0xc01864cf, 0xc01064d1, 0xc0106440, 0xc0106441,
    0xc0586442, 0x40046443, 0xc0186447, 0xc0886447, 0xc0106448, 0xc0286449, 0x40106450, 0xc0286451,
    0xc0286452, 0x80306453, 0xc0306480, 0xc0406481, 0x40086482, 0x40046483, 0xc0286484, 0xc0303e03,
    0xc0383e04, 0x40103e05, 0x40086200, 0x40046201, 0x40086201, 0xc0086202, 0x40086203,
};

static void put(uint8_t *argument, size_t bytes, size_t offset, uint64_t value, size_t width) {
    if (offset + width <= bytes)
        memcpy(argument + offset, &value, width);
}

static void call(void) {
    uint8_t choice = byte(), faults = byte();
    uint32_t request = requests[choice % (sizeof requests / sizeof *requests)];
    if (faults & 0x80)
        request ^= dword();
    enum shim_descriptor kind = SHIM_NO_DESCRIPTOR;
    const struct shim_ioctl_rule *rule = _IOC_TYPE(request) == 'd'
        ? shim_ioctl_rule(_IOC_NR(request)) : shim_descriptor_rule(request, &kind);
    if (!rule)
        return;
    size_t bytes = _IOC_SIZE(request);
    // One that ends within the page that is not there.
    size_t there = faults & 0x40 ? byte() : bytes;
    uint8_t *argument = last(argument_area, there < bytes ? there : bytes);
    size_t written = there < bytes ? there : bytes;
    for (size_t index = 0; index < written && index < 128; index++)
        argument[index] = byte();
    size_t expected = sizeof(struct gpuvm_drm_ioctl_reply) + padded(bytes), used[SHIM_MAX_RULES];
    memset(used, 0, sizeof used);
    for (unsigned index = 0; index < rule->block_count; index++) {
        const struct shim_block_rule *block = &rule->blocks[index];
        uint64_t count = byte() % 16;
        size_t size = (size_t)count * block->element_bytes;
        uint8_t *memory = last(block_areas[index], size);
        used[index] = size;
        uint64_t pointer = (uintptr_t)memory;
        uint8_t wrong = faults & 0x20 ? byte() : 0;
        if (wrong & 1)
            pointer = dword();
        if (wrong & 2)
            count = (uint64_t)dword() << (wrong & 32 ? 20 : 0);
        if (wrong & 4)
            pointer += 8;
        for (size_t byte_index = 0; byte_index < size && byte_index < 32; byte_index++)
            memory[byte_index] = byte();
        put(argument, written, block->pointer_offset, pointer, 8);
        put(argument, written, block->count_offset, count, block->count_bytes);
        if (block->flags & GPUVM_DRM_BLOCK_OUT)
            expected += padded(size);
    }
    int subject = ends[0];
    if (kind == SHIM_SYNC_FILE) {
        subject = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    } else if (kind == SHIM_DMA_BUF) {
        subject = memfd_create("buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        fcntl(subject, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    }
    // A second one for a second question: a count, or the same without arrays.
    send_answer(rule->ask_count ? sizeof(struct gpuvm_drm_ioctl_reply) + padded(bytes) : expected);
    send_answer(expected);
    errno = 1234;
    int result = gpuvm_fuzz_ioctl(subject, request, argument);
    if (result >= 0 && errno != 1234)
        fail("changed errno of a call that succeeded");
    if (result < 0 && (errno <= 0 || errno == 1234))
        fail("failed without errno");
    for (int which = 0; which < 2 && result >= 0; which++) {
        const struct shim_fd_rule *out = which ? &rule->fd2 : &rule->fd;
        int fd;
        if (out->direction != SHIM_FD_OUT || out->offset + sizeof fd > written
            || !(_IOC_DIR(request) & rule->direction & _IOC_READ))
            continue;
        memcpy(&fd, argument + out->offset, sizeof fd);
        close(fd);
    }
    if (subject != ends[0])
        close(subject);
    check_front(argument_area, written);
    for (unsigned index = 0; index < rule->block_count; index++)
        check_front(block_areas[index], used[index]);
    check_request(rule);
}

// The lowest number that is free: it rises if descriptors leak.
static int lowest_free(void) {
    int fd = dup(0);
    close(fd);
    return fd;
}

void gpuvm_fuzz_shim(const void *data, size_t size) {
    if (!argument_area.base) {
        argument_area = reserve(4 * PAGE);
        for (int index = 0; index < SHIM_MAX_RULES; index++)
            block_areas[index] = reserve(BLOCK_ROOM);
    }
    input.next = data;
    input.end = input.next + size;
    int before = lowest_free();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
        return;
    call();
    close(ends[0]);
    close(ends[1]);
    if (lowest_free() != before)
        fail("leaks a descriptor");
}
