import GPUVMCore
import Memory

/// A mapping as reports show it.
public struct MappingInfo: Sendable, Equatable {
    /// First byte's GPU virtual address.
    public var address: UInt64
    /// Bytes.
    public var range: UInt64
    /// Bytes into the buffer.
    public var offset: UInt64
    /// Device-wide id of the buffer; 0 for none.
    public var buffer: UInt64 = 0
    /// The buffer's name; empty for none.
    public var name = ""
    /// Where the buffer's frames are; nil for none.
    public var placement: Placement?
    /// What the mapping allows and is.
    public var flags: MappingFlags
    /// The PTE kind that a personality gave it.
    public var pteKind: UInt8 = 0
}

extension MappingInfo {
    /// Describes a mapping while the VM's lock is held.
    init(_ va: GPUVA) {
        self.init(
            GPUVAOp.Piece(address: va.address, range: va.range, offset: va.offset),
            of: va.object, flags: va.flags)
    }

    init(_ piece: GPUVAOp.Piece, of object: GPUVMObject?, flags: GPUVAFlags) {
        self.init(
            address: piece.address, range: piece.range, offset: piece.offset,
            flags: MappingFlags(flags), pteKind: flags.pteKind)
        if let buffer = object as? BufferObject {
            self.buffer = buffer.id
            name = buffer.name
            placement = buffer.placement
        }
    }
}
