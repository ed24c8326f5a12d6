/// One JSON object in one line, written member by member.
///
/// Addresses and raw numbers of the interface are hexadecimal strings; counts, sizes and times are
/// numbers.
struct TraceLine {
    /// The version of what the lines look like.
    static let schemaVersion = 1

    private var bytes: [UInt8] = []
    private var isEmpty = true

    /// Begins with the event's name and time.
    init(_ event: String, at time: UInt64, isFirst: Bool = false) {
        bytes.reserveCapacity(256)
        bytes.append(UInt8(ascii: "{"))
        if isFirst { field("schema_version", Self.schemaVersion) }
        field("event", event)
        field("time_ns", time)
    }

    /// The line, with its end.
    consuming func finish() -> [UInt8] {
        bytes.append(UInt8(ascii: "}"))
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    // MARK: members

    mutating func field(_ name: String, _ value: some BinaryInteger) {
        key(name)
        raw(String(value))
    }

    mutating func field(_ name: String, _ value: Bool) {
        key(name)
        raw(value ? "true" : "false")
    }

    mutating func field(_ name: String, _ value: String) {
        key(name)
        string(value)
    }

    mutating func address(_ name: String, _ value: some BinaryInteger & UnsignedInteger) {
        field(name, "0x" + String(value, radix: 16))
    }

    mutating func object(_ name: String, _ body: (inout TraceLine) -> Void) {
        key(name)
        nested("{", "}", body)
    }

    /// A list; `body` calls ``element(_:)`` for each of its objects, or ``item(_:)``.
    mutating func list(_ name: String, _ body: (inout TraceLine) -> Void) {
        key(name)
        nested("[", "]", body)
    }

    /// An object of a list.
    mutating func element(_ body: (inout TraceLine) -> Void) {
        separate()
        nested("{", "}", body)
    }

    /// A number of a list.
    mutating func item(_ value: some BinaryInteger) {
        separate()
        raw(String(value))
    }

    // MARK: text

    private mutating func nested(
        _ open: String, _ close: String, _ body: (inout TraceLine) -> Void
    ) {
        raw(open)
        isEmpty = true
        body(&self)
        raw(close)
        isEmpty = false
    }

    private mutating func key(_ name: String) {
        separate()
        string(name)
        raw(":")
    }

    private mutating func separate() {
        if !isEmpty { raw(",") }
        isEmpty = false
    }

    private mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

    private mutating func string(_ text: String) {
        raw("\"")
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": raw("\\\(scalar)")
            // The C1 controls steer terminals, too.
            case _ where scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value):
                let digits = String(scalar.value, radix: 16)
                raw("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
            default: raw(String(scalar))
            }
        }
        raw("\"")
    }
}
