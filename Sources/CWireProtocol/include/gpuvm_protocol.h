// The wire protocol of gpuvmd: the single source of truth for daemon, client library and shim.
//
// Transport: AF_UNIX, SOCK_SEQPACKET. One request or reply is one message: a gpuvm_header, the
// fixed struct of its opcode, then the arrays that the struct counts, in the order of its comment.
// All numbers are little-endian; every struct is a multiple of 8 bytes; reserved fields are zero
// and a request with a non-zero reserved field is EINVAL. File descriptors travel as SCM_RIGHTS, at
// most GPUVM_MAX_MESSAGE_FDS a message; a message whose fds are not those of its opcode is EINVAL.
//
// A request or a reply of more than GPUVM_MAX_INLINE bytes sends only its header, with
// GPUVM_HEADER_EXTERNAL set and `length` counting what lies in the memfd that is its first fd (not
// one of the opcode's); the memfd carries struct and arrays, at most GPUVM_MAX_EXTERNAL bytes, and
// must be sealed against shrinking and writing.
//
// Replies carry the request's opcode and serial. status is 0, or a positive errno: the body is then
// struct gpuvm_error_reply, with a sentence that says what, where, why and what to do.
// Replies to requests of one connection may come out of order: a synchronous bind is answered when
// it has been executed, and does not hold up the requests after it.
//
// Versions: HELLO is the first request of a connection. A different major version is EPROTO; minor
// versions only add. An unknown opcode is EOPNOTSUPP, an unknown flag EINVAL.
// Within a major version no struct changes its size and no field its meaning. What is new comes as
// an opcode, as a flag that the request has to set, or in a reply as a reserved field or a bit of
// flags or capabilities, where a client ignores what it does not know. So a daemon serves clients
// of every minor version alike; what is "since 1.1" below, a daemon of 1.0 refuses.
#ifndef GPUVM_PROTOCOL_H
#define GPUVM_PROTOCOL_H

#include <stdint.h>

#define GPUVM_PROTOCOL_MAGIC 0x314d5647u  // "GVM1"
#define GPUVM_PROTOCOL_MAJOR 1u
#define GPUVM_PROTOCOL_MINOR 3u

#define GPUVM_MAX_INLINE 65536u
#define GPUVM_MAX_EXTERNAL (16u << 20)
#define GPUVM_MAX_MESSAGE_FDS 16u
#define GPUVM_PAGE_SIZE 4096u
#define GPUVM_NAME_BYTES 32u

struct gpuvm_header {
    uint32_t length;  // of the whole message, header included
    uint16_t opcode;
    uint16_t flags;   // GPUVM_HEADER_*
    uint32_t serial;  // chosen by the client, echoed
    int32_t status;   // 0 in a request
};
#define GPUVM_HEADER_EXTERNAL 0x1u
#define GPUVM_HEADER_REPLY 0x8000u

struct gpuvm_error_reply {
    uint32_t text_bytes;  // UTF-8, no terminator, follows
    uint32_t reserved;
};

enum gpuvm_opcode {
    GPUVM_HELLO = 1,

    GPUVM_BO_CREATE = 16,
    GPUVM_BO_IMPORT = 17,
    GPUVM_BO_EXPORT = 18,
    GPUVM_BO_INFO = 19,
    GPUVM_BO_CLOSE = 20,

    GPUVM_VM_CREATE = 32,
    GPUVM_VM_CLOSE = 33,
    GPUVM_VM_BIND = 34,

    GPUVM_QUEUE_CREATE = 48,
    GPUVM_QUEUE_CLOSE = 49,
    GPUVM_QUEUE_INFO = 50,
    GPUVM_EXEC = 51,

    GPUVM_SYNCOBJ_CREATE = 64,
    GPUVM_SYNCOBJ_DESTROY = 65,
    GPUVM_SYNCOBJ_SIGNAL = 66,
    GPUVM_SYNCOBJ_RESET = 67,
    GPUVM_SYNCOBJ_QUERY = 68,
    GPUVM_SYNCOBJ_TRANSFER = 69,
    GPUVM_SYNCOBJ_WAIT = 70,
    GPUVM_SYNCOBJ_EXPORT = 71,
    GPUVM_SYNCOBJ_IMPORT = 72,
    GPUVM_SYNCOBJ_EVENTFD = 73,

