import Fencing
import Glibc
import Memory
import Synchronization

/// An open file of a nouveau render node: what its ioctls mean, on top of a ``Client``.
///
/// Channels, the VM and all handles belong to it. Descriptors, sockets and processes are whoever
/// calls it's business.
///
/// Threading: every method may be called from any thread, as several threads of a program may be in
/// one file at a time. No call waits for a fence: what blocks in the kernel returns through its
/// completion here.
public final class NouveauFile: Sendable {
    /// The device.
    public let shared: NouveauDevice
    /// Whose quotas count and what reports name.
    public let client: Client
    /// Whether it was opened by the render node, as all that is not mode setting should be.
    public let isRenderNode: Bool

    /// Whether the file has a VM.
    enum VMState {
        /// VM_INIT was not called yet.
        case absent
        /// It is being carried out.
        case starting
        /// A buffer or a channel came first: the old interface, for good; its space when it is used.
        case disabled(LegacySpace?)
        case ready(handle: UInt32, DeviceVM)
    }

    struct State {
        var vm = VMState.absent
        var channels: [Int32: NouveauChannel] = [:]
        var lastChannel: Int32 = 0
        var objects: [UInt64: NVIFObject] = [:]
        var syncobjs = HandleTable<Syncobj>()
        var offsets = MapOffsets()
        var isClosed = false
    }

    let state = Guarded(.openFile, State())
    let eventWaits = EventWaits()
    /// Refused binds that are records.
    let refusedBinds = Atomic<Int>(0)

    /// Opens the file for `client`, which nobody else uses.
    public init(_ shared: NouveauDevice, client: Client, isRenderNode: Bool = true) {
        self.shared = shared
        self.client = client
        self.isRenderNode = isRenderNode
    }

    /// Ends the file: cancels its jobs and waits, lets go of all that it had.
    ///
    /// Returns when no engine touches memory for it any more. Called again, it does nothing.
    public func close() {
        state.withLock { $0.isClosed = true }
        eventWaits.close()
        client.close()
        // What goes here goes without the lock.
        let last = state.withLock { state in
            var last = State()
            last.isClosed = true
            last.vm = .disabled(nil)
            swap(&state, &last)
            return last
        }
        withExtendedLifetime(last) {}
    }

    /// Carries an ioctl out.
    ///
    /// - Parameter completion: Called once with the reply: on this thread before the method returns,
    ///   or later, from whatever thread signals, without locks and possibly inside of a
    ///   `SignallingSection`.
    /// - Returns: A handle on a call that waits for sync objects.
    @discardableResult
    public func ioctl(
        _ call: IoctlCall, completion: @escaping @Sendable (IoctlReply) -> Void
    ) -> PendingIoctl? {
        client.noteRequest()
        let known: NouveauIoctl
        do throws(IoctlError) {
            known = try NouveauIoctl(call.request, isRenderNode: isRenderNode)
        } catch {
            shared.statistics.noteUnknown(call.request)
            client.noteFailure()
            completion(IoctlFrame(call, bytes: 0).reply(-error.errno))
            return nil
        }
        shared.statistics.noteCall(known)
        var frame = IoctlFrame(call, bytes: known.argumentBytes)
        do throws(IoctlError) {
            switch try carryOut(known, &frame) {
            case .done:
                completion(frame.reply(0))
            case .submitted(let bind):
                // The program goes on while the page tables are written.
                completion(frame.reply(0))
                bind.start()
            case .fence(let fence):
                let deferred = DeferredIoctl(frame, completion)
                if !fence.addCallback(deferred) { deferred.fenceSignalled(fence) }
            case .drain(let queue, let fence):
                let deferred = DeferredClosing(queue, frame, completion)
                if !fence.addCallback(deferred) { deferred.fenceSignalled(fence) }
            case .wait(let wait):
                return start(wait, frame, known, completion)
            }
        } catch {
            fail(known, frame, error, completion)
        }
        return nil
    }

    private func fail(
        _ call: NouveauIoctl, _ frame: IoctlFrame, _ error: IoctlError,
        _ completion: (IoctlReply) -> Void
    ) {
        shared.statistics.noteFailure(call)
        client.noteFailure()
        completion(frame.reply(-error.errno))
    }

