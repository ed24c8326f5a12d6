import GPUVMCore

/// Why a buffer could not be made resident.
public enum ResidencyError: Error, Equatable, Sendable {
    /// Locking a victim failed; ``GPUVMError/contended`` goes to `ExecLocking.untilAllLocked`.
    case locking(GPUVMError)
    /// There are not enough frames, whatever is evicted.
    case memory(MemoryError)

    /// The kernel's error number, positive.
    public var errno: Int32 {
        switch self {
        case .locking(let error): error.errno
        case .memory(let error): error.errno
        }
    }
}
