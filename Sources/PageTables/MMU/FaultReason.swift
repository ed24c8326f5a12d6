/// Why an access could not be translated.
public enum FaultReason: Equatable, Sendable {
    /// The walk met an invalid entry in a table of that level.
    case notMapped(level: Int)
    /// A write through a read-only mapping.
    case readOnly
    /// No frame with an owner is at that physical address.
    case machineCheck(PhysicalAddress)
    /// The address has more bits than the address space.
    case outOfRange
    /// The address space was closed.
    case spaceClosed
    /// An entry has bits that its level does not allow.
    case malformedEntry(level: Int, entry: UInt64)
}
