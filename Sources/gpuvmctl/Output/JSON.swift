/// A JSON value that keeps the order of its members.
///
/// Sizes and counts are numbers; addresses and raw entries, which need all of 64 bits, are
/// hexadecimal strings.
enum JSON {
    case null
    case bool(Bool)
    case unsigned(UInt64)
    case signed(Int64)
    case string(String)
    case array([JSON])
    case object([(String, JSON)])

    /// The version of what every document of this program looks like.
    static let schemaVersion: UInt64 = 1

    /// A whole document: an object that begins with its schema version.
    static func document(_ members: [(String, JSON)]) -> JSON {
        .object([("schema_version", .number(schemaVersion))] + members)
    }

    static func address(_ value: UInt64) -> JSON { .string(hex(value)) }

    static func number<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> JSON {
        .unsigned(UInt64(value))
    }

    /// The text, indented by two spaces a level.
    var text: String {
        var out = ""
        write(to: &out, indent: 0)
        return out
    }

    private func write(to out: inout String, indent: Int) {
        switch self {
        case .null: out += "null"
        case .bool(let value): out += value ? "true" : "false"
        case .unsigned(let value): out += String(value)
        case .signed(let value): out += String(value)
        case .string(let value): Self.write(value, to: &out)
        case .array(let values):
            Self.write(values, "[", "]", to: &out, indent: indent) { value, out in
                value.write(to: &out, indent: indent + 2)
            }
        case .object(let members):
            Self.write(members, "{", "}", to: &out, indent: indent) { member, out in
                Self.write(member.0, to: &out)
                out += ": "
                member.1.write(to: &out, indent: indent + 2)
            }
        }
    }

    private static func write<T>(
        _ items: [T], _ open: String, _ close: String, to out: inout String, indent: Int,
        _ body: (T, inout String) -> Void
    ) {
        out += open
        for (index, item) in items.enumerated() {
            out += index == 0 ? "\n" : ",\n"
            out += String(repeating: " ", count: indent + 2)
            body(item, &out)
        }
        if !items.isEmpty { out += "\n" + String(repeating: " ", count: indent) }
        out += close
    }

    private static func write(_ string: String, to out: inout String) {
        out += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\t": out += "\\t"
            case "\r": out += "\\r"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}
