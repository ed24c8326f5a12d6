import Fencing
import Synchronization

// @unchecked: guarded by the caller's VM lock, but for the lists under `listLock`; see Threading.
/// A GPU virtual address space: its mappings, the objects behind them, and nothing of page tables.
///
/// The VM is the *submitted* state. A request is planned (``planMap(_:into:)`` and its siblings:
/// pure), applied, and committed or rolled back:
///
/// ```swift
/// vm.begin()
/// do {
///     try vm.planMap(request, into: &ops)
///     ops.forEach { collectPageTableUpdates($0) }
///     try vm.apply(&ops)
///     vm.commit()
/// } catch {
///     vm.rollback()
/// }
/// ```
///
/// Each VM_BO keeps its VM alive, as in the kernel; ``close()`` ends that, and without it a VM with
/// mappings lives for ever.
///
/// Source: drivers/gpu/drm/drm_gpuvm.c.
///
/// Threading: every method needs the caller's VM lock, held exclusively. A change of an object's
/// mappings needs the object's reservation too, so that who holds only that may walk them
/// (``forEachMapping(of:_:)``) and mark them (``setEvicted(_:object:)``).
///
/// In immediate mode (``GPUVMFlags/immediateMode``) the mappings belong to a lock of class
/// ``Fencing/LockClass/vmOperation`` instead, which the caller takes around whatever reads or
/// changes them, on the fence-signalling path too; the lists and pairs stay with the VM lock, and
/// are safe against what that path does to them.
///
/// Look-up, insertion and removal O(log n); a plan O(log n + ops).
public final class GPUVM: @unchecked Sendable {
    /// For people: debug output and logs.
    public let name: String
    /// The VM's modes.
    public let flags: GPUVMFlags
    /// Start of the address space, bytes.
    public let start: UInt64
    /// Length of the address space, bytes.
    public let range: UInt64
    /// Start of the part that the kernel reserves for itself, bytes.
    public let reservedStart: UInt64
    /// Length of the reserved part, bytes; 0 for none.
    public let reservedRange: UInt64
    /// The object whose reservation is that of all private objects.
    public let reservationObject: GPUVMObject
    /// How many mappings the VM has room for.
    public let capacity: Int
    /// The driver's own, for who reaches the VM through the list of an object's VMs.
    public let driverData: AnyObject?

    let vas: SlotPool<VARecord>
    let tree: VATree
    let vmBOs: SlotPool<VMBORecord>
    let index: VMBOIndex
    let journal: Journal
    /// Guards the external-object and evict lists, the evicted marks, and the VM_BOs' slots and
    /// index; in immediate mode also their counts.
    let listLock = Lock(.vmLists)
    /// Immediate mode: the mappings that exist or are reserved.
    let committedVAs = Atomic<Int>(0)
    private let region: ReservedRegion

    /// What changes, behind a pointer: accesses to it are not checked for exclusivity at run time.
    struct State {
        /// Counts every change; an ``OpList`` remembers it.
        var generation: UInt64 = 0
        var transaction: UInt32 = 0
        var isInTransaction = false
        /// A transaction that ``begin()`` opened, not a single change's own.
        var collectsReleased = false
        /// How much of `released` was there before the transaction.
        var releasedBefore = 0
        var warningCount = 0
        /// Immediate mode: the mappings that the change in progress may still add.
        var heldVAs = 0
        /// The VA of the reserved node; 0 if there is none.
        var reservedVA: UInt32 = 0
        var vaCount = 0
        /// The VM_BO found last, and its object.
        var recentObject: UnsafeMutableRawPointer?
        var recentVMBO: UInt32 = 0
    }

    let state: UnsafeMutablePointer<State>

    /// What `listLock` guards. A compound assignment would count as an access to all of it for the
    /// thread sanitizer.
    struct PairState {
        var vmBOCount = 0
        /// VM_BOs that wait for the deferred clean-up.
        var firstZombie: UInt32 = 0
        /// Written under the VM lock too, so that either suffices to read it.
        var isClosed = false
    }

    let pairState: UnsafeMutablePointer<PairState>
    var released: [GPUVMObject] = []

    // Sentinels of the circular lists.
    let externalList: UInt32
    let evictList: UInt32
    let walkedList: UInt32

