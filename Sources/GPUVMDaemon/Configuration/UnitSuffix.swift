/// The split of a quantity into its number and its unit.
enum UnitSuffix {
    /// ASCII digits, then optional spaces and the rest; nil without digits.
    static func split(_ text: String) -> (digits: Substring, unit: Substring)? {
        let digits = text.prefix { ("0"..."9").contains($0) }
        guard !digits.isEmpty else { return nil }
        let unit = text[digits.endIndex...].drop { $0 == " " }
        // A number with trailing blanks is no cleaner than one with a wrong unit.
        if unit.isEmpty && digits.endIndex != text.endIndex { return nil }
        return (digits, unit)
    }
}
