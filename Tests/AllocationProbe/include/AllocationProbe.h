// Counts host heap allocations of one thread, for tests that require that a path allocates nothing.
//
// It interposes the C library's allocator in the test executable, which Swift's runtime uses as well.
// Under a sanitizer, which has an allocator of its own, the probe is not live and counts nothing.
#ifndef GPUVM_ALLOCATION_PROBE_H
#define GPUVM_ALLOCATION_PROBE_H

#include <stdint.h>

/// 1 if this build counts.
int gpuvm_allocation_probe_is_live(void);

/// Which allocations of the calling thread count.
enum gpuvm_allocation_scope {
    /// None.
    GPUVM_ALLOCATIONS_NONE = 0,
    /// Those inside a fence-signalling section (debug builds know).
    GPUVM_ALLOCATIONS_SIGNALLING = 1,
    /// All.
    GPUVM_ALLOCATIONS_ALL = 2,
};

/// Starts to count from 0, or stops; for the calling thread alone.
void gpuvm_allocation_probe_arm(enum gpuvm_allocation_scope scope);
/// How many allocations the calling thread has counted since it was armed.
uint64_t gpuvm_allocation_probe_count(void);

#endif
