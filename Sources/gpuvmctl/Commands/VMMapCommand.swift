import ArgumentParser
import GPUVMClient
import Glibc

extension VMCommand {
    /// `gpuvmctl vm map ID`.
    struct Map: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "map",
            abstract: "Draws a VM's address space: mappings, sparse regions, holes, to scale.",
            discussion: """
                Large holes are cut out and named. Rows are as wide as the terminal, and the size \
                that a character stands for is written beside them.
                """)

        @Argument(help: "The VM's id, as in `vm list`.")
        var id: UInt32

        @Option(name: .long, help: "Columns to draw in, instead of the terminal's; 40 to 400.")
        var width: Int?

        @OptionGroup var options: GlobalOptions

        func validate() throws {
            if let width, !(40...400).contains(width) {
                throw ValidationError("--width \(width): it takes 40 to 400")
            }
        }

        func run() throws {
            try options.run { connection throws(ClientError) in
                let vm = try VMCommand.find(id, connection)
                return AddressSpaceReport.report(
                    vm, try connection.mappings(ofVM: id),
                    sparse: try VMCommand.sparseRegions(id, connection),
                    width: width ?? TerminalStyle.width(of: STDOUT_FILENO),
                    style: .standardOutput)
            }
        }
    }
}
