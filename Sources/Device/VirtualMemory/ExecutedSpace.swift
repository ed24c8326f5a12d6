import Fencing
import GPUVMCore
import PageTables

/// The executed state of a VM: its page table, and the address space as MMUs know it.
///
/// It is what an eviction finds behind a VM that maps the buffer (`GPUVM.driverData`): enough to take
/// the buffer out of the page table, without the VM's lock.
///
/// Threading: any thread; the page table and the MMUs synchronise themselves.
final class ExecutedSpace: Sendable {
    private struct Owner {
        weak var vm: DeviceVM?
    }

    /// Of whatever format: one dynamic call for each operation, none for each entry.
    let table: any PageTableWriting
    let addressSpace: AddressSpace
    /// Whether the tree changes inside of jobs.
    let isImmediate: Bool
    /// Guards the tree of an immediate-mode VM, which its bind jobs change.
    let operationLock = Lock(.vmOperation)
    private let owner = Guarded(.leaf, Owner())

    init(table: any PageTableWriting, addressSpace: AddressSpace, isImmediate: Bool) {
        self.table = table
        self.addressSpace = addressSpace
        self.isImmediate = isImmediate
    }

    /// The VM, while it lives.
    var vm: DeviceVM? { owner.withLock { $0.vm } }

    /// Once, when the VM has been made.
    func belong(to vm: DeviceVM) { owner.withLock { $0.vm = vm } }

    /// Forgets a mapping: its page-table entries and whatever TLBs have of it; on the signalling path.
    ///
    /// - Returns: After every MMU has acknowledged.
    func zap(_ range: VirtualRange, in mmus: InvalidationDomain, pool: TablePool) {
        var retired = RetiredTables()
        table.zap(range.address, range: range.bytes, retiring: &retired)
        #if MUTANTS
            let isSkipped = Mutant.isPlanted("evictionNotInvalidated")
        #else
            let isSkipped = false
        #endif
        if !isSkipped {
            mmus.invalidate(
                space: addressSpace.id, address: range.address, range: range.bytes)
        }
        pool.release(&retired)
    }
}
