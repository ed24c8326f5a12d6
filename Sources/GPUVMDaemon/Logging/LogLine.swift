import Logging

/// The text of a log line, without what stands in front of it.
enum LogLine {
    private static let firstKeys = ["client", "vm", "queue"]

    /// `message key=value …`
    static func text(message: String, metadata: Logger.Metadata) -> String {
        var line = ""
        append(message, to: &line)
        for key in firstKeys {
            if let value = metadata[key] { append(key, value, to: &line) }
        }
        for key in metadata.keys.sorted() where !firstKeys.contains(key) {
            if let value = metadata[key] { append(key, value, to: &line) }
        }
        return line
    }

    private static func append(
        _ key: String, _ value: Logger.MetadataValue, to line: inout String
    ) {
        line += " "
        append(key, to: &line)
        line += "="
        let text = value.description
        let isPlain =
            !text.isEmpty
            && text.unicodeScalars.allSatisfy { $0.value > 0x20 && $0 != "\"" && $0 != "=" }
        if isPlain {
            append(text, to: &line)
        } else {
            line += "\""
            append(text, quoted: true, to: &line)
            line += "\""
        }
    }

    /// Appends `text` with everything escaped that could end the line, move the cursor or, inside
    /// of quotes, end them.
    private static func append(_ text: String, quoted: Bool = false, to line: inout String) {
        for character in text.unicodeScalars {
            switch character {
            case "\n": line += "\\n"
            case "\"" where quoted: line += "\\\""
            case "\\" where quoted: line += "\\\\"
            case _ where character.properties.generalCategory == .control,
                _ where character.properties.generalCategory == .lineSeparator,
                _ where character.properties.generalCategory == .paragraphSeparator,
                _ where character.properties.generalCategory == .format:
                line += "\\u{\(String(character.value, radix: 16))}"
            default: line.unicodeScalars.append(character)
            }
        }
    }
}
