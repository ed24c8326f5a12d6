// A daemon that speaks gpuvm_drm.h and has no GPU: its answers are simple functions of the
// requests.
#include "probe.h"

#include <linux/ioctl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "gpuvm_drm.h"

enum kind { LISTENER, NEW, OPEN_FILE, STREAM };
struct peer {
    enum kind kind;
    int file;            // of a stream: the number of its file
    bool waiting;        // a request is unanswered
    uint64_t wait_closed;
    struct gpuvm_header header;
    struct gpuvm_drm_ioctl call;
};
#define MAX 1024
static struct pollfd polls[MAX];
static struct peer peers[MAX];
static size_t count;
static struct fake_stats seen;
static int buffer;
static _Alignas(8) char body[GPUVM_MAX_EXTERNAL + 65536], out[GPUVM_MAX_EXTERNAL + 65536];

static size_t padded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

static void add(int fd, enum kind kind, int file) {
    if (count == MAX)
        abort();
    polls[count] = (struct pollfd){fd, POLLIN, 0};
    peers[count++] = (struct peer){.kind = kind, .file = file};
}

static void send_reply(
    int socket, struct gpuvm_header header, const void *contents, size_t bytes, int fd) {
    header.flags = GPUVM_HEADER_REPLY;
    header.length = (uint32_t)(sizeof header + bytes);
    struct iovec pieces[2] = {{&header, sizeof header}, {(void *)contents, bytes}};
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2};
    _Alignas(8) char control[CMSG_SPACE(sizeof(int))];
    int memory = -1;
    if (header.length > GPUVM_MAX_INLINE) {
        memory = fd = memfd_create("reply", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (write(fd, contents, bytes) != (ssize_t)bytes)
            abort();
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE);
        header.flags |= GPUVM_HEADER_EXTERNAL;
        header.length = (uint32_t)bytes;
        message.msg_iovlen = 1;
    }
    if (fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        *rights = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    sendmsg(socket, &message, MSG_NOSIGNAL);
    if (memory >= 0)
        close(memory);
}

static void put_text(size_t *length, char *room, size_t bytes, const char *text) {
    size_t have = strlen(text);
    memcpy(room, text, have < bytes ? have : bytes);
    *length = have;
}

static bool is_waited(const struct peer *peer) {
    return peer->waiting && _IOC_NR(peer->call.request) == 0x3e && seen.closed >= peer->wait_closed;
}

static void answer_stats(size_t index) {
    struct {
        struct gpuvm_drm_ioctl_reply reply;
        struct fake_stats stats;
    } contents = {{0, sizeof seen, 0, 0}, seen};
    contents.stats.wait_closed = peers[index].wait_closed;
    contents.stats.streams_now = 0;
    for (size_t other = 0; other < count; other++)
        contents.stats.streams_now += peers[other].kind == STREAM && polls[other].fd >= 0;
    peers[index].waiting = false;
    send_reply(polls[index].fd, peers[index].header, &contents, sizeof contents, -1);
}

static void answer_wait(size_t index, int result) {
    struct {
        struct gpuvm_drm_ioctl_reply reply;
        struct syncobj_wait wait;
    } contents = {{result, peers[index].call.arg_bytes, 0, 0}, {.first = 1}};
    peers[index].waiting = false;
    send_reply(
        polls[index].fd, peers[index].header, &contents,
        sizeof contents.reply + padded(contents.reply.arg_bytes), -1);
}

// The block that the pointer at this offset leads to.
static char *block(
    const struct gpuvm_drm_block *blocks, unsigned blocks_count, char *data, unsigned offset,
    uint32_t *bytes) {
    for (unsigned index = 0; index < blocks_count; index++) {
        if (blocks[index].pointer_offset == offset) {
            *bytes = blocks[index].bytes;
            return data;
        }
        data += padded(blocks[index].bytes);
    }
    *bytes = ~0u;
    return NULL;
}

