import Fencing
import Synchronization

// @unchecked: the list is guarded by `listLock`; the count is atomic; the rest is immutable.
/// What can be mapped into a VM: to ``GPUVM`` what a GEM object is to the kernel's.
///
/// It has a reservation (its own if it is external, the VM's if it is private to one VM), a list of
/// the VM_BOs that map it, and a count of hard references: one is the creator's, one belongs to
/// each VM_BO of a VM without ``GPUVMFlags/weakReferences``.
///
/// Source: `struct drm_gem_object` (include/drm/drm_gem.h).
///
/// Threading: any thread.
open class GPUVMObject: @unchecked Sendable {
    /// The lock and the fences of the object's memory.
    public final let reservation: Reservation

    /// Guards the list of VM_BOs; in immediate mode also their link order.
    final let listLock = Lock(.vaList)
    // The list runs through the records, whose addresses never change: it needs no memory.
    private final var firstVMBO: UnsafeMutablePointer<VMBORecord>?
    private final var lastVMBO: UnsafeMutablePointer<VMBORecord>?
    private final let references = Atomic<Int>(1)

    /// Creates an object with one hard reference, the caller's.
    ///
    /// - Parameter reservation: The VM's for a private object; a new one for an external object.
    public init(reservation: Reservation = Reservation()) {
        self.reservation = reservation
    }

    // MARK: - Hard references

    /// The hard references: the creator's and one for each VM_BO that is not weak.
    public final var hardReferenceCount: Int { references.load(ordering: .acquiring) }

    /// Adds a hard reference; the caller has one, or holds what has one.
    public final func acquireHardReference() {
        let before = references.add(1, ordering: .relaxed).oldValue
        precondition(before > 0, "a hard reference was taken after the last one had gone")
    }

    /// Adds a hard reference unless the last one is gone: for who found the object without holding
    /// one (get-unless-zero).
    ///
    /// Source: `kref_get_unless_zero` (include/linux/kref.h).
    public final func tryAcquireHardReference() -> Bool {
        var count = references.load(ordering: .relaxed)
        while count > 0 {
            let (done, found) = references.weakCompareExchange(
                expected: count, desired: count + 1, ordering: .acquiringAndReleasing)
            if done { return true }
            count = found
        }
        return false
    }

    /// Drops a hard reference and calls ``lastHardReferenceDropped()`` if it was the last.
    public final func releaseHardReference() {
        let left = references.subtract(1, ordering: .acquiringAndReleasing).newValue
        precondition(left >= 0, "a hard reference was dropped twice")
        if left == 0 { lastHardReferenceDropped() }
    }

    /// Called once when the last hard reference goes: only VMs with weak references still map the
    /// object, and its creator gave it up. Called with the VM lock held if a VM_BO held the last
    /// one.
    open func lastHardReferenceDropped() {}

    // MARK: - The VMs

    /// Marks the object evicted, or resident again, in every VM that maps it.
    ///
    /// The object's reservation is locked. Source: `drm_gpuvm_bo_gem_evict`.
    public final func setEvicted(_ isEvicted: Bool) {
        reservation.assertLocked()
        listLock.withLock {
            var record = firstVMBO
            while let current = record {
                // Retained as long as the record is on the list.
                current.pointee.vm?.takeUnretainedValue().setEvicted(isEvicted, current)
                record = current.pointee.nextOfObject
            }
        }
    }

    /// The VMs that map the object at this moment.
    public final var vms: [GPUVM] {
        listLock.withLock {
            var vms: [GPUVM] = []
            var record = firstVMBO
            while let current = record {
                if let vm = current.pointee.vm { vms.append(vm.takeUnretainedValue()) }
                record = current.pointee.nextOfObject
            }
            return vms
        }
    }

    /// Appends a VM_BO to the list. The list lock is held.
    final func append(_ record: UnsafeMutablePointer<VMBORecord>) {
        record.pointee.previousOfObject = lastVMBO
        record.pointee.nextOfObject = nil
        if let lastVMBO { lastVMBO.pointee.nextOfObject = record } else { firstVMBO = record }
        lastVMBO = record
    }

    /// Takes a VM_BO off the list. The list lock is held.
    final func remove(_ record: UnsafeMutablePointer<VMBORecord>) {
        let (next, previous) = (record.pointee.nextOfObject, record.pointee.previousOfObject)
        if let previous { previous.pointee.nextOfObject = next } else { firstVMBO = next }
        if let next { next.pointee.previousOfObject = previous } else { lastVMBO = previous }
        record.pointee.nextOfObject = nil
        record.pointee.previousOfObject = nil
    }
}
