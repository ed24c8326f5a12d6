import Yams

/// The first pass over a configuration: which keys are there, where, and which should not be.
struct ConfigurationTreeWalk {
    /// What error messages call the file.
    let fileName: String
    /// The texts of the known keys that the file has.
    private(set) var values: [String: String] = [:]
    /// Everything that is wrong, in the order of discovery.
    private(set) var problems: [ConfigurationProblem] = []

    private var locations: [String: ConfigurationLocation] = [:]

    init(fileName: String) { self.fileName = fileName }

    /// Walks a document.
    mutating func visit(_ root: Node) {
        visit(root, path: "", location: location(of: root))
    }

    /// Finds variables that begin like an override and override nothing, such as
    /// `GPUVM_QUOTAS_BOSS`. Names like GPUVM_SOCKET, which name a section alone, mean other things.
    mutating func visit(environment: [String: String]) {
        let known = Set(ConfigurationSchema.keys.map(\.environmentVariable))
        for variable in environment.keys.sorted() where !known.contains(variable) {
            let isOurs = ConfigurationSchema.sections.contains { section in
                variable.hasPrefix("GPUVM_\(section.uppercased())_")
            }
            guard isOurs else { continue }
            let nearest =
                known.map { ($0, EditDistance.between($0, variable)) }
                .min { ($0.1, $0.0) < ($1.1, $1.0) }
            problems.append(
                ConfigurationProblem(
                    key: variable, reason: .unknownKey(suggestion: nearest?.0),
                    location: nil))
        }
    }

    /// Notes what is wrong with the value that a key effectively has.
    mutating func report(
        _ path: String, _ reason: ConfigurationProblem.Reason, environment: [String: String]
    ) {
        let variable = ConfigurationSchema.key(path)?.environmentVariable
        // swift-configuration finds variables whatever their case is.
        let overrides = environment.keys.first { $0.uppercased() == variable }
        let location = overrides.map { ConfigurationLocation.environment(variable: $0) }
        problems.append(
            ConfigurationProblem(
                key: path, reason: reason, location: location ?? locations[path]))
    }

    private mutating func visit(_ node: Node, path: String, location: ConfigurationLocation?) {
        switch node {
        case .mapping(let mapping):
            for (name, value) in mapping {
                guard let name = name.scalar else {
                    note(path, .keyIsNotText, self.location(of: name))
                    continue
                }
                visit(
                    value, path: path.isEmpty ? name.string : "\(path).\(name.string)",
                    name: name)
            }
        case .scalar(let scalar) where Self.isNull(scalar):
            break
        case .scalar, .sequence, .alias:
            note(path, .notASection, location)
        }
    }

    private mutating func visit(_ value: Node, path: String, name: Node.Scalar) {
        let nameLocation = name.mark.map(place)
        if ConfigurationSchema.sections.contains(path) {
            visit(value, path: path, location: location(of: value) ?? nameLocation)
            return
        }
        guard let key = ConfigurationSchema.key(path) else {
            let suggestion = ConfigurationSchema.suggestion(for: path)
            note(path, .unknownKey(suggestion: suggestion), nameLocation)
            return
        }
        guard case .scalar(let scalar) = value else {
            note(path, .notAValue(allowed: key.allowed), location(of: value) ?? nameLocation)
            return
        }
        guard !Self.isNull(scalar) else {
            note(path, .missingValue(allowed: key.allowed), nameLocation)
            return
        }
        values[path] = scalar.string
        locations[path] = scalar.mark.map(place) ?? nameLocation
    }

    /// YAML's null, written as nothing or as one of its words without quotes.
    private static func isNull(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private mutating func note(
        _ path: String, _ reason: ConfigurationProblem.Reason, _ location: ConfigurationLocation?
    ) {
        problems.append(ConfigurationProblem(key: path, reason: reason, location: location))
    }

    private func location(of node: Node) -> ConfigurationLocation? { node.mark.map(place) }

    private func place(_ mark: Mark) -> ConfigurationLocation {
        .file(name: fileName, line: mark.line, column: mark.column)
    }
}
