/// One entry of a page table of GP100 and later, as a dump shows it.
public struct GP100Entry: Equatable, Sendable {
    /// What an entry is, by the table that it is in.
    public enum Kind: Equatable, Sendable {
        /// A PDE1, PDE2 or PDE3: level 2, 3 or 4.
        case directory(Int)
        /// The first word of a PDE0, for a table of 64 KiB entries.
        case bigHalf
        /// The second word of a PDE0, for a table of 4 KiB entries.
        case smallHalf
        /// The first word of a PDE0 that maps 2 MiB.
        case largePage
        /// An entry of a big table.
        case bigPage
        /// An entry of a small table.
        case smallPage

        /// The number of bytes that the entry spans, a power of two.
        public var span: UInt64 {
            switch self {
            case .directory(let level): GP100Format.span(level)
            case .bigHalf, .smallHalf, .largePage: 1 << 21
            case .bigPage: 1 << 16
            case .smallPage: 1 << 12
            }
        }
    }

    /// What it is.
    public internal(set) var kind: Kind
    /// The physical address of its table.
    public let table: PhysicalAddress
    /// Its index; a PDE0's two words have one index.
    public let index: Int
    /// The eight bytes.
    public let rawValue: UInt64
    /// The first virtual address that it is for.
    public let address: UInt64

    /// 4 for a PDE3 … 0 for a page-table entry.
    public var level: Int {
        switch kind {
        case .directory(let level): level
        case .bigHalf, .smallHalf, .largePage: 1
        case .bigPage, .smallPage: 0
        }
    }

    /// How many entries may stand before it in a dump that are for the same first address.
    var rank: UInt64 {
        switch kind {
        case .directory(let level): UInt64(GP100Format.rootLevel - level)
        case .bigHalf, .largePage: 3
        case .smallHalf: 4
        case .bigPage: 5
        case .smallPage: 6
        }
    }

    /// Whether it keeps a walk from going on to the small half.
    var isDecisiveBig: Bool {
        switch kind {
        case .bigHalf: GP100PDE(rawValue: rawValue, form: .big).isSparse
        case .bigPage: rawValue != 0
        case .directory, .smallHalf, .largePage, .smallPage: false
        }
    }
}

extension GP100Entry: CustomStringConvertible {
    /// NVIDIA's name of the entry, and its fields by theirs.
    public var description: String {
        let place = "[\(index)] @\(Hexadecimal(table)) = \(Hexadecimal(rawValue)): "
        switch kind {
        case .directory(let level):
            return "PDE\(level - 1)\(place)\(GP100PDE(rawValue: rawValue, form: .single))"
        case .bigHalf: return "PDE0.BIG\(place)\(GP100PDE(rawValue: rawValue, form: .big))"
        case .smallHalf: return "PDE0.SMALL\(place)\(GP100PDE(rawValue: rawValue, form: .small))"
        case .largePage: return "PTE_2M\(place)\(GP100PTE(rawValue: rawValue))"
        case .bigPage: return "PTE_64K\(place)\(GP100PTE(rawValue: rawValue))"
        case .smallPage: return "PTE_4K\(place)\(GP100PTE(rawValue: rawValue))"
        }
    }
}
