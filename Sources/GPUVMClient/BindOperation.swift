import CWireProtocol

/// One operation of a VM_BIND; addresses, ranges and offsets are bytes and multiples of the page
/// size.
public struct BindOperation: Sendable {
    /// The wire's form.
    public let raw: gpuvm_bind_op

    /// Uses the wire's form as it is: the daemon checks it.
    public init(_ raw: gpuvm_bind_op) {
        self.raw = raw
    }

    /// Maps `range` bytes of `bo` from `offset`.
    public static func map(
        _ bo: BufferObject, at address: UInt64, range: UInt64, offset: UInt64 = 0,
        readOnly: Bool = false
    ) -> BindOperation {
        make(
            GPUVM_BIND_MAP, flags: readOnly ? GPUVM_BIND_READ_ONLY : 0, bo: bo.handle, address,
            range, offset)
    }

    /// Maps nothing: reads give zero, writes are dropped (a sparse region).
    public static func mapNull(at address: UInt64, range: UInt64) -> BindOperation {
        make(GPUVM_BIND_MAP_NULL, address, range)
    }

    /// Unmaps whatever lies in the range.
    public static func unmap(at address: UInt64, range: UInt64) -> BindOperation {
        make(GPUVM_BIND_UNMAP, address, range)
    }

    /// Unmaps every mapping of `bo`.
    public static func unmapAll(_ bo: BufferObject) -> BindOperation {
        make(GPUVM_BIND_UNMAP_ALL, bo: bo.handle, 0, 0)
    }

    /// Brings what the range maps to where the engines reach it fastest.
    public static func prefetch(at address: UInt64, range: UInt64) -> BindOperation {
        make(GPUVM_BIND_PREFETCH, address, range)
    }

    private static func make(
        _ kind: gpuvm_bind_op_kind, flags: UInt32 = 0, bo: UInt32 = 0, _ address: UInt64,
        _ range: UInt64, _ offset: UInt64 = 0
    ) -> BindOperation {
        BindOperation(
            gpuvm_bind_op(
                kind: kind.rawValue, flags: flags, bo: bo, reserved: 0, address: address,
                range: range, offset: offset))
    }
}