    // Introspection: every client sees the whole device if it runs as the daemon's user or as
    // root, and itself otherwise.
    GPUVM_STATUS = 96,  // no struct
    GPUVM_CLIENT_LIST = 97,  // gpuvm_page; gpuvm_client_record[]
    GPUVM_VM_LIST = 98,  // gpuvm_page; gpuvm_vm_record[]
    GPUVM_VM_SHOW = 99,  // gpuvm_page; gpuvm_va_record[]
    GPUVM_VM_WALK = 100,
    GPUVM_FENCE_INFO = 101,
    GPUVM_FAULT_LIST = 102,  // gpuvm_page; gpuvm_fault_record[]
    GPUVM_QUEUE_LIST = 103,  // gpuvm_page; gpuvm_queue_record[]
    GPUVM_MEMORY_INFO = 104,  // no struct; since 1.1
    GPUVM_BO_LIST = 105,  // gpuvm_page; gpuvm_bo_record[]; since 1.1
    GPUVM_DRM_INFO = 106,  // no struct; since 1.1: what open files of the DRM shim have done
    GPUVM_DRM_COUNTS = 110,     // gpuvm_page; gpuvm_drm_count_record[]; since 1.2
    GPUVM_DRM_FILE_LIST = 111,  // gpuvm_page; gpuvm_drm_file_record[]; since 1.2
    GPUVM_VM_SPARSE = 112,      // gpuvm_page; gpuvm_va_range[]: a VM's sparse regions; since 1.2
    GPUVM_VM_TABLES = 113,      // a VM's page tables, raw; since 1.2

    // Faults on purpose, for the daemon's user and root: EPERM for others. Since 1.3.
    GPUVM_INJECT = 120,
    GPUVM_INJECT_CLEAR = 121,    // gpuvm_handle: a rule's id, 0: all rules
    GPUVM_INJECT_LIST = 122,     // gpuvm_page; gpuvm_injection_record[]
    GPUVM_INJECT_FIRINGS = 123,  // gpuvm_page; gpuvm_injection_firing[]: the last 256
};

// MARK: HELLO

struct gpuvm_hello {
    uint32_t magic;
    uint16_t major, minor;
    uint64_t flags;  // 0
    char name[GPUVM_NAME_BYTES];  // what reports call the client; NUL-padded UTF-8
};
// fds: [0] the client's first fence-page chunk (a sealed memfd, read-only for the client).
struct gpuvm_hello_reply {
    uint16_t major, minor;
    uint32_t client_id;
    uint64_t capabilities;  // GPUVM_CAP_*
    uint64_t vram_bytes, system_bytes;
    uint32_t va_bits, page_bytes;
    uint32_t max_bind_ops, max_syncs;
    uint32_t copy_engines;  // instances of GPUVM_ENGINE_COPY
    uint32_t fence_slots_per_chunk;
    char server[GPUVM_NAME_BYTES];
};
#define GPUVM_CAP_VM_BIND 0x1u
#define GPUVM_CAP_TIMELINE 0x2u
#define GPUVM_CAP_EVENTFD 0x4u
#define GPUVM_CAP_SPARSE 0x8u
#define GPUVM_CAP_FENCE_PAGE 0x10u
// Since 1.1.
#define GPUVM_CAP_IMMEDIATE_MODE 0x20u   // GPUVM_VM_IMMEDIATE
#define GPUVM_CAP_WEAK_REFERENCES 0x40u  // GPUVM_VM_WEAK_REFERENCES
#define GPUVM_CAP_EVICTION 0x80u         // VRAM may be over-committed; GPUVM_MEMORY_INFO, _BO_LIST
// Since 1.3.
#define GPUVM_CAP_INJECTION 0x100u  // GPUVM_INJECT and its kin

// MARK: Buffer objects

#define GPUVM_PLACE_SYSTEM 0u
#define GPUVM_PLACE_VRAM 1u

