/// Modes of a VM, fixed at its creation.
///
/// Source: `enum drm_gpuvm_flags` (include/drm/drm_gpuvm.h); the weak references are those of the msm
/// driver's VM_BIND series (May 2025).
public struct GPUVMFlags: OptionSet, Sendable, Hashable {
    /// The bits.
    public let rawValue: UInt32

    /// Creates flags from their bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The external-object and evict lists belong to the VM's reservation.
    public static let reservationProtected = GPUVMFlags(rawValue: 1 << 0)
    /// The VM changes inside the fence-signalling path: VM_BOs are freed by a deferred cleanup.
    public static let immediateMode = GPUVMFlags(rawValue: 1 << 1)
    /// VM_BOs hold no hard reference on their objects, which can so end while they are mapped; the
    /// walks over the lists skip what has ended.
    public static let weakReferences = GPUVMFlags(rawValue: 1 << 2)
}
