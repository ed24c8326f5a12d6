#include "../../../Sources/DRMShim/ioctl_table.c"
