// The preloaded DRM shim: a library that makes a program believe in DRM devices that gpuvmd
// serves. It needs libc only and is used by LD_PRELOAD; nothing links against it. What it looks at:
//
//   GPUVM_SOCKET       the daemon's socket
//   GPUVM_SHIM_TREE    the device tree (its format: tree.c)
//   GPUVM_SHIM_MASK=1  DRM devices of the machine that are not in the tree do not exist
//   GPUVM_SHIM_DEBUG=1 a line on stderr for each call that the shim answers
//
// A set-user-ID program ignores all of them. Out of reach are static programs, system calls that do
// not go through libc, io_uring, and paths that are not written as the kernel would print them
// (/dev/../dev/dri, or relative to a working directory in /sys).
#ifndef GPUVM_DRM_SHIM_H
#define GPUVM_DRM_SHIM_H

#define GPUVM_SHIM_ENV_SOCKET "GPUVM_SOCKET"
#define GPUVM_SHIM_ENV_TREE "GPUVM_SHIM_TREE"
#define GPUVM_SHIM_ENV_MASK "GPUVM_SHIM_MASK"
#define GPUVM_SHIM_ENV_DEBUG "GPUVM_SHIM_DEBUG"

#endif
