#include <limits.h>
#include <stdlib.h>

#include "CFuzz.h"

void gpuvm_fuzz_overflow_heap(size_t bytes) {
    volatile char *block = malloc(bytes);
    block[bytes] = 1;
    free((void *)block);
}

int gpuvm_fuzz_overflow_integer(int more) {
    volatile int most = INT_MAX;
    return most + more;
}
