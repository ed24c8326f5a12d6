import ArgumentParser
import CWireProtocol
import GPUVMClient

/// `gpuvmctl queue …`.
struct QueueCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "queue", abstract: "Looks at the queues.", subcommands: [List.self])

    /// `gpuvmctl queue list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists the queues and their jobs.")

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                QueueCommand.report(try connection.queues())
            }
        }
    }

    static func report(_ queues: [gpuvm_queue_record]) -> Report {
        var table = TextTable([
            ("ID", .right), ("VM", .right), ("CLIENT", .right), ("ENGINE", .left),
            ("PRIORITY", .left), ("PENDING", .right), ("SUBMITTED", .right),
            ("COMPLETED", .right), ("FAILED", .right), ("CANCELLED", .right), ("BANNED", .left),
        ])
        for queue in queues {
            table.add([
                "\(queue.id)", "\(queue.vm)", "\(queue.client_id)",
                Names.engine(queue.engine_class, queue.engine_instance),
                Names.priority(queue.priority), "\(queue.pending)", "\(queue.submitted)",
                "\(queue.completed)", "\(queue.failed)", "\(queue.cancelled)",
                queue.banned == 0 ? "-" : Names.errno(queue.banned),
            ])
        }
        let json = queues.map { queue in
            JSON.object([
                ("id", .number(queue.id)),
                ("vm", .number(queue.vm)),
                ("client", .number(queue.client_id)),
                ("engine", .string(Names.engine(queue.engine_class, queue.engine_instance))),
                ("priority", .string(Names.priority(queue.priority))),
                ("pending", .number(queue.pending)),
                ("submitted", .number(queue.submitted)),
                ("completed", .number(queue.completed)),
                ("failed", .number(queue.failed)),
                ("cancelled", .number(queue.cancelled)),
                ("banned", queue.banned == 0 ? .null : .string(Names.errno(queue.banned))),
            ])
        }
        return Report(lines: table.lines(), json: [("queues", .array(json))])
    }
}
