import Synchronization

/// The address space that an engine runs a job in: a page table with an identity.
///
/// The identity tags TLB entries and is never used a second time, so that what an MMU has cached of
/// a closed space can never be taken for another's.
///
/// Threading: any thread.
public final class AddressSpace: Sendable {
    /// Names an address space for ever.
    public typealias ID = UInt64

    private static let nextID = Atomic<UInt64>(1)

    /// Unique in the process.
    public let id: ID
    /// The tables that translate the space.
    public let walker: any PageWalker
    private let closed = Atomic<Bool>(false)

    /// Gives a page table a new identity.
    public init(_ walker: some PageWalker) {
        id = Self.nextID.wrappingAdd(1, ordering: .relaxed).oldValue
        self.walker = walker
    }

    /// The physical address of the root table.
    public var rootAddress: PhysicalAddress { walker.rootAddress }

    /// Whether every access faults because the VM has been closed.
    public var isDead: Bool { closed.load(ordering: .acquiring) }

    /// Makes every later translation fault.
    ///
    /// An access in flight ends first only if ``InvalidationDomain/invalidateAll(space:)`` follows;
    /// after that the page table may be destroyed.
    public func close() { closed.store(true, ordering: .releasing) }
}
