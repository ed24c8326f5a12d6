import Fencing
import GPUVMCore
import Glibc
import PageTables
import Scheduling
import Synchronization

// @unchecked: until it is pushed the job is the submitter's; then only the bind engine's thread that
// has its queue touches the mutable fields.
/// A VM_BIND of an immediate-mode VM: changes the tree and the page table together, inside the
/// signalling section.
///
/// Nothing is allocated there and nothing can fail: see ``ImmediatePlan``.
final class ImmediateBindJob: JobBody, @unchecked Sendable {
    /// Nil once the job has been released.
    private var vm: DeviceVM?
    private var plan: ImmediatePlan
    private let charge: BindCharge
    private let usage: ClientUsage
    /// Mappings charged at submission; what they really came to is known when the job has executed.
    private let chargedMappings: Int
    private var addedMappings = 0
    private var next = 0
    private var failure: Int32 = 0

    init(
        vm: DeviceVM, plan: consuming ImmediatePlan, operations: Int, mappings: Int,
        usage: ClientUsage
    ) {
        self.vm = vm
        self.plan = plan
        self.usage = usage
        charge = BindCharge(usage, operations: operations, tables: self.plan.tables.count)
        chargedMappings = mappings
        usage.mappings.add(mappings, ordering: .relaxed)
    }

    /// What the job may touch, for the dependencies of jobs of other queues.
    var coverage: AddressRanges { AddressRanges(plan.ranges) }

    /// Gives everything back: the job was never armed.
    func discard() {
        giveBack()
        plan.forget()
        vm = nil
    }

    func run(_ slice: inout JobSlice) -> JobOutcome {
        guard let vm else { return .failed(errno: EIO) }
        while next < plan.count {
            guard vm.mayExecute else {
                failure = ECANCELED
                break
            }
            if let errno = vm.device.failures.asynchronousFailure() {
                failure = errno
                vm.fail(errno)
                break
            }
            execute(in: vm)
            next += 1
            if slice.isOver { break }
        }
        if failure != 0 { return .failed(errno: failure) }
        return next < plan.count ? .yield : .done
    }

    private func execute(in vm: DeviceVM) {
        let space = vm.executed
        space.operationLock.withLock {
            let before = vm.space.mappingCount
            plan.execute(next, on: space.table) { range in
                vm.device.mmus.invalidate(
                    space: space.addressSpace.id, address: range.address, range: range.bytes)
            }
            addedMappings += vm.space.mappingCount - before
        }
    }

    func completed(error: Int32) {
        // Before the fence: who sees it finds its quotas free and the job counted.
        giveBack()
        guard let vm else { return }
        if next < plan.count { vm.cutOff() }
        vm.device.releases.begin()
        vm.device.counters.bindJobs.add(1, ordering: .relaxed)
        if error != 0 { vm.device.counters.failedJobs.add(1, ordering: .relaxed) }
    }

    private func giveBack() {
        charge.giveBack()
        usage.mappings.add(addedMappings - chargedMappings, ordering: .relaxed)
        plan.returnReservations()
    }

    func released(error: Int32) {
        let device = vm?.device
        if let vm, failure != 0 && failure != ECANCELED { vm.device.events.postBan(of: vm) }
        plan.forget()
        vm = nil
        device?.releases.end()
        device?.unmapUnheldBuffers()
    }
}
