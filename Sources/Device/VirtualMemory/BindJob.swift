import Fencing
import GPUVMCore
import Glibc
import Memory
import PageTables
import Scheduling
import Synchronization

// @unchecked: until it is pushed the job is the submitter's; then only the bind engine's thread that
// has its queue touches the mutable fields.
/// The executed half of a VM_BIND: rewrites page tables, invalidates TLBs, gives tables back.
///
/// Everything that it needs was taken at submission: the frames' addresses, the page-table pages,
/// and references on every buffer whose entries it writes or clears, so that no frame goes back to
/// the allocator while an entry or a TLB still leads to it.
final class BindJob: JobBody, @unchecked Sendable {
    /// Nil once the job has been released.
    private var vm: DeviceVM?
    private var plan: BindPlan
    private var unmapped: [GPUVMObject] = []
    private let charge: BindCharge
    private var next = 0
    private var failure: Int32 = 0
    private var times = JobSpan()

    init(vm: DeviceVM, plan: consuming BindPlan, usage: ClientUsage) {
        self.vm = vm
        self.plan = plan
        charge = BindCharge(
            usage, operations: self.plan.operationCount, tables: self.plan.reservation.count)
    }

    /// What the job covers, for the dependencies of jobs of other queues.
    var coverage: AddressRanges { AddressRanges(plan.ranges) }

    /// What the job's operations on whole buffers unmap.
    var unmappedByBuffer: [VirtualRange] { plan.unmappedByBuffer }

    /// The ops by kind.
    var counts: OperationCounts { plan.counts }

    /// The op lists, if they were asked for; once.
    func takeRecords() -> [ExecutedOperation] { plan.takeRecords() }

    /// Keeps what was unmapped until the page tables show it; between arming and pushing, when the
    /// job is still the submitter's.
    func hold(_ objects: [GPUVMObject]) { unmapped = objects }

    /// Gives everything back: the job was never armed.
    func discard() {
        charge.giveBack()
        plan.returnReservation()
        finish()
    }

    func run(_ slice: inout JobSlice) -> JobOutcome {
        guard let vm else { return .failed(errno: EIO) }
        if vm.device.configuration.reportsJobs { times.begin() }
        var retired = RetiredTables()
        let first = next
        var untimed: UInt64 = 0
        while next < plan.updates.count {
            // A job before it may have ended without executing: what this one was planned for is
            // then not what it would find.
            guard vm.mayExecute else {
                failure = ECANCELED
                break
            }
            if let errno = vm.device.failures.asynchronousFailure() {
                failure = errno
                vm.fail(errno)
                break
            }
            plan.execute(next, on: vm.table, retiring: &retired)
            untimed += max(plan.ranges[next].bytes, Self.leastBytes)
            next += 1
            // The clock costs as much as a few entries.
            if slice.shouldStop { break }
            if untimed >= Self.timedBytes {
                if slice.isOver { break }
                untimed = 0
            }
        }
        // Entries first, then every TLB, and only then may a table be used again.
        if !plan.mapsOverNothing || !retired.isEmpty { invalidate(first..<next, in: vm) }
        vm.device.tablePool.release(&retired)
        if failure != 0 { return .failed(errno: failure) }
        return next < plan.updates.count ? .yield : .done
    }

    /// How much may be written between two looks at the clock, bytes of address space.
    private static let timedBytes: UInt64 = 1 << 20
    /// What an update of fewer bytes counts as.
    private static let leastBytes: UInt64 = 1 << 16

    private func invalidate(_ updates: Range<Int>, in vm: DeviceVM) {
        #if MUTANTS
            if Mutant.isPlanted("invalidationDropped") { return }
        #endif
        plan.ranges.withUnsafeBufferPointer {
            vm.device.mmus.invalidate(
                space: vm.addressSpace.id, ranges: UnsafeBufferPointer(rebasing: $0[updates]))
        }
    }

    func completed(error: Int32) {
        // Before the fence: who sees it finds its quotas free and the job counted.
        charge.giveBack()
        // What an executed job did not use is promised to others again.
        plan.returnReservation()
        guard let vm else { return }
        if next < plan.updates.count { vm.cutOff() }
        if vm.device.configuration.reportsJobs { times.end() }
        vm.device.releases.begin()
        vm.device.counters.bindJobs.add(1, ordering: .relaxed)
        if error != 0 { vm.device.counters.failedJobs.add(1, ordering: .relaxed) }
    }

    func released(error: Int32) {
        let device = vm?.device
        if let vm, failure != 0 && failure != ECANCELED { vm.device.events.postBan(of: vm) }
        if let vm, vm.device.configuration.reportsJobs {
            vm.device.events.post(
                .jobEnded(
                    JobReport(
                        kind: .bind, client: vm.client, vm: vm.id, began: times.began,
                        ended: times.ended, error: error)))
        }
        finish()
        device?.releases.end()
    }

    private func finish() {
        unmapped = []
        plan.forget()
        vm = nil
    }
}
