import CWireProtocol
import Device
import Engines
import Memory
import PageTables
import SystemPackage
import WireProtocol

extension Session {
    func status(_ message: inout IncomingMessage) throws(WireError) -> OutgoingMessage {
        let status = server.device.status()
        let memory = server.device.memory
        var reply = gpuvm_status_reply()
        reply.uptime_ns = status.uptime
        reply.clients = UInt32(status.clients)
        reply.vms = UInt32(status.vms)
        reply.bos = UInt32(status.buffers)
        reply.queues = UInt32(status.queues)
        reply.syncobjs = UInt32(status.syncobjs)
        reply.open_fds = UInt32(ProcessDescriptors.count)
        reply.mappings = UInt64(status.mappings)
        reply.vram_bytes = memory.vramBytes
        reply.vram_used = status.vramUsed
        reply.system_bytes = memory.system.bytes
        reply.system_used = status.systemUsed
        reply.table_pages = UInt64(status.tablePages)
        reply.table_pages_used = UInt64(status.tablePagesUsed)
        reply.table_pages_reserved = UInt64(status.tablePagesReserved)
        reply.requests = server.counters.requests.load(ordering: .relaxed)
        reply.failed_requests = server.counters.failedRequests.load(ordering: .relaxed)
        reply.bind_jobs = status.bindJobs
        reply.exec_jobs = status.execJobs
        reply.failed_jobs = status.failedJobs
        reply.faults = status.faults
        reply.bytes_read = status.mmu.bytesRead
        reply.bytes_written = status.mmu.bytesWritten
        reply.tlb_hits = status.mmu.hits
        reply.tlb_misses = status.mmu.misses
        reply.tlb_invalidations = status.mmu.invalidations
        reply.server = WireName.encode(server.name)
        var builder = ReplyBuilder(to: .status, serial: message.serial)
        builder.append(reply)
        return try builder.finish()
    }

    // MARK: lists

    /// The clients that this one may look at.
    func visibleClients(_ client: Client) -> [Client] {
        client.isPrivileged ? server.device.clients : [client]
    }

    func readPage(_ message: borrowing IncomingMessage) throws(WireError) -> gpuvm_page {
        var reader = message.reader
        let page: gpuvm_page = try reader.read()
        try requireZero(page.flags, "flags")
        if message.opcode != .vmShow { try requireZero(page.handle, "handle (but of VM_SHOW)") }
        return page
    }

