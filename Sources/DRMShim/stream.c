// Streams: where the requests of an open file travel.
//
// A request takes an idle stream of its file, or makes one, so that a thread that blocks in a wait
// holds up nobody. They belong to one process: fork drops the child's copies. A process that came
// about without fork handlers (clone, vfork) is known by its number and uses a stream for one call.
#include "shim.h"

#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { EMPTY, IDLE, BUSY };

struct shim_slot {
    _Atomic uint32_t state;
    _Atomic int number;       // its descriptor plus 1; 0 while it is being made
    _Atomic uint64_t inode;   // of the file
    uint32_t serial;          // of its last request; the taker's
};

// Slots are never given back, so that a reader needs no lock.
struct chunk {
    struct shim_slot slots[64];
    struct chunk *_Atomic next;
};
static struct chunk first;
static _Atomic pid_t owner;  // 0: no stream was ever made

#define FOR_EACH_SLOT(slot)                                                                        \
    for (struct chunk *chunk_ = &first; chunk_; chunk_ = atomic_load(&chunk_->next))               \
        for (struct shim_slot *slot = chunk_->slots; slot < chunk_->slots + 64; slot++)

// Sets of descriptor numbers. Above the limit every number may be in the set.
#define BITS 65536u
struct number_set {
    _Atomic uint64_t words[BITS / 64];
};
static struct number_set hints, numbers;

static bool set_has(struct number_set *set, int fd) {
    return (unsigned)fd < BITS
        && atomic_load_explicit(&set->words[fd / 64], memory_order_relaxed) >> (fd % 64) & 1;
}
static void set_add(struct number_set *set, int fd) {
    if ((unsigned)fd < BITS)
        atomic_fetch_or(&set->words[fd / 64], (uint64_t)1 << (fd % 64));
}
static void set_remove(struct number_set *set, int fd) {
    if ((unsigned)fd < BITS)
        atomic_fetch_and(&set->words[fd / 64], ~((uint64_t)1 << (fd % 64)));
}

void shim_hint_set(int fd) {
    if (!set_has(&hints, fd))
        set_add(&hints, fd);
}

bool shim_hint_take(int fd) {
    if (fd >= (int)BITS)
        return atomic_load(&owner) != 0;
    if (!set_has(&hints, fd))
        return false;
    set_remove(&hints, fd);
    return true;
}

static _Atomic int control;  // its descriptor plus 1; 0: none

void shim_stream_control(int fd) {
    set_add(&numbers, fd);
    int before = atomic_exchange(&control, fd + 1);
    if (before != 0 && before != fd + 1)
        set_remove(&numbers, before - 1);
}

// Its number is the program's again: it is closed, or about to be.
static void forget_control(unsigned first_number, unsigned last_number) {
    int known = atomic_load(&control), fd = known - 1;
    if (known != 0 && (unsigned)fd >= first_number && (unsigned)fd <= last_number
        && atomic_compare_exchange_strong(&control, &known, 0))
        set_remove(&numbers, fd);
}

bool shim_is_stream(int fd) { return set_has(&numbers, fd) && atomic_load(&owner) == getpid(); }

static void forget(struct shim_slot *slot) {
    int fd = atomic_exchange(&slot->number, 0) - 1;
    if (fd >= 0) {
        set_remove(&numbers, fd);
        syscall(SYS_close, fd);
    }
    atomic_store(&slot->inode, 0);
    atomic_store(&slot->state, EMPTY);
}

static bool claim(struct shim_slot *slot, uint32_t state) {
    return atomic_compare_exchange_strong(&slot->state, &state, BUSY);
}

static void in_child(void) {
    int saved = errno;
    FOR_EACH_SLOT(slot)
        if (atomic_load(&slot->state) != EMPTY)
            forget(slot);
    atomic_store(&owner, getpid());
    errno = saved;
}

static struct shim_slot *empty_slot(void) {
    struct chunk *last = &first;
    FOR_EACH_SLOT(slot) {
        if (atomic_load(&slot->state) == EMPTY && claim(slot, EMPTY))
            return slot;
        last = chunk_;
    }
    struct chunk *more = mmap(
        NULL, sizeof *more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (more == MAP_FAILED)
        return NULL;
    more->slots[0].state = BUSY;
    for (struct chunk *none = NULL; !atomic_compare_exchange_strong(&last->next, &none, more);
         none = NULL)
        last = none;
    return &more->slots[0];
}

// Programs expect low numbers to be theirs, and pass over what they do not know.
int shim_move_high(int fd) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return fd;
    rlim_t base = limit.rlim_cur / 2 < 512 ? limit.rlim_cur / 2 : 512;
    int high = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (int)base);
    if (high < 0)
        return fd;
    syscall(SYS_close, fd);
    return high;
}

