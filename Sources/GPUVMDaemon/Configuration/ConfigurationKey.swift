/// One key: its path, what it takes, and how its text becomes a field of ``DaemonConfiguration``.
struct ConfigurationKey: Sendable {
    typealias Field<Value> = WritableKeyPath<DaemonConfiguration, Value> & Sendable

    /// Section and name, joined by a dot.
    let path: String
    /// One sentence for the printed configuration.
    let summary: String
    /// What the key takes, as it is shown after "expected".
    let allowed: String
    /// Stores the value of a text; false if the text is not allowed.
    let read: @Sendable (String, inout DaemonConfiguration) -> Bool
    /// The YAML text of the value; nil if it is not set.
    let write: @Sendable (DaemonConfiguration) -> String?
    /// Stores the value that the first configuration has into the second.
    let copy: @Sendable (DaemonConfiguration, inout DaemonConfiguration) -> Void

    /// The part before the dot.
    var section: Substring { path.prefix { $0 != "." } }
    /// The part after the dot.
    var name: Substring { path.drop { $0 != "." }.dropFirst() }
    /// The variable that overrides the key.
    var environmentVariable: String {
        "GPUVM_" + path.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
    }

    /// A key that takes a number of bytes, a multiple of `step`.
    static func size(
        _ path: String, _ field: Field<UInt64>, _ range: ClosedRange<UInt64>,
        multipleOf step: UInt64 = 1, _ summary: String
    ) -> ConfigurationKey {
        quantity(
            path, field, summary, allowed: sizes(range, step),
            parse: { size($0, range, step) }, format: ByteSize.format)
    }

    /// A key that takes a number of bytes, a multiple of `step`, or is not set at all.
    static func optionalSize(
        _ path: String, _ field: Field<UInt64?>, _ range: ClosedRange<UInt64>,
        multipleOf step: UInt64 = 1, _ summary: String
    ) -> ConfigurationKey {
        optional(
            path, field, summary, allowed: sizes(range, step),
            parse: { size($0, range, step) }, format: ByteSize.format)
    }

    private static func sizes(_ range: ClosedRange<UInt64>, _ step: UInt64) -> String {
        let multiple = step > 1 ? ", a multiple of \(ByteSize.format(step))" : ""
        return """
            a size from \(ByteSize.format(range.lowerBound)) to \
            \(ByteSize.format(range.upperBound))\(multiple) (units B, KiB, MiB, GiB, TiB)
            """
    }

    private static func size(
        _ text: String, _ range: ClosedRange<UInt64>, _ step: UInt64
    ) -> UInt64? {
        ByteSize.parse(text).flatMap { range.contains($0) && $0 % step == 0 ? $0 : nil }
    }

    /// A key that takes a duration in nanoseconds.
    static func duration(
        _ path: String, _ field: Field<UInt64>, _ range: ClosedRange<UInt64>, _ summary: String
    ) -> ConfigurationKey {
        quantity(
            path, field, summary,
            allowed: """
                a duration from \(TimeSpan.format(range.lowerBound)) to \
                \(TimeSpan.format(range.upperBound)) (units ns, us, ms, s, min)
                """,
            parse: { text in TimeSpan.parse(text).flatMap { range.contains($0) ? $0 : nil } },
            format: TimeSpan.format)
    }

    /// A key that takes a whole number.
    static func count(
        _ path: String, _ field: Field<Int>, _ range: ClosedRange<Int>, _ summary: String
    ) -> ConfigurationKey {
        quantity(
            path, field, summary,
            allowed: "a whole number from \(range.lowerBound) to \(range.upperBound)",
            parse: { text in Int(text).flatMap { range.contains($0) ? $0 : nil } },
            format: { "\($0)" })
    }

    /// A key that takes the permission bits of a file, in octal.
    static func mode(
        _ path: String, _ field: Field<UInt32>, _ range: ClosedRange<UInt32>, _ summary: String
    ) -> ConfigurationKey {
        @Sendable func octal(_ value: UInt32) -> String { "\"0\(String(value, radix: 8))\"" }
        return quantity(
            path, field, summary,
            allowed: """
                three or four octal digits from \(octal(range.lowerBound)) to \
                \(octal(range.upperBound))
                """,
            parse: { text in
                guard (3...4).contains(text.utf8.count) else { return nil }
                guard text.utf8.allSatisfy({ (48...55).contains($0) }) else { return nil }
                return UInt32(text, radix: 8).flatMap { range.contains($0) ? $0 : nil }
            },
            format: octal)
    }

    /// A key that takes one of a few words.
    static func choice<Value: RawRepresentable & CaseIterable & Sendable>(
        _ path: String, _ field: Field<Value>, _ summary: String
    ) -> ConfigurationKey where Value.RawValue == String {
        let words = Value.allCases.map(\.rawValue).joined(separator: ", ")
        return quantity(
            path, field, summary, allowed: "one of \(words)",
            parse: { Value(rawValue: $0) }, format: { $0.rawValue })
    }

    /// A key that takes a text.
    static func text(
        _ path: String, _ field: Field<String>, allowed: String, _ summary: String,
        where accepts: @escaping @Sendable (String) -> Bool
    ) -> ConfigurationKey {
        quantity(
            path, field, summary, allowed: allowed,
            parse: { accepts($0) ? $0 : nil }, format: YAMLText.quoted)
    }

    /// A key that takes a text or is not set at all.
    static func optionalText(
        _ path: String, _ field: Field<String?>, allowed: String, _ summary: String,
        where accepts: @escaping @Sendable (String) -> Bool
    ) -> ConfigurationKey {
        optional(
            path, field, summary, allowed: allowed,
            parse: { accepts($0) ? $0 : nil }, format: YAMLText.quoted)
    }

    private static func optional<Value: Sendable>(
        _ path: String, _ field: Field<Value?>, _ summary: String, allowed: String,
        parse: @escaping @Sendable (String) -> Value?,
        format: @escaping @Sendable (Value) -> String
    ) -> ConfigurationKey {
        ConfigurationKey(
            path: path, summary: summary, allowed: allowed,
            read: { text, configuration in
                guard let value = parse(text) else { return false }
                configuration[keyPath: field] = value
                return true
            },
            write: { $0[keyPath: field].map(format) },
            copy: { $1[keyPath: field] = $0[keyPath: field] })
    }

    private static func quantity<Value: Sendable>(
        _ path: String, _ field: Field<Value>, _ summary: String, allowed: String,
        parse: @escaping @Sendable (String) -> Value?,
        format: @escaping @Sendable (Value) -> String
    ) -> ConfigurationKey {
        ConfigurationKey(
            path: path, summary: summary, allowed: allowed,
            read: { text, configuration in
                guard let value = parse(text) else { return false }
                configuration[keyPath: field] = value
                return true
            },
            write: { format($0[keyPath: field]) },
            copy: { $1[keyPath: field] = $0[keyPath: field] })
    }
}