static void answer_ioctl(size_t index, struct gpuvm_header header, size_t bytes, int fd) {
    struct gpuvm_drm_ioctl call;
    memcpy(&call, body, sizeof call);
    peers[index].header = header;
    peers[index].call = call;
    char *argument = body + sizeof call;
    struct gpuvm_drm_block *blocks = (void *)(argument + padded(call.arg_bytes));
    char *data = (char *)(blocks + call.block_count);
    size_t in_bytes = 0;
    for (unsigned n = 0; n < call.block_count; n++)
        in_bytes += padded(blocks[n].bytes);
    int result = (size_t)(data - body) + in_bytes == bytes ? 0 : -EPROTO;
    int returned = -1;
    uint32_t size, more;
    char *first;
    switch (_IOC_NR(call.request)) {
    case 0x00: {
        struct version *v = (void *)argument;
        v->major = 1, v->minor = 4, v->patch = 1;
        if (v->name || v->date || v->desc)
            result = -EPROTO;  // a pointer was given away
        first = block(blocks, call.block_count, data, 24, &size);
        put_text(&v->name_len, first, size, "nouveau");
        first = block(blocks, call.block_count, data, 40, &size);
        put_text(&v->date_len, first, size, "20260101");
        first = block(blocks, call.block_count, data, 56, &size);
        put_text(&v->desc_len, first, size, "a fake");
        break;
    }
    case 0x40: {
        struct getparam *p = (void *)argument;
        if (p->param == 99)
            result = -EINVAL;
        if (p->param == 50)
            pread(buffer, &p->value, 8, 0);
        else
            p->value = p->param * 3 + 7;
        break;
    }
    case 0x43:
        *(int32_t *)argument += 1000;
        break;
    case 0x47:
        for (unsigned n = 24; n < call.arg_bytes; n++)
            argument[n] ^= 0x55;
        break;
    case 0x50:
        memset(argument, 0xee, call.arg_bytes);
        break;
    case 0x51: {
        struct vm_bind *b = (void *)argument;
        struct bind_op *ops = (void *)block(blocks, call.block_count, data, 32, &size);
        struct sync *waits = (void *)block(blocks, call.block_count, data, 16, &more);
        if (size != b->op_count * 40u || more != b->wait_count * 16u)
            result = call.block_count == 0 ? -EFAULT : -EPROTO;
        for (unsigned n = 0; result == 0 && n < b->op_count; n++)
            if (ops[n].addr != 0x1000u * n || ops[n].handle != n + 5)
                result = -EPROTO;
        for (unsigned n = 0; result == 0 && n < b->wait_count; n++)
            if (waits[n].value != n + 77)
                result = -EPROTO;
        waits = (void *)block(blocks, call.block_count, data, 24, &more);
        if (result == 0
            && (more != b->sig_count * 16u || b->wait_ptr || b->sig_ptr || b->op_ptr))
            result = -EPROTO;
        for (unsigned n = 0; result == 0 && n < b->sig_count; n++)
            if (waits[n].value != n + 99)
                result = -EPROTO;
        b->flags |= 0x80;  // so that the write-back is seen
        break;
    }
    case 0x52: {
        struct exec *e = (void *)argument;
        struct push *pushes = (void *)block(blocks, call.block_count, data, 32, &size);
        if (size != e->push_count * 16u)
            result = call.block_count == 0 ? -EFAULT : -EPROTO;
        for (unsigned n = 0; result == 0 && n < e->push_count; n++)
            if (pushes[n].va != 0x2000u * n)
                result = -EPROTO;
        break;
    }
    case 0x2d:
    case 0xc1:
        returned = buffer;
        if (*(uint32_t *)argument == 0)
            result = -ENOENT, returned = -1;
        break;
    case 0x2e:
    case 0xc2: {
        struct stat a, b;
        fstat(buffer, &b);
        result = fd >= 0 && fstat(fd, &a) == 0 && a.st_ino == b.st_ino ? 0 : -EINVAL;
        *(uint32_t *)argument = 42;
        break;
    }
    case 0xcf:
        result = fd >= 0 && eventfd_write(fd, 1) == 0 ? 0 : -EINVAL;
        break;
    case 0xc3:
    case 0xca: {
        bool timeline = _IOC_NR(call.request) == 0xca;
        int64_t timeout = *(int64_t *)(argument + (timeline ? 16 : 8));
        uint32_t handles = *(uint32_t *)(argument + (timeline ? 24 : 16));
        block(blocks, call.block_count, data, 0, &size);
        if (size != handles * 4u)
            result = -EPROTO;
        if (timeline && block(blocks, call.block_count, data, 8, &more)
            && more != handles * 8u && more != 0)
            result = -EPROTO;
        if (result == 0 && timeout == 0)
            result = -ETIME;
        if (result == 0 && timeout == INT64_MAX) {
            peers[index].waiting = true;
            return;
        }
        break;
    }
    case 0xc4:
    case 0xc5: {
        uint32_t *handles = (void *)block(blocks, call.block_count, data, 0, &size);
        result = size != ((struct syncobj_array *)argument)->count * 4u ? -EPROTO
               : size == 0 ? -EINVAL : handles[0] == 0 ? -ENOENT : 0;
        break;
    }
    case 0xcb: {
        uint32_t *handles = (void *)block(blocks, call.block_count, data, 0, &size);
        uint64_t *points = (void *)block(blocks, call.block_count, data, 8, &more);
        for (unsigned n = 0; n < size / 4 && result == 0; n++)
            if (handles[n] == 0)
                result = -ENOENT;
            else
                points[n] = handles[n] * (uint64_t)10;
        break;
    }
    case 0xcd: {
        uint32_t handles = ((struct timeline_array *)argument)->count;
        block(blocks, call.block_count, data, 8, &more);
        result = more == handles * 8u ? 0 : more == 0 ? 1 : -EPROTO;
        break;
    }
    case 0x3e:
        peers[index].waiting = true;
        peers[index].wait_closed = ((struct fake_stats *)argument)->wait_closed;
        if (is_waited(&peers[index]))
            answer_stats(index);
        return;
    case 0x3d: {
        struct {
            struct gpuvm_error_reply error;
            char text[200];
        } refusal = {{200, 0}, "no such thing"};
        header.status = EIO;
        send_reply(polls[index].fd, header, &refusal, sizeof refusal, -1);
        return;
    }
    case 0x3c:
        for (size_t other = 0; other < count; other++)
            if (peers[other].waiting && _IOC_NR(peers[other].call.request) == 0xc3)
                answer_wait(other, 0), result++;
        break;
    case 0x3b:
        _exit(0);
    default:
        result = -EINVAL;
    }
    struct gpuvm_drm_ioctl_reply reply = {result, call.arg_bytes, 0, 0};
    size_t used = sizeof reply + padded(call.arg_bytes);
    memcpy(out + sizeof reply, argument, padded(call.arg_bytes));
    for (unsigned n = 0; n < call.block_count; n++) {
        if (blocks[n].flags & GPUVM_DRM_BLOCK_OUT) {
            memcpy(out + used, data, blocks[n].bytes);
            used += padded(blocks[n].bytes);
            reply.block_count++;
        }
        data += padded(blocks[n].bytes);
    }
    memcpy(out, &reply, sizeof reply);
    send_reply(polls[index].fd, header, out, used, returned);
}

