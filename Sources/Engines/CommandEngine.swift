import PageTables

/// A simulated engine that executes the generic command stream: copy, fill, store, semaphores.
///
/// It knows no memory but what its MMU translates. Its jobs are ``CommandContext``s. The stream's
/// format is in `gpuvm_commands.h`.
///
/// Threading: immutable; contexts of one engine may run on several threads and then share its MMU.
public final class CommandEngine: Sendable {
    /// Shown in faults.
    public let name: String
    /// The only way to memory.
    public let mmu: MMU

    /// Creates an engine that reaches memory through `mmu`.
    public init(name: String, mmu: MMU) {
        self.name = name
        self.mmu = mmu
    }
}
