import Memory

/// How a GEM object was asked for: what GEM_INFO says of it, in whatever file.
struct GEMLayout: Sendable, Equatable {
    /// NOUVEAU_GEM_DOMAIN_VRAM and GART, as far as it may use them.
    var domains: UInt32
    /// As the client gave it.
    var tileMode: UInt32
    /// The PTE kind at bits 15:8 and NOUVEAU_GEM_TILE_NONCONTIG.
    var tileFlags: UInt32
    /// NOUVEAU_GEM_DOMAIN_NO_SHARE: it cannot be exported.
    var isPrivate: Bool
}

/// The layouts of the live GEM objects of a device; keeps none alive.
///
/// Threading: none of its own. Entries of dead objects are swept when their number has doubled, which
/// makes an insertion O(1) amortised.
struct GEMRegistry {
    private struct Entry {
        var reference: BufferReference
        var layout: GEMLayout
    }

    private var entries: [UInt64: Entry] = [:]
    private var sweepAt = 64

    subscript(buffer: BufferObject) -> GEMLayout? { entries[buffer.id]?.layout }

    mutating func insert(_ layout: GEMLayout, for buffer: BufferObject) {
        if entries.count >= sweepAt {
            entries = entries.filter { !$0.value.reference.isOver }
            sweepAt = max(64, 2 * entries.count)
        }
        entries[buffer.id] = Entry(reference: buffer.reference, layout: layout)
    }
}
