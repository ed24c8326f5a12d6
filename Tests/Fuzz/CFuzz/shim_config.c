#include "../../../Sources/DRMShim/config.c"
