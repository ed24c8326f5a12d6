/// The kind of a lock: its place in the lock order and what may happen under it.
///
/// A thread may take a lock only if its rank is above the rank of every lock that it holds. The
/// order, outermost first, is that of the static members below; debug builds assert it on every
/// acquisition (see ``Lock``).
public struct LockClass: Sendable, Equatable {
    /// Shown when the order is violated.
    public let name: StaticString
    /// Position in the lock order; larger is further inside.
    public let rank: UInt16
    /// Whether the fence-signalling path may take it: nobody allocates GPU memory or waits for a
    /// fence under such a lock (Documentation/driver-api/dma-buf.rst, "DMA fence signalling").
    public let signallingSafe: Bool

    /// Declares a class; two classes with one rank can never be held together.
    public init(_ name: StaticString, rank: UInt16, signallingSafe: Bool) {
        self.name = name
        self.rank = rank
        self.signallingSafe = signallingSafe
    }

    /// Classes are the same if their ranks are.
    public static func == (a: LockClass, b: LockClass) -> Bool { a.rank == b.rank }

    // Outermost: the control path.

    /// The daemon's list of sessions and its life cycle.
    public static let daemon = LockClass("daemon", rank: 5, signallingSafe: false)
    /// The device's registries: clients, exported fds, object identities.
    public static let device = LockClass("device", rank: 10, signallingSafe: false)
    /// A client's handle tables and quotas.
    public static let client = LockClass("client", rank: 20, signallingSafe: false)

    // The submission path.

    /// A GPU VM: the VA tree and the submission order (DESIGN "lock order", first).
    public static let vm = LockClass("vm", rank: 30, signallingSafe: false)
    /// A reservation object's wait/wound lock.
    public static let reservation = LockClass("reservation", rank: 40, signallingSafe: false)
    /// The userptr notifier: read in exec, write in invalidation.
    public static let notifier = LockClass("notifier", rank: 50, signallingSafe: false)
    /// The VA tree of an immediate-mode VM, which its bind jobs change.
    public static let vmOperation = LockClass("vm-operation", rank: 55, signallingSafe: true)
    /// An object's list of VM_BOs and VAs.
    public static let vaList = LockClass("va-list", rank: 60, signallingSafe: true)
    /// A VM's external-object and evict lists.
    public static let vmLists = LockClass("vm-lists", rank: 65, signallingSafe: true)
    /// The lists of buffers by last use; the allocators are inside.
    public static let residency = LockClass("residency", rank: 67, signallingSafe: false)
    /// The physical memory allocator.
    public static let memory = LockClass("memory", rank: 68, signallingSafe: false)

    // The fence-signalling path.

    /// A page table's single writer.
    public static let pageTable = LockClass("page-table", rank: 70, signallingSafe: true)
    /// The pool of page-table pages (a free list: nothing is allocated under it).
    public static let tablePool = LockClass("table-pool", rank: 72, signallingSafe: true)
    /// One engine's MMU: its TLB and the accesses in flight.
    public static let mmu = LockClass("mmu", rank: 75, signallingSafe: true)
    /// A sync object's current fence.
    public static let syncobj = LockClass("syncobj", rank: 78, signallingSafe: true)
    /// A scheduler's run list and the state of its queues.
    public static let scheduler = LockClass("scheduler", rank: 80, signallingSafe: true)
    /// A fence's callback list.
    public static let fence = LockClass("fence", rank: 90, signallingSafe: true)
    /// A client's fence page.
    public static let fencePage = LockClass("fence-page", rank: 92, signallingSafe: true)
    /// The open end of an exported fence fd, and a wait's record of where its entries stand.
    public static let fenceFD = LockClass("fence-fd", rank: 93, signallingSafe: true)
    /// The timer queue.
    public static let timer = LockClass("timer", rank: 94, signallingSafe: true)
    /// Counters, event rings, sockets' send sides: innermost, nothing is called under it.
    public static let leaf = LockClass("leaf", rank: 99, signallingSafe: true)
}
