/// An address in the device's physical address space, in bytes.
public typealias PhysicalAddress = UInt64

/// The size of a physical frame, of the smallest leaf and of every page table, in bytes.
@inlinable
public var frameSize: UInt64 { 4096 }

/// `frameSize` is `1 << frameShift`.
@inlinable
public var frameShift: UInt64 { 12 }

/// The device's physical address space, as the MMU sees it.
///
/// Owned here and implemented by whoever owns the frames: the consumer defines what it needs.
///
/// Threading: called from any thread, on the fence-signalling path and under ``MMU``'s lock, so an
/// implementation neither allocates nor takes a lock that is outside of that class.
public protocol PhysicalMemory: AnyObject, Sendable {
    /// Finds the host memory behind a physical address.
    ///
    /// - Parameters:
    ///   - address: Any byte address.
    ///   - limit: The number of bytes of interest, at least 1.
    /// - Returns: The host's pointer to that byte and the number of bytes (1…`limit`) that are
    ///   contiguous in the host from there; nil if no frame with an owner is at `address`, which
    ///   is a machine check.
    func resolve(_ address: PhysicalAddress, limit: UInt64) -> HostRange?
}
