#include "../../../Sources/DRMShim/copy.c"
