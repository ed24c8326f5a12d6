import Fencing
import GPUVMCore
import Glibc
import Memory
import PageTables
import Scheduling
import Synchronization

// @unchecked: `space` and the fields of the second group are guarded by `lock`.
/// A GPU VM of a client: the VA tree (submitted state), the page table (executed state) and the
/// queues that run in it.
///
/// The VA tree changes at submission under this VM's lock; the page table changes when the bind job
/// executes. Closing is not freeing: ``close()`` aborts execution, unmaps everything and makes later
/// use fail with ENOENT, whoever still holds the object.
///
/// Threading: every method may be called from any thread. Bind jobs and engines never take the
/// VM's lock.
public final class DeviceVM: @unchecked Sendable {
    /// Unique in the device, never used again.
    public let id: UInt32
    /// What reports call it.
    public let name: String
    /// The client that made it.
    public let client: UInt32
    /// The client's name.
    public let clientName: String
    /// Its modes.
    public let flags: Flags
    /// What its page tables look like.
    public let format: TableFormat
    /// The executed state, as jobs and evictions reach it.
    let executed: ExecutedSpace
    let device: Device
    let usage: ClientUsage
    /// What local buffers share, so that one lock covers any number of them.
    let reservation: Reservation
    /// Takes the binds that name no queue.
    let defaultBindQueue: JobQueue
    /// Takes what the driver itself does to the page table: buffers that come back, and those that
    /// nobody holds any more. No in-fence of a client holds it up.
    let driverQueue: JobQueue

    /// Modes of a VM, fixed at its creation; the numbers are the wire's.
    public struct Flags: OptionSet, Sendable {
        /// The bits.
        public let rawValue: UInt32
        /// Makes flags from their bits.
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        /// The tree changes inside of the bind jobs, not at their submission.
        public static let immediateMode = Flags(rawValue: 1)
        /// The VM does not keep the buffers that it maps.
        public static let weakReferences = Flags(rawValue: 2)
    }

    /// The address space as the engines' MMUs see it.
    public var addressSpace: AddressSpace { executed.addressSpace }
    var table: any PageTableWriting { executed.table }

    /// Whether a VM takes requests.
    public enum Condition: Sendable, Equatable {
        /// It does.
        case active
        /// An asynchronous bind failed with this errno: ENOENT.
        case banned(errno: Int32)
        /// It was closed: ENOENT.
        case closed
    }

    let lock = Lock(.vm)
    let space: GPUVM
    var condition = Condition.active
    var pending = PendingBinds()
    var pendingMaps: [PendingMap] = []
    var sparse = SparseRegions()
    var history = OperationHistory()
    /// Whether the request in progress passes failure points: a client's, while they are armed.
    var hasFailurePoints = false
    private var queues: [JobQueue] = []
    /// Bind queues without a handle, by id: they end with their last job.
    private var retiredQueues: Set<UInt64> = []

    /// Set before the first queue is stopped: from then on no bind job changes a page table, because
    /// jobs that it was planned to follow may have been cancelled.
    private let isStopping = Atomic<Bool>(false)
    /// The errno of the bind job that failed; set before its fence signals.
    private let failure = Atomic<Int32>(0)
    init(
        id: UInt32, name: String, client: Client, start: UInt64, range: UInt64,
        reservedStart: UInt64, reservedRange: UInt64, flags: Flags, format: TableFormat
    ) throws(DeviceError) {
        let device = client.device
        guard format.tableClass.isValidRange(start, range: range) else {
            throw .invalid(
                """
                a VM of 0x\(hex(range)) bytes at 0x\(hex(start)): both are multiples of 4096, \
                the range is not empty and ends within the page tables' reach
                """)
        }
        let (reservedEnd, overflow) = reservedStart.addingReportingOverflow(reservedRange)
        guard
            reservedRange == 0
                || (!overflow && reservedStart >= start && reservedEnd <= start + range
                    && (reservedStart | reservedRange) % frameSize == 0)
        else {
            throw .invalid(
                """
                the reserved range 0x\(hex(reservedStart))+0x\(hex(reservedRange)) is not a \
                page-aligned part of the VM
                """)
        }
        let table: any PageTableWriting
        do throws(PageTableError) {
            table = try format.makeTable(device.tablePool)
        } catch {
            throw .pageTables(error)
        }
        #if MUTANTS
            let walker = Mutant.isPlanted("engineUsesBuffer") ? BufferWalker() : nil
            let addressSpace = walker.map { AddressSpace($0) } ?? AddressSpace(table)
        #else
            let addressSpace = AddressSpace(table)
        #endif
        executed = ExecutedSpace(
            table: table, addressSpace: addressSpace, isImmediate: flags.contains(.immediateMode))
        do throws(GPUVMError) {
            space = try GPUVM(
                name: name, flags: flags.core, start: start, range: range,
                reservedStart: reservedStart, reservedRange: reservedRange, driverData: executed)
        } catch {
            throw .space(error)
        }
        #if MUTANTS
            walker?.space = space
        #endif
        self.flags = flags
        self.format = format
        reservation = space.reservation
        defaultBindQueue = JobQueue(device.bindScheduler, name: "vm\(id)-bind", kind: .bind)
        driverQueue = JobQueue(device.bindScheduler, name: "vm\(id)-driver", kind: .bind)
        queues = [defaultBindQueue, driverQueue]
        usage = client.usage
        self.device = device
        self.id = id
        self.name = name
        self.client = client.id
        clientName = client.name
        executed.belong(to: self)
    }

