import CInterleavings
import Glibc

/// Explores thread interleavings: one seed is one program and one order of its threads.
@main
struct Interleavings {
    static func main() {
        // Before anything else is allocated: all runs begin with the heap of this moment.
        var request = il_request()
        if il_begin(CommandLine.unsafeArgv, &request) == 1 { Run.execute(request) }
        guard let options = Options(Array(CommandLine.arguments.dropFirst())) else {
            il_complain(Options.usage)
            exit(64)
        }
        if options.checksItself { exit(SelfCheck.run(options)) }
        if let seed = options.replay { exit(Explorer.replay(options, seed: seed)) }
        var explorer = Explorer(options)
        exit(explorer.explore())
    }
}
