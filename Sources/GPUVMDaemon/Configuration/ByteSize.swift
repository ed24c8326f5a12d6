/// Sizes as people write them: `256MiB`, `64 KiB`, `4096`.
enum ByteSize {
    private static let units: [(name: String, shift: UInt64)] = [
        ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0),
    ]

    /// The number of bytes, or nil if `text` is no size: decimal digits, then an optional binary
    /// unit. `MB` and its kin are refused: half of the readers take them for powers of two.
    static func parse(_ text: String) -> UInt64? {
        guard let (digits, unit) = UnitSuffix.split(text) else { return nil }
        guard let number = UInt64(digits) else { return nil }
        if unit.isEmpty { return number }
        guard let shift = units.first(where: { $0.name == unit })?.shift else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : bytes
    }

    /// The shortest exact form of `bytes`.
    static func format(_ bytes: UInt64) -> String {
        for (name, shift) in units where shift > 0 && bytes > 0 {
            let unit: UInt64 = 1 << shift
            if bytes % unit == 0 { return "\(bytes / unit)\(name)" }
        }
        return "\(bytes)"
    }
}
