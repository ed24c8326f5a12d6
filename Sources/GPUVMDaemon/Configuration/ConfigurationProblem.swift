/// One thing that is wrong with a configuration.
public struct ConfigurationProblem: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong.
    public enum Reason: Sendable, Equatable {
        /// No such key; the nearest one, if any is near.
        case unknownKey(suggestion: String?)
        /// The value is outside of what the key takes.
        case invalidValue(value: String, allowed: String)
        /// The key is there but its value is not; what the key takes.
        case missingValue(allowed: String)
        /// A list or a mapping stands where one value belongs.
        case notAValue(allowed: String)
        /// A value stands where keys belong.
        case notASection
        /// The key is no text, so it can be none of ours.
        case keyIsNotText
    }

    /// The full path, such as `quotas.bo_bytes`; empty for the whole document.
    public let key: String
    /// What is wrong with it.
    public let reason: Reason
    /// Where it was written, if known.
    public let location: ConfigurationLocation?

    /// Describes one problem.
    public init(key: String, reason: Reason, location: ConfigurationLocation?) {
        self.key = key
        self.reason = reason
        self.location = location
    }

    /// `file:line:column: key: what is wrong`.
    public var description: String {
        let place = location.map { "\($0): " } ?? ""
        return "\(place)\(key.isEmpty ? "the document" : key): \(reason)"
    }
}

extension ConfigurationProblem.Reason: CustomStringConvertible {
    /// What is wrong, without key and place.
    public var description: String {
        switch self {
        case .unknownKey(let suggestion?): "unknown key; did you mean \(suggestion)?"
        case .unknownKey(nil): "unknown key"
        case .invalidValue(let value, let allowed):
            "\"\(value)\" is not allowed; expected \(allowed)"
        case .missingValue(let allowed): "the value is missing; expected \(allowed)"
        case .notAValue(let allowed):
            "a list or section is not allowed; expected \(allowed)"
        case .notASection: "expected a section of keys"
        case .keyIsNotText: "a key in here is no text"
        }
    }
}
