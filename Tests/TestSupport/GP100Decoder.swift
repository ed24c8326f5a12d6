/// A walk of NVIDIA's page tables, written from the public description alone: NVIDIA's dev_mmu.h for
/// GP100 and open-gpu-doc's "Pascal MMU Format Changes". It shares no line with the daemon's.
public struct GP100Decoder {
    /// What an address leads to.
    public enum Outcome: Equatable, Sendable {
        /// No valid entry.
        case hole
        /// Reads zero; the entry spans `1 << shift` bytes.
        case sparse(shift: Int)
        /// Memory.
        case page(Page)
        /// What no driver writes.
        case malformed(String)
    }

    /// A page-table entry of 4 KiB, 64 KiB or 2 MiB.
    public struct Page: Equatable, Sendable {
        /// The page has `1 << shift` bytes.
        public var shift: Int
        /// The byte's physical address in the whole device: video memory from the decoder's base on.
        public var physical: UInt64
        /// KIND, bits 63:56.
        public var kind: UInt8
        /// READ_ONLY, bit 6.
        public var isReadOnly: Bool

        /// Describes a page.
        public init(shift: Int, physical: UInt64, kind: UInt8, isReadOnly: Bool = false) {
            self.shift = shift
            self.physical = physical
            self.kind = kind
            self.isReadOnly = isReadOnly
        }
    }

    private let root: UInt64
    private let vramBase: UInt64
    private let read: (UInt64) -> UInt64

    /// - Parameters:
    ///   - root: The physical address of the PDE3 table.
    ///   - vramBase: The physical address of video memory's first byte.
    ///   - read: The eight bytes at a physical address.
    public init(root: UInt64, vramBase: UInt64, read: @escaping (UInt64) -> UInt64) {
        self.root = root
        self.vramBase = vramBase
        self.read = read
    }

    /// Walks the tables for one address.
    public func translate(_ address: UInt64) -> Outcome {
        var table = root
        // PDE3 indexes with bits 48:47, PDE2 with 46:38, PDE1 with 37:29.
        for (low, bits) in [(47, 2), (38, 9), (29, 9)] {
            let index = address >> low & (1 << bits - 1)
            let entry = read(table + index * 8)
            if entry & 1 != 0 { return .malformed("a PTE above PDE0") }
            guard let next = directory(entry, addressLow: 8, unit: 12) else {
                // No table: VOL alone is sparse.
                return entry == 0x8 ? .sparse(shift: low) : entry == 0 ? .hole : odd(entry)
            }
            table = next
        }
        // PDE0 with 28:21, 16 bytes each: first the big half, then the small one.
        let dual = table + (address >> 21 & 255) * 16
        let (big, small) = (read(dual), read(dual + 8))
        if big & 1 != 0 {
            return small == 0 ? page(big, 21, address) : .malformed("a table beside a 2 MiB page")
        }
        if big == 0x8 {
            return small == 0 ? .sparse(shift: 21) : .malformed("a table beside sparse 2 MiB")
        }
        if let bigTable = directory(big, addressLow: 4, unit: 8) {
            // 64 KiB: bits 20:16.
            let entry = read(bigTable + (address >> 16 & 31) * 8)
            if entry & 1 != 0 { return page(entry, 16, address) }
            if entry == 0x8 { return .sparse(shift: 16) }
            // Not valid, and PRIVILEGE: nothing below counts.
            if entry == 0x20 { return .hole }
            guard entry == 0 else { return odd(entry) }
        } else if big != 0 && big != 0x20 {
            return odd(big)
        }
        guard let smallTable = directory(small, addressLow: 8, unit: 12) else {
            return small == 0 ? .hole : odd(small)
        }
        // 4 KiB: bits 20:12.
        let entry = read(smallTable + (address >> 12 & 511) * 8)
        if entry & 1 != 0 { return page(entry, 12, address) }
        // Of an entry that is not valid, no more than VOL counts.
        return entry == 0x8 ? .sparse(shift: 12) : entry & ~0x20 == 0 ? .hole : odd(entry)
    }

    private func odd(_ entry: UInt64) -> Outcome {
        .malformed("0x" + String(entry, radix: 16))
    }

    /// The table that a directory entry points to: APERTURE 2:1 is 1 for video memory with the address
    /// in bits 32:`addressLow`, 2 and 3 for host memory with it in 53:`addressLow`.
    private func directory(_ entry: UInt64, addressLow: UInt64, unit: UInt64) -> UInt64? {
        let aperture = entry >> 1 & 3
        guard aperture != 0 else { return nil }
        let isVideo = aperture == 1
        let width = (isVideo ? 33 : 54) - addressLow
        let address = (entry >> addressLow & (1 << width - 1)) << unit
        return isVideo ? vramBase + address : address
    }

    /// APERTURE 2:1 is 0 for video memory, 2 and 3 for host memory; ENCRYPTED 4 and PRIVILEGE 5 are not
    /// for clients.
    private func page(_ entry: UInt64, _ shift: Int, _ address: UInt64) -> Outcome {
        guard entry & 0x30 == 0 else { return odd(entry) }
        let base: UInt64
        switch entry >> 1 & 3 {
        case 0: base = vramBase + (entry >> 8 & 0x1ff_ffff) << 12
        case 2, 3: base = (entry >> 8 & 0x3fff_ffff_ffff) << 12
        default: return odd(entry)
        }
        guard base & (1 << shift - 1) == 0 else { return .malformed("a misaligned page") }
        return .page(
            Page(
                shift: shift, physical: base + address & (1 << shift - 1),
                kind: UInt8(entry >> 56), isReadOnly: entry & 0x40 != 0))
    }
}
