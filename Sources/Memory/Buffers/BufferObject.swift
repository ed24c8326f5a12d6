import Fencing
import GPUVMCore
import PageTables
import Synchronization

// @unchecked: its superclass synchronises itself, and what it adds is immutable or has a lock.
/// A buffer: shared memory of the host, and the frames that it has in the physical address space.
///
/// The backing (descriptor, host mapping) lives exactly as long as the buffer, so that CPU mappings
/// stay valid; clients map the memfd itself. The frames change when the buffer is evicted or brought
/// back (``Residency``), and are given back when the last holder lets go: handles, VM/BO pairs,
/// moves, and bind jobs that have still to take the buffer out of a page table.
///
/// Threading: ``frames`` is the *submitted* placement. It changes under the buffer's reservation;
/// who holds that reads what stays true until it lets go, anybody else a snapshot.
public final class BufferObject: GPUVMObject, @unchecked Sendable {
    /// Unique in the device, never used again.
    public let id: UInt64
    /// What reports call it.
    public let name: String
    /// Size in bytes, a multiple of the page size.
    public let size: UInt64
    /// The memory that clients map.
    public let backing: SharedMemory
    /// Whether the buffer shares one VM's reservation and only that VM may map it.
    public let isLocal: Bool
    /// The kind of memory in which engines may use it.
    public let wantedPlacement: Placement
    /// Whether its VRAM must be within the CPU's reach (the "BAR").
    public let needsCPUAccess: Bool
    /// Who made it, as the device numbers clients; 0 for nobody.
    public let creator: UInt32

    private let account: (any Sendable)?
    private let residency: Residency
    /// Written under the reservation *and* the lock; read under either.
    nonisolated(unsafe) private var submittedFrames: BufferFrames?
    private let framesLock = Lock(.leaf)
    /// Changed with the frames; every bind asks for it, and the frames are dear to copy.
    private let isAway = Atomic<Bool>(true)
    /// Finds the buffer without keeping it.
    public let reference: BufferReference
    /// The buffer's place in the LRU lists; see there for its lock.
    let lruNode = LRUNode()
    private static let lastID = Atomic<UInt64>(0)

    /// Makes a buffer without frames; ``Residency/makeResident(_:locking:)`` gives it some.
    ///
    /// - Parameters:
    ///   - account: Kept as long as the buffer's memory: who it is charged to.
    ///   - reservation: That of the VM that the buffer is local to; nil for one of its own.
    public init(
        name: String, backing: SharedMemory, placement: Placement, needsCPUAccess: Bool = true,
        residency: Residency, localTo reservation: Reservation? = nil, creator: UInt32 = 0,
        account: (any Sendable)? = nil
    ) {
        id = Self.lastID.add(1, ordering: .relaxed).newValue
        reference = BufferReference(id: id)
        self.name = name
        size = backing.bytes
        self.backing = backing
        wantedPlacement = placement
        self.needsCPUAccess = needsCPUAccess
        self.residency = residency
        self.creator = creator
        self.account = account
        isLocal = reservation != nil
        super.init(reservation: reservation ?? Reservation())
        reference.begin(self)
    }

    deinit {
        residency.forget(self)
        // Over: its frames are free.
        reference.end()
        residency.noteGone()
    }

    /// The frames that the buffer has or will have when its last move is done; nil while it has
    /// none.
    public var frames: BufferFrames? { framesLock.withLock { submittedFrames } }

    /// As ``frames``, without a reference: for as long as the caller holds the reservation, and the
    /// buffer lives.
    public var unretainedFrames: Unmanaged<BufferFrames>? {
        reservation.assertLocked()
        return submittedFrames.map { Unmanaged.passUnretained($0) }
    }

    /// Where its frames are: the wanted placement, or system memory if it was evicted.
    public var placement: Placement { frames?.placement ?? wantedPlacement }

    /// The frames, in the order of the buffer's bytes.
    public var extents: [PhysicalExtent] { frames?.extents ?? [] }

    /// Whether the buffer is not where engines may use it: an exec brings it back first.
    public var isEvicted: Bool { isAway.load(ordering: .acquiring) }

    /// The caller holds the reservation.
    func setFrames(_ frames: BufferFrames) {
        reservation.assertLocked()
        framesLock.withLock {
            submittedFrames = frames
            isAway.store(frames.placement != wantedPlacement, ordering: .releasing)
        }
    }

    /// Tells the device, if VMs with weak references still map the buffer.
    public override func lastHardReferenceDropped() { residency.noteUnheld(self) }
}
