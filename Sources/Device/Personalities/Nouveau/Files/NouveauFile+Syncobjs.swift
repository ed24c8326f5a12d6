import Fencing
import Glibc

// Sync objects. Source: drivers/gpu/drm/drm_syncobj.c.
extension NouveauFile {
    /// SYNCOBJ_CREATE: {handle@0, flags@4: 1 signalled}.
    func syncobjCreate(_ frame: inout IoctlFrame) throws(IoctlError) {
        let flags: UInt32 = frame.read(4)
        guard flags & ~1 == 0 else { throw .invalid("unknown flags of a sync object") }
        try meetShortage(at: .syncobjCreate)
        frame.write(try insert(Syncobj(signalled: flags & 1 != 0)), at: 0)
    }

    private func insert(_ object: Syncobj) throws(IoctlError) -> UInt32 {
        let limit = client.quotas.syncobjs
        return try state.withLock { state throws(IoctlError) in
            guard !state.isClosed, state.syncobjs.count < limit else {
                throw IoctlError(ENOSPC, "the file has \(limit) sync objects")
            }
            return state.syncobjs.insert(object)
        }
    }

    /// SYNCOBJ_DESTROY: {handle@0, pad@4}.
    func syncobjDestroy(_ frame: IoctlFrame) throws(IoctlError) {
        guard frame.read(4, as: UInt32.self) == 0 else { throw .invalid("pad is not 0") }
        let handle: UInt32 = frame.read(0)
        let removed = state.withLock { $0.syncobjs.remove(handle) }
        guard removed != nil else { throw .invalid("there is no sync object \(handle)") }
    }

    // MARK: descriptors

    private static let isSyncFile: UInt32 = 1
    private static let hasPoint: UInt32 = 2

    /// {handle@0, flags@4, fd s32@8, pad@12, point u64@16}; the point came with Linux 6.16.
    private func descriptorFlags(_ frame: IoctlFrame) throws(IoctlError) -> UInt32 {
        let flags: UInt32 = frame.read(4)
        guard frame.read(12, as: UInt32.self) == 0,
            flags & ~(Self.isSyncFile | Self.hasPoint) == 0
        else { throw .invalid("unknown flags, or pad is not 0") }
        guard flags & Self.isSyncFile != 0 || frame.read(16, as: UInt64.self) == 0 else {
            throw .invalid("a point is a sync_file's")
        }
        return flags
    }

    func syncobjHandleToFD(_ frame: inout IoctlFrame) throws(IoctlError) {
        let flags = try descriptorFlags(frame)
        let handle: UInt32 = frame.read(0)
        let files = shared.fenceFiles
        let quota = client.descriptorQuota
        let descriptor: Int32
        if flags & Self.isSyncFile != 0 {
            let point: UInt64 = flags & Self.hasPoint != 0 ? frame.read(16) : 0
            let object = try syncobj(handle)
            descriptor = try answeringFences { () throws(FencingError) in
                try files.exportSyncFile(of: object, point: point, quota: quota)
            }
        } else {
            guard let object = state.withLock({ $0.syncobjs[handle] }) else {
                throw .invalid("there is no sync object \(handle)")
            }
            descriptor = try answeringFences { () throws(FencingError) in
                try files.exportSyncobj(object, quota: quota)
            }
        }
        frame.descriptor = IoctlDescriptor(owning: descriptor)
        frame.write(Int32(-1), at: 8)
    }

    func syncobjFDToHandle(_ frame: inout IoctlFrame) throws(IoctlError) {
        let flags = try descriptorFlags(frame)
        guard let descriptor = frame.call.descriptors.first else {
            throw .invalid("the call carries no descriptor")
        }
        let files = shared.fenceFiles
        if flags & Self.isSyncFile != 0 {
            let fence = try answeringFences { () throws(FencingError) in
                try files.fence(of: descriptor)
            }
            let object = try syncobj(frame.read(0))
            let point: UInt64 = flags & Self.hasPoint != 0 ? frame.read(16) : 0
            if point == 0 {
                object.replaceFence(fence)
            } else {
                object.addPoint(FenceChain(), fence: fence, point: point)
            }
        } else {
            let object = try answeringFences { () throws(FencingError) in
                try files.syncobj(of: descriptor)
            }
            frame.write(try insert(object), at: 0)
        }
    }