static int make(int file) {
    int ends[2];
    if (syscall(SYS_socketpair, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    struct gpuvm_header header = {.length = sizeof header, .opcode = GPUVM_DRM_STREAM};
    struct iovec piece = {&header, sizeof header};
    int result = shim_send(file, &piece, 1, &ends[1], 1);
    syscall(SYS_close, ends[1]);
    if (result < 0) {
        syscall(SYS_close, ends[0]);
        return result == -EBADF ? -EBADF : -ENODEV;
    }
    return shim_move_high(ends[0]);
}

int shim_stream_take(int file, uint64_t inode, struct shim_stream *stream, bool *fresh) {
    pid_t self = getpid(), none = 0;
    stream->slot = NULL;
    stream->serial = 0;
    if (atomic_load(&owner) == 0 && atomic_compare_exchange_strong(&owner, &none, self))
        pthread_atfork(NULL, NULL, in_child);
    if (atomic_load(&owner) == self) {
        FOR_EACH_SLOT(slot) {
            if (atomic_load(&slot->state) != IDLE || atomic_load(&slot->inode) != inode
                || !claim(slot, IDLE))
                continue;
            if (atomic_load(&slot->inode) == inode) {
                int fd = atomic_load(&slot->number) - 1;
                *stream = (struct shim_stream){fd, ++slot->serial, slot};
                *fresh = false;
                return 0;
            }
            atomic_store(&slot->state, IDLE);  // it became another file's in between
        }
        stream->slot = empty_slot();
    }
    *fresh = true;
    int fd = make(file);
    if (fd < 0) {
        if (stream->slot)
            forget(stream->slot);
        return fd;
    }
    stream->fd = fd;
    stream->serial = 1;
    if (stream->slot) {
        set_add(&numbers, fd);
        stream->slot->serial = 1;
        atomic_store(&stream->slot->number, fd + 1);
        atomic_store(&stream->slot->inode, inode);
    }
    return 0;
}

void shim_stream_return(struct shim_stream *stream, bool in_step) {
    if (!stream->slot)
        syscall(SYS_close, stream->fd);
    else if (in_step)
        atomic_store(&stream->slot->state, IDLE);
    else
        forget(stream->slot);
}

void shim_stream_drop(uint64_t inode) {
    // A vfork child closes its own descriptors; the slots are the parent's.
    if (atomic_load(&owner) != getpid())
        return;
    FOR_EACH_SLOT(slot) {
        if (atomic_load(&slot->state) != IDLE || atomic_load(&slot->inode) != inode
            || !claim(slot, IDLE))
            continue;
        if (atomic_load(&slot->inode) == inode)
            forget(slot);
        else
            atomic_store(&slot->state, IDLE);
    }
}

// The daemon closes the streams of a file whose last descriptor is gone, however that happened.
void shim_stream_sweep(void) {
    if (atomic_load(&owner) != getpid())
        return;
    FOR_EACH_SLOT(slot) {
        if (atomic_load(&slot->state) != IDLE || !claim(slot, IDLE))
            continue;
        struct pollfd state = {atomic_load(&slot->number) - 1, 0, 0};
        if (poll(&state, 1, 0) > 0 && state.revents & (POLLHUP | POLLERR | POLLNVAL))
            forget(slot);
        else
            atomic_store(&slot->state, IDLE);
    }
}

void shim_stream_evict(int fd) {
    forget_control((unsigned)fd, (unsigned)fd);
    FOR_EACH_SLOT(slot) {
        if (atomic_load(&slot->state) == EMPTY || atomic_load(&slot->number) != fd + 1)
            continue;
        if (claim(slot, IDLE)) {
            forget(slot);
        } else {
            // A thread waits there: the copy goes on with its requests.
            int copy = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, fd + 1);
            if (copy >= 0) {
                set_add(&numbers, copy);
                atomic_store(&slot->number, copy + 1);
            }
            set_remove(&numbers, fd);
        }
    }
}

void shim_stream_drop_numbers(unsigned first_number, unsigned last_number) {
    if (atomic_load(&owner) != getpid())
        return;
    forget_control(first_number, last_number);
    FOR_EACH_SLOT(slot) {
        int fd = atomic_load(&slot->number) - 1;
        if (fd < 0 || (unsigned)fd < first_number || (unsigned)fd > last_number)
            continue;
        if (atomic_load(&slot->state) == IDLE && claim(slot, IDLE))
            forget(slot);
    }
}

uint64_t shim_file_inode(int fd) {
    struct stat status;
    int saved = errno;
    long result = syscall(SYS_fstat, fd, &status);
    errno = saved;
    if (result < 0 || !S_ISSOCK(status.st_mode))
        return 0;
    uint64_t inode = status.st_ino;
    dev_t rdev;
    bool known = false;
    FOR_EACH_SLOT(slot)
        if (atomic_load_explicit(&slot->inode, memory_order_relaxed) == inode) {
            known = true;
            break;
        }
    if (!known && !shim_identify(fd, &rdev))
        return 0;
    shim_hint_set(fd);
    return inode;
}
