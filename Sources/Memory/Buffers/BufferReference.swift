import CPlatform
import Fencing

// @unchecked: the address is guarded by the lock.
/// Finds a buffer without keeping it, as a `weak` variable would.
///
/// The first `weak` variable that names an object moves its reference count out of the object, and
/// every retain and release of it costs several times as much from then on. A bind makes dozens of
/// them for each operation; this one leaves the buffer as it is.
///
/// Threading: any thread; its lock is an innermost one.
public final class BufferReference: @unchecked Sendable {
    private struct State {
        /// Nil once the buffer has begun to go. No Swift reference: a load would retain.
        var address: UnsafeMutableRawPointer?
    }

    /// The buffer's, which outlives it.
    public let id: UInt64
    private let state = Guarded(.leaf, State())

    init(id: UInt64) { self.id = id }

    /// Once, by the buffer's initializer.
    func begin(_ buffer: BufferObject) {
        let address = Unmanaged.passUnretained(buffer).toOpaque()
        state.withLock { $0.address = address }
    }

    /// Once, by the buffer's deinitializer: its memory is there until this has returned.
    func end() { state.withLock { $0.address = nil } }

    /// The buffer, unless its last reference is gone.
    public var buffer: BufferObject? {
        state.withLock { state in
            guard let address = state.address, swift_tryRetain(address) != nil else { return nil }
            return Unmanaged<BufferObject>.fromOpaque(address).takeRetainedValue()
        }
    }

    /// Whether the buffer has gone; it may be going when this says no.
    public var isOver: Bool { state.withLock { $0.address == nil } }
}