// A buffer wants to be in the memory that it was created for. Under pressure VRAM is taken from the
// buffers that were used longest ago: they are *evicted* to system memory, with all their bytes,
// and the next EXEC on a VM that maps them brings them back, evicting others. Neither is seen by
// the CPU's mapping, nor by jobs. All VRAM buffers that a VM maps have to fit into VRAM at once:
// EXEC is ENOSPC otherwise, ENOMEM if system memory has no room for what would have to leave, and
// nothing was submitted. BO_CREATE evicts too, with the same errnos.
//
// VRAM that the CPU can see (GPUVM_MEMORY_INFO) may be less than all of it, as behind a small PCI
// BAR. A buffer in VRAM lies in the visible part unless it has GPUVM_BO_NO_CPU_ACCESS: one of more
// bytes than that part has is ENOSPC.
struct gpuvm_bo_create {
    uint64_t size;       // bytes; rounded up to pages; 1 … the client's quota
    uint32_t placement;  // GPUVM_PLACE_*
    uint32_t flags;      // GPUVM_BO_*
    uint32_t vm;         // with GPUVM_BO_LOCAL: the only VM that may map it
    uint32_t reserved;
    char name[GPUVM_NAME_BYTES];
};
#define GPUVM_BO_LOCAL 0x1u  // shares the VM's reservation, cannot be exported
// No client ever maps it: the reply has no fd, BO_EXPORT is EPERM, and it may lie in VRAM beyond
// the CPU's reach. Engines use it like any other. Since 1.1.
#define GPUVM_BO_NO_CPU_ACCESS 0x2u
// In replies only, since 1.1.
#define GPUVM_BO_EVICTED 0x100u     // it is not where it wants to be
#define GPUVM_BO_WANTS_VRAM 0x200u  // it was created for VRAM
// fds: [0] the buffer's memfd, sealed against resizing; mmap it at offset 0. None with
// GPUVM_BO_NO_CPU_ACCESS.
struct gpuvm_bo_reply {
    uint32_t handle;
    uint32_t placement;  // where it is now
    uint64_t size;       // bytes, a multiple of the page size
};
// fds: [0] a memfd: one that this daemon exported (the same buffer) or a foreign one, which must
// be tmpfs, at least `size` bytes long and accept F_SEAL_SHRINK. Reply: gpuvm_bo_reply, no fd.
struct gpuvm_bo_import {
    uint64_t size;
    char name[GPUVM_NAME_BYTES];
};
// BO_EXPORT (reply: no struct, fds: [0] the memfd), BO_INFO (reply: gpuvm_bo_info_reply),
// BO_CLOSE, VM_CLOSE, QUEUE_CLOSE, QUEUE_INFO, SYNCOBJ_DESTROY take this.
struct gpuvm_handle {
    uint32_t handle;
    uint32_t reserved;
};
struct gpuvm_bo_info_reply {
    uint64_t size;
    uint32_t placement;        // where it is now
    uint32_t flags;            // GPUVM_BO_*
    uint32_t hard_references;  // of the driver's and the VM/BO pairs' kind
    uint32_t mappings;         // in all VMs of this client
    uint64_t physical_address; // of the first frame that it has now
    char name[GPUVM_NAME_BYTES];
};

// MARK: VMs

struct gpuvm_vm_create {
    uint64_t start, range;                // bytes; the VA space
    uint64_t reserved_start, reserved_range;  // kept by the driver; range 0: none
    uint32_t flags;                       // GPUVM_VM_IMMEDIATE, _WEAK_REFERENCES
    uint32_t reserved;
    char name[GPUVM_NAME_BYTES];
};
// The VA space changes when a bind executes, not when it is submitted. What the request becomes is
// not known before: GPUVM_VM_BIND_RETURN_OPS is EINVAL. Since 1.1.
#define GPUVM_VM_IMMEDIATE 0x1u
// The VM's mappings do not keep a buffer: with its last handle they vanish. Since 1.1.
#define GPUVM_VM_WEAK_REFERENCES 0x2u
struct gpuvm_handle_reply {
    uint32_t handle;
    uint32_t reserved;
};

enum gpuvm_bind_op_kind {
    GPUVM_BIND_MAP = 0,
    GPUVM_BIND_UNMAP = 1,
    GPUVM_BIND_MAP_NULL = 2,   // reads zero, drops writes
    GPUVM_BIND_UNMAP_ALL = 3,  // of a BO; addr, range and offset are 0
    GPUVM_BIND_PREFETCH = 4,
};
struct gpuvm_bind_op {
    uint32_t kind;   // enum gpuvm_bind_op_kind
    uint32_t flags;  // GPUVM_BIND_READ_ONLY with the maps
    uint32_t bo;     // MAP, UNMAP_ALL; 0 otherwise
    uint32_t reserved;
    uint64_t address, range, offset;  // bytes, multiples of the page size
};
#define GPUVM_BIND_READ_ONLY 0x1u

// A syncobj, or a point of a timeline syncobj.
struct gpuvm_sync {
    uint32_t handle;
    uint32_t flags;  // GPUVM_SYNC_TIMELINE
    uint64_t point;  // 0 for a binary syncobj
};
#define GPUVM_SYNC_TIMELINE 0x1u

// Followed by ops, waits, signals.
struct gpuvm_vm_bind {
    uint32_t vm;
    uint32_t queue;  // a bind queue, or 0: the VM's own
    uint32_t flags;  // GPUVM_VM_BIND_*
    uint32_t op_count, wait_count, signal_count;
};
#define GPUVM_VM_BIND_ASYNC 0x1u       // without it: no waits and no signals; replied when executed
#define GPUVM_VM_BIND_RETURN_OPS 0x2u  // the reply lists the operations that the request became
// Followed by gpuvm_op_record[op_count]: the first of the op_count + ops_omitted that there are. A
// bind that was submitted is never answered with an error for want of room for its records: those
// beyond GPUVM_MAX_EXTERNAL are omitted, and all if the daemon has no memfd for them.
struct gpuvm_vm_bind_reply {
    uint64_t fence_context, fence_sequence;  // of the bind job; see GPUVM_FENCE_INFO
    uint32_t op_count;
    uint32_t ops_omitted;
};

