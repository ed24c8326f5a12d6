import ArgumentParser
import CWireProtocol

/// The keys of a rule as options.
struct InjectionOptions: ParsableArguments {
    @Option(
        name: .long,
        help:
            "How often at most: a number, or unlimited. Once, or unlimited with --every or --probability."
    )
    var count: String?

    @Option(name: .long, help: "How many requests pass first.")
    var after: String?

    @Option(name: .long, help: "Of those behind them, each one of this number.")
    var every: String?

    @Option(name: .long, help: "The chance of each of these: above 0, up to 1.")
    var probability: String?

    @Option(
        name: .long,
        help: "What the chances are drawn from: the same seed and requests, the same firings.")
    var seed: String?

    @Option(
        name: .long,
        help:
            "Whom it meets: client=ID, pid=PID, name=NAME, vm=ID, queue=ID, or several of them, separated by commas."
    )
    var target: [String] = []

    @Option(
        name: .long, help: "Of oom and delay: the requests, joined by +, such as gem-new+vm-bind.")
    var op: String?

    @Option(name: .long, help: "Of a delay: how long, such as 20ms.")
    var duration: String?

    @Option(name: .long, help: "Of a delay: start or signal.")
    var at: String?

    @Option(
        name: .long, help: "Of a fault: the GPU address; without it, that of the job's commands.")
    var address: String?

    @Option(name: .long, help: "Of a fault: read, write or fetch.")
    var access: String?

    @Flag(name: .long, help: "Of eviction and device-lost: at once, to all whom it meets.")
    var now = false

    /// The rule of a kind with these options, or one in one word without any.
    ///
    /// - Throws: `ValidationError`.
    func parse(_ kind: String) throws -> gpuvm_injection {
        let pairs = try pairs
        do throws(InjectionText.Problem) {
            guard kind.contains(":") else { return try InjectionText.rule(kind, pairs) }
            guard pairs.isEmpty else {
                throw InjectionText.Problem(
                    text: "“\(kind)” is a whole rule: write --\(pairs[0].key) into it, or no colon")
            }
            return try InjectionText.parse(kind)
        } catch {
            throw ValidationError(error.text)
        }
    }

    private var pairs: [(key: String, value: String?)] {
        get throws {
            let single: [(String, String?)] = [
                ("count", count), ("after", after), ("every", every),
                ("probability", probability), ("seed", seed), ("op", op),
                ("duration", duration), ("at", at), ("address", address), ("access", access),
            ]
            var pairs: [(key: String, value: String?)] = single.filter { $0.1 != nil }
            if now { pairs.append(("now", nil)) }
            for item in target.flatMap({
                $0.split(separator: ",", omittingEmptySubsequences: false)
            }) {
                let words = item.split(
                    separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard words.count == 2,
                    ["client", "pid", "name", "vm", "queue"].contains(String(words[0]))
                else {
                    throw ValidationError(
                        "--target \(item): it takes client=ID, pid=PID, name=NAME, vm=ID, queue=ID")
                }
                pairs.append((String(words[0]), String(words[1])))
            }
            return pairs
        }
    }
}
