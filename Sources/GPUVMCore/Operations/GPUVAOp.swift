/// One step that turns the VM's present mappings into those that a request asks for.
///
/// Source: `struct drm_gpuva_op` (include/drm/drm_gpuvm.h).
public enum GPUVAOp: BitwiseCopyable {
    /// Insert a new mapping.
    case map(Map)
    /// Replace a mapping by what remains of it in front of and behind the request.
    case remap(Remap)
    /// Remove a mapping.
    case unmap(Unmap)
    /// Make a mapping's memory resident.
    case prefetch(GPUVA)

    /// A part of the address space and of an object. Bytes.
    public struct Piece: BitwiseCopyable, Equatable {
        /// Start, bytes.
        public let address: UInt64
        /// Length, bytes.
        public let range: UInt64
        /// Start inside the object, bytes.
        public let offset: UInt64

        /// Creates a piece.
        public init(address: UInt64, range: UInt64, offset: UInt64) {
            self.address = address
            self.range = range
            self.offset = offset
        }
    }

    /// The mapping to insert.
    public struct Map: BitwiseCopyable {
        /// Where, and the offset in the object.
        public let piece: Piece
        /// The flags of the new mapping.
        public let flags: GPUVAFlags
        /// The object without a reference: the requester keeps it alive until the op is applied.
        public let unmanagedObject: Unmanaged<GPUVMObject>?

        /// Creates an op; nothing is checked here.
        public init(
            piece: Piece, flags: GPUVAFlags, unmanagedObject: Unmanaged<GPUVMObject>?
        ) {
            self.piece = piece
            self.flags = flags
            self.unmanagedObject = unmanagedObject
        }

        /// The object to map; nil for a mapping without one.
        public var object: GPUVMObject? { unmanagedObject?.takeUnretainedValue() }
    }

    /// The mapping to cut and what remains of it: `previous`, `next` or both.
    public struct Remap: BitwiseCopyable {
        /// The old mapping, with the flags that it has.
        public let va: GPUVA
        /// What remains in front of the request.
        public let previous: Piece?
        /// What remains behind the request.
        public let next: Piece?
        /// The part that is cut out may keep its page-table entries: the request maps the same
        /// memory there.
        public let keep: Bool
        /// Which picture of the kernel's documentation this is.
        public let overlapCase: OverlapCase
    }

    /// The mapping to remove.
    public struct Unmap: BitwiseCopyable {
        /// The old mapping.
        public let va: GPUVA
        /// Its page-table entries may stay: the request maps the same memory there.
        public let keep: Bool
        /// Which picture of the kernel's documentation this is; nil when an object is unmapped.
        public let overlapCase: OverlapCase?
    }

    /// Which overlap case the op comes from; nil for map, prefetch and the unmap of an object.
    public var overlapCase: OverlapCase? {
        switch self {
        case .map, .prefetch: nil
        case .remap(let remap): remap.overlapCase
        case .unmap(let unmap): unmap.overlapCase
        }
    }
}
