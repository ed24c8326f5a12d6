import Fencing
import Memory
import PageTables
import Scheduling

/// Carries out moves of buffers as jobs of the first copy engine.
///
/// Moves of different buffers have no order but that of their fences: each runs on a queue of its
/// own, taken from those that are idle, so that a client whose jobs take long holds up nobody's
/// memory but its own.
///
/// Threading: any thread.
final class CopyMigrator: Migrator {
    let releases: ReleaseBarrier
    private let scheduler: EngineScheduler
    private let mmus: InvalidationDomain
    private let tablePool: TablePool
    private let idleQueues = Guarded(.leaf, [JobQueue]())

    init(
        scheduler: EngineScheduler, mmus: InvalidationDomain, tablePool: TablePool,
        releases: ReleaseBarrier
    ) {
        self.scheduler = scheduler
        self.mmus = mmus
        self.tablePool = tablePool
        self.releases = releases
    }

    func submit(_ move: BufferMove) throws(MemoryError) -> Fence {
        let queue =
            idleQueues.withLock { $0.popLast() }
            ?? JobQueue(scheduler, name: "migration", kind: .exec, priority: .high)
        let job = Job(body: MigrationJob(move, on: queue, migrator: self))
        for fence in move.dependencies { job.addDependency(fence) }
        do throws(SchedulingError) {
            return try queue.submit(job)
        } catch {
            throw .stopped
        }
    }

    /// A queue whose job has ended.
    func giveBack(_ queue: JobQueue) { idleQueues.withLock { $0.append(queue) } }

    func zap(_ range: VirtualRange, in space: ExecutedSpace) {
        space.zap(range, in: mmus, pool: tablePool)
    }
}
