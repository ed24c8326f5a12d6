import Memory

/// Finds a live buffer by the file that backs it, so that an imported descriptor is the buffer that
/// it was exported from, whatever its number.
///
/// The registry keeps no buffer alive. Entries of dead ones are swept when their number has doubled,
/// which makes an insertion O(1) amortised.
struct BufferRegistry {
    private var entries: [FileIdentity: BufferReference] = [:]
    private var sweepAt = 64

    subscript(identity: FileIdentity) -> BufferObject? { entries[identity]?.buffer }

    mutating func insert(_ buffer: BufferObject) {
        if entries.count >= sweepAt {
            entries = entries.filter { !$0.value.isOver }
            sweepAt = max(64, 2 * entries.count)
        }
        entries[buffer.backing.identity] = buffer.reference
    }

    /// Of the live buffers and of some that are gone, in no order; O(entries).
    var references: [BufferReference] { Array(entries.values) }

    /// The live buffers, in no order; O(entries).
    var live: [BufferObject] { entries.values.compactMap(\.buffer) }
}
