/// What the command line asks for.
struct Options {
    /// How many seeds.
    var seeds: UInt64 = 1000
    /// The first seed.
    var first: UInt64 = 0
    /// Runs at the same time; 0: one for each CPU.
    var jobs = 0
    /// One seed is replayed, and its events are printed.
    var replay: UInt64?
    /// Whether a replay prints every point.
    var isVerbose = true
    /// Nil deals the scenarios to the seeds in turn.
    var scenario: String?
    /// So many failing seeds, and the exploration ends.
    var failureLimit = 5
    /// Seconds of real time that one seed may take.
    var secondsPerSeed: UInt32 = 30
    /// Every seed is run twice and must give one interleaving.
    var runsTwice = false
    /// The known scenarios are run in place of the others.
    var checksItself = false

    static let usage = """
        usage: Interleavings [--seeds N] [--from S] [--jobs J] [--scenario NAME] [--twice]
                             [--failures N] [--seconds N]
               Interleavings --seed X [--scenario NAME] [--quiet]
               Interleavings --self-check
        """

    /// Nil for arguments that are none of these.
    init?(_ arguments: [String]) {
        var rest = arguments[...]
        func number() -> UInt64? { rest.popFirst().flatMap { UInt64($0) } }
        while let argument = rest.popFirst() {
            switch argument {
            case "--twice": runsTwice = true
            case "--quiet": isVerbose = false
            case "--self-check": checksItself = true
            case "--scenario":
                guard let name = rest.popFirst() else { return nil }
                guard name == "all" || Scenarios.index(of: name) != nil else { return nil }
                scenario = name == "all" ? nil : name
            default:
                guard let value = number() else { return nil }
                switch argument {
                case "--seeds": seeds = value
                case "--from": first = value
                case "--jobs": jobs = Int(clamping: value)
                case "--seed": replay = value
                case "--failures": failureLimit = Int(clamping: value)
                case "--seconds": secondsPerSeed = UInt32(clamping: value)
                default: return nil
                }
            }
        }
    }
}
