/// One line of a vector file: a command and, where it was recorded, its result.
struct VectorLine {
    let command: String
    /// Compact JSON; nil where the file has none.
    let result: String?

    /// Reads `{"i":command,"o":result}`; nil for what is not of that form.
    init?(_ line: String) {
        var reader = JSONReader(line)
        var command: String?
        var result: String?
        guard reader.take(UInt8(ascii: "{")) else { return nil }
        repeat {
            guard let key = reader.string(), reader.take(UInt8(ascii: ":")) else { return nil }
            switch key {
            case "i": command = reader.string()
            case "o": result = reader.value()
            default: guard reader.value() != nil else { return nil }
            }
        } while reader.take(UInt8(ascii: ","))
        guard reader.take(UInt8(ascii: "}")), reader.isAtEnd, let command else { return nil }
        self.command = command
        self.result = result
    }
}
