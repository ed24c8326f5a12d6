import Fencing
import Synchronization

// @unchecked: the list is guarded by `listLock`; the count is atomic; the rest is immutable.
/// What can be mapped into a VM: to ``GPUVM`` what a GEM object is to the kernel's.
///
/// It has a reservation (its own if it is external, the VM's if it is private to one VM), a list of
/// the VM_BOs that map it, and a count of hard references: one is the creator's, one belongs to
/// each VM_BO.
///
/// Source: `struct drm_gem_object` (include/drm/drm_gem.h).
///
/// Threading: any thread.
open class GPUVMObject: @unchecked Sendable {
    /// A VM that maps the object, and the VM_BO there.
    struct Binding {
        let vm: GPUVM
        let vmBO: UInt32
    }

    /// The lock and the fences of the object's memory.
    public final let reservation: Reservation

    /// Guards the list of VM_BOs; in immediate mode also their link order.
    final let listLock = Lock(.vaList)
    private final var bindings: [Binding] = []
    private final let references = Atomic<Int>(1)

    /// Creates an object with one hard reference, the caller's.
    ///
    /// - Parameter reservation: The VM's for a private object; a new one for an external object.
    public init(reservation: Reservation = Reservation()) {
        self.reservation = reservation
    }

    /// The hard references: the creator's and one for each VM_BO.
    public final var hardReferenceCount: Int { references.load(ordering: .acquiring) }

    /// Adds a hard reference.
    public final func acquireHardReference() { references.add(1, ordering: .relaxed) }

    /// Drops a hard reference and calls ``lastHardReferenceDropped()`` if it was the last.
    public final func releaseHardReference() {
        let left = references.subtract(1, ordering: .acquiringAndReleasing).newValue
        precondition(left >= 0, "a hard reference was dropped twice")
        if left == 0 { lastHardReferenceDropped() }
    }

    /// Called once when the last hard reference goes: no VM maps the object any more and its creator
    /// gave it up. Called with the VM lock held if a VM_BO held the last one.
    open func lastHardReferenceDropped() {}

    /// Marks the object evicted, or resident again, in every VM that maps it.
    ///
    /// The object's reservation is locked. Source: `drm_gpuvm_bo_gem_evict`.
    public final func setEvicted(_ isEvicted: Bool) {
        reservation.assertLocked()
        listLock.withLock {
            for binding in bindings { binding.vm.setEvicted(isEvicted, vmBO: binding.vmBO) }
        }
    }

    /// The VMs that map the object at this moment.
    public final var vms: [GPUVM] { listLock.withLock { bindings.map(\.vm) } }

    // MARK: - The list of VM_BOs

    final func vmBO(in vm: GPUVM) -> UInt32 {
        listLock.withLock {
            for binding in bindings where binding.vm === vm { return binding.vmBO }
            return 0
        }
    }

    final func addBinding(_ vm: GPUVM, _ vmBO: UInt32, at index: Int? = nil) {
        listLock.withLock {
            let binding = Binding(vm: vm, vmBO: vmBO)
            bindings.insert(binding, at: min(index ?? bindings.count, bindings.count))
        }
    }

    /// Returns the index that the binding had.
    @discardableResult
    final func removeBinding(_ vm: GPUVM, _ vmBO: UInt32) -> Int {
        listLock.withLock {
            guard let index = bindings.firstIndex(where: { $0.vm === vm && $0.vmBO == vmBO }) else {
                preconditionFailure("a VM_BO is not on its object's list")
            }
            bindings.remove(at: index)
            return index
        }
    }
}
