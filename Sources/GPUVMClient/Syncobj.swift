import CWireProtocol
import WireProtocol

/// A DRM sync object: a container of a fence (binary) or of a timeline of them.
///
/// The daemon keeps it until ``destroy()`` or the end of the connection.
///
/// Threading: any thread.
public final class Syncobj: Sendable {
    /// The connection that the handle belongs to.
    public let connection: Connection
    /// The daemon's name for it; never 0.
    public let handle: UInt32
    let fenceSlot: UInt32

    init(_ connection: Connection, handle: UInt32, fenceSlot: UInt32) {
        self.connection = connection
        self.handle = handle
        self.fenceSlot = fenceSlot
    }

    /// The object as a binary one.
    public var binary: SyncPoint {
        SyncPoint(raw: gpuvm_sync(handle: handle, flags: 0, point: 0), fenceSlot: fenceSlot)
    }

    /// A point of the object's timeline.
    public func point(_ value: UInt64) -> SyncPoint {
        SyncPoint(
            raw: gpuvm_sync(handle: handle, flags: GPUVM_SYNC_TIMELINE, point: value),
            fenceSlot: fenceSlot)
    }

    /// Gives the handle back; jobs that wait for the object's fences keep those.
    public func destroy() throws(ClientError) {
        try connection.release(.syncobjDestroy, handle)
    }

    /// Drops the object's fence or timeline.
    public func reset() throws(ClientError) {
        try connection.reset([binary])
    }

    /// The last point that has signalled, or that was submitted.
    public func query(lastSubmitted: Bool = false) throws(ClientError) -> UInt64 {
        let values = try connection.query([point(0)], lastSubmitted: lastSubmitted)
        // The reply's count has been checked.
        return values[0]
    }

    /// The object itself as a descriptor to pass to another process; it does not poll.
    public func export() throws(ClientError) -> OwnedFD {
        try connection.callForFD(
            Request(.syncobjExport, gpuvm_syncobj_export(handle: handle, flags: 0, point: 0)))
    }

    /// A sync_file: a snapshot of the fence at `point` (0: of a binary object), which polls readable
    /// for ever once it has signalled.
    ///
    /// - Throws: EINVAL when there is no fence.
    public func exportSyncFile(point: UInt64 = 0) throws(ClientError) -> OwnedFD {
        try connection.callForFD(
            Request(
                .syncobjExport,
                gpuvm_syncobj_export(
                    handle: handle, flags: GPUVM_EXPORT_SYNC_FILE, point: point)))
    }

    /// Replaces the fence (or adds `point`) by the one of a sync_file of this daemon.
    public func importSyncFile(
        _ fd: borrowing OwnedFD, point: UInt64 = 0
    ) throws(ClientError) {
        var request = Request(
            .syncobjImport,
            gpuvm_syncobj_import(handle: handle, flags: GPUVM_IMPORT_SYNC_FILE, point: point))
        request.attach(borrowing: fd.rawValue)
        _ = try connection.makeSyncobj(from: connection.calls.perform(request))
    }

    /// Has `eventfd` written once when `point` signals, or only is available.
    public func notify(
        eventfd: borrowing OwnedFD, point: UInt64, whenAvailable: Bool = false
    ) throws(ClientError) {
        var request = Request(
            .syncobjEventfd,
            gpuvm_syncobj_eventfd(
                handle: handle, flags: whenAvailable ? GPUVM_WAIT_AVAILABLE : 0, point: point))
        request.attach(borrowing: eventfd.rawValue)
        try connection.call(request)
    }
}

extension Connection {
    /// Creates a sync object.
    public func makeSyncobj(signalled: Bool = false) throws(ClientError) -> Syncobj {
        let contents = gpuvm_syncobj_create(
            flags: signalled ? GPUVM_SYNCOBJ_SIGNALED : 0, reserved: 0)
        return try makeSyncobj(from: calls.perform(Request(.syncobjCreate, contents)))
    }

    /// Makes a handle for the object behind a descriptor that this daemon exported.
    ///
    /// - Throws: EINVAL for any other descriptor.
    public func importSyncobj(_ fd: borrowing OwnedFD) throws(ClientError) -> Syncobj {
        var request = Request(
            .syncobjImport, gpuvm_syncobj_import(handle: 0, flags: 0, point: 0))
        request.attach(borrowing: fd.rawValue)
        return try makeSyncobj(from: calls.perform(request))
    }

    func makeSyncobj(from reply: consuming CallReply) throws(ClientError) -> Syncobj {
        var reply = reply
        let contents = try reply.contents(gpuvm_syncobj_reply.self)
        try fencePages.add(reply.fds.take(0), slot: contents.fence_slot)
        return Syncobj(self, handle: contents.handle, fenceSlot: contents.fence_slot)
    }

    /// Signals binary objects, and timelines up to the given points.
    public func signal(_ points: [SyncPoint]) throws(ClientError) {
        try call(arrayRequest(.syncobjSignal, points))
    }

    /// Drops the objects' fences; points are ignored.
    public func reset(_ points: [SyncPoint]) throws(ClientError) {
        try call(arrayRequest(.syncobjReset, points))
    }

    /// The timelines' last signalled, or last submitted, points.
    public func query(
        _ points: [SyncPoint], lastSubmitted: Bool = false
    ) throws(ClientError) -> [UInt64] {
        let request = arrayRequest(
            .syncobjQuery, points, flags: lastSubmitted ? GPUVM_QUERY_LAST_SUBMITTED : 0)
        let (_, values) = try calls.perform(request).array(
            gpuvm_syncobj_query_reply.self, of: UInt64.self
        ) { $0.count }
        guard values.count == points.count else {
            throw ClientError(
                .protocolError, .syncobjQuery,
                "the daemon answered \(values.count) of \(points.count) points")
        }
        return values
    }

    /// Copies the fence of `source` into `destination`.
    ///
    /// - Parameter waitForSubmit: Lets the request wait until `source` has a fence.
    public func transfer(
        from source: SyncPoint, to destination: SyncPoint, waitForSubmit: Bool = false
    ) throws(ClientError) {
        try call(
            Request(
                .syncobjTransfer,
                gpuvm_syncobj_transfer(
                    destination: destination.raw, source: source.raw,
                    flags: waitForSubmit ? GPUVM_WAIT_FOR_SUBMIT : 0, reserved: 0)))
    }

    private func arrayRequest(
        _ opcode: Opcode, _ points: [SyncPoint], flags: UInt32 = 0
    ) -> Request {
        var request = Request(
            opcode, gpuvm_syncobj_array(count: UInt32(clamping: points.count), flags: flags))
        request.append(points.map(\.raw))
        return request
    }
}
