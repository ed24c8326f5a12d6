// ioctl(2) on an open file: the argument and what it points to go to the daemon, the answer back.
#include "shim.h"

#include <asm/ioctl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "ioctl_table.h"

#define DRM_TYPE 'd'
#define SYNC_TYPE '>'
#define DMA_BUF_TYPE 'b'

static char zeros[8];
static char scratch[8];  // where padding and pointers of a reply go; never read

struct call {
    const struct shim_ioctl_rule *rule;
    uintptr_t argument;
    size_t bytes;             // of the argument
    char *copy;               // the argument as it was
    int subject;              // the descriptor that it is on, if not an open file; -1
    bool text;                // the argument is text, and the only block
    uint64_t most;            // elements of an array that there are
    struct gpuvm_drm_block blocks[SHIM_MAX_RULES];
    uintptr_t memory[SHIM_MAX_RULES];  // where the blocks lie
    bool reads, writes;       // the kernel reads the argument, writes it
};

static size_t padding(size_t bytes) { return -bytes & 7; }

// A field of the argument. What a short argument lacks is zero, as in the kernel, which knows
// longer structs than an old program.
static uint64_t field(const struct call *call, size_t offset, size_t width) {
    uint64_t value = 0;
    if (offset + width <= call->bytes)
        memcpy(&value, call->copy + offset, width);
    return value;
}

static int find_blocks(struct call *call) {
    int result = 0;
    for (unsigned index = 0; index < call->rule->block_count; index++) {
        const struct shim_block_rule *rule = &call->rule->blocks[index];
        uint64_t pointer = field(call, rule->pointer_offset, 8), bytes;
        uint64_t count = field(call, rule->count_offset, rule->count_bytes);
        if (rule->flags & SHIM_BLOCK_OPTIONAL && pointer == 0)
            count = 0;
        if (rule->flags & SHIM_BLOCK_TEXT && count > SHIM_MAX_TEXT)
            count = SHIM_MAX_TEXT;
        if (count > call->most)
            count = call->most;
        // The kernel, too, has no memory for arrays of any size.
        if (__builtin_mul_overflow(count, (uint64_t)rule->element_bytes, &bytes)
            || bytes > GPUVM_MAX_EXTERNAL) {
            bytes = 0;
            result = -ENOMEM;
        }
        call->memory[index] = (uintptr_t)pointer;
        call->blocks[index] = (struct gpuvm_drm_block){
            .pointer_offset = rule->pointer_offset,
            .bytes = (uint32_t)bytes,
            .flags = rule->flags & (GPUVM_DRM_BLOCK_IN | GPUVM_DRM_BLOCK_OUT),
        };
    }
    return result;
}

static void add(struct iovec *pieces, size_t *count, void *base, size_t bytes) {
    if (bytes > 0)
        pieces[(*count)++] = (struct iovec){base, bytes};
}

// The pieces of the program's argument that a reply writes: all but the pointers, which the daemon
// does not know. Its own copy takes what must not be written.
static void add_argument(const struct call *call, struct iovec *pieces, size_t *count) {
    size_t done = 0;
    while (call->writes && done < call->bytes) {
        size_t next = call->bytes;
        for (unsigned index = 0; index < call->rule->block_count; index++) {
            const struct shim_block_rule *rule = &call->rule->blocks[index];
            if (rule->pointer_offset >= done && rule->pointer_offset < next)
                next = rule->pointer_offset;
        }
        add(pieces, count, (void *)(call->argument + done), next - done);
        done = next;
        if (done < call->bytes) {
            size_t pointer = call->bytes - done < 8 ? call->bytes - done : 8;
            add(pieces, count, scratch, pointer);
            done += pointer;
        }
    }
    if (!call->writes)
        add(pieces, count, call->copy, call->bytes);
    add(pieces, count, scratch, padding(call->bytes));
}

// The descriptors that go with the call: the one that it is on if it is no open file, then the one
// that the argument names.
static int take_fds(const struct call *call, int fds[2], size_t *count) {
    const struct shim_fd_rule *rule = &call->rule->fd;
    *count = 0;
    if (call->subject >= 0)
        fds[(*count)++] = call->subject;
    if (rule->direction != SHIM_FD_IN)
        return 0;
    int fd = (int32_t)field(call, rule->offset, 4);
    fds[(*count)++] = fd;
    return syscall(SYS_fcntl, fd, F_GETFD) < 0 ? -rule->bad : 0;
}

static int give_fd(const struct call *call, int result, struct shim_request *request) {
    const struct shim_fd_rule *rule =
        call->rule->fd.direction == SHIM_FD_OUT ? &call->rule->fd : &call->rule->fd2;
    bool wanted = rule->direction == SHIM_FD_OUT && result >= 0;
    while (request->received_count > (wanted ? 1 : 0))
        syscall(SYS_close, request->received[--request->received_count]);
    if (!wanted)
        return result;
    if (request->received_count == 0 || call->bytes < (size_t)rule->offset + 4) {
        shim_debug("the daemon's reply to %s has no descriptor", call->rule->name);
        return -EPROTO;
    }
    int fd = request->received[0];
    uint64_t flags = O_CLOEXEC;
    if (rule->cloexec_offset != SHIM_ALWAYS_CLOEXEC)
        flags = field(call, rule->cloexec_offset, 4);
    if (!(flags & O_CLOEXEC))
        syscall(SYS_fcntl, fd, F_SETFD, 0);
    if (call->writes && shim_copy_out(call->argument + rule->offset, &fd, sizeof fd) < 0) {
        syscall(SYS_close, fd);
        return -EFAULT;
    }
    return result;
}

