import Fencing
import Glibc

/// What a client gets for a sync object.
public struct SyncobjHandle: Sendable, Equatable {
    /// The handle.
    public var handle: UInt32
    /// The slot of the fence page that shows the object.
    public var slot: Int
    /// Which chunk of the fence page that is.
    public var chunk: Int
}

/// A point that a job's fence will become: everything for that is allocated.
struct PreparedSignal {
    let object: Syncobj
    let point: UInt64
    /// The timeline's node; nil for a binary sync object.
    let node: FenceChain?
}

extension Client {
    /// Makes a sync object.
    ///
    /// - Throws: ENOSPC for the quota, the host's errno if the fence page cannot grow.
    public func createSyncobj(isSignalled: Bool) throws(DeviceError) -> SyncobjHandle {
        try meetShortage(at: .syncobjCreate)
        try device.failures.check("make the sync object")
        return try insert(Syncobj(signalled: isSignalled))
    }

    /// Gives a sync object of somebody else (an imported descriptor) a handle of this client.
    ///
    /// - Throws: As ``createSyncobj(isSignalled:)``.
    public func insert(_ object: Syncobj) throws(DeviceError) -> SyncobjHandle {
        let slot = try fencing { () throws(FencingError) in
            try fencePage.allocateSlot(for: object)
        }
        do throws(DeviceError) {
            let handle = try state.withLock { state throws(DeviceError) in
                try checkOpen(state)
                guard state.syncobjs.count < quotas.syncobjs else {
                    throw .quota(.syncobjs, limit: UInt64(quotas.syncobjs))
                }
                return state.syncobjs.insert(ClientSyncobj(object: object, slot: slot))
            }
            return SyncobjHandle(handle: handle, slot: slot.index, chunk: slot.chunk)
        } catch {
            slot.release()
            throw error
        }
    }

    /// Forgets a handle; whoever waits on its slot wakes up.
    ///
    /// - Throws: ENOENT.
    public func destroySyncobj(_ handle: UInt32) throws(DeviceError) {
        guard let syncobj = state.withLock({ $0.syncobjs.remove(handle) }) else {
            throw .noSuch(.syncobj, handle: handle)
        }
        syncobj.slot.release()
    }

    /// The sync object behind a handle.
    ///
    /// - Throws: ENOENT.
    public func syncobj(_ handle: UInt32) throws(DeviceError) -> Syncobj {
        guard let found = state.withLock({ $0.syncobjs[handle] }) else {
            throw .noSuch(.syncobj, handle: handle)
        }
        return found.object
    }

    /// The slot that shows a sync object.
    ///
    /// - Throws: ENOENT.
    public func slot(of handle: UInt32) throws(DeviceError) -> SyncobjHandle {
        guard let found = state.withLock({ $0.syncobjs[handle] }) else {
            throw .noSuch(.syncobj, handle: handle)
        }
        return SyncobjHandle(handle: handle, slot: found.slot.index, chunk: found.slot.chunk)
    }

    /// The sync objects of an array of points, all of them or none.
    ///
    /// - Throws: ENOENT.
    public func syncobjs(_ points: [SyncPoint]) throws(DeviceError) -> [(Syncobj, UInt64)] {
        var found: [(Syncobj, UInt64)] = []
        found.reserveCapacity(points.count)
        for point in points { found.append((try syncobj(point.handle), point.point)) }
        return found
    }

    /// Signals from the host: replaces a binary object's fence, adds a point to a timeline.
    ///
    /// A timeline's point 0 is added like any other and so never above the last one, as in
    /// drm_syncobj_timeline_signal_ioctl (drivers/gpu/drm/drm_syncobj.c): pending points stay.
    ///
    /// - Throws: ENOENT for any handle; then none is signalled.
    public func signal(_ points: [SyncPoint]) throws(DeviceError) {
        for (point, (object, _)) in zip(points, try syncobjs(points)) {
            if point.isTimeline { object.signal(point: point.point) } else { object.signal() }
        }
    }

    /// Empties sync objects.
    ///
    /// - Throws: ENOENT for any handle; then none is reset.
    public func reset(_ points: [SyncPoint]) throws(DeviceError) {
        for (object, _) in try syncobjs(points) { object.reset() }
    }

    // MARK: what submissions need

    /// The in-fences of a submission, which must have been submitted themselves; a timeline's point 0
    /// is the fence of its last point.
    ///
    /// - Throws: ENOENT, EINVAL.
    func resolve(waits: [SyncPoint]) throws(DeviceError) -> [Fence] {
        var fences: [Fence] = []
        fences.reserveCapacity(waits.count)
        for wait in waits {
            let object = try syncobj(wait.handle)
            try device.failures.check("resolve an in-fence")
            fences.append(
                try fencing { () throws(FencingError) in try object.findFence(point: wait.point) })
        }
        return fences
    }

    /// Allocates what the out-fence of a submission will need.
    ///
    /// - Throws: ENOENT; EINVAL for point 0 of a timeline.
    func prepare(signals: [SyncPoint]) throws(DeviceError) -> [PreparedSignal] {
        var prepared: [PreparedSignal] = []
        prepared.reserveCapacity(signals.count)
        for signal in signals {
            let object = try syncobj(signal.handle)
            guard !signal.isTimeline || signal.point != 0 else {
                throw .invalid(
                    "sync object \(signal.handle): a timeline's points begin at 1")
            }
            try device.failures.check("prepare an out-fence")
            prepared.append(
                PreparedSignal(
                    object: object, point: signal.point,
                    node: signal.isTimeline ? FenceChain() : nil))
        }
        return prepared
    }

    /// Attaches a fence to the points that were prepared for it; cannot fail.
    func publish(_ fence: Fence, to points: [PreparedSignal]) {
        for point in points {
            if let node = point.node {
                point.object.addPoint(node, fence: fence, point: point.point)
            } else {
                point.object.replaceFence(fence)
            }
        }
    }

    /// Runs `body` and turns its error into the device's.
    func fencing<Result>(
        _ body: () throws(FencingError) -> Result
    ) throws(DeviceError) -> Result {
        do throws(FencingError) {
            return try body()
        } catch {
            throw .fencing(error)
        }
    }
}
