import CWireProtocol
import Device
import Memory
import WireProtocol

/// How memory is used, and by which buffers.
extension Session {
    func memoryInfo(_ message: inout IncomingMessage) throws(WireError) -> OutgoingMessage {
        let status = server.device.status()
        let memory = server.device.memory
        var reply = gpuvm_memory_info_reply()
        reply.vram = gpuvm_memory_region(
            bytes: memory.vramBytes, used: status.vramUsed,
            visible_bytes: status.visibleVRAMBytes, visible_used: status.visibleVRAMUsed)
        reply.system = gpuvm_memory_region(
            bytes: memory.system.bytes, used: status.systemUsed,
            visible_bytes: memory.system.bytes, visible_used: status.systemUsed)
        reply.evictions = status.evictions
        reply.restores = status.restores
        reply.bytes_moved = status.bytesMoved
        reply.resident_buffers = status.residentBuffers
        reply.evicted_buffers = status.evictedBuffers
        var builder = ReplyBuilder(to: .memoryInfo, serial: message.serial)
        builder.append(reply)
        return builder.finishInline()
    }

    /// The buffers that the client may look at: those of visible clients, and those that it has a
    /// handle of, whoever made them.
    func bufferList(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let page = try readPage(message)
        let reports = server.device.bufferReports().filter {
            client.isPrivileged || $0.client == client.id
                || client.handle(ofBufferWithID: $0.id) != nil
        }
        return ListPage(
            reports, after: page.cursor, key: \.id, record: { record($0, for: client) }
        ).reply(to: message)
    }

    private func record(_ report: BufferReport, for client: Client) -> gpuvm_bo_record {
        var record = gpuvm_bo_record()
        record.id = report.id
        if client.isPrivileged || report.client == client.id {
            record.client_id = report.client
            record.client = WireName.encode(report.clientName)
        }
        record.handle = client.handle(ofBufferWithID: report.id) ?? 0
        record.size = report.size
        record.physical_address = report.physicalAddress
        record.wanted = report.wanted.rawValue
        record.placement = report.placement.rawValue
        record.flags = Self.flags(
            isLocal: report.isLocal, needsCPUAccess: report.needsCPUAccess,
            isEvicted: report.isEvicted, wanted: report.wanted)
        record.vms = UInt32(clamping: report.vms)
        record.extents = UInt32(clamping: report.extents)
        record.name = WireName.encode(report.name)
        return record
    }
}
