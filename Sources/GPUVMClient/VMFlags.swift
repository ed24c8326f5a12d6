import CWireProtocol

/// How a VM behaves; each needs a daemon of protocol 1.1 (EINVAL otherwise).
public struct VMFlags: OptionSet, Sendable {
    /// GPUVM_VM_* bits of VM_CREATE.
    public let rawValue: UInt32

    /// Takes GPUVM_VM_* bits.
    public init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The VA space changes when a bind executes; binds cannot return their operations.
    public static let immediateMode = VMFlags(rawValue: GPUVM_VM_IMMEDIATE)
    /// Mappings do not keep their buffer: with its last handle they vanish.
    public static let weakReferences = VMFlags(rawValue: GPUVM_VM_WEAK_REFERENCES)
}