static void answer_mmap(size_t index, struct gpuvm_header header) {
    struct gpuvm_drm_mmap map;
    memcpy(&map, body, sizeof map);
    struct gpuvm_drm_mmap_reply reply = {0, 0, 0};
    seen.mmaps++;
    if (map.offset < FAKE_MAP_HANDLE
        || map.offset + map.length > FAKE_MAP_HANDLE + FAKE_MAP_PAGES * 4096u)
        reply.result = -EINVAL;
    else
        reply.offset = map.offset - FAKE_MAP_HANDLE;
    send_reply(polls[index].fd, header, &reply, sizeof reply, reply.result ? -1 : buffer);
}

static void answer_open(size_t index, struct gpuvm_header header) {
    struct gpuvm_drm_open request;
    memcpy(&request, body, sizeof request);
    struct gpuvm_drm_open_reply reply = {GPUVM_PROTOCOL_MAJOR, GPUVM_PROTOCOL_MINOR, 1, "nouveau"};
    struct gpuvm_error_reply none = {0, 0};
    if (request.magic != GPUVM_PROTOCOL_MAGIC || request.major != GPUVM_PROTOCOL_MAJOR
        || request.node != GPUVM_DRM_RENDER)
        header.status = EPROTO;
    else if (request.minor_number == 129)
        header.status = EACCES;
    else {
        peers[index].kind = OPEN_FILE;
        seen.opened++;
    }
    if (header.status)
        send_reply(polls[index].fd, header, &none, sizeof none, -1);
    else
        send_reply(polls[index].fd, header, &reply, sizeof reply, -1);
}

