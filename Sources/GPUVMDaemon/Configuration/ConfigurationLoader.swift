import Configuration
import SystemPackage
import Yams

/// Reads a ``DaemonConfiguration`` from a YAML file and the environment.
///
/// The key tree is walked first, so that a key which nobody would ever ask for is an error; the
/// values are then read through swift-configuration, in which a variable `GPUVM_SECTION_KEY`
/// overrides the file.
public enum ConfigurationLoader {
    /// The file that is read if it exists and no other is named.
    public static let standardFile = "/etc/gpuvmd/gpuvmd.yaml"
    /// The largest file that is read.
    static let maximumFileBytes = 1 << 20

    /// The configuration of a daemon.
    ///
    /// - Parameters:
    ///   - file: The file to read; nil reads ``standardFile`` if it exists, else takes the defaults.
    ///   - environment: Overrides; variables of other programs are ignored.
    /// - Returns: The configuration, and the file that was read.
    public static func load(
        file: String?, environment: [String: String]
    ) throws(ConfigurationError) -> (configuration: DaemonConfiguration, file: String?) {
        if let file {
            return (try parse(try text(of: file), name: file, environment: environment), file)
        }
        do throws(ConfigurationError) {
            let text = try text(of: standardFile)
            return (
                try parse(text, name: standardFile, environment: environment), standardFile
            )
        } catch {
            guard case .unreadable(_, .noSuchFileOrDirectory) = error else { throw error }
            return (try parse("", name: "defaults", environment: environment), nil)
        }
    }

    /// The configuration of a YAML text.
    ///
    /// - Parameters:
    ///   - yaml: One document; an empty one means the defaults.
    ///   - name: What error messages call the text.
    public static func parse(
        _ yaml: String, name: String, environment: [String: String] = [:]
    ) throws(ConfigurationError) -> DaemonConfiguration {
        var walk = ConfigurationTreeWalk(fileName: name)
        if let root = try document(of: yaml, name: name) { walk.visit(root) }
        walk.visit(environment: environment)

        let reader = ConfigReader(providers: [
            EnvironmentVariablesProvider(environmentVariables: environment)
                .prefixKeys(with: "gpuvm"),
            InMemoryProvider(
                name: name,
                values: Dictionary(
                    uniqueKeysWithValues: walk.values.map { path, text in
                        let key = AbsoluteConfigKey(path.split(separator: ".").map(String.init))
                        return (key, ConfigValue(.string(text), isSecret: false))
                    })),
        ])
        var configuration = DaemonConfiguration()
        for key in ConfigurationSchema.keys {
            guard let text = reader.string(forKey: ConfigKey(key.path)) else { continue }
            guard !key.read(text, &configuration) else { continue }
            walk.report(
                key.path, .invalidValue(value: text, allowed: key.allowed),
                environment: environment)
        }
        if walk.problems.isEmpty {
            for (path, value, allowed) in ConfigurationSchema.contradictions(in: configuration) {
                walk.report(
                    path, .invalidValue(value: value, allowed: allowed), environment: environment)
            }
        }
        guard walk.problems.isEmpty else { throw .invalid(walk.problems) }
        return configuration
    }

    private static func document(
        of yaml: String, name: String
    ) throws(ConfigurationError) -> Node? {
        do {
            return try Yams.compose(yaml: yaml)
        } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
            throw .duplicateKeys(keys, location(name, context.mark))
        } catch YamlError.scanner(_, let problem, let mark, _),
            YamlError.parser(_, let problem, let mark, _),
            YamlError.composer(_, let problem, let mark, _)
        {
            throw .syntax(location(name, mark), message: problem)
        } catch {
            throw .syntax(.file(name: name, line: 1, column: 1), message: "\(error)")
        }
    }

    private static func location(_ name: String, _ mark: Mark) -> ConfigurationLocation {
        .file(name: name, line: mark.line, column: mark.column)
    }

    private static func text(of path: String) throws(ConfigurationError) -> String {
        let bytes: [UInt8]
        do {
            let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
            bytes = try file.closeAfter {
                try [UInt8](unsafeUninitializedCapacity: maximumFileBytes + 1) { buffer, count in
                    while count < buffer.count {
                        let rest = UnsafeMutableRawBufferPointer(
                            rebasing: UnsafeMutableRawBufferPointer(buffer)[count...])
                        let read = try file.read(into: rest)
                        if read == 0 { break }
                        count += read
                    }
                }
            }
        } catch {
            throw .unreadable(path: path, error as? Errno ?? .ioError)
        }
        guard bytes.count <= maximumFileBytes else { throw .tooLarge(path: path) }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw .notText(path: path)
        }
        return text
    }
}
