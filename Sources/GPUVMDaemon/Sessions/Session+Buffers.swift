import CWireProtocol
import Device
import Memory
import WireProtocol

extension Session {
    func createBuffer(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_bo_create = try reader.read()
        try requireZero(request.reserved, "reserved")
        try requireFlags(request.flags, known: GPUVM_BO_LOCAL | GPUVM_BO_NO_CPU_ACCESS, "flags")
        guard let placement = Placement(rawValue: request.placement) else {
            throw .invalid(
                "placement \(request.placement): 0 is system memory and 1 is VRAM")
        }
        let isLocal = request.flags & GPUVM_BO_LOCAL != 0
        if !isLocal { try requireZero(request.vm, "vm") }
        let name = try WireName.decode(request.name)
        let made = try onDevice { () throws(DeviceError) in
            try client.createBuffer(
                name: name, size: request.size, placement: placement,
                localTo: isLocal ? request.vm : nil,
                needsCPUAccess: request.flags & GPUVM_BO_NO_CPU_ACCESS == 0)
        }
        var builder = ReplyBuilder(to: .boCreate, serial: message.serial)
        builder.append(reply(for: made.handle, made.buffer))
        if made.buffer.needsCPUAccess {
            builder.attach(borrowing: made.buffer.backing.descriptor, of: made.buffer)
        }
        return builder.finishInline()
    }

    func importBuffer(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_bo_import = try reader.read()
        let name = try WireName.decode(request.name)
        guard let descriptor = message.fds.take(0) else {
            throw .invalid("BO_IMPORT carries no file descriptor")
        }
        let number = descriptor.release()
        let made = try onDevice { () throws(DeviceError) in
            try client.importBuffer(name: name, descriptor: number, size: request.size)
        }
        var builder = ReplyBuilder(to: .boImport, serial: message.serial)
        builder.append(reply(for: made.handle, made.buffer))
        return builder.finishInline()
    }

    func exportBuffer(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let handle = try readHandle(message)
        let buffer = try onDevice { () throws(DeviceError) in try client.exportBuffer(handle) }
        // Whoever has the descriptor can map it.
        guard buffer.needsCPUAccess else {
            throw WireError(
                .notPermitted,
                "buffer \(handle) was created without CPU access and cannot be exported")
        }
        var builder = ReplyBuilder(to: .boExport, serial: message.serial)
        builder.attach(borrowing: buffer.backing.descriptor, of: buffer)
        return builder.finishInline()
    }

    func bufferInfo(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let handle = try readHandle(message)
        let buffer = try onDevice { () throws(DeviceError) in try client.buffer(handle) }
        var info = gpuvm_bo_info_reply()
        info.size = buffer.size
        info.placement = buffer.placement.rawValue
        info.flags = Self.flags(
            isLocal: buffer.isLocal, needsCPUAccess: buffer.needsCPUAccess,
            isEvicted: buffer.isEvicted, wanted: buffer.wantedPlacement)
        info.hard_references = UInt32(clamping: buffer.hardReferenceCount)
        info.mappings = UInt32(clamping: client.mappingCount(of: buffer))
        info.physical_address = buffer.extents.first?.address ?? 0
        info.name = WireName.encode(buffer.name)
        var builder = ReplyBuilder(to: .boInfo, serial: message.serial)
        builder.append(info)
        return try builder.finish()
    }

    /// GPUVM_BO_* of a reply.
    static func flags(
        isLocal: Bool, needsCPUAccess: Bool, isEvicted: Bool, wanted: Placement
    ) -> UInt32 {
        var flags: UInt32 = 0
        if isLocal { flags |= GPUVM_BO_LOCAL }
        if !needsCPUAccess { flags |= GPUVM_BO_NO_CPU_ACCESS }
        if isEvicted { flags |= GPUVM_BO_EVICTED }
        if wanted == .vram { flags |= GPUVM_BO_WANTS_VRAM }
        return flags
    }

    private func reply(for handle: UInt32, _ buffer: BufferObject) -> gpuvm_bo_reply {
        gpuvm_bo_reply(
            handle: handle, placement: buffer.placement.rawValue, size: buffer.size)
    }
}
