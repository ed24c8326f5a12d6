import ArgumentParser
import CWireProtocol
import GPUVMClient

/// `gpuvmctl inject …`.
struct InjectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inject",
        abstract: "Makes faults on purpose, to test how programs and drivers take them.",
        discussion: """
            gpuvmctl inject hang|fault|oom|eviction|delay|device-lost makes a rule, which meets \
            the next request of every client that it can, or those that its options name, until \
            it has had its times or is cleared. For root and the daemon's own user.

            hang: the job never ends; its time-out bans the queue. fault: the job meets a page \
            fault. oom: the request is answered ENOMEM. eviction: buffers leave VRAM before the \
            job. delay: the job or bind starts late, or the job's fence signals late. device-lost: \
            all of the client's queues are killed, as by a reset.

            A rule can also be written in one word, as `gpuvmctl run --inject` takes it: \
            oom:op=gem-new,after=3,count=2.
            """,
        subcommands: [Make.self, List.self, Clear.self], defaultSubcommand: Make.self)

    /// `gpuvmctl inject KIND`.
    struct Make: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "make", abstract: "Makes a rule (the word make may be left out).")

        @OptionGroup var options: GlobalOptions
        @OptionGroup var rule: InjectionOptions

        @Argument(help: "hang, fault, oom, eviction, delay, device-lost, or a rule in one word.")
        var kind: String

        func validate() throws { _ = try rule.parse(kind) }

        func run() throws {
            let rule = try rule.parse(kind)
            try options.run { connection throws(ClientError) in
                let made = try connection.inject(rule)
                let isNow = rule.flags & GPUVM_INJECT_NOW != 0
                let done =
                    rule.kind == GPUVM_INJECT_EVICTION.rawValue
                    ? "buffers left VRAM" : "queues killed"
                return Report(
                    lines: [isNow ? "\(made.affected) \(done)" : "rule \(made.id)"],
                    json: [
                        ("id", .number(made.id)), ("rule", .string(InjectionReport.text(rule))),
                        ("affected", isNow ? .number(made.affected) : .null),
                    ])
            }
        }
    }

    /// `gpuvmctl inject list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Lists the rules, the requests that each has met, and how often it fired.")

        @OptionGroup var options: GlobalOptions

        @Flag(name: .long, help: "List the last firings, not the rules.")
        var firings = false

        func run() throws {
            try options.run { connection throws(ClientError) in
                firings
                    ? InjectionReport.firings(try connection.injectionFirings())
                    : InjectionReport.list(try connection.injections())
            }
        }
    }

    /// `gpuvmctl inject clear`.
    struct Clear: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "clear",
            abstract: "Forgets a rule, or all; what they have done already goes on.")

        @OptionGroup var options: GlobalOptions

        @Argument(help: "The rule's id; all without it.")
        var id: UInt32?

        func validate() throws {
            guard id != 0 else { throw ValidationError("rules have ids from 1 on") }
        }

        func run() throws {
            try options.run { connection throws(ClientError) in
                let cleared = try connection.clearInjections(id)
                return Report(
                    lines: ["\(cleared) \(cleared == 1 ? "rule" : "rules") cleared"],
                    json: [("cleared", .number(cleared))])
            }
        }
    }
}
