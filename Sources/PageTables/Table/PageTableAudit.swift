/// What a page table holds of its pool, counted afresh from its bytes.
public struct PageTableAudit: Equatable, Sendable {
    /// The number of linked tables, the root included.
    public internal(set) var tables = 0
    /// The number of tables that splitting all large leaves completely would take.
    public internal(set) var neededReserve = 0
    /// The number of tables that the page table holds in reserve; must be `neededReserve`.
    public internal(set) var heldReserve = 0
    /// The number of tables whose count of valid entries is wrong, or that are empty (but the root).
    public internal(set) var wrongTables = 0
    /// The number of entries that the format does not allow.
    public internal(set) var malformedEntries = 0

    /// Whether the books agree with the bytes.
    public var isSound: Bool {
        neededReserve == heldReserve && wrongTables == 0 && malformedEntries == 0
    }
}
