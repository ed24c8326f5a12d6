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
            // In order of age, as everything that takes locks: a seed is one interleaving.
            for (identity, reference) in entries.sorted(by: { $0.value.id < $1.value.id })
            where reference.isOver {
                entries[identity] = nil
            }
            sweepAt = max(64, 2 * entries.count)
        }
        entries[buffer.backing.identity] = buffer.reference
    }

    /// Of the live buffers and of some that are gone, oldest first; O(entries log entries).
    var references: [BufferReference] { entries.values.sorted { $0.id < $1.id } }

    /// The live buffers, oldest first; O(entries log entries).
    var live: [BufferObject] { references.compactMap(\.buffer) }
}
