/// The words of a command, taken from the front and checked as they are.
struct CommandArguments {
    /// A command that is not of the vectors' form.
    struct Malformed: Error {}

    private var words: ArraySlice<Substring>

    init(_ command: String) {
        words = command.split(separator: " ", omittingEmptySubsequences: true)[...]
    }

    var isEmpty: Bool { words.isEmpty }

    mutating func word() throws(Malformed) -> String {
        guard let word = words.popFirst() else { throw Malformed() }
        return String(word)
    }

    /// An unsigned 64-bit number in lower-case hex without a prefix.
    mutating func hex() throws(Malformed) -> UInt64 {
        let word = try word()
        let isHex = word.utf8.allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
        guard isHex, let value = UInt64(word, radix: 16) else { throw Malformed() }
        return value
    }

    /// A decimal number from 0 to `maximum`.
    mutating func decimal(maximum: Int) throws(Malformed) -> Int {
        let word = try word()
        guard word.utf8.allSatisfy((UInt8(ascii: "0")...UInt8(ascii: "9")).contains),
            let value = Int(word), value <= maximum
        else { throw Malformed() }
        return value
    }

    mutating func bool() throws(Malformed) -> Bool { try decimal(maximum: 1) == 1 }

    func end() throws(Malformed) {
        guard words.isEmpty else { throw Malformed() }
    }
}