enum gpuvm_op_kind {
    GPUVM_OP_MAP = 0,
    GPUVM_OP_REMAP = 1,
    GPUVM_OP_UNMAP = 2,
    GPUVM_OP_PREFETCH = 3,
};
struct gpuvm_mapping {
    uint64_t address, range, offset;
    uint32_t bo;     // the requesting client's handle; 0: none; GPUVM_FOREIGN_BO: not its own
    uint32_t flags;  // GPUVM_MAPPING_*
};
#define GPUVM_FOREIGN_BO 0xffffffffu
#define GPUVM_MAPPING_READ_ONLY 0x1u
#define GPUVM_MAPPING_NULL 0x2u
#define GPUVM_MAPPING_RESERVED 0x4u  // the driver's reserved node
#define GPUVM_MAPPING_EVICTED 0x8u   // of a buffer that the next EXEC brings back; since 1.1
struct gpuvm_op_record {
    uint32_t request;      // index of the bind op that it belongs to
    uint32_t kind;         // enum gpuvm_op_kind
    uint32_t case_number;  // of the overlap, as the documentation numbers them; 0: none
    uint32_t flags;        // GPUVM_OP_*
    struct gpuvm_mapping mapping;     // the new (MAP) or the old mapping
    struct gpuvm_mapping prev, next;  // REMAP: what stays, with GPUVM_OP_HAS_PREV, _NEXT
};
#define GPUVM_OP_KEEP 0x1u
#define GPUVM_OP_HAS_PREV 0x2u
#define GPUVM_OP_HAS_NEXT 0x4u

// MARK: Queues

enum gpuvm_engine_class {
    GPUVM_ENGINE_COPY = 0,
    GPUVM_ENGINE_BIND = 1,
};
struct gpuvm_queue_create {
    uint32_t vm;
    uint16_t engine_class, engine_instance;
    uint32_t priority;  // 0 low, 1 normal, 2 high (high: the daemon's user or root only, EPERM)
    uint32_t flags;     // 0
    uint64_t timeout_ns;  // of a job; 0: the device's default, the most that a client gets but root
                          // and the daemon's user
};
struct gpuvm_queue_info_reply {
    uint32_t vm;
    uint16_t engine_class, engine_instance;
    uint32_t priority;
    uint32_t banned;  // the errno that banned it, or 0
    uint64_t submitted, completed, failed, cancelled;  // jobs
};
struct gpuvm_batch {
    uint64_t address;  // of the first command (gpuvm_commands.h), a multiple of 4
    uint64_t bytes;    // limit of the batch; 0: none but its END
};
// Followed by batches, waits, signals. No batch at all is an ordered wait and signal.
struct gpuvm_exec {
    uint32_t queue;
    uint32_t flags;  // 0
    uint32_t batch_count, wait_count, signal_count;
    uint32_t reserved;
};
struct gpuvm_exec_reply {
    uint64_t fence_context, fence_sequence;
};

// MARK: Sync objects

struct gpuvm_syncobj_create {
    uint32_t flags;  // GPUVM_SYNCOBJ_SIGNALED
    uint32_t reserved;
};
#define GPUVM_SYNCOBJ_SIGNALED 0x1u
// fds: [0] the fence-page chunk, if this is the first slot that the client has in it.
struct gpuvm_syncobj_reply {
    uint32_t handle;
    uint32_t fence_slot;  // chunk = slot / fence_slots_per_chunk
};
// SIGNAL, RESET (points ignored), QUERY. Followed by gpuvm_sync[count].
struct gpuvm_syncobj_array {
    uint32_t count;
    uint32_t flags;  // QUERY: GPUVM_QUERY_LAST_SUBMITTED
};
#define GPUVM_QUERY_LAST_SUBMITTED 0x1u
// Followed by uint64_t[count].
struct gpuvm_syncobj_query_reply {
    uint32_t count;
    uint32_t reserved;
};
struct gpuvm_syncobj_transfer {
    struct gpuvm_sync destination, source;
    uint32_t flags;  // GPUVM_WAIT_FOR_SUBMIT
    uint32_t reserved;
};
// Followed by gpuvm_sync[count]. Replied when the wait ends; nothing of the daemon blocks.
struct gpuvm_syncobj_wait {
    uint32_t count;
    uint32_t flags;    // GPUVM_WAIT_*
    int64_t deadline;  // absolute CLOCK_MONOTONIC ns
};
#define GPUVM_WAIT_ALL 0x1u
#define GPUVM_WAIT_FOR_SUBMIT 0x2u
#define GPUVM_WAIT_AVAILABLE 0x4u
struct gpuvm_syncobj_wait_reply {
    uint32_t first_signaled;
    uint32_t reserved;
};
// Reply: no struct, fds: [0].
struct gpuvm_syncobj_export {
    uint32_t handle;
    uint32_t flags;  // GPUVM_EXPORT_SYNC_FILE
    uint64_t point;  // with EXPORT_SYNC_FILE
};
#define GPUVM_EXPORT_SYNC_FILE 0x1u
// fds: [0] a syncobj fd, or with IMPORT_SYNC_FILE a sync_file whose fence replaces the fence (or
// becomes the point) of `handle`. Reply: gpuvm_syncobj_reply.
struct gpuvm_syncobj_import {
    uint32_t handle;
    uint32_t flags;  // GPUVM_IMPORT_SYNC_FILE
    uint64_t point;
};
#define GPUVM_IMPORT_SYNC_FILE 0x1u
// fds: [0] an eventfd, written once when the point signals (or is available).
struct gpuvm_syncobj_eventfd {
    uint32_t handle;
    uint32_t flags;  // GPUVM_WAIT_AVAILABLE
    uint64_t point;
};

