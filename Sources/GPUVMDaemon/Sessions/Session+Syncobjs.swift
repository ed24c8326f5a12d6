import CWireProtocol
import Device
import Fencing
import SystemPackage
import WireProtocol

extension Session {
    func createSyncobj(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_syncobj_create = try reader.read()
        try requireFlags(request.flags, known: GPUVM_SYNCOBJ_SIGNALED, "flags")
        try requireZero(request.reserved, "reserved")
        let made = try onDevice { () throws(DeviceError) in
            try client.createSyncobj(isSignalled: request.flags & GPUVM_SYNCOBJ_SIGNALED != 0)
        }
        return try replyWithNewHandle(client, message, made)
    }

    /// The reply that tells a client its handle and slot, with the chunk's memfd if it is new.
    private func syncobjReply(
        _ client: Client, _ message: borrowing IncomingMessage, _ made: SyncobjHandle
    ) throws(WireError) -> OutgoingMessage {
        var builder = ReplyBuilder(to: message.opcode, serial: message.serial)
        builder.append(
            gpuvm_syncobj_reply(handle: made.handle, fence_slot: UInt32(made.slot)))
        if lacksChunk(made.chunk) {
            builder.attach(borrowing: try fenceChunk(client, made.chunk), of: client)
            // The session's thread sends this reply before it makes another; a connection that
            // cannot take it is cut.
            noteSent(chunk: made.chunk)
        }
        return builder.finishInline()
    }

    /// As ``syncobjReply(_:_:_:)``; a handle that the client will not hear of is forgotten.
    private func replyWithNewHandle(
        _ client: Client, _ message: borrowing IncomingMessage, _ made: SyncobjHandle
    ) throws(WireError) -> OutgoingMessage {
        do throws(WireError) {
            return try syncobjReply(client, message, made)
        } catch {
            try? client.destroySyncobj(made.handle)
            throw error
        }
    }

    /// The memfd of a chunk of the client's fence page, which keeps it.
    func fenceChunk(_ client: Client, _ index: Int) throws(WireError) -> Int32 {
        try onFencing { () throws(FencingError) in try client.fencePage.chunkFD(index) }
    }

    /// FD_TO_HANDLE: a syncobj fd becomes a handle, a sync_file the fence of a handle.
    func importSyncobj(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_syncobj_import = try reader.read()
        try requireFlags(request.flags, known: GPUVM_IMPORT_SYNC_FILE, "flags")
        guard let descriptor = message.fds.take(0) else {
            throw .invalid("SYNCOBJ_IMPORT carries no file descriptor")
        }
        let files = server.fenceFiles
        if request.flags & GPUVM_IMPORT_SYNC_FILE != 0 {
            let target = try onDevice { () throws(DeviceError) in
                try client.syncobj(request.handle)
            }
            try onFencing { () throws(FencingError) in
                try files.importSyncFile(
                    descriptor.rawValue, into: target, point: request.point)
            }
            let slot = try onDevice { () throws(DeviceError) in
                try client.slot(of: request.handle)
            }
            return try syncobjReply(client, message, slot)
        }
        try requireZero(request.handle, "handle (of an import without IMPORT_SYNC_FILE)")
        try requireZero(request.point, "point (of an import without IMPORT_SYNC_FILE)")
        let object = try onFencing { () throws(FencingError) in
            try files.syncobj(of: descriptor.rawValue)
        }
        let made = try onDevice { () throws(DeviceError) in try client.insert(object) }
        return try replyWithNewHandle(client, message, made)
    }

    func exportSyncobj(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_syncobj_export = try reader.read()
        try requireFlags(request.flags, known: GPUVM_EXPORT_SYNC_FILE, "flags")
        let isSyncFile = request.flags & GPUVM_EXPORT_SYNC_FILE != 0
        if !isSyncFile { try requireZero(request.point, "point (without EXPORT_SYNC_FILE)") }
        let object = try onDevice { () throws(DeviceError) in
            try client.syncobj(request.handle)
        }
        let files = server.fenceFiles
        let descriptor = try onFencing { () throws(FencingError) in
            if isSyncFile {
                try files.exportSyncFile(
                    of: object, point: request.point, quota: client.descriptorQuota)
            } else {
                try files.exportSyncobj(object, quota: client.descriptorQuota)
            }
        }
        var builder = ReplyBuilder(to: .syncobjExport, serial: message.serial)
        builder.attach(OwnedFD(descriptor))
        return try builder.finish()
    }

