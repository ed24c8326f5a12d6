import GPUVMCore
import Memory

/// An operation of a request as the submission path passes it around: the buffer without a reference.
///
/// The request's ``BindArray`` keeps the buffers for as long as its steps are used. A step is copied
/// for nothing, where every copy of an operation counts references: that was a third of what a bind
/// cost.
struct BindStep: BitwiseCopyable {
    let kind: BindOperation.Kind
    let readOnly: Bool
    let pteKind: UInt8
    /// Whether the buffer may be mapped by one VM only.
    let isLocal: Bool
    /// The buffer's place in the array's list; -1 without one.
    let bufferIndex: Int32
    /// Bytes of the buffer.
    let size: UInt64
    private let unmanagedBuffer: Unmanaged<BufferObject>?
    let address: UInt64
    let range: UInt64
    let offset: UInt64

    /// A step without a buffer; nothing is checked here.
    init(_ kind: BindOperation.Kind, address: UInt64, range: UInt64, readOnly: Bool = false) {
        self.kind = kind
        self.readOnly = readOnly
        self.address = address
        self.range = range
        (pteKind, isLocal, bufferIndex, size) = (0, false, -1, 0)
        (unmanagedBuffer, offset) = (nil, 0)
    }

    /// A step that names a buffer of its array; nothing is checked here.
    init(
        _ kind: BindOperation.Kind, address: UInt64, range: UInt64, buffer: BindArray.Buffer,
        offset: UInt64, readOnly: Bool = false, pteKind: UInt8
    ) {
        self.kind = kind
        self.readOnly = readOnly
        self.pteKind = pteKind
        self.address = address
        self.range = range
        self.offset = offset
        (bufferIndex, isLocal, size) = (buffer.index, buffer.isLocal, buffer.size)
        unmanagedBuffer = buffer.object
    }

    var buffer: BufferObject? { unmanagedBuffer?.takeUnretainedValue() }

    /// As ``buffer``, without a reference.
    var unretainedBuffer: Unmanaged<BufferObject>? { unmanagedBuffer }

    /// What the buffer answers, if there is one; it is not retained for it.
    @inline(__always)
    func ask<Answer>(_ question: (BufferObject) -> Answer) -> Answer? {
        guard let unmanagedBuffer else { return nil }
        return unmanagedBuffer._withUnsafeGuaranteedRef { question($0) }
    }

    /// The buffer as the tree knows it.
    var object: Unmanaged<GPUVMObject>? {
        unmanagedBuffer.map { Unmanaged<GPUVMObject>.fromOpaque($0.toOpaque()) }
    }

    /// What a map or a map of nothing asks of the tree.
    var map: GPUVAOp.Map {
        GPUVAOp.Map(
            piece: GPUVAOp.Piece(address: address, range: range, offset: offset),
            flags: mappingFlags, unmanagedObject: object)
    }

    /// The range; its end has been checked.
    var addresses: Range<UInt64> { address..<(address &+ range) }

    /// The flags of the mapping that the step makes.
    var mappingFlags: GPUVAFlags {
        var flags: GPUVAFlags = kind == .mapNull ? .sparse : []
        if readOnly { flags.insert(.readOnly) }
        if kind == .map { flags.formUnion(.pteKind(pteKind)) }
        return flags
    }
}