    // MARK: queues

    /// The queues that have or may get jobs, the VM's own included.
    var queueCount: Int { lock.withLock { queues.count } }

    func add(_ queue: JobQueue) throws(DeviceError) {
        try lock.withLock { () throws(DeviceError) in
            try checkUsable()
            queues.append(queue)
        }
    }

    /// Takes no more jobs for a bind queue, and carries out those that it has: the VA tree has
    /// their result already.
    func retire(_ queue: JobQueue) {
        lock.withLock { _ = retiredQueues.insert(queue.id) }
        removeIdleQueues()
    }

    /// Forgets the queues that will take no more jobs and have none. The others' jobs go on;
    /// ``close()`` ends them.
    func removeIdleQueues() {
        lock.withLock {
            queues.removeAll { queue in
                guard queue !== defaultBindQueue, queue !== driverQueue,
                    queue.status.pendingJobs == 0
                else {
                    return false
                }
                // Jobs are armed under this lock, so none comes in between.
                if retiredQueues.remove(queue.id) != nil { queue.close() }
                return queue.status.state == .closed
            }
        }
    }

    // MARK: the end

    /// Cancels all jobs and bans all queues. Does not wait.
    func cancelJobs() {
        isStopping.store(true, ordering: .releasing)
        lock.withLock { for queue in queues { queue.kill() } }
    }

    // MARK: what bind jobs ask and tell, without the VM's lock

    /// Whether a bind job may go on.
    var mayExecute: Bool {
        !isStopping.load(ordering: .acquiring) && failure.load(ordering: .acquiring) == 0
    }

    /// A bind job failed: no other one goes on, and no request is accepted any more.
    func fail(_ errno: Int32) {
        _ = failure.compareExchange(expected: 0, desired: errno, ordering: .acquiringAndReleasing)
    }

    /// The page table will never be what the tree says: no engine may reach memory through it.
    ///
    /// For bind jobs that end without having executed, before their fence signals: frames that they
    /// were to make unreachable may have other owners afterwards.
    func cutOff() {
        #if MUTANTS
            if Mutant.isPlanted("deadSpaceStaysOpen") { return }
        #endif
        addressSpace.close()
        device.mmus.invalidateAll(space: addressSpace.id)
    }

    /// Whether the VM takes requests.
    public var currentCondition: Condition {
        lock.withLock {
            noteFailure()
            return condition
        }
    }

    /// Throws ENOENT unless the VM is active; under the lock.
    func checkUsable() throws(DeviceError) {
        noteFailure()
        switch condition {
        case .active: return
        case .closed: throw .vmUnusable(vm: id, reason: "was closed")
        case .banned(let errno):
            throw .vmUnusable(
                vm: id,
                reason: """
                    was banned: an asynchronous bind failed with errno \(errno); close it and \
                    make another
                    """)
        }
    }

    /// Bans the VM if a bind job of it failed: its page tables are no longer what its tree says.
    private func noteFailure() {
        let errno = failure.load(ordering: .acquiring)
        guard errno != 0, condition == .active else { return }
        condition = .banned(errno: errno)
        for queue in queues { queue.kill() }
    }

    /// Bans the VM after the failure of a bind job, and says what happened.
    func ban() -> DeviceEvent {
        lock.withLock { noteFailure() }
        return .vmBanned(client: client, vm: id, errno: failure.load(ordering: .relaxed))
    }

    /// The first half of ``close()``, which does not wait: no request and no job begins any more.
    func beginClose() {
        isStopping.store(true, ordering: .releasing)
        lock.withLock {
            condition = .closed
            for queue in queues { queue.close() }
        }
    }

    /// Aborts execution, unmaps everything, gives the page tables back.
    ///
    /// When this returns no engine reads or writes through this VM. It waits for a slice of each
    /// engine at most, then takes O(mappings). Called again, it does nothing.
    public func close() {
        beginClose()
        // No lock is held here: the hooks of ending jobs may take the VM's.
        for queue in lock.withLock({ queues }) { _ = queue.waitUntilIdle() }
        lock.withLock {
            guard !queues.isEmpty else { return }
            queues = []
            addressSpace.close()
            device.mmus.invalidateAll(space: addressSpace.id)
            table.destroy()
            usage.mappings.subtract(space.mappingCount, ordering: .relaxed)
            space.close()
        }
        device.unmapUnheldBuffers()
    }
}

extension DeviceVM.Flags {
    /// A VM in normal mode keeps its lists under its reservation, as Xe's; in immediate mode jobs
    /// change them, which hold none.
    var core: GPUVMFlags {
        var core: GPUVMFlags =
            contains(.immediateMode) ? .immediateMode : .reservationProtected
        if contains(.weakReferences) { core.insert(.weakReferences) }
        return core
    }
}

/// Hexadecimal, as addresses are shown.
func hex(_ number: UInt64) -> String { String(number, radix: 16) }
