import Engines
import PageTables
import Scheduling

/// A simulated copy engine: its thread, its MMU and what it understands.
///
/// Threading: immutable.
final class CopyEngine: Sendable {
    let instance: Int
    let commands: CommandEngine
    let scheduler: EngineScheduler

    init(instance: Int, mmu: MMU, group: EngineGroup) throws(SchedulingError) {
        self.instance = instance
        commands = CommandEngine(name: "copy\(instance)", mmu: mmu)
        scheduler = try EngineScheduler(name: "gpuvm-copy\(instance)", group: group)
    }
}
