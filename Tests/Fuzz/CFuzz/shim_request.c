#include "../../../Sources/DRMShim/request.c"