static void closed(size_t index) {
    int file = polls[index].fd;
    seen.cancelled += peers[index].waiting;
    peers[index].waiting = false;
    close(file);
    polls[index].fd = -1;
    if (peers[index].kind != OPEN_FILE)
        return;
    seen.closed++;
    for (size_t other = 0; other < count; other++)
        if (peers[other].kind == STREAM && peers[other].file == file && polls[other].fd >= 0)
            close(polls[other].fd), polls[other].fd = -1;
    for (size_t other = 0; other < count; other++)
        if (polls[other].fd >= 0 && is_waited(&peers[other]))
            answer_stats(other);
}

static void serve(size_t index) {
    struct gpuvm_header header;
    struct iovec pieces[2] = {{&header, sizeof header}, {body, sizeof body}};
    _Alignas(8) char control[CMSG_SPACE(sizeof(int) * GPUVM_MAX_MESSAGE_FDS)];
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = 2, .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t size = recvmsg(polls[index].fd, &message, MSG_CMSG_CLOEXEC);
    if (size < (ssize_t)sizeof header) {
        closed(index);
        return;
    }
    int fds[GPUVM_MAX_MESSAGE_FDS], fd_count = 0;
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_type == SCM_RIGHTS) {
        fd_count = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(rights), sizeof(int) * (size_t)fd_count);
    }
    size_t bytes = (size_t)size - sizeof header;
    int used = 0;
    if (header.flags & GPUVM_HEADER_EXTERNAL) {
        int seals = F_SEAL_SHRINK | F_SEAL_WRITE;
        bytes = header.length;
        if ((fcntl(fds[0], F_GET_SEALS) & seals) != seals
            || pread(fds[0], body, bytes, 0) != (ssize_t)bytes)
            abort();
        used = 1;
    } else if (header.length != (size_t)size) {
        abort();
    }
    bool kept = false;
    if (peers[index].kind == NEW && header.opcode == GPUVM_DRM_OPEN) {
        answer_open(index, header);
    } else if (peers[index].kind == OPEN_FILE && header.opcode == GPUVM_DRM_STREAM && fd_count) {
        add(fds[0], STREAM, polls[index].fd);
        seen.streams++;
        kept = true;
    } else if (peers[index].kind == STREAM && header.opcode == GPUVM_DRM_IOCTL) {
        answer_ioctl(index, header, bytes, fd_count > used ? fds[used] : -1);
    } else if (peers[index].kind == STREAM && header.opcode == GPUVM_DRM_MMAP) {
        answer_mmap(index, header);
    } else {
        closed(index);
    }
    for (int n = kept; n < fd_count; n++)
        close(fds[n]);
}

int fake_daemon(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    unlink(path);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 64) == 0);
    buffer = memfd_create("buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(ftruncate(buffer, FAKE_MAP_PAGES * 4096) == 0);
    for (uint64_t page = 0; page < FAKE_MAP_PAGES; page++) {
        uint64_t word = 0xabc0 + page;
        CHECK(pwrite(buffer, &word, 8, (off_t)page * 4096) == 8);
    }
    add(listener, LISTENER, -1);
    puts("ready");
    fflush(stdout);
    // Tests are bounded; so is this if the one that started it is gone.
    alarm(120);
    for (;;) {
        if (poll(polls, count, -1) < 0)
            continue;
        for (size_t index = 0, before = count; index < before; index++) {
            if (polls[index].fd < 0 || !polls[index].revents)
                continue;
            if (peers[index].kind != LISTENER)
                serve(index);
            else
                add(accept4(listener, NULL, NULL, SOCK_CLOEXEC), NEW, -1);
        }
        size_t kept = 0;
        for (size_t index = 0; index < count; index++)
            if (polls[index].fd >= 0) {
                polls[kept] = polls[index];
                peers[kept++] = peers[index];
            }
        count = kept;
    }
}