    // MARK: arrays

    /// The sync objects of an array of handles.
    private func objects(
        _ call: IoctlCall, count: UInt32
    ) throws(IoctlError) -> [Syncobj] {
        let handles = try call.array(at: 0, count: count, stride: 4)
        var objects: [Syncobj] = []
        objects.reserveCapacity(Int(count))
        for index in 0..<Int(count) { objects.append(try syncobj(handles.read(index * 4))) }
        return objects
    }

    /// {handles@0, count@8, pad@12}.
    private func binaryArray(_ frame: IoctlFrame) throws(IoctlError) -> [Syncobj] {
        let count: UInt32 = frame.read(8)
        guard frame.read(12, as: UInt32.self) == 0, count != 0 else {
            throw .invalid("the array is empty, or pad is not 0")
        }
        return try objects(frame.call, count: count)
    }

    func syncobjReset(_ frame: IoctlFrame) throws(IoctlError) {
        for object in try binaryArray(frame) { object.reset() }
    }

    func syncobjSignal(_ frame: IoctlFrame) throws(IoctlError) {
        for object in try binaryArray(frame) { object.signal() }
    }

    /// {handles@0, points@8, count@16, flags@20}; without points they are all 0.
    func syncobjTimelineSignal(_ frame: IoctlFrame) throws(IoctlError) {
        let count: UInt32 = frame.read(16)
        guard frame.read(20, as: UInt32.self) == 0, count != 0 else {
            throw .invalid("the array is empty, or it has flags")
        }
        let objects = try objects(frame.call, count: count)
        let points = try optionalPoints(frame, at: 8, count: count)
        for (index, object) in objects.enumerated() {
            object.signal(point: points.read(index * 8))
        }
    }

    /// The points of an array; all 0, as an empty array reads, without a pointer to them.
    private func optionalPoints(
        _ frame: IoctlFrame, at offset: Int, count: UInt32
    ) throws(IoctlError) -> IoctlBytes {
        guard frame.call.hasBlock(at: offset) else { return IoctlBytes([]) }
        return try frame.call.array(at: offset, count: count, stride: 8)
    }

    /// {handles@0, points@8 (written), count@16, flags@20: 1 last submitted}.
    func syncobjQuery(_ frame: inout IoctlFrame) throws(IoctlError) {
        let flags: UInt32 = frame.read(20)
        let count: UInt32 = frame.read(16)
        guard flags & ~1 == 0, count != 0 else {
            throw .invalid("the array is empty, or it has unknown flags")
        }
        let objects = try objects(frame.call, count: count)
        guard let block = frame.call.output(at: 8), var points = frame.outputs[block],
            points.count / 8 >= objects.count
        else { throw .fault("there is no room for the points") }
        for (index, object) in objects.enumerated() {
            points.write(object.query(lastSubmitted: flags & 1 != 0), at: index * 8)
        }
        frame.outputs[block] = points
    }

    // MARK: waits

    private static let waitDeadline: UInt32 = 8
    /// How long TRANSFER waits for a submission, ns.
    private static let submitPatience: UInt64 = 5_000_000_000

