import ArgumentParser
import GPUVMClient

/// `gpuvmctl bo …`.
struct BufferCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bo", abstract: "Looks at the buffer objects.", subcommands: [List.self])

    /// `gpuvmctl bo list`.
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Lists the buffer objects: where each wants to be, and where it is.")

        @OptionGroup var options: GlobalOptions

        func run() throws {
            try options.run { connection throws(ClientError) in
                BufferReport.list(try connection.buffers())
            }
        }
    }
}
