/// The unique pair of a VM and an object mapped in it, as it was when asked for.
///
/// Source: `struct drm_gpuvm_bo` (include/drm/drm_gpuvm.h).
public struct GPUVMBO {
    /// Names the pair in its VM while it exists.
    public let id: UInt32
    /// References: one for each linked VA.
    public let referenceCount: Int
    /// Mappings of the object in the VM.
    public let linkedCount: Int
    /// Whether the object is marked as evicted in this VM.
    public let isEvicted: Bool
    /// Whether the object has a reservation of its own.
    public let isExternal: Bool
}
