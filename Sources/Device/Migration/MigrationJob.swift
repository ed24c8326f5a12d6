import Fencing
import GPUVMCore
import Memory
import PageTables
import Scheduling

// @unchecked: until it is pushed the job is the submitter's; then only the engine's thread that has
// its queue touches the mutable fields.
/// Moves a buffer from frames to frames on the copy engine, or gives a new one its first.
///
/// All work on the buffer has been waited for, so that nobody uses the old frames any more; what still
/// leads there is cleared before they lose their owner. It cannot fail, and it is not skipped either:
/// a device that shuts down carries the rest of it out at once, because the frame table must not name
/// memory that is about to go.
final class MigrationJob: JobBody, @unchecked Sendable {
    /// What leads to the old frames in one VM.
    private enum Way {
        /// The mappings as they were when the move was submitted; jobs that change them later wait
        /// for the move.
        case ranges(ExecutedSpace, [VirtualRange])
        /// The mappings as they are when the move executes: the tree changes inside of jobs.
        case tree(ExecutedSpace, GPUVM)
    }

    private let migrator: CopyMigrator
    private let queue: JobQueue
    /// Nil once the job has been released.
    private var move: BufferMove?
    private var ways: [Way] = []
    private var nextWay = 0
    private var nextRange = 0
    private var step = 0
    private var isDone = false

    /// The buffer's reservation is locked.
    init(_ move: BufferMove, on queue: JobQueue, migrator: CopyMigrator) {
        self.move = move
        self.queue = queue
        self.migrator = migrator
        // Engines use frames of the wanted placement only: nothing leads to others.
        guard let source = move.source, source.placement == move.buffer.wantedPlacement else {
            return
        }
        for vm in move.buffer.vms {
            guard let space = vm.driverData as? ExecutedSpace else { continue }
            if space.isImmediate {
                ways.append(.tree(space, vm))
                continue
            }
            var ranges: [VirtualRange] = []
            vm.forEachMapping(of: move.buffer) { va in
                ranges.append(VirtualRange(address: va.address, bytes: va.range))
            }
            if !ranges.isEmpty { ways.append(.ranges(space, ranges)) }
        }
    }

    func run(_ slice: inout JobSlice) -> JobOutcome {
        guard unmap(until: { slice.isOver }) else { return .yield }
        guard let move, !isDone else { return .done }
        repeat {
            isDone = move.execute(step: &step)
        } while !isDone && !slice.isOver
        return isDone ? .done : .yield
    }

    func completed(error: Int32) {
        migrator.releases.begin()
        guard !isDone, let move else { return }
        _ = unmap(until: { false })
        repeat { isDone = move.execute(step: &step) } while !isDone
    }

    func released(error: Int32) {
        move = nil
        ways = []
        migrator.giveBack(queue)
        migrator.releases.end()
    }

    /// Takes the buffer out of page tables, range by range, until `isOver`.
    ///
    /// - Returns: Whether all is done. Indices and no iterators, which an unoptimised build allocates.
    private func unmap(until isOver: () -> Bool) -> Bool {
        guard let move else { return true }
        while nextWay < ways.count {
            switch ways[nextWay] {
            case .ranges(let space, let ranges):
                while nextRange < ranges.count {
                    migrator.zap(ranges[nextRange], in: space)
                    nextRange += 1
                    if isOver() { return false }
                }
                nextRange = 0
            case .tree(let space, let vm):
                // In one go: the tree is locked meanwhile.
                space.operationLock.withLock {
                    vm.forEachMapping(of: move.buffer) { va in
                        migrator.zap(
                            VirtualRange(address: va.address, bytes: va.range), in: space)
                    }
                }
            }
            nextWay += 1
        }
        return true
    }
}
