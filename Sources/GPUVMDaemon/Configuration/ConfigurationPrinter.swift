/// The effective configuration as a YAML document.
public enum ConfigurationPrinter {
    /// A document that ``ConfigurationLoader`` reads back as the same configuration.
    ///
    /// A key without a value appears as a comment only.
    public static func yaml(_ configuration: DaemonConfiguration) -> String {
        var lines: [String] = []
        for section in ConfigurationSchema.sections {
            if !lines.isEmpty { lines.append("") }
            lines.append("\(section):")
            for key in ConfigurationSchema.keys where key.section == section {
                if let value = key.write(configuration) {
                    lines.append("  # \(key.summary)")
                    lines.append("  \(key.name): \(value)")
                } else {
                    lines.append("  # \(key.summary) Not set: \(key.name) takes \(key.allowed).")
                }
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