// MARK: Introspection

struct gpuvm_status_reply {
    uint64_t uptime_ns;
    uint32_t clients, vms, bos, queues, syncobjs, open_fds;
    uint64_t mappings;
    uint64_t vram_bytes, vram_used, system_bytes, system_used;
    uint64_t table_pages, table_pages_used, table_pages_reserved;
    uint64_t requests, failed_requests;
    uint64_t bind_jobs, exec_jobs, failed_jobs, faults;
    uint64_t bytes_read, bytes_written;  // through the MMUs
    uint64_t tlb_hits, tlb_misses, tlb_invalidations;
    char server[GPUVM_NAME_BYTES];
};

// Lists are paged: give the cursor of the last reply (0 first) until it comes back 0.
struct gpuvm_page {
    uint32_t handle;  // VM_SHOW, VM_SPARSE: the VM's device-wide id; DRM_COUNTS: a client's id, 0: all
    uint32_t flags;   // 0
    uint64_t cursor;
};
// Followed by the list's records[count].
struct gpuvm_page_reply {
    uint32_t count;
    uint32_t reserved;
    uint64_t cursor;
};
struct gpuvm_client_record {
    uint32_t client_id;
    int32_t pid;
    uint32_t uid;
    uint32_t vms, bos, queues, syncobjs;
    uint32_t reserved;
    uint64_t bo_bytes, requests, failed_requests;
    char name[GPUVM_NAME_BYTES];
};
// What VM_LIST says in its flags; not those of VM_CREATE.
#define GPUVM_VM_BANNED 0x1u
#define GPUVM_VM_CLOSED 0x2u
#define GPUVM_VM_IS_IMMEDIATE 0x4u  // created with GPUVM_VM_IMMEDIATE; since 1.1
#define GPUVM_VM_IS_WEAK 0x8u       // created with GPUVM_VM_WEAK_REFERENCES; since 1.1
struct gpuvm_vm_record {
    uint32_t id;      // device-wide: what VM_SHOW, VM_WALK and `gpuvmctl vm` take
    uint32_t handle;  // the owner's
    uint32_t client_id;
    uint32_t flags;   // GPUVM_VM_BANNED …
    uint64_t start, range, reserved_start, reserved_range;
    uint64_t mappings, mapped_bytes, objects;
    uint64_t table_pages, root_address;
    uint64_t leaves_4k, leaves_64k, leaves_2m, leaves_1g, leaves_null;
    uint64_t pending_binds;
    char name[GPUVM_NAME_BYTES];
    char client[GPUVM_NAME_BYTES];
};
// The columns of the kernel's debugfs `gpuvas` (drivers/gpu/drm/drm_debugfs.c), and the BO's name.
struct gpuvm_va_record {
    uint64_t address, range, offset;
    uint64_t object;  // device-wide BO id, 0: none
    uint32_t flags;   // GPUVM_MAPPING_*
    uint32_t placement;  // where the object is now
    char name[GPUVM_NAME_BYTES];
};
// Where whatever is not mapped reads zero and drops writes. Since 1.2.
struct gpuvm_va_range {
    uint64_t address, range;
};
struct gpuvm_vm_walk {
    uint32_t vm;  // device-wide id
    uint32_t reserved;
    uint64_t address;
};
struct gpuvm_walk_level {
    uint32_t level;  // 3 = root … 0
    uint32_t index;  // in the table
    uint64_t table;  // physical address of the table
    uint64_t entry;  // raw
};
enum gpuvm_walk_result {
    GPUVM_WALK_FAULT = 0,
    GPUVM_WALK_MEMORY = 1,
    GPUVM_WALK_NULL = 2,
};
#define GPUVM_WALK_MAX_LEVELS 5u
struct gpuvm_vm_walk_reply {
    uint32_t result;  // enum gpuvm_walk_result
    uint32_t level_count;
    uint64_t physical_address, leaf_bytes;
    uint32_t flags;   // GPUVM_MAPPING_READ_ONLY
    uint32_t placement;  // of physical_address: GPUVM_PLACE_*
    struct gpuvm_walk_level levels[GPUVM_WALK_MAX_LEVELS];
};
// The entries of a VM's page tables, to be decoded by the hardware's documentation: all that are not
// zero, by ascending first address and at one address from the root down; or, with
// GPUVM_TABLES_ON_WAY, all that a walk for one address may read, zero or not. Since 1.2.
struct gpuvm_vm_tables {
    uint32_t vm;       // device-wide id
    uint32_t flags;    // GPUVM_TABLES_*
    uint64_t address;  // ON_WAY: the address; else the cursor of the last reply, 0 first
};
#define GPUVM_TABLES_ON_WAY 0x1u
enum gpuvm_table_format {
    GPUVM_TABLE_GENERIC48 = 0,  // 9 index bits a level; gpuvmd's own
    GPUVM_TABLE_GP100 = 1,      // NVIDIA's NV_MMU_VER2, since GP100
};
// Followed by: gpuvm_table_entry[count].
struct gpuvm_vm_tables_reply {
    uint32_t count;
    uint32_t format;        // enum gpuvm_table_format
    uint64_t cursor;        // 0: nothing follows
    uint64_t root_address;  // physical address of the root table
    uint64_t vram_base;     // physical address 0 of NVIDIA's ADDRESS_VID fields
};
// Of the two tables that a PDE0 has; its first word, and what maps all of its 2 MiB, is of the big one.
enum gpuvm_table_part {
    GPUVM_TABLE_WHOLE = 0,
    GPUVM_TABLE_BIG = 1,
    GPUVM_TABLE_SMALL = 2,
};
struct gpuvm_table_entry {
    uint64_t address;  // the first virtual address that it is for
    uint64_t table;    // physical address of its table
    uint64_t entry;    // raw
    uint32_t index;    // in the table
    uint16_t level;    // of the table: 3 (GP100: 4) = root … 0
    uint16_t part;     // enum gpuvm_table_part
};
struct gpuvm_fence_info {
    uint64_t context, sequence;
};
// ENOENT once the fence is no longer among the last that the device remembers.
struct gpuvm_fence_info_reply {
    uint64_t submitted, started, finished;  // CLOCK_MONOTONIC ns; 0: not yet
    uint32_t signaled;
    int32_t error;     // positive errno
    uint32_t queue_kind;  // enum gpuvm_engine_class
    uint32_t queue;
};
enum gpuvm_fault_access { GPUVM_ACCESS_READ = 0, GPUVM_ACCESS_WRITE = 1, GPUVM_ACCESS_FETCH = 2 };
enum gpuvm_fault_reason {
    GPUVM_FAULT_NOT_MAPPED = 0,
    GPUVM_FAULT_READ_ONLY = 1,
    GPUVM_FAULT_OUT_OF_RANGE = 2,
    GPUVM_FAULT_MACHINE_CHECK = 3,  // the frame has no owner
    GPUVM_FAULT_VM_CLOSED = 4,
    GPUVM_FAULT_BAD_COMMAND = 5,
    // Since 1.2. No access failed: what these say in the record's fields is below.
    GPUVM_FAULT_MISSING_BARRIER = 6,
    GPUVM_FAULT_BIND_REFUSED = 7,
};
// MISSING_BARRIER: two copies of one job reach the same bytes, and nothing orders them. address and
// last_op_range are those bytes, command_address is the later copy's method header, last_op_address
// the earlier one's, detail what they do, access what the later one does. It ended no job, unless the
// daemon is configured to.
enum gpuvm_hazard {
    GPUVM_HAZARD_READ_AFTER_WRITE = 1,
    GPUVM_HAZARD_WRITE_AFTER_WRITE = 2,
    GPUVM_HAZARD_WRITE_AFTER_READ = 3,
};
// BIND_REFUSED: a DRM driver's request for a bind, answered with the errno in detail. last_op_kind,
// last_op_address, last_op_range and above are the operation as it was asked for, command_address is
// the size of its BO in bytes, 0 for none; no queue, no engine.
struct gpuvm_fault_record {
    uint64_t id, timestamp;
    uint32_t vm, queue, client_id, engine_instance;
    uint64_t address;       // GPU VA that faulted
    uint32_t access;        // enum gpuvm_fault_access
    uint32_t reason;        // enum gpuvm_fault_reason
    uint32_t level;         // where the walk ended
    uint32_t flags;         // GPUVM_FAULT_HAS_*
    uint64_t command_address;  // of the command that was executing
    struct gpuvm_mapping below, above;  // the nearest mappings on both sides
    uint64_t last_op_time;  // the last operation that touched the address
    uint32_t last_op_kind;  // enum gpuvm_bind_op_kind
    uint32_t detail;        // see MISSING_BARRIER, BIND_REFUSED and IS_INJECTED; 0 otherwise
    uint64_t last_op_address, last_op_range;
};
#define GPUVM_FAULT_HAS_BELOW 0x1u
#define GPUVM_FAULT_HAS_ABOVE 0x2u
#define GPUVM_FAULT_HAS_LAST_OP 0x4u
// Of a missing barrier, since 1.2: the hardware carries these copies out in order all the same; not
// all copies of the job were compared.
#define GPUVM_FAULT_IS_ORDERED 0x8u
#define GPUVM_FAULT_IS_INCOMPLETE 0x10u
// No access failed: a rule of GPUVM_INJECT made it, whose id is in detail. Since 1.3.
#define GPUVM_FAULT_IS_INJECTED 0x20u
struct gpuvm_queue_record {
    uint32_t id, vm, client_id;
    uint16_t engine_class, engine_instance;
    uint32_t priority, banned;
    uint64_t pending, submitted, completed, failed, cancelled;
};

