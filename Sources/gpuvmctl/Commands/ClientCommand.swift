import ArgumentParser
import CWireProtocol
import GPUVMClient

/// `gpuvmctl client …`.
struct ClientCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "client", abstract: "Looks at the clients.", subcommands: [List.self])

    /// `gpuvmctl client list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists the clients and what they hold.")

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                ClientCommand.report(try connection.clients())
            }
        }
    }

    static func report(_ clients: [gpuvm_client_record]) -> Report {
        var table = TextTable([
            ("ID", .right), ("PID", .right), ("UID", .right), ("VMS", .right), ("BOS", .right),
            ("BO BYTES", .right), ("QUEUES", .right), ("SYNCOBJS", .right), ("REQUESTS", .right),
            ("FAILED", .right), ("NAME", .left),
        ])
        for client in clients {
            table.add([
                "\(client.client_id)", "\(client.pid)", "\(client.uid)", "\(client.vms)",
                "\(client.bos)", roughSize(client.bo_bytes), "\(client.queues)",
                "\(client.syncobjs)",
                "\(client.requests)", "\(client.failed_requests)", Names.text(client.name),
            ])
        }
        let json = clients.map { client in
            JSON.object([
                ("id", .number(client.client_id)),
                ("pid", .signed(Int64(client.pid))),
                ("uid", .number(client.uid)),
                ("name", .string(Names.text(client.name))),
                ("vms", .number(client.vms)),
                ("bos", .number(client.bos)),
                ("bo_bytes", .number(client.bo_bytes)),
                ("queues", .number(client.queues)),
                ("syncobjs", .number(client.syncobjs)),
                ("requests", .number(client.requests)),
                ("failed_requests", .number(client.failed_requests)),
            ])
        }
        return Report(lines: table.lines(), json: [("clients", .array(json))])
    }
}
