// The shim's own source, under a name by which the program's ioctl(2) stays the system's.
#include "../../../Sources/DRMShim/shim.h"

#include <sys/ioctl.h>

int gpuvm_fuzz_ioctl(int fd, unsigned long request, ...);
#define ioctl gpuvm_fuzz_ioctl
#include "../../../Sources/DRMShim/ioctl.c"
