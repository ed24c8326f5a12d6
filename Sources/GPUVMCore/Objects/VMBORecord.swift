/// What a VM keeps for one VM_BO: the unique pair of the VM and an object that is mapped in it.
///
/// Its address never changes. Who guards what:
///
/// - `object`, `vm`: nobody; they stay as they are while somebody has a reference.
/// - the place on the object's list: the object's list lock.
/// - the link order and `linkedCount`: the object's reservation and the VM lock; in immediate mode
///   the object's list lock.
/// - `referenceCount`: the VM lock; in immediate mode the VM's list lock.
/// - the rest: the VM's list lock.
struct VMBORecord: BitwiseCopyable {
    /// Retained by the record while it exists; nil for a list's sentinel. A free slot's link lies
    /// here.
    var object: Unmanaged<GPUVMObject>?
    /// Retained by the record while it exists.
    var vm: Unmanaged<GPUVM>?
    /// Neighbours on the object's list.
    var nextOfObject: UnsafeMutablePointer<VMBORecord>?
    var previousOfObject: UnsafeMutablePointer<VMBORecord>?
    /// One for each linked VA, one for each ``GPUVM/obtain(_:)`` that was not put yet, and one for
    /// who walks a list in immediate mode.
    var referenceCount: UInt32 = 0
    var linkedCount: UInt32 = 0
    /// Link order.
    var firstVA: UInt32 = 0
    var lastVA: UInt32 = 0
    /// The transaction in which a VA of it was last removed.
    var releasedIn: UInt32 = 0
    /// The zombie to clean up after this one (immediate mode).
    var nextZombie: UInt32 = 0
    /// The next one in the bucket of the index.
    var nextInBucket: UInt32 = 0
    var external = ListEntry()
    var evict = ListEntry()
    var isEvicted = false
    /// Without references in a transaction, and destroyed when that commits.
    var isDead = false
    /// In the index and on its object's list: the pair that a look-up finds.
    var isEntered = false

    /// A place on a circular list of VM_BOs; `next` is 0 while it is on none.
    struct ListEntry: BitwiseCopyable {
        var next: UInt32 = 0
        var previous: UInt32 = 0
    }
}

// The fields of one record have different guards. A compound assignment counts as an access to the
// whole record for the thread sanitizer, so that none is used.
extension UnsafeMutablePointer where Pointee == VMBORecord {
    @inline(__always)
    func addReference() { pointee.referenceCount = pointee.referenceCount &+ 1 }

    @inline(__always)
    func dropReferences(_ count: UInt32 = 1) {
        pointee.referenceCount = pointee.referenceCount &- count
    }

    @inline(__always)
    func addLinked() { pointee.linkedCount = pointee.linkedCount &+ 1 }

    @inline(__always)
    func dropLinked() { pointee.linkedCount = pointee.linkedCount &- 1 }
}
