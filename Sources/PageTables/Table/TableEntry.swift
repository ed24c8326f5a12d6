/// One entry of a page table, as a dump shows it: eight bytes and where they are.
public struct TableEntry: Equatable, Sendable {
    /// Which of a span's two tables an entry is for or in, where a format has two.
    public enum Part: UInt8, Sendable {
        /// The format has one.
        case whole = 0
        /// The table of larger pages; what maps all of the span is in its place.
        case big = 1
        /// The table of smaller pages.
        case small = 2
    }

    /// The level of its table; the root has the highest.
    public let level: Int
    /// Of which of two tables it is.
    public let part: Part
    /// The physical address of its table.
    public let table: PhysicalAddress
    /// Its index; two words of one entry have one index.
    public let index: Int
    /// The eight bytes.
    public let rawValue: UInt64
    /// The first virtual address that it is for.
    public let address: UInt64
    /// How many entries may stand before it in a dump that are for the same first address: 0…6.
    let rank: UInt64

    /// Its place in a dump: ascending and unique in one page table, never 0 but for the root's first
    /// entry.
    public var position: UInt64 { address | rank }
}

extension TableEntry {
    /// An entry of NVIDIA's format.
    init(_ entry: GP100Entry) {
        switch entry.kind {
        case .directory: part = .whole
        case .bigHalf, .largePage, .bigPage: part = .big
        case .smallHalf, .smallPage: part = .small
        }
        level = entry.level
        table = entry.table
        index = entry.index
        rawValue = entry.rawValue
        address = entry.address
        rank = entry.rank
    }
}
