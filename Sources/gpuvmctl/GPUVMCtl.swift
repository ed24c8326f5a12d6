import ArgumentParser

/// The root command.
@main
struct GPUVMCtl: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gpuvmctl",
        abstract: "Looks into a running gpuvmd, checks the VM core, and shows what it can do.",
        discussion: """
            The daemon's socket is the one of --socket, else of GPUVM_SOCKET, else \
            gpuvmd/gpuvmd.sock in XDG_RUNTIME_DIR, else /run/gpuvmd/gpuvmd.sock.

            Exit status (but of run, which passes on the program's): 0 success, 1 the check or the request failed, 64 wrong usage, 69 no daemon \
            can be reached.
            """,
        subcommands: [
            RunCommand.self, StatusCommand.self, MemoryCommand.self, ClientCommand.self,
            BufferCommand.self, VMCommand.self, QueueCommand.self, FaultCommand.self,
            InjectCommand.self, DemoCommand.self, DemoClientCommand.self,
            PressureClientCommand.self, VectorsCommand.self,
        ])
}
