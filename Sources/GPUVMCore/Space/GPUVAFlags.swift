/// Properties of one mapping.
///
/// Source: `enum drm_gpuva_flags` (include/drm/drm_gpuvm.h). A remap copies none of them to the
/// pieces that remain, unless the applier is told to carry bits over.
public struct GPUVAFlags: OptionSet, Sendable, Hashable, BitwiseCopyable {
    /// Bit 0: invalidated, bit 1: sparse, from bit 2: the user's.
    public let rawValue: UInt32

    /// Creates flags from their bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The mapping's page-table entries are gone; it must be bound anew before use.
    public static let invalidated = GPUVAFlags(rawValue: 1 << 0)
    /// The mapping has no backing: reads give zero, writes are dropped.
    public static let sparse = GPUVAFlags(rawValue: 1 << 1)

    /// All user bits.
    public static let userMask = GPUVAFlags(rawValue: ~3)

    /// A user bit: bit 2 + `index`, `index` 0…29.
    public static func user(_ index: Int) -> GPUVAFlags {
        GPUVAFlags(rawValue: 1 << UInt32(2 + index))
    }
}