// One kind of memory for buffers, in bytes.
struct gpuvm_memory_region {
    uint64_t bytes, used;
    uint64_t visible_bytes, visible_used;  // within the CPU's reach: all of it but for VRAM
};
// Since 1.1. Counters are those of the device, since its start.
struct gpuvm_drm_info_reply {
    char model[GPUVM_NAME_BYTES];  // the GPU that DRM programs see
    uint64_t ioctls;               // all of them
    uint64_t failed;               // answered with an errno
    uint64_t unknown;              // that nobody serves
    uint64_t bind_operations, pushes;
    uint64_t jobs, failed_jobs, faults;  // of all clients
    uint64_t bytes_read, bytes_written;  // through the MMUs
    // Copies that a barrier is missing before, recorded or not, and refused binds; since 1.2.
    uint64_t missing_barriers, refused_binds;
};
// What has been done for open files of the DRM shim since the daemon's start, name by name. Since 1.2.
enum gpuvm_drm_count_kind {
    GPUVM_DRM_COUNT_IOCTL = 1,    // number: _IOC_TYPE << 8 | _IOC_NR; error: what was answered
    GPUVM_DRM_COUNT_ASKED = 2,    // operations of VM_BIND as they were asked for
    GPUVM_DRM_COUNT_DONE = 3,     // number: enum gpuvm_drm_operation; what the VMs made of them
    GPUVM_DRM_COUNT_REFUSED = 4,  // number: class << 16 | method; that no engine carries out
};
// The first are those of enum gpuvm_op_kind.
enum gpuvm_drm_operation {
    GPUVM_DRM_MAP = 0,
    GPUVM_DRM_REMAP = 1,
    GPUVM_DRM_UNMAP = 2,
    GPUVM_DRM_SPARSE_MAP = 0x100,
    GPUVM_DRM_SPARSE_UNMAP = 0x101,
};
// For one client: IOCTL and REFUSED. ASKED and DONE are the whole device's, DONE with the binds of
// native clients and the driver's own; binds of VMs in immediate mode are not in it.
struct gpuvm_drm_count_record {
    uint32_t kind;    // enum gpuvm_drm_count_kind
    uint32_t number;  // ~0: all that there was no room to tell apart
    int32_t error;    // positive errno; 0: success
    uint32_t reserved;
    uint64_t count;
    char name[GPUVM_NAME_BYTES];
};
// Open files of the DRM shim, and the last of those that were closed.
struct gpuvm_drm_file_record {
    uint32_t client_id;
    int32_t pid;      // of who opened it
    uint32_t uid;
    uint32_t reserved;
    uint64_t opened, closed;  // CLOCK_MONOTONIC ns; 0: it is open
    uint64_t ioctls, failed;
    char name[GPUVM_NAME_BYTES];  // of the program
};
struct gpuvm_memory_info_reply {
    struct gpuvm_memory_region vram, system;
    uint64_t evictions, restores;  // buffers that had to leave VRAM, and that were brought back
    uint64_t bytes_moved;          // by both
    uint64_t resident_buffers, evicted_buffers;  // those for VRAM: in it, and elsewhere
    uint64_t reserved[3];
};
// Buffers of the clients that one may see, whoever made them: each once. Since 1.1.
struct gpuvm_bo_record {
    uint64_t id;         // device-wide: gpuvm_va_record.object
    uint32_t client_id;  // who made it; 0 if one may not see that client
    uint32_t handle;     // the requesting client's, 0: none
    uint64_t size;
    uint64_t physical_address;  // of the first frame that it has now
    uint32_t wanted;     // GPUVM_PLACE_*: what it was created for
    uint32_t placement;  // GPUVM_PLACE_*: where it is now
    uint32_t flags;      // GPUVM_BO_*
    uint32_t vms;        // how many map it
    uint32_t extents;    // runs of adjoining frames
    uint32_t reserved;
    char name[GPUVM_NAME_BYTES];
    char client[GPUVM_NAME_BYTES];  // the name of client_id
};

