/// What a VM keeps for one VM_BO: the unique pair of the VM and an object that is mapped in it.
///
/// `object`, the counts and the link order are guarded by the VM lock together with the object's
/// reservation (immediate mode: the object's list lock); the list entries and marks by the VM's list
/// lock.
struct VMBORecord: BitwiseCopyable {
    /// Retained by the record while it exists; nil for a list's sentinel. A free slot's link lies
    /// here.
    var object: Unmanaged<GPUVMObject>?
    /// One for each linked VA and one for whoever is obtaining it.
    var referenceCount: UInt32 = 0
    var linkedCount: UInt32 = 0
    /// Link order.
    var firstVA: UInt32 = 0
    var lastVA: UInt32 = 0
    /// The transaction in which a VA of it was last removed.
    var releasedIn: UInt32 = 0
    /// The zombie to clean up after this one (immediate mode).
    var nextZombie: UInt32 = 0
    var external = ListEntry()
    var evict = ListEntry()
    var isEvicted = false
    /// Without references in a transaction, and destroyed when that commits.
    var isDead = false

    /// A place on a circular list of VM_BOs; `next` is 0 while it is on none.
    struct ListEntry: BitwiseCopyable {
        var next: UInt32 = 0
        var previous: UInt32 = 0
    }
}