    /// Creates a VM without mappings.
    ///
    /// A space or a reserved part that overflows 64 bits counts as a warning, as in the kernel, and
    /// admits no mapping or is not inserted.
    ///
    /// - Parameters:
    ///   - name: For people.
    ///   - flags: The VM's modes.
    ///   - start: Start of the address space, bytes.
    ///   - range: Length of the address space, bytes.
    ///   - reservedStart: Start of the part that no mapping may touch, bytes.
    ///   - reservedRange: Length of that part, bytes; 0 for none.
    ///   - reservationObject: Carries the reservation of all private objects.
    ///   - capacity: Room for this many mappings, 1…2^28; costs memory only where it is used.
    ///   - objectCapacity: Room for this many objects, 1…2^28.
    ///   - driverData: Kept as long as the VM.
    /// - Throws: ``GPUVMError/outOfMemory(needed:)`` if the process has no address space left.
    public init(
        name: String = "unknown", flags: GPUVMFlags = [], start: UInt64, range: UInt64,
        reservedStart: UInt64 = 0, reservedRange: UInt64 = 0,
        reservationObject: GPUVMObject = GPUVMObject(), capacity: Int = 1 << 24,
        objectCapacity: Int = 1 << 20, driverData: AnyObject? = nil
    ) throws(GPUVMError) {
        precondition((1...1 << 28).contains(capacity) && (1...1 << 28).contains(objectCapacity))
        self.name = name
        self.flags = flags
        self.start = start
        self.range = range
        self.reservedStart = reservedStart
        self.reservedRange = reservedRange
        self.reservationObject = reservationObject
        self.capacity = capacity
        self.driverData = driverData

        var layout = RegionLayout()
        // One more for the reserved node, three for the lists' sentinels; slot 0 is never used.
        let vaOffset = layout.add(VARecord.self, count: capacity + 2)
        let vmBOOffset = layout.add(VMBORecord.self, count: objectCapacity + 4)
        let buckets = VMBOIndex.maximumBuckets(objectCapacity: objectCapacity)
        let bucketOffset = layout.add(UInt32.self, count: buckets)
        let treeLayout = VATree.Layout(capacity: capacity + 1, in: &layout)
        guard let region = layout.makeRegion() else {
            throw .outOfMemory(needed: capacity)
        }
        let base = region.base
        self.region = region
        vas = SlotPool(
            slots: (base + vaOffset).bindMemory(to: VARecord.self, capacity: capacity + 2),
            capacity: UInt32(capacity + (reservedRange == 0 ? 0 : 1)))
        vmBOs = SlotPool(
            slots: (base + vmBOOffset).bindMemory(
                to: VMBORecord.self, capacity: objectCapacity + 4),
            capacity: UInt32(objectCapacity + 3))
        index = VMBOIndex(
            buckets: (base + bucketOffset).bindMemory(to: UInt32.self, capacity: buckets),
            maximumBuckets: buckets, records: vmBOs.slots)
        tree = VATree(treeLayout, base: base)
        journal = Journal()
        state = .allocate(capacity: 1)
        state.initialize(to: State())
        pairState = .allocate(capacity: 1)
        pairState.initialize(to: PairState())
        externalList = Self.makeSentinel(vmBOs)
        evictList = Self.makeSentinel(vmBOs)
        walkedList = Self.makeSentinel(vmBOs)

        if start.addingReportingOverflow(range).overflow { state.pointee.warningCount += 1 }
        if reservedRange != 0 {
            if reservedStart.addingReportingOverflow(reservedRange).overflow {
                state.pointee.warningCount += 1
            } else {
                let node = vas.allocate(
                    VARecord(
                        address: reservedStart, range: reservedRange, offset: 0, flags: 0, vmBO: 0))
                state.pointee.reservedVA = node
                tree.insert(reservedStart, node)
            }
        }
    }

    deinit {
        // Every VM_BO holds its VM, so none is left.
        state.deallocate()
        pairState.deallocate()
        journal.destroy()
        tree.destroy()
        vas.destroy()
        index.destroy()
        vmBOs.destroy()
    }

    private static func makeSentinel(_ pool: SlotPool<VMBORecord>) -> UInt32 {
        let id = pool.allocate(VMBORecord(object: nil))
        pool[id].external = VMBORecord.ListEntry(next: id, previous: id)
        pool[id].evict = VMBORecord.ListEntry(next: id, previous: id)
        return id
    }

    // MARK: - Properties

    /// The reservation of the VM and of its private objects.
    public var reservation: Reservation { reservationObject.reservation }

    /// The number of mappings, without the reserved node.
    public var mappingCount: Int { state.pointee.vaCount }

    /// The number of VM_BOs, with those preallocated and those that wait for the deferred clean-up.
    public var objectCount: Int { listLock.withLock { pairState.pointee.vmBOCount } }

    /// The kernel's reference count: one for the owner (until ``close()``), one for each mapping and
    /// one for each VM_BO, none for the reserved node.
    public var referenceCount: Int {
        (isClosed ? 0 : 1) + state.pointee.vaCount + objectCount
    }

    /// How many times the kernel would have warned about the use of this VM.
    public var warningCount: Int { state.pointee.warningCount }

    /// Whether ``close()`` was called: nothing can be mapped any more.
    public var isClosed: Bool { listLock.withLock { pairState.pointee.isClosed } }

    /// Bytes of records and tree nodes in use.
    public var byteCount: Int {
        vas.usedCount * MemoryLayout<VARecord>.stride
            + vmBOs.usedCount * MemoryLayout<VMBORecord>.stride + tree.byteCount
    }

    /// Whether the object has another reservation than the VM's private objects.
    public func isExternal(_ object: GPUVMObject) -> Bool {
        object.reservation !== reservationObject.reservation
    }

    @inline(__always)
    var isImmediate: Bool { flags.contains(.immediateMode) }

    @inline(__always)
    var isReservationProtected: Bool { flags.contains(.reservationProtected) }

    @inline(__always)
    var isWeak: Bool { flags.contains(.weakReferences) }

    /// The VM lock is held, under which alone a VM is closed.
    @inline(__always)
    func checkOpen() throws(GPUVMError) {
        if pairState.pointee.isClosed { throw .closed }
    }
}
