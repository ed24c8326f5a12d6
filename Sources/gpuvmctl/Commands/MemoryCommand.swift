import ArgumentParser
import GPUVMClient

/// `gpuvmctl memory`.
struct MemoryCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "memory",
        abstract: "Shows how full each kind of memory is, and what was evicted from VRAM.")

    @OptionGroup var options: GlobalOptions

    func run() throws {
        try options.run { connection throws(ClientError) in
            MemoryReport.report(try connection.memoryInfo())
        }
    }
}
