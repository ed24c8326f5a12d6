/// What a mapping allows.
public struct PTEFlags: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt8

    /// Makes a set from its bits.
    @inlinable
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// A write through the mapping faults.
    @inlinable
    public static var readOnly: PTEFlags { PTEFlags(rawValue: 1) }
}
