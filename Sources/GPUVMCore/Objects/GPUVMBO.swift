/// The unique pair of a VM and an object mapped in it, as it was when asked for.
///
/// Source: `struct drm_gpuvm_bo` (include/drm/drm_gpuvm.h).
public struct GPUVMBO: BitwiseCopyable {
    /// Names a pair in its VM while it exists.
    ///
    /// From ``GPUVM/obtain(_:)`` it stands for one reference, which ``GPUVM/put(_:)`` gives back.
    public struct ID: Hashable, Sendable, BitwiseCopyable {
        let slot: UInt32
    }

    /// The pair's name.
    public let id: ID
    /// References: one for each linked VA and one for each that was obtained.
    public let referenceCount: Int
    /// Mappings of the object in the VM.
    public let linkedCount: Int
    /// Whether the object is marked as evicted in this VM.
    public let isEvicted: Bool
    /// Whether the object has a reservation of its own.
    public let isExternal: Bool
}
