/// A mapping of a VM as it was when asked for.
///
/// Trivially copied; it holds no reference. ``object`` may be asked for while the VM lock that the
/// value was read under is held, and longer by who keeps the object alive otherwise.
public struct GPUVA: BitwiseCopyable {
    /// Names the mapping in its VM while it exists; never 0.
    public let id: UInt32
    /// The mapping's flags.
    public let flags: GPUVAFlags
    /// Start, bytes.
    public let address: UInt64
    /// Length, bytes.
    public let range: UInt64
    /// Start inside the object, bytes.
    public let offset: UInt64
    /// The object without a reference; nil if the mapping has none.
    public let unmanagedObject: Unmanaged<GPUVMObject>?

    /// The first address behind the mapping, modulo 2^64.
    @inlinable
    public var end: UInt64 { address &+ range }

    /// The object mapped; nil for a mapping without one.
    @inlinable
    public var object: GPUVMObject? { unmanagedObject?.takeUnretainedValue() }
}
