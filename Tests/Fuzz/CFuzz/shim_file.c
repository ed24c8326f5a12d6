// Open files: its shim_send is used. The control file is the fuzzer's.
#define shim_control_file gpuvm_fuzz_unused_control_file
#include "../../../Sources/DRMShim/file.c"