    private func start(
        _ wait: IoctlWait, _ frame: IoctlFrame, _ call: NouveauIoctl,
        _ completion: @escaping @Sendable (IoctlReply) -> Void
    ) -> PendingIoctl {
        let started = SyncobjWait.start(
            wait.targets, flags: wait.flags, deadline: wait.deadline,
            timers: shared.device.timers
        ) { [self] outcome in
            var frame = frame
            do throws(IoctlError) {
                let index: UInt32
                switch outcome {
                case .success(let satisfied): index = satisfied
                case .failure(.timeExpired):
                    throw IoctlError(wait.timeoutErrno, "the deadline passed")
                case .failure(let error): throw IoctlError(error)
                }
                try wait.finish(index, &frame)
                completion(frame.reply(0))
            } catch {
                fail(call, frame, error, completion)
            }
        }
        return PendingIoctl(wait: started)
    }

    private func carryOut(
        _ call: NouveauIoctl, _ frame: inout IoctlFrame
    ) throws(IoctlError) -> IoctlStep {
        switch call {
        case .version: version(&frame)
        case .getCap: try getCap(&frame)
        case .setClientCap:
            throw IoctlError(EOPNOTSUPP, "the device sets no modes")
        case .gemClose: try gemClose(frame)
        case .primeHandleToFD: try primeHandleToFD(&frame)
        case .primeFDToHandle: try primeFDToHandle(&frame)
        case .getParam: try getParam(&frame)
        case .zcullInfo:
            throw IoctlError(ENOTTY, "the engine does not tell its zcull layout")
        case .nvif: try nvif(&frame)
        case .svmInit, .svmBind:
            throw IoctlError(ENOSYS, "the driver is built without shared virtual memory")
        case .channelAlloc: try channelAlloc(&frame)
        case .channelFree: return try channelFree(frame)
        case .vmInit: try vmInit(frame)
        case .vmBind: return try vmBind(frame)
        case .exec: try exec(frame)
        case .gemNew: try gemNew(&frame)
        case .gemInfo: try gemInfo(&frame)
        case .gemPushbuf: return try gemPushbuf(&frame)
        case .gemCPUPrep: return try gemCPUPrep(frame)
        case .gemCPUFini: _ = try gem(frame.read(0))
        case .syncobjCreate: try syncobjCreate(&frame)
        case .syncobjDestroy: try syncobjDestroy(frame)
        case .syncobjHandleToFD: try syncobjHandleToFD(&frame)
        case .syncobjFDToHandle: try syncobjFDToHandle(&frame)
        case .syncobjWait: return try syncobjWait(&frame, isTimeline: false)
        case .syncobjTimelineWait: return try syncobjWait(&frame, isTimeline: true)
        case .syncobjReset: try syncobjReset(frame)
        case .syncobjSignal: try syncobjSignal(frame)
        case .syncobjTimelineSignal: try syncobjTimelineSignal(frame)
        case .syncobjQuery: try syncobjQuery(&frame)
        case .syncobjTransfer: return try syncobjTransfer(frame)
        case .syncobjEventFD: try syncobjEventFD(frame)
        }
        return .done
    }
}

// @unchecked: the frame is immutable; the completion is called once.
/// The reply to an ioctl that returns with a fence.
private final class DeferredIoctl: FenceCallback, @unchecked Sendable {
    private let frame: IoctlFrame
    private let completion: @Sendable (IoctlReply) -> Void

    init(_ frame: IoctlFrame, _ completion: @escaping @Sendable (IoctlReply) -> Void) {
        self.frame = frame
        self.completion = completion
    }

    override func fenceSignalled(_ fence: Fence) {
        completion(frame.reply(-fence.error))
    }
}

// @unchecked: as above.
/// The end of a queue whose jobs were waited for, and the reply to the ioctl that did.
private final class DeferredClosing: FenceCallback, @unchecked Sendable {
    private let queue: DeviceQueue
    private let frame: IoctlFrame
    private let completion: @Sendable (IoctlReply) -> Void

    init(
        _ queue: DeviceQueue, _ frame: IoctlFrame,
        _ completion: @escaping @Sendable (IoctlReply) -> Void
    ) {
        self.queue = queue
        self.frame = frame
        self.completion = completion
    }

    override func fenceSignalled(_ fence: Fence) {
        queue.jobs.close()
        completion(frame.reply(0))
    }
}
