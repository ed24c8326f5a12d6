// What the fuzzers take from C: libFuzzer's driver, the DRM shim's code, and defects to find.
#ifndef CFUZZ_H
#define CFUZZ_H

#include <stddef.h>
#include <stdint.h>

// compiler-rt, FuzzerInterface.h.
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

// One ioctl through the shim's flattening and its request code, with a daemon whose answer is a part
// of the input. Aborts if the shim leaks a descriptor, gives a pointer away, sends what the protocol
// does not allow, or writes memory that is not the call's.
void gpuvm_fuzz_shim(const void *data, size_t size);

// Writes one byte beyond a block of the heap.
void gpuvm_fuzz_overflow_heap(size_t bytes);
// Adds to the largest int.
int gpuvm_fuzz_overflow_integer(int more);

#endif
