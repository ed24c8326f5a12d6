/// What a VM keeps for one mapping: 40 bytes at an address that never changes.
///
/// Together with 12 bytes in a full leaf a mapping costs 52 bytes, about 55 where insertions are
/// random.
struct VARecord: BitwiseCopyable {
    var address: UInt64
    var range: UInt64
    var offset: UInt64
    var flags: UInt32
    /// The VM_BO, 0 for a mapping without an object.
    var vmBO: UInt32
    /// Neighbours in the VM_BO's link order.
    var next: UInt32 = 0
    var previous: UInt32 = 0

    /// The last byte, modulo 2^64: a zero range ends in front of its start.
    @inline(__always)
    var last: UInt64 { address &+ range &- 1 }
}
