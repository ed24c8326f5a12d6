import PageTables

// The page tables' bytes, for who decodes them.
extension DeviceVM {
    /// The entries that are not all zero, from a place in the dump on; nil for a closed VM.
    ///
    /// Complexity: O(tables before the place + entries), under the VM's lock.
    /// - Parameters:
    ///   - position: ``TableEntry/position`` of the first entry wanted; 0 begins.
    ///   - limit: How many, at least 1.
    /// - Returns: The entries and the position of the next one, nil if there is none.
    public func tableEntries(
        from position: UInt64, limit: Int
    ) -> (entries: [TableEntry], next: UInt64?)? {
        lock.withLock {
            guard condition != .closed else { return nil }
            var entries: [TableEntry] = []
            var next: UInt64?
            table.forEachEntry(from: position) { entry in
                guard entries.count < limit else {
                    next = entry.position
                    return false
                }
                entries.append(entry)
                return true
            }
            return (entries, next)
        }
    }

    /// Every entry that a walk for an address may read, root first; nil for a closed VM.
    public func tableEntries(onWayTo address: UInt64) -> [TableEntry]? {
        lock.withLock { condition == .closed ? nil : table.entries(onWayTo: address) }
    }
}
