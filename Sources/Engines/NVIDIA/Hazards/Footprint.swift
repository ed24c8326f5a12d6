/// The bytes that one side of a launch reaches: all of a rectangle of lines.
///
/// Two footprints are compared exactly, or not at all: see ``overlap(_:)``.
struct Footprint {
    /// The surface's address: of the first line for pitch, of the first block for block-linear.
    private let address: UInt64
    /// The distance of lines in bytes; 0 for a single line and for block-linear.
    private let pitch: UInt64
    /// Nil for pitch.
    private let layout: BlockLinearLayout?
    /// The first byte of a line, 0 for pitch.
    private let x: UInt64
    /// The first line, 0 for pitch.
    private let y: UInt64
    /// Bytes of a line, at least 1.
    private var lineBytes: UInt64
    /// Lines, at least 1.
    private let lines: UInt64
    /// The range of addresses that holds all of it, and possibly other bytes.
    private(set) var bounds: Range<UInt64>

    /// The most lines of two pitch footprints of different pitch that are compared one by one.
    private static let comparedLines: UInt64 = 64

    /// - Returns: nil for no byte, and for one whose addresses run over the end of 2^64.
    init?(_ surface: Surface, lineBytes: UInt64, lines: UInt64) {
        guard lineBytes != 0, lines != 0 else { return nil }
        self.lineBytes = lineBytes
        address = surface.address
        layout = surface.layout
        x = surface.originX
        y = surface.originY
        let first: UInt64
        let bytes: UInt64
        if let layout = surface.layout {
            guard let span = layout.span(of: lines, from: surface.originY) else { return nil }
            pitch = 0
            self.lines = lines
            (first, bytes) = (span.first, span.bytes)
        } else {
            // Lines without gaps are one line, and lines on top of each other, too.
            let distance = lines == 1 ? 0 : surface.pitch
            let (span, overflow) = distance.multipliedReportingOverflow(by: lines - 1)
            let (all, overflows) = span.addingReportingOverflow(lineBytes)
            guard !overflow, !overflows else { return nil }
            (first, bytes) = (0, all)
            if distance <= lineBytes {
                self.lineBytes = all
                self.lines = 1
                pitch = 0
            } else {
                self.lines = lines
                pitch = distance
            }
        }
        let (lower, below) = surface.address.addingReportingOverflow(first)
        let (upper, above) = lower.addingReportingOverflow(bytes)
        guard !below, !above else { return nil }
        bounds = lower..<upper
    }

    /// Whether it is one run of bytes.
    var isContiguous: Bool { layout == nil && lines == 1 }

    /// Adds a footprint that begins where this one ends, both contiguous.
    mutating func extend(by next: Footprint) {
        lineBytes &+= next.lineBytes
        bounds = bounds.lowerBound..<next.bounds.upperBound
    }

    /// The first bytes found that both reach; nil if there are none, or if that is not certain: for a
    /// pitch and a block-linear surface, for block-linear surfaces of different form or place, and
    /// for two sets of more than 64 lines with different pitches.
    func overlap(_ other: Footprint) -> (address: UInt64, bytes: UInt64)? {
        guard bounds.overlaps(other.bounds) else { return nil }
        switch (layout, other.layout) {
        case (nil, nil): return pitchOverlap(other)
        case (let mine?, let others?):
            guard address == other.address, mine == others else { return nil }
            return tiledOverlap(other, mine)
        default: return nil
        }
    }

    private func tiledOverlap(
        _ other: Footprint, _ layout: BlockLinearLayout
    ) -> (address: UInt64, bytes: UInt64)? {
        let left = max(x, other.x)
        let right = min(x &+ lineBytes, other.x &+ other.lineBytes)
        let top = max(y, other.y)
        guard left < right, top < min(y &+ lines, other.y &+ other.lines) else { return nil }
        let run = BlockLinearLayout.run
        return (
            address &+ layout.offset(x: left, y: top),
            min(right &- left, run &- (left & (run &- 1)))
        )
    }

    private func pitchOverlap(_ other: Footprint) -> (address: UInt64, bytes: UInt64)? {
        if lines == 1 { return other.overlap(bounds) }
        if other.lines == 1 { return overlap(other.bounds) }
        let few = lines < other.lines ? self : other
        let many = lines < other.lines ? other : self
        if pitch == other.pitch { return Self.samePitchOverlap(self, other) }
        guard few.lines <= Self.comparedLines else { return nil }
        var start = few.address
        for _ in 0..<few.lines {
            if let found = many.overlap(start..<start &+ few.lineBytes) { return found }
            start &+= few.pitch
        }
        return nil
    }

    /// Lines at equal distances, the bytes of a line fewer than that: if any two lines meet, then the
    /// first line of one of the two meets one of the other's.
    private static func samePitchOverlap(
        _ a: Footprint, _ b: Footprint
    ) -> (address: UInt64, bytes: UInt64)? {
        b.overlap(a.address..<a.address &+ a.lineBytes)
            ?? a.overlap(b.address..<b.address &+ b.lineBytes)
    }

    /// The first bytes of pitch lines that lie in a range.
    private func overlap(_ range: Range<UInt64>) -> (address: UInt64, bytes: UInt64)? {
        guard bounds.overlaps(range) else { return nil }
        var start = address
        if pitch != 0 && range.lowerBound >= start &+ lineBytes {
            // The first line that ends behind the range's beginning.
            start &+= ((range.lowerBound &- start &- lineBytes) / pitch &+ 1) &* pitch
        }
        let lower = max(start, range.lowerBound)
        let upper = min(start &+ lineBytes, range.upperBound, bounds.upperBound)
        return lower < upper ? (lower, upper &- lower) : nil
    }
}
