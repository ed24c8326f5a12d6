import CWireProtocol

/// A VA space drawn to scale, piece by piece.
///
/// A space of 2^40 bytes with a few MiB in use has no scale of its own: it is cut at its large holes,
/// which are named with their size, and what is left is drawn in rows of cells of equal size, a
/// power of two that stands beside it. A cell shows what most of its mapped bytes are; a capital or
/// "=" only if all of its bytes are.
struct AddressSpacePicture {
    /// A part that is drawn.
    struct Section: Equatable {
        /// First byte and end of what is in use.
        var start, end: UInt64
        /// Bytes that a character stands for.
        var cellBytes: UInt64
        /// The first row begins here: a multiple of ``cellBytes``.
        var origin: UInt64
        var rows: [String]
        /// For each row: "~" where a cell has an address of a sparse region, mapped or not.
        var regions: [String]
    }

    /// A part, in the order of addresses.
    enum Part: Equatable {
        case hole(start: UInt64, end: UInt64)
        case reserved(start: UInt64, end: UInt64)
        case section(Section)
    }

    private struct Piece {
        var start, end: UInt64
        var kind: AddressSpaceKind
    }

    let vm: gpuvm_vm_record
    let parts: [Part]
    /// Bytes by kind.
    let bytes: [AddressSpaceKind: UInt64]
    /// How many mappings, the kernel's part not counted.
    let mappings: Int
    let sparse: [gpuvm_va_range]

    /// The most sections; smaller holes than those between them are drawn.
    private static let maximumSections = 12
    private static let rowsOfSection: UInt64 = 4
    private static let smallestCell: UInt64 = 4096

    /// Draws rows of `columns` characters, at least 1.
    init(
        _ vm: gpuvm_vm_record, _ mappings: [gpuvm_va_record], sparse: [gpuvm_va_range],
        columns: Int
    ) {
        self.vm = vm
        self.sparse = sparse
        let used = mappings.filter { $0.flags & GPUVM_MAPPING_RESERVED == 0 && $0.range != 0 }
        self.mappings = used.count
        let pieces = Self.pieces(used, sparse)
        bytes = Dictionary(pieces.map { ($0.kind, $0.end - $0.start) }, uniquingKeysWith: +)
        let sections = Self.cut(pieces).map {
            Part.section(Self.draw($0, sparse, columns: UInt64(max(1, columns))))
        }
        parts = Self.withHoles(sections, vm)
    }

    // MARK: pieces

    /// Mappings, and what of the sparse regions is not mapped, by address.
    private static func pieces(
        _ mappings: [gpuvm_va_record], _ sparse: [gpuvm_va_range]
    ) -> [Piece] {
        let mapped = mappings.map {
            Piece(
                start: $0.address, end: $0.address &+ $0.range, kind: AddressSpaceKind($0))
        }.sorted { $0.start < $1.start }
        var pieces = mapped
        var next = 0
        for region in sparse.sorted(by: { $0.address < $1.address }) {
            var start = region.address
            let end = region.address &+ region.range
            while next < mapped.count, mapped[next].end <= start { next += 1 }
            var index = next
            while index < mapped.count, mapped[index].start < end {
                if start < mapped[index].start {
                    pieces.append(Piece(start: start, end: mapped[index].start, kind: .sparse))
                }
                start = max(start, mapped[index].end)
                index += 1
            }
            if start < end { pieces.append(Piece(start: start, end: end, kind: .sparse)) }
        }
        return pieces.sorted { $0.start < $1.start }
    }

    /// The pieces in groups, cut at the largest holes that are larger than a quarter of all that is in
    /// use.
    private static func cut(_ pieces: [Piece]) -> [ArraySlice<Piece>] {
        guard !pieces.isEmpty else { return [] }
        let used = pieces.reduce(0) { $0 + ($1.end - $1.start) }
        let holes = (1..<pieces.count).map { index in
            (index: index, bytes: pieces[index].start - pieces[index - 1].end)
        }.filter { $0.bytes > used / 4 }
        let cuts = holes.sorted { ($1.bytes, $0.index) < ($0.bytes, $1.index) }
            .prefix(maximumSections - 1).map(\.index).sorted()
        let bounds = [0] + cuts + [pieces.count]
        return zip(bounds, bounds.dropFirst()).map { pieces[$0..<$1] }
    }

    // MARK: drawing

    private static func draw(
        _ pieces: ArraySlice<Piece>, _ sparse: [gpuvm_va_range], columns: UInt64
    ) -> Section {
        let start = pieces.first?.start ?? 0
        let end = pieces.last?.end ?? 0
        var cell = smallestCell
        func origin() -> UInt64 { start / cell * cell }
        while (end - origin() + cell - 1) / cell > columns * rowsOfSection, cell < 1 << 62 {
            cell *= 2
        }
        let first = origin()
        let count = Int((end - first + cell - 1) / cell)
        var cells = [[UInt64]](
            repeating: Array(repeating: 0, count: AddressSpaceKind.allCases.count), count: count)
        for piece in pieces {
            var at = piece.start
            while at < piece.end {
                let index = (at - first) / cell
                let next = min(piece.end, first + (index + 1) * cell)
                cells[Int(index)][piece.kind.rawValue] += next - at
                at = next
            }
        }
        func rows(_ characters: [Character]) -> [String] {
            stride(from: 0, to: count, by: Int(columns)).map {
                String(characters[$0..<min(count, $0 + Int(columns))])
            }
        }
        var marks = [Character](repeating: " ", count: count)
        for region in sparse where region.address < end && region.address &+ region.range > start {
            let low = max(start, region.address)
            let high = min(end, region.address &+ region.range)
            for index in (low - first) / cell...(high - 1 - first) / cell {
                marks[Int(index)] = AddressSpaceKind.region
            }
        }
        return Section(
            start: start, end: end, cellBytes: cell, origin: first,
            rows: rows(cells.map { character($0, of: cell) }), regions: rows(marks))
    }

    private static func character(_ bytes: [UInt64], of cell: UInt64) -> Character {
        var most = AddressSpaceKind.vram
        for kind in AddressSpaceKind.allCases where bytes[kind.rawValue] > bytes[most.rawValue] {
            most = kind
        }
        switch bytes[most.rawValue] {
        case 0: return AddressSpaceKind.hole
        case cell: return most.full
        default: return most.partial
        }
    }

    private static func withHoles(_ sections: [Part], _ vm: gpuvm_vm_record) -> [Part] {
        var known = sections
        if vm.reserved_range != 0 {
            known.append(
                .reserved(
                    start: vm.reserved_start, end: vm.reserved_start &+ vm.reserved_range))
        }
        known.sort { $0.bounds.start < $1.bounds.start }
        var parts: [Part] = []
        var at = vm.start
        for part in known {
            if part.bounds.start > at { parts.append(.hole(start: at, end: part.bounds.start)) }
            parts.append(part)
            at = max(at, part.bounds.end)
        }
        let end = vm.start &+ vm.range
        if at < end { parts.append(.hole(start: at, end: end)) }
        return parts
    }
}

extension AddressSpacePicture.Part {
    var bounds: (start: UInt64, end: UInt64) {
        switch self {
        case .hole(let start, let end), .reserved(let start, let end): (start, end)
        case .section(let section): (section.start, section.end)
        }
    }
}
