import GPUVMCore
import Memory

/// An operation of a request as the submission path passes it around: the buffer without a reference.
///
/// A request keeps its operations, and with them the buffers, for as long as its steps are used. A
/// step is copied for nothing, where every copy of an operation counts references: that was a third
/// of what a bind cost.
struct BindStep {
    let kind: BindOperation.Kind
    let readOnly: Bool
    let pteKind: UInt8
    /// Whether the buffer may be mapped by one VM only.
    let isLocal: Bool
    /// Bytes of the buffer.
    let size: UInt64
    private let unmanagedBuffer: Unmanaged<BufferObject>?
    let address: UInt64
    let range: UInt64
    let offset: UInt64

    /// The operation at `index` of an array that outlives the step.
    init(_ operations: [BindOperation], _ index: Int) {
        kind = operations[index].kind
        readOnly = operations[index].readOnly
        pteKind = operations[index].pteKind
        if let buffer = operations[index].buffer {
            unmanagedBuffer = Unmanaged.passUnretained(buffer)
            (isLocal, size) = (buffer.isLocal, buffer.size)
        } else {
            (unmanagedBuffer, isLocal, size) = (nil, false, 0)
        }
        address = operations[index].address
        range = operations[index].range
        offset = operations[index].offset
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

    var mappingFlags: GPUVAFlags { GPUVAFlags(kind, readOnly: readOnly, pteKind: pteKind) }
}