// A `bare` call goes without its arrays. *sent_off: the daemon has it.
static int forward_once(
    int file, uint64_t inode, uint32_t number, struct call *call, bool bare, bool *sent_off) {
    int fds[2];
    struct shim_request request = {.opcode = GPUVM_DRM_IOCTL, .fds = fds};
    *sent_off = false;
    int result = call->text || bare ? 0 : find_blocks(call);
    if (result == 0)
        result = take_fds(call, fds, &request.fd_count);
    if (result < 0)
        return result;

    unsigned blocks = call->text ? 1 : call->rule->block_count;
    struct gpuvm_drm_ioctl body = {
        .request = number, .arg_bytes = (uint32_t)call->bytes, .block_count = bare ? 0 : blocks};
    if (syscall(SYS_fcntl, file, F_GETFL) & O_NONBLOCK)
        body.flags |= GPUVM_DRM_IOCTL_NONBLOCK;
    struct gpuvm_drm_ioctl_reply reply;
    struct iovec out[SHIM_MAX_PIECES], in[SHIM_MAX_PIECES];
    char sent[call->bytes + 8];
    memcpy(sent, call->copy, call->bytes);
    add(out, &request.out_count, &body, sizeof body);
    add(out, &request.out_count, sent, call->bytes);
    add(out, &request.out_count, zeros, padding(call->bytes));
    add(out, &request.out_count, call->blocks, sizeof *call->blocks * body.block_count);
    add(in, &request.in_count, &reply, sizeof reply);
    add_argument(call, in, &request.in_count);
    for (unsigned index = 0; index < blocks; index++) {
        const struct gpuvm_drm_block *block = &call->blocks[index];
        if (block->pointer_offset + 8 <= call->bytes)
            memset(sent + block->pointer_offset, 0, 8);
        if (bare)
            continue;
        if (block->flags & GPUVM_DRM_BLOCK_IN) {
            add(out, &request.out_count, (void *)call->memory[index], block->bytes);
            add(out, &request.out_count, zeros, padding(block->bytes));
        }
        if (block->flags & GPUVM_DRM_BLOCK_OUT) {
            add(in, &request.in_count, (void *)call->memory[index], block->bytes);
            add(in, &request.in_count, scratch, padding(block->bytes));
            request.peek = true;
        }
    }
    request.out = out;
    request.in = in;
    request.interruptible = call->rule->interruptible;
    result = shim_call(file, inode, &request);
    *sent_off = request.sent;
    if (result == SHIM_REJECTED) {
        int error = errno;
        // Nobody has looked whether an argument that is only written is there.
        if (call->writes && !call->rule->unknown)
            shim_copy_out(call->argument, call->copy, call->bytes);
        return -error;
    }
    if (result < 0)
        return result;
    if (reply.arg_bytes != call->bytes)
        shim_debug(
            "the daemon answers %u bytes of an argument of %zu", reply.arg_bytes, call->bytes);
    return give_fd(call, reply.result, &request);
}

static int forward(int file, uint64_t inode, uint32_t number, struct call *call) {
    bool sent;
    int result = forward_once(file, inode, number, call, false, &sent);
    if (LIKELY(result >= 0) || sent || !call->rule->arrays_late
        || (result != -EFAULT && result != -ENOMEM))
        return result;
    // An array is not there, or too long. What the driver looks at before it reads one counts
    // first: the daemon, which needs the arrays to do anything, says what that is.
    int bare = forward_once(file, inode, number, call, true, &sent);
    return bare == -EFAULT ? result : bare;
}

// The kernel writes as many elements as there are, whatever room the program says it has: asked for
// none, the daemon tells how many.
static int ask_count(int file, uint64_t inode, uint32_t number, struct call *call) {
    const struct shim_block_rule *rule = &call->rule->blocks[0];
    if (field(call, rule->count_offset, rule->count_bytes) == 0)
        return 0;
    char copy[call->bytes + 8];
    memcpy(copy, call->copy, call->bytes);
    memset(copy + rule->count_offset, 0, rule->count_bytes);
    struct call question = *call;
    question.copy = copy;
    question.writes = false;
    int result = forward(file, inode, number, &question);
    if (result >= 0)
        call->most = field(&question, rule->count_offset, rule->count_bytes);
    return result;
}

