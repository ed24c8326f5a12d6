// What hostile clients do that Swift cannot say: calls of Linux only, and variadic ones.
#ifndef GPUVM_HOSTILE_CLIENTS_H
#define GPUVM_HOSTILE_CLIENTS_H

#include <stddef.h>
#include <stdint.h>

/// The kernel kills this process when the thread that started it ends.
void hostile_die_with_parent(void);
/// fallocate(2) that makes pages of a file zeros, its size kept: 0 or the errno.
int hostile_punch(int fd, int64_t offset, int64_t bytes);
/// mremap(2) in place to a shorter length and back: 0 or the errno.
int hostile_remap(void *address, size_t bytes, size_t shorter);
/// The nice value of this process: 0 or the errno.
int hostile_set_nice(int value);

/// Standard output shows each line at once, in a pipe, too.
void hostile_print_by_line(void);

#endif