// MARK: Fault injection, since 1.3

enum gpuvm_inject_kind {
    GPUVM_INJECT_HANG = 1,         // a job never ends, until its time-out bans the queue
    GPUVM_INJECT_FAULT = 2,        // a job meets a page fault, which bans the queue
    GPUVM_INJECT_OOM = 3,          // a request is answered ENOMEM
    GPUVM_INJECT_EVICTION = 4,     // buffers leave VRAM before a job, or now
    GPUVM_INJECT_DELAY = 5,        // a job starts late, or its fence signals late
    GPUVM_INJECT_DEVICE_LOST = 6,  // a client's exec queues are killed before a job, or now
};
// The requests that a rule meets; native ones and those of DRM programs alike.
#define GPUVM_INJECT_AT_GEM_NEW 0x1u
#define GPUVM_INJECT_AT_GEM_IMPORT 0x2u
#define GPUVM_INJECT_AT_VM_INIT 0x4u
#define GPUVM_INJECT_AT_VM_BIND 0x8u
#define GPUVM_INJECT_AT_CHANNEL_ALLOC 0x10u
#define GPUVM_INJECT_AT_EXEC 0x20u
#define GPUVM_INJECT_AT_SYNCOBJ_CREATE 0x40u
#define GPUVM_INJECT_AT_MMAP 0x80u  // of DRM programs: native clients map descriptors
// A rule counts the requests that it meets, from 0. It fires at number n if n ≥ after, and n - after
// is every - 1 modulo every, and the draw is won: output n + 1 of SplitMix64 started with seed, times
// 1000000, divided by 2^64, is below probability; until it has fired count times. Of several rules of
// one kind that would fire at a request only the oldest meets it.
struct gpuvm_injection {
    uint32_t kind;         // enum gpuvm_inject_kind
    uint32_t flags;        // GPUVM_INJECT_*
    uint32_t operations;   // GPUVM_INJECT_AT_*; 0: all that kind and target can meet, EXEC for a delay
    uint32_t probability;  // millionths: 1 … 1000000
    uint64_t seed;
    uint64_t count;        // 0: no limit
    uint64_t after, every;  // every: at least 1
    uint64_t duration_ns;  // of DELAY: 1 … 600000000000
    uint64_t address;      // of FAULT, with HAS_ADDRESS; else where the job's first commands are
    uint32_t access;       // of FAULT: enum gpuvm_fault_access; 0 for other kinds
    // Whom it meets: all of these that are set. None: every client, but those that have made rules.
    uint32_t target_client;
    int32_t target_pid;
    uint32_t target_vm;     // device-wide id
    uint32_t target_queue;  // device-wide id
    uint32_t reserved;
    char target_name[GPUVM_NAME_BYTES];
};
#define GPUVM_INJECT_NOW 0x1u           // EVICTION, DEVICE_LOST: at once, to all whom it meets
#define GPUVM_INJECT_DELAY_SIGNAL 0x2u  // DELAY: the fence, not the start
#define GPUVM_INJECT_HAS_ADDRESS 0x4u
struct gpuvm_injection_reply {
    uint32_t id;        // of the rule; never used again
    uint32_t affected;  // with NOW: buffers that left VRAM, queues that were killed
};
struct gpuvm_injection_clear_reply {
    uint32_t cleared;
    uint32_t reserved;
};
// A rule that has had its times is remembered until others need its place.
struct gpuvm_injection_record {
    uint32_t id;
    uint32_t active;  // 1: it can fire still
    uint64_t seen;    // requests that it has met
    uint64_t fired;
    uint64_t created, last_fired;  // CLOCK_MONOTONIC ns; last_fired 0: never
    struct gpuvm_injection rule;   // operations filled in
};
struct gpuvm_injection_firing {
    uint64_t id, timestamp;
    uint64_t ordinal;    // which of the requests that the rule has met, from 1; 0: NOW
    uint32_t rule;
    uint32_t kind;       // enum gpuvm_inject_kind
    uint32_t operation;  // GPUVM_INJECT_AT_*; 0: NOW
    uint32_t client_id;  // 0: several
    int32_t pid;
    uint32_t vm, queue;  // device-wide ids; 0: none
    uint32_t affected;   // as in the reply
    char client[GPUVM_NAME_BYTES];
};

#endif
