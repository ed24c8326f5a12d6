import GPUVMDaemon

/// The configuration: a YAML text and, behind a zero byte, lines of environment.
enum ConfigurationTarget {
    static func run(_ bytes: UnsafeRawBufferPointer) {
        let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
        let text = String(decoding: parts.first ?? bytes[...], as: UTF8.self)
        var environment: [String: String] = [:]
        if parts.count > 1 {
            for line in String(decoding: parts[1], as: UTF8.self).split(separator: "\n") {
                let pair = line.split(separator: "=", maxSplits: 1)
                if pair.count == 2 { environment[String(pair[0])] = String(pair[1]) }
            }
        }
        let configuration: DaemonConfiguration
        do throws(ConfigurationError) {
            configuration = try ConfigurationLoader.parse(
                text, name: "fuzz", environment: environment)
        } catch {
            guard !"\(error)".isEmpty else { fuzzFailure("a configuration is refused silently") }
            return
        }
        _ = configuration.fitted(toDescriptorLimit: 1024)
        let printed = ConfigurationPrinter.yaml(configuration)
        do throws(ConfigurationError) {
            let again = try ConfigurationLoader.parse(printed, name: "printed")
            guard again == configuration else {
                fuzzFailure("what is printed is another configuration:\n\(printed)")
            }
        } catch {
            fuzzFailure("what is printed is refused: \(error)\n\(printed)")
        }
    }
}
