/// The memory of a pair that the fence-signalling path will obtain.
///
/// It is on no list and nobody finds it. It keeps the object as a pair does, and its VM; what is not
/// obtained is freed with the value.
///
/// Source: `drm_gpuvm_bo_create`, for `drm_gpuvm_bo_obtain_prealloc`.
///
/// Threading: one owner at a time. To drop it needs the VM lock in normal mode; nowhere on the
/// signalling path, because the object's last hard reference may go.
public struct PreallocatedVMBO: ~Copyable, Sendable {
    let vm: GPUVM
    /// 0 once it was obtained.
    var slot: UInt32

    deinit {
        if slot != 0 { vm.destroyVMBO(slot) }
    }
}
