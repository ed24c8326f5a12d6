// The fence page: how the daemon tells a client, in shared memory, which points have signalled.
//
// A page set is a list of chunks; a chunk is one memfd of GPUVM_FENCE_SLOTS_PER_CHUNK slots that the
// daemon maps writable and then seals (FUTURE_WRITE, SHRINK, GROW, SEAL), so that every later mapping
// is read-only. One slot mirrors one sync object.
//
// Reading (the slot is written by one thread of the daemon at a time, all stores are releases):
//   1. load `wake_count` (acquire): the futex value to sleep on if the rest says "not yet";
//   2. load `generation`; odd means that a change that is not monotone is under way: start over;
//   3. load `value`, then `submitted`, `status`, `flags` (acquire, in this order);
//   4. load `generation` again; if it moved, start over.
// Point 0 (the object as a binary one) is available if `submitted` != 0 and signalled if besides
// `value` >= `submitted`. Point p > 0 exists only in a slot with GPUVM_FENCE_SLOT_TIMELINE; it is
// available if `submitted` >= p and signalled if `value` >= p.
#ifndef GPUVM_FENCE_PAGE_H
#define GPUVM_FENCE_PAGE_H

#include <stdint.h>

#define GPUVM_FENCE_SLOT_BYTES 32
#define GPUVM_FENCE_SLOTS_PER_CHUNK 4096
#define GPUVM_FENCE_CHUNK_BYTES (GPUVM_FENCE_SLOT_BYTES * GPUVM_FENCE_SLOTS_PER_CHUNK)

/// The slot belongs to a sync object.
#define GPUVM_FENCE_SLOT_IN_USE 1u
/// The object's fence is a timeline point; `value` and `submitted` are points.
#define GPUVM_FENCE_SLOT_TIMELINE 2u
/// The upper half of `flags`: how many of the latest changes of `generation` (in pairs, saturated)
/// replaced a fence that had signalled. A waiter that saw generation g and now sees g + 2k knows,
/// if k is not above this number, that the fence it waited for signalled before it was replaced.
#define GPUVM_FENCE_SLOT_CLEAN_SHIFT 16
#define GPUVM_FENCE_SLOT_CLEAN_MAX 0xffffu

/// One slot, 32 bytes, little-endian; two slots share a cache line.
struct gpuvm_fence_slot {
    uint64_t value;       // the last signalled point; binary: 1 when signalled
    uint64_t submitted;   // the last submitted point; binary: 1 when a fence is attached
    uint32_t wake_count;  // futex word: one more on every change
    uint32_t generation;  // two more when the state is replaced (reset, another fence); odd meanwhile
    int32_t status;       // 0, or the positive errno of the last fence that failed
    uint32_t flags;       // GPUVM_FENCE_SLOT_*
};

#ifndef __cplusplus
_Static_assert(sizeof(struct gpuvm_fence_slot) == GPUVM_FENCE_SLOT_BYTES, "the layout is shared");
#endif

#endif