    // MARK: signal, reset, query, transfer

    private func readArray(
        _ message: borrowing IncomingMessage, knownFlags: UInt32 = 0
    ) throws(WireError) -> (points: [SyncPoint], flags: UInt32) {
        var reader = message.reader
        let request: gpuvm_syncobj_array = try reader.read()
        try requireFlags(request.flags, known: knownFlags, "flags")
        guard request.count > 0 else { throw .invalid("the array of sync objects is empty") }
        let array: WireArray<gpuvm_sync> = try reader.readArray(
            count: request.count, limit: Self.maxSyncs, "sync objects")
        try reader.expectEnd()
        return (try decode(array), request.flags)
    }

    func signalSyncobjs(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let points = try readArray(message).points
        try onDevice { () throws(DeviceError) in try client.signal(points) }
        return ReplyBuilder(to: .syncobjSignal, serial: message.serial).finishInline()
    }

    func resetSyncobjs(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let points = try readArray(message).points
        try onDevice { () throws(DeviceError) in try client.reset(points) }
        return ReplyBuilder(to: .syncobjReset, serial: message.serial).finishInline()
    }

    func querySyncobjs(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        let (points, flags) = try readArray(message, knownFlags: GPUVM_QUERY_LAST_SUBMITTED)
        let objects = try onDevice { () throws(DeviceError) in try client.syncobjs(points) }
        var builder = ReplyBuilder(to: .syncobjQuery, serial: message.serial)
        builder.append(
            gpuvm_syncobj_query_reply(count: UInt32(objects.count), reserved: 0))
        builder.append(
            contentsOf: objects.map {
                $0.0.query(lastSubmitted: flags & GPUVM_QUERY_LAST_SUBMITTED != 0)
            })
        return try builder.finish()
    }

