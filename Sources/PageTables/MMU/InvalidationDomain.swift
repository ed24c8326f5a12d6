/// All the MMUs of a device: where a change of a page table has to be made known.
///
/// When an invalidation returns, every MMU has acknowledged it: no access that used the old
/// translation is running on any engine, and none will. Only then frames are used again and retired
/// tables are released.
///
/// Threading: any thread. Takes one MMU's lock at a time, so a slow engine delays the caller by one
/// bounded access.
public final class InvalidationDomain: Sendable {
    /// The MMUs.
    public let mmus: [MMU]

    /// Joins MMUs to a domain.
    public init(_ mmus: [MMU]) { self.mmus = mmus }

    /// Invalidates a range in every MMU.
    public func invalidate(space: AddressSpace.ID, address: UInt64, range: UInt64) {
        forEachMMU { $0.invalidate(space: space, address: address, range: range) }
    }

    /// Invalidates several ranges in every MMU.
    public func invalidate(
        space: AddressSpace.ID, ranges: UnsafeBufferPointer<VirtualRange>
    ) {
        forEachMMU { $0.invalidate(space: space, ranges: ranges) }
    }

    /// Invalidates an address space in every MMU.
    public func invalidateAll(space: AddressSpace.ID) {
        forEachMMU { $0.invalidateAll(space: space) }
    }

    /// Without an iterator, which an unoptimised build allocates: this is the signalling path.
    private func forEachMMU(_ body: (MMU) -> Void) {
        var index = 0
        while index < mmus.count {
            body(mmus[index])
            index += 1
        }
    }
}
