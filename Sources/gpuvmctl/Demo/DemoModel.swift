/// What every byte has to be, computed without the daemon.
///
/// The address space is painted page by page as the scenario says and the commands move the bytes of
/// pages; nothing here knows mappings, splits or page tables.
struct DemoModel {
    /// What a page of the area shows.
    private enum Page {
        case none
        case null
        case memory(DemoScenario.Buffer, UInt64)
    }

    private static let pageBytes: UInt64 = 4096

    private(set) var a: [UInt8]
    private(set) var b: [UInt8]
    private(set) var out: [UInt8]
    private var pages: [Page]

    /// Fills the buffers from the seed and maps demo-a over the area, as the first bind does.
    init(_ scenario: DemoScenario) {
        var state = scenario.seed
        a = Self.contents(scenario.areaBytes, &state)
        b = Self.contents(scenario.bufferBBytes, &state)
        out = [UInt8](repeating: 0, count: Int(scenario.areaBytes))
        pages = (0..<(scenario.areaBytes / Self.pageBytes)).map {
            .memory(.a, $0 * Self.pageBytes)
        }
    }

    /// splitmix64, eight bytes at a time, the low one first.
    private static func contents(_ bytes: UInt64, _ state: inout UInt64) -> [UInt8] {
        var words: [UInt64] = []
        words.reserveCapacity(Int(bytes / 8))
        for _ in 0..<(bytes / 8) {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            words.append((z ^ (z >> 31)).littleEndian)
        }
        return words.withUnsafeBytes { Array($0) }
    }

    /// Carries out a bind.
    mutating func apply(_ bind: DemoScenario.Bind) {
        switch bind {
        case .map(let buffer, let at, let bytes, let offset):
            paint(at, bytes) { .memory(buffer, offset + $0) }
        case .mapNull(let at, let bytes): paint(at, bytes) { _ in .null }
        case .unmap(let at, let bytes): paint(at, bytes) { _ in .none }
        }
    }

    private mutating func paint(_ at: UInt64, _ bytes: UInt64, _ page: (UInt64) -> Page) {
        for offset in stride(from: 0, to: bytes, by: Int(Self.pageBytes)) {
            pages[Int((at + offset) / Self.pageBytes)] = page(offset)
        }
    }

    /// Carries out a command; the two places of a copy do not overlap.
    mutating func apply(_ command: DemoScenario.Command) {
        switch command {
        case .fill(let place, let bytes, let pattern):
            let quad = withUnsafeBytes(of: pattern.littleEndian) { Array($0) }
            write(place, 0, (0..<Int(bytes)).map { quad[$0 % 4] })
        case .copy(let source, let destination, let bytes):
            write(destination, 0, read(source, 0, bytes))
        case .copyPitched(
            let source, let sourcePitch, let destination, let pitch, let bytes, let lines):
            for line in 0..<UInt64(lines) {
                write(
                    destination, line * UInt64(pitch),
                    read(source, line * UInt64(sourcePitch), UInt64(bytes)))
            }
        case .storeDword(let place, let value):
            write(place, 0, withUnsafeBytes(of: value.littleEndian) { Array($0) })
        case .storeQword(let place, let value):
            write(place, 0, withUnsafeBytes(of: value.littleEndian) { Array($0) })
        }
    }

    private func read(
        _ place: DemoScenario.Place, _ offset: UInt64, _ bytes: UInt64
    ) -> [UInt8] {
        switch place {
        case .out(let start): return Array(out[Int(start + offset)..<Int(start + offset + bytes)])
        case .area(let start):
            var result: [UInt8] = []
            Self.forEachPage(start + offset, bytes) { page, inPage, count in
                switch pages[page] {
                case .none, .null: result += [UInt8](repeating: 0, count: count)
                case .memory(.a, let base): result += a[(Int(base) + inPage)...].prefix(count)
                case .memory(.b, let base): result += b[(Int(base) + inPage)...].prefix(count)
                }
            }
            return result
        }
    }

    private mutating func write(
        _ place: DemoScenario.Place, _ offset: UInt64, _ bytes: [UInt8]
    ) {
        switch place {
        case .out(let start):
            let first = Int(start + offset)
            out.replaceSubrange(first..<(first + bytes.count), with: bytes)
        case .area(let start):
            var done = 0
            Self.forEachPage(start + offset, UInt64(bytes.count)) { page, inPage, count in
                let part = bytes[done..<(done + count)]
                done += count
                switch pages[page] {
                case .none, .null: break
                case .memory(.a, let base):
                    let first = Int(base) + inPage
                    a.replaceSubrange(first..<(first + count), with: part)
                case .memory(.b, let base):
                    let first = Int(base) + inPage
                    b.replaceSubrange(first..<(first + count), with: part)
                }
            }
        }
    }

    /// Cuts a range of the area at the pages' boundaries: page, offset in it, number of bytes.
    private static func forEachPage(
        _ start: UInt64, _ bytes: UInt64, _ body: (Int, Int, Int) -> Void
    ) {
        var address = start
        while address < start + bytes {
            let inPage = address % pageBytes
            let count = min(pageBytes - inPage, start + bytes - address)
            body(Int(address / pageBytes), Int(inPage), Int(count))
            address += count
        }
    }
}