    /// Transfers a fence; with WAIT_FOR_SUBMIT the reply comes when the source has one.
    func transferSyncobj(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage? {
        var reader = message.reader
        let request: gpuvm_syncobj_transfer = try reader.read()
        try requireFlags(request.flags, known: GPUVM_WAIT_FOR_SUBMIT, "flags")
        try requireZero(request.reserved, "reserved")
        let source = try decode(request.source)
        let destination = try decode(request.destination)
        let objects = try onDevice { () throws(DeviceError) in
            try client.syncobjs([source, destination])
        }
        let transfer = { @Sendable () throws(FencingError) in
            try Syncobj.transfer(
                from: objects[0].0, point: source.point, to: objects[1].0,
                point: destination.point)
        }
        guard request.flags & GPUVM_WAIT_FOR_SUBMIT != 0 else {
            try onFencing(transfer)
            return ReplyBuilder(to: .syncobjTransfer, serial: message.serial).finishInline()
        }
        try startWait(
            [SyncobjWait.Target(objects[0].0, point: source.point)],
            flags: [.forSubmit, .available], deadline: .max, message
        ) { (_, serial) throws(FencingError) in
            try transfer()
            return ReplyBuilder(to: .syncobjTransfer, serial: serial)
        }
        return nil
    }

    // MARK: waits

    func waitForSyncobjs(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage? {
        var reader = message.reader
        let request: gpuvm_syncobj_wait = try reader.read()
        try requireFlags(
            request.flags,
            known: GPUVM_WAIT_ALL | GPUVM_WAIT_FOR_SUBMIT | GPUVM_WAIT_AVAILABLE, "flags")
        guard request.count > 0 else { throw .invalid("the array of sync objects is empty") }
        let array: WireArray<gpuvm_sync> = try reader.readArray(
            count: request.count, limit: Self.maxSyncs, "sync objects")
        try reader.expectEnd()
        let points = try decode(array)
        let targets = try onDevice { () throws(DeviceError) in
            try client.syncobjs(points)
        }.map { SyncobjWait.Target($0.0, point: $0.1) }
        try startWait(
            targets, flags: SyncobjWait.Flags(rawValue: request.flags),
            deadline: request.deadline, message
        ) { (index, serial) throws(FencingError) in
            var builder = ReplyBuilder(to: .syncobjWait, serial: serial)
            builder.append(gpuvm_syncobj_wait_reply(first_signaled: index, reserved: 0))
            return builder
        }
        return nil
    }

    /// Starts a wait whose completion sends the reply; no thread waits for it.
    private func startWait(
        _ targets: [SyncobjWait.Target], flags: SyncobjWait.Flags, deadline: Int64,
        _ message: borrowing IncomingMessage,
        reply: @escaping @Sendable (UInt32, UInt32) throws(FencingError) -> ReplyBuilder
    ) throws(WireError) {
        let opcode = message.opcode
        let serial = message.serial
        let key = try reserveWait(targets: targets.count)
        let wait = SyncobjWait.start(
            targets, flags: flags, deadline: deadline, timers: server.device.timers
        ) { [weak self] outcome in
            self?.completeWait(key, opcode, serial, outcome, reply)
        }
        if !keep(wait, as: key) { wait.cancel() }
    }

    private func completeWait(
        _ key: UInt64, _ opcode: Opcode, _ serial: UInt32, _ outcome: SyncobjWait.Outcome,
        _ reply: (UInt32, UInt32) throws(FencingError) -> ReplyBuilder
    ) {
        finishWait(key)
        do throws(FencingError) {
            send(try reply(try outcome.get(), serial).finishInline())
        } catch {
            let failure = WireError(Errno(rawValue: error.errno), "\(error)")
            switch outcome {
            case .failure(.notSubmitted), .failure(.invalidArgument):
                // Found when the wait starts, so on the session's thread; the other ends of a wait
                // are answers and no mistakes of the client, and may come on the signalling path.
                noteFailure("\(opcode)", failure)
            case .failure, .success: break
            }
            send(ReplyBuilder.failure(opcode: opcode.rawValue, serial: serial, failure))
        }
    }

    func registerEventFD(
        _ client: Client, _ message: inout IncomingMessage
    ) throws(WireError) -> OutgoingMessage {
        var reader = message.reader
        let request: gpuvm_syncobj_eventfd = try reader.read()
        try requireFlags(request.flags, known: GPUVM_WAIT_AVAILABLE, "flags")
        guard let descriptor = message.fds.take(0) else {
            throw .invalid("SYNCOBJ_EVENTFD carries no file descriptor")
        }
        let object = try onDevice { () throws(DeviceError) in
            try client.syncobj(request.handle)
        }
        // The eventfd hangs on an object of its own, which a wait of this session fires: the
        // client's object may be shared and outlive the client, and would keep the descriptor.
        let relay = Syncobj()
        let fired = Fence.makeSignalled()
        try onFencing { () throws(FencingError) in
            try relay.registerEventFD(
                descriptor.rawValue, flags: .available, signaller: server.eventFDs,
                quota: client.descriptorQuota)
        }
        let key = try reserveWait(targets: 1)
        let wait = SyncobjWait.start(
            [SyncobjWait.Target(object, point: request.point)],
            flags: SyncobjWait.Flags(rawValue: request.flags).union(.forSubmit), deadline: .max,
            timers: server.device.timers
        ) { [weak self] outcome in
            if case .success = outcome { relay.replaceFence(fired) }
            self?.finishWait(key)
        }
        if !keep(wait, as: key) { wait.cancel() }
        return ReplyBuilder(to: .syncobjEventfd, serial: message.serial).finishInline()
    }

    /// Runs `body` and turns its error into the wire's.
    private func onFencing<Result>(
        _ body: () throws(FencingError) -> Result
    ) throws(WireError) -> Result {
        do throws(FencingError) {
            return try body()
        } catch {
            throw WireError(Errno(rawValue: error.errno), "\(error)")
        }
    }
}
