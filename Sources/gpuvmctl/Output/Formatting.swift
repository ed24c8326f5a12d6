/// `value` in hexadecimal with a prefix, padded with zeros to `digits`.
func hex(_ value: UInt64, digits: Int = 1) -> String {
    let text = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, digits - text.count)) + text
}

/// `value` as the kernel prints addresses: all 16 digits.
func hex16(_ value: UInt64) -> String { hex(value, digits: 16) }

/// A size in the largest binary unit that divides it.
func size(_ bytes: UInt64) -> String {
    let units: [(String, UInt64)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ]
    for (name, unit) in units where bytes >= unit && bytes % unit == 0 {
        return "\(bytes / unit) \(name)"
    }
    return "\(bytes) B"
}

/// A counter of bytes in the largest binary unit below it, with one decimal.
func roughSize(_ bytes: UInt64) -> String {
    let units: [(String, UInt64)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ]
    guard let (name, unit) = units.first(where: { bytes >= $0.1 }) else { return "\(bytes) B" }
    return "\(bytes / unit).\(bytes % unit * 10 / unit) \(name)"
}

/// Nanoseconds as seconds with three decimals.
func seconds(_ nanoseconds: UInt64) -> String {
    let milliseconds = nanoseconds / 1_000_000
    let fraction = String(milliseconds % 1000)
    return "\(milliseconds / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
        + " s"
}

/// Nanoseconds as microseconds with one decimal.
func microseconds(_ nanoseconds: UInt64) -> String {
    "\(nanoseconds / 1000).\(nanoseconds % 1000 / 100)"
}

extension String {
    /// The string with spaces after it, at least `width` characters.
    func padded(_ width: Int) -> String {
        self + String(repeating: " ", count: Swift.max(0, width - count))
    }

    /// The string with spaces before it, at least `width` characters.
    func aligned(_ width: Int) -> String {
        String(repeating: " ", count: Swift.max(0, width - count)) + self
    }

    /// What of a string from elsewhere may go to a terminal: no control characters.
    var printable: String {
        let safe = unicodeScalars.map { scalar in
            scalar.properties.generalCategory == .control ? "?" : scalar
        }
        return String(String.UnicodeScalarView(safe))
    }
}
