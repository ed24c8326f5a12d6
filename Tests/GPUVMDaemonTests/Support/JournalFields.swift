/// Takes a datagram of the journal's protocol apart, as its specification says and not as ours
/// writes it.
func journalFields(_ datagram: [UInt8]) -> [String: String]? {
    var fields: [String: String] = [:]
    var rest = datagram[...]
    while !rest.isEmpty {
        guard let end = rest.firstIndex(of: UInt8(ascii: "\n")) else { return nil }
        let line = rest[..<end]
        rest = rest[(end + 1)...]
        if let equals = line.firstIndex(of: UInt8(ascii: "=")) {
            let name = String(decoding: line[..<equals], as: UTF8.self)
            fields[name] = String(decoding: line[(equals + 1)...], as: UTF8.self)
            continue
        }
        guard rest.count >= 8 else { return nil }
        let length = rest.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        rest = rest.dropFirst(8)
        guard rest.count > length, rest[rest.startIndex + length] == UInt8(ascii: "\n") else {
            return nil
        }
        fields[String(decoding: line, as: UTF8.self)] = String(
            decoding: rest.prefix(length), as: UTF8.self)
        rest = rest.dropFirst(length + 1)
    }
    return fields
}
