#include "AllocationProbe.h"

#include <errno.h>
#include <stddef.h>

#include "CPlatform.h"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) || \
    __has_feature(memory_sanitizer)
#define GPUVM_SANITIZED 1
#endif
#endif

// The allocator itself must not allocate: initial-exec storage is there from the thread's start.
#define GPUVM_PROBE_LOCAL static __thread __attribute__((tls_model("initial-exec")))
GPUVM_PROBE_LOCAL enum gpuvm_allocation_scope scope;
GPUVM_PROBE_LOCAL uint64_t counted;

void gpuvm_allocation_probe_arm(enum gpuvm_allocation_scope wanted) {
    counted = 0;
    scope = wanted;
}

uint64_t gpuvm_allocation_probe_count(void) { return counted; }

#if defined(GPUVM_SANITIZED) || !defined(__GLIBC__)

int gpuvm_allocation_probe_is_live(void) { return 0; }

#else

// glibc exports its allocator under these names for those who interpose it.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

int gpuvm_allocation_probe_is_live(void) { return 1; }

static inline void note(void) {
    if (__builtin_expect(scope == GPUVM_ALLOCATIONS_NONE, 1)) return;
    if (scope == GPUVM_ALLOCATIONS_ALL || gpuvm_thread_state()->signalling_depth > 0) counted++;
}

void *malloc(size_t size) {
    note();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    note();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    note();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    note();
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) return EINVAL;
    void *block = __libc_memalign(alignment, size);
    if (block == NULL) return ENOMEM;
    *memory = block;
    return 0;
}

#endif
