import CWireProtocol
import Device
import Memory
import PageTables
import WireProtocol

/// VMs and mappings as the wire has them.
enum VMRecords {
    /// O(mappings + tables), under the VM's lock.
    static func vm(_ vm: DeviceVM, handle: UInt32) -> gpuvm_vm_record {
        let report = vm.report()
        var record = gpuvm_vm_record()
        record.id = report.id
        record.handle = handle
        record.client_id = report.client
        switch report.condition {
        case .active: break
        case .banned: record.flags = GPUVM_VM_BANNED
        case .closed: record.flags = GPUVM_VM_CLOSED
        }
        if vm.flags.contains(.immediateMode) { record.flags |= GPUVM_VM_IS_IMMEDIATE }
        if vm.flags.contains(.weakReferences) { record.flags |= GPUVM_VM_IS_WEAK }
        record.start = report.start
        record.range = report.range
        record.reserved_start = report.reservedStart
        record.reserved_range = report.reservedRange
        record.mappings = UInt64(report.mappings)
        record.mapped_bytes = report.mappedBytes
        record.objects = UInt64(report.objects)
        record.table_pages = UInt64(report.tablePages)
        record.root_address = report.rootAddress
        record.leaves_4k = UInt64(report.leaves.memory[12] ?? 0)
        record.leaves_64k = UInt64(report.leaves.memory[16] ?? 0)
        record.leaves_2m = UInt64(report.leaves.memory[21] ?? 0)
        record.leaves_1g = UInt64(report.leaves.memory[30] ?? 0)
        record.leaves_null = UInt64(report.leaves.null.values.reduce(0, +))
        record.pending_binds = UInt64(report.pendingBinds)
        record.name = WireName.encode(report.name)
        record.client = WireName.encode(report.clientName)
        return record
    }

    static func mapping(_ mapping: MappingInfo) -> gpuvm_va_record {
        var record = gpuvm_va_record()
        record.address = mapping.address
        record.range = mapping.range
        record.offset = mapping.offset
        record.object = mapping.buffer
        record.flags = mapping.flags.rawValue
        record.placement = mapping.placement?.rawValue ?? 0
        record.name = WireName.encode(mapping.name)
        return record
    }
}
