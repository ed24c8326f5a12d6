import Fencing
import Synchronization

/// The bytes, for tools. All of it takes the writer's lock, which an engine's access may not be inside
/// of.
extension GP100PageTable {
    /// Calls `body` for each entry of every linked table that is not all zero.
    ///
    /// They come in the order of the first addresses that they are for, and at one address from the root
    /// down: a PDE0's first word before its second, an entry of 64 KiB before those of 4 KiB that it may
    /// hide. A dump is made of this.
    public func forEachEntry(_ body: (GP100Entry) -> Void) {
        lock.withLock {
            assertUsable()
            _ = visitEntries(root, level: GP100Format.rootLevel, base: 0, from: 0) {
                body($0)
                return true
            }
        }
    }

    /// Calls `body` for each entry that is not all zero, from a place in the dump on, until it returns
    /// false.
    public func forEachEntry(from position: UInt64, _ body: (TableEntry) -> Bool) {
        lock.withLock {
            assertUsable()
            _ = visitEntries(root, level: GP100Format.rootLevel, base: 0, from: position) {
                body(TableEntry($0))
            }
        }
    }

    /// Every entry that a walk for one address may read, as ``decode(_:)`` has them.
    public func entries(onWayTo address: UInt64) -> [TableEntry] {
        decode(address).map { TableEntry($0) }
    }

    /// - Returns: Whether to go on.
    private func visitEntries(
        _ table: UInt32, level: Int, base: UInt64, from position: UInt64,
        _ body: (GP100Entry) -> Bool
    ) -> Bool {
        let span = GP100Format.span(level)
        for slot in 0..<GP100Format.entryCount(level) {
            let address = base + UInt64(slot) * span
            guard address + (span - 1) >= position else { continue }
            if level == 1 {
                guard visitSpan(table, slot, address, from: position, body) else { return false }
                continue
            }
            let entry = entry(.directory(level), table, slot, address)
            guard show(entry, from: position, body) else { return false }
            guard case .table = follow(entry.rawValue) else { continue }
            guard
                visitEntries(
                    child(entry.rawValue), level: level - 1, base: address, from: position, body)
            else { return false }
        }
        return true
    }

    private func visitSpan(
        _ table: UInt32, _ index: Int, _ base: UInt64, from position: UInt64,
        _ body: (GP100Entry) -> Bool
    ) -> Bool {
        let span = GP100Span(pool.entries(table) + 2 * index)
        let isPage = span.low & GP100Format.valid != 0
        guard
            show(entry(isPage ? .largePage : .bigHalf, table, index, base), from: position, body),
            show(entry(.smallHalf, table, index, base), from: position, body)
        else { return false }
        for slot in 0..<32 where span.hasBig || span.hasSmall {
            let address = base + UInt64(slot) << 16
            if span.hasBig {
                let entry = entry(.bigPage, big(span), slot, address)
                guard show(entry, from: position, body) else { return false }
            }
            guard span.hasSmall else { continue }
            for page in slot << 4..<(slot + 1) << 4 {
                let entry = entry(.smallPage, small(span), page, base + UInt64(page) << frameShift)
                guard show(entry, from: position, body) else { return false }
            }
        }
        return true
    }

    private func show(
        _ entry: GP100Entry, from position: UInt64, _ body: (GP100Entry) -> Bool
    ) -> Bool {
        guard entry.rawValue != 0, entry.address | entry.rank >= position else { return true }
        return body(entry)
    }
}
