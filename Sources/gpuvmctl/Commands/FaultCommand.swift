import ArgumentParser
import CWireProtocol
import GPUVMClient

/// `gpuvmctl fault …`.
struct FaultCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fault", abstract: "Looks at the MMU faults.", subcommands: [List.self])

    /// `gpuvmctl fault list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists the last faults, the oldest first.")

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                let faults = try connection.faults()
                return Report(
                    lines: faults.isEmpty
                        ? ["no faults"]
                        : Array(faults.map { FaultReport.lines($0) }.joined(separator: [""])),
                    json: [("faults", .array(faults.map { FaultReport.json($0) }))])
            }
        }
    }
}
