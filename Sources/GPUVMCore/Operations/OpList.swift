/// The ops of one request, in the order of their application, in a buffer that is used again.
///
/// A list describes the VM as it was when planned: it is applied once, before the VM changes
/// otherwise, and is empty afterwards.
///
/// Threading: one owner at a time. A plan that fits the buffer allocates nothing.
public struct OpList: ~Copyable {
    private var buffer: UnsafeMutablePointer<GPUVAOp>
    private var capacity: Int
    /// The number of ops.
    public private(set) var count = 0
    /// How many of the ops map.
    public private(set) var mapCount = 0
    /// How many of the ops unmap.
    public private(set) var unmapCount = 0
    /// How many of the ops cut a mapping.
    public private(set) var remapCount = 0
    /// The change count of the VM that the list was planned for.
    var generation: UInt64 = 0

    /// Creates an empty list with room for some ops (it grows).
    public init(minimumCapacity: Int = 16) {
        capacity = max(minimumCapacity, 1)
        buffer = .allocate(capacity: capacity)
    }

    deinit { buffer.deallocate() }

    /// Whether there are no ops.
    public var isEmpty: Bool { count == 0 }

    /// The op at `index`, 0..<count.
    public subscript(index: Int) -> GPUVAOp {
        precondition(index >= 0 && index < count)
        return buffer[index]
    }

    /// Whether the op unmaps a mapping at whose start the next op maps something.
    @inline(__always)
    func isReplacement(at index: Int) -> Bool {
        guard index &+ 1 < count, case .unmap(let unmap) = buffer[index],
            case .map(let map) = buffer[index &+ 1]
        else { return false }
        return map.piece.address == unmap.va.address && map.piece.range != 0
    }

    /// Calls `body` for each op, in order.
    @inline(__always)
    public func forEach<Failure: Error>(
        _ body: (GPUVAOp) throws(Failure) -> Void
    ) throws(Failure) {
        for index in 0..<count { try body(buffer[index]) }
    }

    /// Forgets the ops and keeps the buffer.
    public mutating func removeAll() { (count, mapCount, unmapCount, remapCount) = (0, 0, 0, 0) }

    @inline(__always)
    mutating func append(_ op: GPUVAOp) {
        if count == capacity { grow() }
        (buffer + count).initialize(to: op)
        count &+= 1
        switch op {
        case .map: mapCount &+= 1
        case .unmap: unmapCount &+= 1
        case .remap: remapCount &+= 1
        case .prefetch: break
        }
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<GPUVAOp>.allocate(capacity: capacity * 2)
        larger.initialize(from: buffer, count: count)
        buffer.deallocate()
        buffer = larger
        capacity *= 2
    }
}
