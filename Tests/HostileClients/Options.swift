/// The command line of a run.
struct Options {
    var daemon = ""
    var bad = 100
    var seconds = 600
    var seed: UInt64 = 1
    /// The DRM shim's library, and a program to run with it.
    var drm: (shim: String, program: String)?

    init(_ words: [String]) throws {
        var words = words[...]
        func number<Value: FixedWidthInteger>(_ text: String?, _ name: String) throws -> Value {
            guard let value = text.flatMap({ Value($0) }) else {
                throw Failure("\(name) takes a number")
            }
            return value
        }
        while let name = words.popFirst() {
            switch name {
            case "--daemon": daemon = words.popFirst() ?? ""
            case "--bad": bad = try number(words.popFirst(), name)
            case "--seconds": seconds = try number(words.popFirst(), name)
            case "--seed": seed = try number(words.popFirst(), name)
            case "--drm":
                guard let shim = words.popFirst(), let program = words.popFirst() else {
                    throw Failure("--drm takes the shim and a program")
                }
                drm = (shim, program)
            default: throw Failure("unknown option \(name)")
            }
        }
        guard !daemon.isEmpty, bad > 0, seconds > 0 else {
            throw Failure("--daemon PATH is missing, or a number is 0")
        }
    }
}
