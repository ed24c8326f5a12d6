/// Durations as people write them: `500ms`, `5s`, `2min`. A bare number is refused, since nothing
/// says what it counts.
enum TimeSpan {
    private static let units: [(name: String, nanoseconds: UInt64)] = [
        ("min", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000),
        ("ns", 1),
    ]

    /// Nanoseconds, or nil if `text` is no duration.
    static func parse(_ text: String) -> UInt64? {
        guard let (digits, unit) = UnitSuffix.split(text), let number = UInt64(digits),
            let factor = units.first(where: { $0.name == unit })?.nanoseconds
        else { return nil }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: factor)
        return overflow ? nil : nanoseconds
    }

    /// The shortest exact form of `nanoseconds`.
    static func format(_ nanoseconds: UInt64) -> String {
        for (name, factor) in units where nanoseconds > 0 && nanoseconds % factor == 0 {
            return "\(nanoseconds / factor)\(name)"
        }
        return "\(nanoseconds)ns"
    }
}