static void explain(int fd, uint32_t number, const struct call *call, int result) {
    char blocks[96] = "";
    size_t used = 0;
    for (unsigned index = 0; index < call->rule->block_count && used < sizeof blocks; index++)
        used += (size_t)snprintf(
            blocks + used, sizeof blocks - used, " [%u bytes at +%u]", call->blocks[index].bytes,
            call->blocks[index].pointer_offset);
    shim_debug(
        "ioctl(%d, %s (0x%08x), 0x%lx)%s = %d%s%s", fd, call->rule->name, number,
        (unsigned long)call->argument, blocks, result < 0 ? -1 : result, result < 0 ? " " : "",
        result < 0 ? strerrorname_np(-result) : "");
}

// On an open file, or on a descriptor that one gave out (`subject`).
static int carry_out(
    int file, uint64_t inode, int subject, const struct shim_ioctl_rule *rule, uint32_t request,
    uintptr_t argument) {
    // As the kernel: the direction is what program and driver agree on.
    unsigned direction = rule->any_direction ? _IOC_READ | _IOC_WRITE
                                             : _IOC_DIR(request) & rule->direction;
    struct call call = {
        .rule = rule,
        .argument = argument,
        .bytes = _IOC_SIZE(request),
        .subject = subject,
        .text = rule->text != 0,
        .most = UINT64_MAX,
        .reads = direction & _IOC_WRITE,
        .writes = direction & _IOC_READ,
    };
    char copy[call.bytes + 8], text[256];
    memset(copy, 0, call.bytes + 8);
    call.copy = copy;
    int result = 0;
    if (call.text) {
        ssize_t length = shim_copy_string(text, (const char *)argument, rule->text);
        if (length < 0)
            result = length == -ENAMETOOLONG ? -EINVAL : (int)length;
        call.memory[0] = (uintptr_t)text;
        call.blocks[0] = (struct gpuvm_drm_block){
            .pointer_offset = (uint32_t)call.bytes,
            .bytes = (uint32_t)length + 1,
            .flags = GPUVM_DRM_BLOCK_IN,
        };
    } else if (call.reads) {
        result = shim_copy_in(copy, argument, call.bytes);
    }
    if (result == 0 && rule->ask_count)
        result = ask_count(file, inode, request, &call);
    if (rule->unknown) {
        // The daemon counts it and says what the kernel would say, whatever the argument is; one
        // that knows more than this table has its answer delivered.
        bool wanted = call.writes;
        call.writes = false;
        result = forward(file, inode, request, &call);
        if (result >= 0 && wanted && shim_copy_out(argument, copy, call.bytes) < 0)
            result = -EFAULT;
    } else if (result == 0) {
        result = forward(file, inode, request, &call);
    }
    if (UNLIKELY(shim_config().debug))
        explain(subject < 0 ? file : subject, request, &call, result);
    return result;
}

int shim_ioctl(int fd, uint64_t inode, uint32_t request, uintptr_t argument) {
    int saved = errno;
    int result = carry_out(fd, inode, -1, shim_ioctl_rule(_IOC_NR(request)), request, argument);
    errno = saved;
    return shim_result(result);
}

static SLOW int slow_ioctl(int fd, unsigned long request, void *argument) {
    uint64_t inode = shim_file_inode(fd);
    if (inode == 0)
        return REAL(ioctl)(fd, request, argument);
    return shim_ioctl(fd, inode, (uint32_t)request, (uintptr_t)argument);
}

// What can be one of ours: an end of a nameless pair, or a memfd that nobody can resize. Whether it
// is, the daemon knows.
static bool is_candidate(int fd, enum shim_descriptor kind) {
    struct stat status;
    int saved = errno;
    bool candidate = syscall(SYS_fstat, fd, &status) == 0;
    if (candidate && kind == SHIM_SYNC_FILE) {
        int type = 0;
        socklen_t bytes = sizeof type;
        candidate = S_ISSOCK(status.st_mode)
            && syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0
            && type == SOCK_SEQPACKET;
    } else if (candidate) {
        const long sealed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
        long seals = S_ISREG(status.st_mode) ? syscall(SYS_fcntl, fd, F_GET_SEALS) : -1;
        candidate = seals >= 0 && (seals & sealed) == sealed;
    }
    errno = saved;
    return candidate;
}

static SLOW int descriptor_ioctl(int fd, unsigned long request, void *argument) {
    enum shim_descriptor kind = SHIM_NO_DESCRIPTOR;
    const struct shim_ioctl_rule *rule = shim_descriptor_rule((uint32_t)request, &kind);
    uint64_t inode;
    if (!rule || !is_candidate(fd, kind))
        return REAL(ioctl)(fd, request, argument);
    int saved = errno;
    int file = shim_control_file(&inode);
    int result =
        file < 0 ? -ENOTTY
                 : carry_out(file, inode, fd, rule, (uint32_t)request, (uintptr_t)argument);
    errno = saved;
    return result == -ENOTTY ? REAL(ioctl)(fd, request, argument) : shim_result(result);
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    switch (_IOC_TYPE(request)) {
    case DRM_TYPE: return slow_ioctl(fd, request, argument);
    case SYNC_TYPE:
    case DMA_BUF_TYPE: return descriptor_ioctl(fd, request, argument);
    default: return REAL(ioctl)(fd, request, argument);
    }
}
