import CWireProtocol
import Device
import Fencing
import SystemPackage
import WireProtocol

extension Session {
    /// Carries a request out.
    ///
    /// - Returns: Its reply, or nil if the reply comes later.
    func dispatch(_ message: inout IncomingMessage) throws(WireError) -> OutgoingMessage? {
        if message.opcode == .hello { return try hello(&message) }
        let client = try requireClient()
        client.noteRequest()
        return switch message.opcode {
        case .hello: nil
        case .boCreate: try createBuffer(client, &message)
        case .boImport: try importBuffer(client, &message)
        case .boExport: try exportBuffer(client, &message)
        case .boInfo: try bufferInfo(client, &message)
        case .boClose:
            try closeHandle(&message) { (handle) throws(DeviceError) in
                try client.closeBuffer(handle)
            }
        case .vmCreate: try createVM(client, &message)
        case .vmClose:
            try closeHandle(&message) { (handle) throws(DeviceError) in
                try client.closeVM(handle)
            }
        case .vmBind: try bind(client, &message)
        case .queueCreate: try createQueue(client, &message)
        case .queueClose:
            try closeHandle(&message) { (handle) throws(DeviceError) in
                try client.closeQueue(handle)
            }
        case .queueInfo: try queueInfo(client, &message)
        case .exec: try exec(client, &message)
        case .syncobjCreate: try createSyncobj(client, &message)
        case .syncobjDestroy:
            try closeHandle(&message) { (handle) throws(DeviceError) in
                try client.destroySyncobj(handle)
            }
        case .syncobjSignal: try signalSyncobjs(client, &message)
        case .syncobjReset: try resetSyncobjs(client, &message)
        case .syncobjQuery: try querySyncobjs(client, &message)
        case .syncobjTransfer: try transferSyncobj(client, &message)
        case .syncobjWait: try waitForSyncobjs(client, &message)
        case .syncobjExport: try exportSyncobj(client, &message)
        case .syncobjImport: try importSyncobj(client, &message)
        case .syncobjEventfd: try registerEventFD(client, &message)
        case .status: try status(&message)
        case .clientList: try clientList(client, &message)
        case .vmList: try vmList(client, &message)
        case .vmShow: try vmShow(client, &message)
        case .vmWalk: try vmWalk(client, &message)
        case .fenceInfo: try fenceInfo(client, &message)
        case .faultList: try faultList(client, &message)
        case .queueList: try queueList(client, &message)
        case .memoryInfo: try memoryInfo(&message)
        case .drmInfo: drmInfo(&message)
        case .drmCounts: try drmCounts(client, &message)
        case .drmFileList: try drmFileList(client, &message)
        case .vmSparse: try vmSparse(client, &message)
        case .vmTables: try vmTables(client, &message)
        case .boList: try bufferList(client, &message)
        case .inject: try inject(client, &message)
        case .injectClear: try clearInjections(client, &message)
        case .injectList: try injectionList(client, &message)
        case .injectFirings: try injectionFirings(client, &message)
        }
    }

    private func hello(_ message: inout IncomingMessage) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_hello = try reader.read()
        guard request.magic == GPUVM_PROTOCOL_MAGIC else {
            throw WireError(.protocolError, "HELLO does not begin with the protocol's magic")
        }
        guard UInt32(request.major) == GPUVM_PROTOCOL_MAJOR else {
            throw WireError(
                .protocolError,
                """
                the client speaks protocol \(request.major).\(request.minor) and the daemon \
                \(GPUVM_PROTOCOL_MAJOR).\(GPUVM_PROTOCOL_MINOR): the major versions must match
                """)
        }
        try requireZero(request.flags, "flags")
        guard client == nil else {
            throw .invalid("HELLO was sent before on this connection")
        }
        let name = try WireName.decode(request.name)
        let device = server.device
        let client = device.makeClient(
            name: name.isEmpty ? "pid-\(credentials.pid)" : name, process: credentials.pid,
            user: credentials.uid, isPrivileged: isPrivileged)
        let chunk: Int32
        do throws(WireError) {
            chunk = try fenceChunk(client, 0)
        } catch {
            // Nobody has heard of the client: the connection may try again.
            client.close()
            throw error
        }
        // From here on the session's end closes the client, and nothing fails.
        adopt(client)
        logger.info("client connected", metadata: ["uid": "\(credentials.uid)"])
        var reply = gpuvm_hello_reply()
        reply.major = UInt16(GPUVM_PROTOCOL_MAJOR)
        reply.minor = UInt16(GPUVM_PROTOCOL_MINOR)
        reply.client_id = client.id
        reply.capabilities = UInt64(
            GPUVM_CAP_VM_BIND | GPUVM_CAP_TIMELINE | GPUVM_CAP_EVENTFD | GPUVM_CAP_SPARSE
                | GPUVM_CAP_FENCE_PAGE | GPUVM_CAP_IMMEDIATE_MODE | GPUVM_CAP_WEAK_REFERENCES
                | GPUVM_CAP_EVICTION | GPUVM_CAP_INJECTION)
        reply.vram_bytes = device.memory.vramBytes
        reply.system_bytes = device.memory.system.bytes
        reply.va_bits = 48
        reply.page_bytes = GPUVM_PAGE_SIZE
        reply.max_bind_ops = Self.maxBindOps
        reply.max_syncs = Self.maxSyncs
        reply.copy_engines = UInt32(device.configuration.copyEngines)
        reply.fence_slots_per_chunk = UInt32(FencePage.slotsPerChunk)
        reply.server = WireName.encode(server.name)
        var builder = ReplyBuilder(to: .hello, serial: message.serial)
        builder.append(reply)
        builder.attach(borrowing: chunk, of: client)
        return builder.finishInline()
    }

    /// The most operations of one VM_BIND: what an external message has room for.
    static var maxBindOps: UInt32 { 262_144 }
    /// The most waits, and the most signals, of one request.
    static var maxSyncs: UInt32 { 16_384 }

    /// Carries out a request that takes a handle and answers nothing.
    func closeHandle(
        _ message: inout IncomingMessage, _ close: (UInt32) throws(DeviceError) -> Void
    ) throws(WireError) -> OutgoingMessage {
        let handle = try readHandle(message)
        try onDevice { () throws(DeviceError) in try close(handle) }
        return ReplyBuilder(to: message.opcode, serial: message.serial).finishInline()
    }

    func readHandle(_ message: borrowing IncomingMessage) throws(WireError) -> UInt32 {
        var reader = message.reader
        let request: gpuvm_handle = try reader.read()
        try requireZero(request.reserved, "reserved")
        return request.handle
    }

    /// Runs `body` and turns its error into the wire's.
    func onDevice<Result: ~Copyable>(
        _ body: () throws(DeviceError) -> Result
    ) throws(WireError) -> Result {
        do throws(DeviceError) {
            return try body()
        } catch {
            throw WireError(Errno(rawValue: error.errno), error.description)
        }
    }
}