    /// SYNCOBJ_WAIT: {handles@0, timeout s64@8, count@16, flags@20, first@24, pad@28, deadline@32};
    /// SYNCOBJ_TIMELINE_WAIT: {handles@0, points@8, timeout@16, count@24, flags@28, first@32,
    /// pad@36, deadline@40}. The deadline is a hint to the hardware and changes nothing.
    func syncobjWait(
        _ frame: inout IoctlFrame, isTimeline: Bool
    ) throws(IoctlError) -> IoctlStep {
        let base = isTimeline ? 8 : 0
        var known: SyncobjWait.Flags = [.all, .forSubmit]
        if isTimeline { known.insert(.available) }
        let given: UInt32 = frame.read(base + 20)
        let flags = SyncobjWait.Flags(rawValue: given & ~Self.waitDeadline)
        guard flags.isSubset(of: known) else { throw .invalid("unknown flags of a wait") }
        let count: UInt32 = frame.read(base + 16)
        guard count != 0 else { return .done }
        let objects = try objects(frame.call, count: count)
        let points =
            isTimeline ? try optionalPoints(frame, at: 8, count: count) : IoctlBytes([])
        let targets = objects.enumerated().map {
            SyncobjWait.Target($0.element, point: points.read($0.offset * 8))
        }
        return .wait(
            IoctlWait(
                targets: targets, flags: flags, deadline: frame.read(base + 8),
                timeoutErrno: ETIME
            ) { (index, frame) throws(IoctlError) in frame.write(index, at: base + 24) })
    }

    /// SYNCOBJ_TRANSFER: {src@0, dst@4, src_point u64@8, dst_point u64@16, flags@24: 2 for submit,
    /// pad@28}.
    func syncobjTransfer(_ frame: IoctlFrame) throws(IoctlError) -> IoctlStep {
        guard frame.read(28, as: UInt32.self) == 0 else { throw .invalid("pad is not 0") }
        let destination = try syncobj(frame.read(4))
        let source = try syncobj(frame.read(0))
        let flags = SyncobjWait.Flags(rawValue: frame.read(24))
        guard flags.isSubset(of: .forSubmit) else {
            throw .invalid("unknown flags of a transfer")
        }
        let sourcePoint: UInt64 = frame.read(8)
        let destinationPoint: UInt64 = frame.read(16)
        let transfer = { @Sendable () throws(IoctlError) in
            try answeringFences { () throws(FencingError) in
                try Syncobj.transfer(
                    from: source, point: sourcePoint, to: destination, point: destinationPoint)
            }
        }
        guard flags.contains(.forSubmit) else {
            try transfer()
            return .done
        }
        return .wait(
            IoctlWait(
                targets: [SyncobjWait.Target(source, point: sourcePoint)],
                flags: [.forSubmit, .available],
                deadline: Int64(clamping: Runtime.deadline(after: Self.submitPatience)),
                timeoutErrno: ETIME
            ) { (_, _) throws(IoctlError) in try transfer() })
    }

    /// SYNCOBJ_EVENTFD: {handle@0, flags@4: 4 available, point u64@8, fd s32@16, pad@20}.
    func syncobjEventFD(_ frame: IoctlFrame) throws(IoctlError) {
        let flags = SyncobjWait.Flags(rawValue: frame.read(4))
        guard flags.isSubset(of: .available), frame.read(20, as: UInt32.self) == 0 else {
            throw .invalid("unknown flags of an eventfd, or pad is not 0")
        }
        let object = try syncobj(frame.read(0))
        guard let descriptor = frame.call.descriptors.first else {
            throw IoctlError(EBADF, "the call carries no descriptor")
        }
        // The eventfd hangs on an object of its own, which a wait of this file fires: the client's
        // object may be shared and outlive the file, and would keep the descriptor.
        let relay = Syncobj()
        let fired = Fence.makeSignalled()
        let quota = client.descriptorQuota
        let signaller = shared.eventFDs
        try answeringFences { () throws(FencingError) in
            try relay.registerEventFD(
                descriptor, flags: .available, signaller: signaller, quota: quota)
        }
        let waits = eventWaits
        let key = waits.reserve()
        let wait = SyncobjWait.start(
            [SyncobjWait.Target(object, point: frame.read(8))],
            flags: flags.union(.forSubmit), deadline: .max, timers: shared.device.timers
        ) { outcome in
            if case .success = outcome { relay.replaceFence(fired) }
            waits.finish(key)
        }
        waits.keep(wait, as: key)
    }
}
