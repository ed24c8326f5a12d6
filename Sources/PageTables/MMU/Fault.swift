/// An access that could not be translated.
public struct Fault: Error, Equatable, Sendable {
    /// The address space's identity.
    public var space: AddressSpace.ID
    /// The virtual address of the first byte that could not be reached.
    public var address: UInt64
    /// What the engine wanted to do there.
    public var access: AccessKind
    /// Why it could not.
    public var reason: FaultReason

    /// Describes a fault.
    public init(
        space: AddressSpace.ID, address: UInt64, access: AccessKind, reason: FaultReason
    ) {
        self.space = space
        self.address = address
        self.access = access
        self.reason = reason
    }
}
