/// What to map where. Addresses, ranges and offsets in bytes.
public struct MapRequest {
    /// Start in the VM.
    public var address: UInt64
    /// Length.
    public var range: UInt64
    /// The object; nil for a mapping without one (sparse).
    public var object: GPUVMObject?
    /// Start in the object.
    public var offset: UInt64
    /// The new mapping's flags.
    public var flags: GPUVAFlags

    /// Creates a request.
    public init(
        address: UInt64, range: UInt64, object: GPUVMObject?, offset: UInt64,
        flags: GPUVAFlags = []
    ) {
        self.address = address
        self.range = range
        self.object = object
        self.offset = offset
        self.flags = flags
    }
}
