import Synchronization

/// Bytes and one buffer of a client's quotas, in use for as long as this lives.
///
/// A buffer that the client made keeps its charge until its memory goes: a closed handle frees
/// nothing while a VM still maps the buffer.
///
/// Threading: immutable; the counters are atomic.
final class BufferCharge: Sendable {
    private let usage: ClientUsage
    private let bytes: UInt64

    /// Takes `bytes` and one buffer.
    ///
    /// - Throws: ``DeviceError/quota(_:limit:)`` with nothing taken.
    init(bytes: UInt64, to usage: ClientUsage, within quotas: ClientQuotas) throws(DeviceError) {
        self.usage = usage
        self.bytes = bytes
        // Taken first and checked then, so that two threads cannot both fit into the last place;
        // sizes are far below 2^63, so the sum cannot overflow.
        let total = usage.bufferBytes.add(bytes, ordering: .relaxed).newValue
        let count = usage.buffers.add(1, ordering: .relaxed).newValue
        // A throw from here on runs the deinit, which gives both back.
        guard total <= quotas.bufferBytes else {
            throw .quota(.bufferBytes, limit: quotas.bufferBytes)
        }
        guard count <= quotas.buffers else {
            throw .quota(.buffers, limit: UInt64(quotas.buffers))
        }
    }

    deinit {
        usage.bufferBytes.subtract(bytes, ordering: .relaxed)
        usage.buffers.subtract(1, ordering: .relaxed)
    }
}
