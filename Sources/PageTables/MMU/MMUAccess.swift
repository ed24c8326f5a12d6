/// One bounded access through an ``MMU``: the proof that its lock is held.
///
/// Not copyable, and only borrowed by the body of ``MMU/withAccess(_:)``, so that it cannot outlive
/// the lock.
public struct MMUAccess: ~Copyable {
    /// Not retained: whoever calls ``MMU/withAccess(_:)`` holds the MMU longer than that lasts.
    /// (A strong reference here also crashes the 6.3.1 optimiser when it inlines the borrow.)
    @usableFromInline let mmu: Unmanaged<MMU>

    @usableFromInline
    init(mmu: MMU) { self.mmu = .passUnretained(mmu) }

    /// Translates an address.
    ///
    /// Leaves that continue each other, virtually, physically and in the host, are joined up to the
    /// limit. A fault describes the first byte; what comes after it shows at its own turn.
    ///
    /// - Parameters:
    ///   - space: The address space of the job.
    ///   - address: Any byte address.
    ///   - limit: The number of bytes of interest, at least 1.
    ///   - intent: What is to be done; a write through a read-only leaf faults.
    /// - Returns: Memory or null with a length of 1…`limit` bytes, or a fault.
    @inlinable
    public borrowing func translate(
        space: AddressSpace, address: UInt64, length limit: UInt64, intent: AccessKind
    ) -> Translation {
        mmu._withUnsafeGuaranteedRef { $0.translate(space, address, limit, intent) }
    }
}
