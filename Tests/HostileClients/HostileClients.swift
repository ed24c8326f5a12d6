import CHostileClients
import Glibc
import WireProtocol

/// What hostile clients can do to a daemon, and what a long life does to it.
///
///     HostileClients attack --daemon PATH [--bad N] [--seed S]
///     HostileClients soak --daemon PATH [--seconds N] [--seed S] [--drm SHIM PROGRAM]
///
/// `misbehave`, `knock` and `work` are what it starts itself as.
@main
struct HostileClients {
    static func main() {
        // A daemon that ends a connection is an errno of a write.
        signal(SIGPIPE, SIG_IGN)
        hostile_print_by_line()
        var words = Array(CommandLine.arguments.dropFirst())
        guard let mode = words.first else { usage() }
        words.removeFirst()
        do {
            switch mode {
            case "attack":
                var run = AttackRun(try Options(words))
                exit(try run.run() ? 0 : 1)
            case "soak":
                var run = SoakRun(try Options(words))
                exit(try run.run() ? 0 : 1)
            case "misbehave": try misbehave(words)
            case "knock": exit(try knock(words))
            case "work": try Worker.run(words)
            default: usage()
            }
        } catch {
            print("\(mode): \(error)")
            exit(1)
        }
    }

    private static func usage() -> Never {
        print("usage: HostileClients attack|soak --daemon PATH [--bad N] [--seconds N] [--seed S]")
        exit(64)
    }

    private static func becomeNobody(groups: [gid_t]) throws {
        guard setgroups(groups.count, groups) == 0, setgid(Child.nobody) == 0,
            setuid(Child.nobody) == 0
        else { throw Failure("a bad client cannot give up root") }
    }

    /// A stranger: SOCKET GROUP… Its exit status is the errno that it is greeted with.
    private static func knock(_ words: [String]) throws -> Int32 {
        guard let socket = words.first else { usage() }
        try becomeNobody(groups: words.dropFirst().compactMap { gid_t($0) })
        do {
            return try RawConnection(socket).hello("stranger")
        } catch let error as WireError {
            return error.code.rawValue
        }
    }

    /// A bad client: KIND SOCKET SEED NICE. A user of its own, if root may choose one.
    private static func misbehave(_ words: [String]) throws {
        guard words.count == 4, let kind = Misbehaviour(rawValue: words[0]),
            let seed = UInt64(words[2]), let nice = Int32(words[3])
        else { usage() }
        guard hostile_set_nice(nice) == 0 else { throw Failure("nice \(nice) is refused") }
        if geteuid() == 0 { try becomeNobody(groups: []) }
        // Behind the change of the user, which would forget it.
        hostile_die_with_parent()
        try kind.run(socket: words[1], seed: seed)
    }
}