    func clientList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        return ListPage(
            visibleClients(client), after: page.cursor, key: { UInt64($0.id) },
            record: { one in
                let counts = one.counts
                var record = gpuvm_client_record()
                record.client_id = one.id
                record.pid = one.process
                record.uid = one.user
                record.vms = UInt32(counts.vms)
                record.bos = UInt32(counts.buffers)
                record.queues = UInt32(counts.queues)
                record.syncobjs = UInt32(counts.syncobjs)
                record.bo_bytes = counts.bufferBytes
                record.requests = counts.requests
                record.failed_requests = counts.failedRequests
                record.name = WireName.encode(one.name)
                return record
            }
        ).reply(to: message)
    }

    func vmList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        return ListPage(
            visibleClients(client).flatMap(\.allVMs), after: page.cursor,
            key: { UInt64($0.vm.id) }, record: { VMRecords.vm($0.vm, handle: $0.handle) }
        ).reply(to: message)
    }

    /// The VM with a device-wide id, if the client may look at it.
    func visibleVM(_ client: Client, _ id: UInt32) throws(WireError) -> DeviceVM {
        for one in visibleClients(client) {
            if let found = one.allVMs.first(where: { $0.vm.id == id }) { return found.vm }
        }
        throw WireError(
            .noSuchFileOrDirectory,
            "no VM has the device-wide id \(id): `gpuvmctl vm list` shows those that there are")
    }

    /// The mappings of a VM by address; the cursor is the address to go on from.
    func vmShow(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        let vm = try visibleVM(client, page.handle)
        let limit = (Int(GPUVM_MAX_INLINE) - 64) / MemoryLayout<gpuvm_va_record>.stride
        let mappings = vm.mappings(from: page.cursor, limit: limit + 1)
        var head = gpuvm_page_reply()
        head.count = UInt32(min(limit, mappings.count))
        head.cursor = mappings.count > limit ? mappings[limit].address : 0
        var builder = ReplyBuilder(to: .vmShow, serial: message.serial)
        builder.append(head)
        builder.append(contentsOf: mappings.prefix(limit).map { VMRecords.mapping($0) })
        return try builder.finish()
    }

    func vmWalk(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_vm_walk = try reader.read()
        try requireZero(request.reserved, "reserved")
        let vm = try visibleVM(client, request.vm)
        guard let walk = vm.walk(request.address) else {
            throw WireError(.noSuchFileOrDirectory, "VM \(request.vm) was closed")
        }
        var reply = gpuvm_vm_walk_reply()
        reply.level_count = UInt32(walk.stepCount)
        withUnsafeMutableBytes(of: &reply.levels) { raw in
            let levels = raw.bindMemory(to: gpuvm_walk_level.self)
            for (index, step) in walk.steps.enumerated().prefix(levels.count) {
                levels[index] = gpuvm_walk_level(
                    level: UInt32(step.level), index: UInt32(step.index), table: step.table,
                    entry: step.entry)
            }
        }
        if case .leaf(let leaf) = walk.result {
            reply.leaf_bytes = leaf.bytes
            if leaf.flags.contains(.readOnly) { reply.flags |= GPUVM_MAPPING_READ_ONLY }
            if leaf.isNull {
                reply.result = GPUVM_WALK_NULL.rawValue
                reply.flags |= GPUVM_MAPPING_NULL
            } else {
                reply.result = GPUVM_WALK_MEMORY.rawValue
                reply.physical_address = walk.physical ?? 0
                reply.placement =
                    server.device.memory.placement(of: reply.physical_address)?.rawValue ?? 0
            }
        }
        var builder = ReplyBuilder(to: .vmWalk, serial: message.serial)
        builder.append(reply)
        return try builder.finish()
    }

    func queueList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        return ListPage(
            visibleClients(client).flatMap(\.allQueues), after: page.cursor,
            key: { UInt64($0.id) },
            record: { queue in
                let status = queue.jobs.status
                var record = gpuvm_queue_record()
                record.id = queue.id
                record.vm = queue.vm.id
                record.client_id = queue.client
                record.engine_class = queue.engineClass.rawValue
                record.engine_instance = UInt16(queue.engineInstance)
                record.priority = UInt32(queue.jobs.priority.rawValue)
                if case .banned(let reason) = status.state { record.banned = UInt32(reason) }
                record.pending = UInt64(status.pendingJobs)
                record.submitted = status.jobs.submitted
                record.completed = status.jobs.completed
                record.failed = status.jobs.failed
                record.cancelled = status.jobs.cancelled
                return record
            }
        ).reply(to: message)
    }

    func faultList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        let visible = Set(visibleClients(client).map(\.id))
        let faults = server.device.faults.reports(after: page.cursor, limit: .max)
            .filter { client.isPrivileged || visible.contains($0.client) }
        return ListPage(
            faults, after: page.cursor, key: \.id, record: { record($0, for: client) }
        ).reply(to: message)
    }

    private func record(_ fault: FaultReport, for client: Client) -> gpuvm_fault_record {
        var record = gpuvm_fault_record()
        record.id = fault.id
        record.timestamp = fault.time
        record.vm = fault.vm
        record.queue = fault.queue
        record.client_id = fault.client
        record.engine_instance = UInt32(fault.engine)
        record.address = fault.address
        if let failure = fault.failure {
            (record.access, record.reason, record.level) = wire(failure)
            record.command_address = failure.command
        }
        if let below = fault.below {
            record.flags |= GPUVM_FAULT_HAS_BELOW
            record.below = wire(below, for: client)
        }
        if let above = fault.above {
            record.flags |= GPUVM_FAULT_HAS_ABOVE
            record.above = wire(above, for: client)
        }
        if let last = fault.lastOperation {
            record.flags |= GPUVM_FAULT_HAS_LAST_OP
            record.last_op_time = last.time
            record.last_op_kind = last.kind.rawValue
            record.last_op_address = last.address
            record.last_op_range = last.range
        }
        if let hazard = fault.failure?.hazard { describe(hazard, in: &record) }
        if fault.injection != 0 {
            record.flags |= GPUVM_FAULT_IS_INJECTED
            record.detail = fault.injection
        }
        if let refusal = fault.refusal { describe(refusal, in: &record, for: client) }
        return record
    }

    /// The fields that a missing barrier has of its own.
    private func describe(_ hazard: CopyHazard, in record: inout gpuvm_fault_record) {
        record.reason = GPUVM_FAULT_MISSING_BARRIER.rawValue
        record.access =
            hazard.kind == .readAfterWrite
            ? GPUVM_ACCESS_READ.rawValue : GPUVM_ACCESS_WRITE.rawValue
        record.detail =
            switch hazard.kind {
            case .readAfterWrite: GPUVM_HAZARD_READ_AFTER_WRITE.rawValue
            case .writeAfterWrite: GPUVM_HAZARD_WRITE_AFTER_WRITE.rawValue
            case .writeAfterRead: GPUVM_HAZARD_WRITE_AFTER_READ.rawValue
            }
        record.flags &= ~GPUVM_FAULT_HAS_LAST_OP
        if hazard.isOrdered { record.flags |= GPUVM_FAULT_IS_ORDERED }
        if hazard.isIncomplete { record.flags |= GPUVM_FAULT_IS_INCOMPLETE }
        record.last_op_time = 0
        record.last_op_kind = 0
        record.last_op_address = hazard.earlier
        record.last_op_range = hazard.bytes
    }

    /// The fields that a refused bind has of its own.
    private func describe(
        _ refusal: RefusedBind, in record: inout gpuvm_fault_record, for client: Client
    ) {
        record.reason = GPUVM_FAULT_BIND_REFUSED.rawValue
        record.access = GPUVM_ACCESS_WRITE.rawValue
        record.detail = UInt32(refusal.errno)
        record.command_address = refusal.bufferBytes
        record.flags &= ~(GPUVM_FAULT_HAS_LAST_OP | GPUVM_FAULT_HAS_ABOVE)
        record.above = wire(refusal.mapping, for: client)
        record.last_op_time = 0
        record.last_op_kind = refusal.operation.kind.rawValue
        record.last_op_address = refusal.operation.address
        record.last_op_range = refusal.operation.range
    }

    private func wire(
        _ failure: EngineFailure
    ) -> (access: UInt32, reason: UInt32, level: UInt32) {
        guard let fault = failure.fault else {
            return (GPUVM_ACCESS_FETCH.rawValue, GPUVM_FAULT_BAD_COMMAND.rawValue, 0)
        }
        let access =
            switch fault.access {
            case .read: GPUVM_ACCESS_READ
            case .write: GPUVM_ACCESS_WRITE
            case .fetch: GPUVM_ACCESS_FETCH
            }
        let (reason, level) =
            switch fault.reason {
            case .notMapped(let level): (GPUVM_FAULT_NOT_MAPPED, level)
            case .readOnly: (GPUVM_FAULT_READ_ONLY, 0)
            case .outOfRange: (GPUVM_FAULT_OUT_OF_RANGE, 0)
            case .machineCheck: (GPUVM_FAULT_MACHINE_CHECK, 0)
            case .malformedEntry(let level, _): (GPUVM_FAULT_MACHINE_CHECK, level)
            case .spaceClosed: (GPUVM_FAULT_VM_CLOSED, 0)
            }
        return (access.rawValue, reason.rawValue, UInt32(level))
    }
}
