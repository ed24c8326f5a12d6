import Engines
import Fencing
import Glibc
import Memory
import PageTables
import Scheduling

// Channels and EXEC. Source: nouveau_abi16.c, nouveau_exec.c, nouveau_sched.c
// (drivers/gpu/drm/nouveau).
extension NouveauFile {
    /// What a channel's ring of 1023 entries has room for at once.
    static var maximumPushes: UInt32 { 510 }
    /// NV50_DMA_PUSH_MAX_LENGTH.
    private static let maximumPushBytes: UInt32 = 0x7f_ffff
    private static let pushBytes = 16
    /// The most channels of a file: the hardware's are 2048 for all.
    private static let maximumChannels = 2048

    /// CHANNEL_ALLOC: {fb@0, tt@4, channel s32@8, pushbuf_domains@12, notifier_handle@16,
    /// subchan[8]@20, nr_subchan@84}. With fb = ~0, tt chooses the engine.
    func channelAlloc(_ frame: inout IoctlFrame) throws(IoctlError) {
        disableVM()
        var isCopyEngine = false
        if frame.read(0, as: UInt32.self) == .max {
            switch frame.read(4, as: UInt32.self) {
            case 0x01: isCopyEngine = false
            case 0x30: isCopyEngine = true
            case 0x02, 0x04, 0x08: throw .invalid("the device has no video engine")
            default: throw IoctlError(ENOSYS, "no engine has that number")
            }
            frame.write(UInt32(0), at: 0)
            frame.write(UInt32(0), at: 4)
        } else if frame.read(4, as: UInt32.self) == .max {
            throw .invalid("there is no such context")
        }
        try meetShortage(at: .queueCreate)
        let channel = try makeChannel(isCopyEngine: isCopyEngine)
        frame.write(channel.id, at: 8)
        // VRAM and GART.
        frame.write(UInt32(6), at: 12)
        frame.write(channel.notifier, at: 16)
    }

    private func makeChannel(isCopyEngine: Bool) throws(IoctlError) -> NouveauChannel {
        guard state.withLock({ $0.channels.count }) < Self.maximumChannels else {
            throw IoctlError(ENOSPC, "the file has \(Self.maximumChannels) channels")
        }
        let execution = try makeExecution(isCopyEngine: isCopyEngine)
        do throws(IoctlError) {
            let notifier = try answering { () throws(DeviceError) in
                try client.allocateBuffer(
                    name: "notifier", size: frameSize, placement: .system)
            }
            let layout = GEMLayout(domains: 1 << 2, tileMode: 0, tileFlags: 0, isPrivate: false)
            shared.gems.withLock { $0.insert(layout, for: notifier.buffer) }
            return state.withLock { state in
                repeat {
                    state.lastChannel = state.lastChannel == .max ? 1 : state.lastChannel + 1
                } while state.channels[state.lastChannel] != nil
                let channel = NouveauChannel(
                    id: state.lastChannel, isCopyEngine: isCopyEngine,
                    classes: shared.model.listedClasses(isCopyEngine: isCopyEngine),
                    notifier: notifier.handle, execution: execution)
                state.channels[channel.id] = channel
                return channel
            }
        } catch {
            if let execution { try? client.closeQueue(execution.handle) }
            throw error
        }
    }

    /// The queue of a new channel; nil while the file's VM is being made.
    private func makeExecution(
        isCopyEngine: Bool
    ) throws(IoctlError) -> NouveauChannel.Execution? {
        let vm: UInt32
        let hasBarriers: Bool
        if case .ready(let handle, _) = state.withLock({ $0.vm }) {
            (vm, hasBarriers) = (handle, true)
        } else if let space = try legacySpace() {
            (vm, hasBarriers) = (space.handle, false)
        } else {
            return nil
        }
        let instance = shared.engineInstance(isCopyEngine: isCopyEngine)
        return try answering { () throws(DeviceError) in
            let handle = try client.makeQueue(
                vm: vm, engineClass: .copy, instance: instance, timeout: shared.jobTimeout)
            return NouveauChannel.Execution(
                handle: handle, queue: try client.queue(handle),
                channel: NVIDIAChannel(
                    classes: shared.model.classes, hasBarriers: hasBarriers),
                engine: shared.engines[instance])
        }
    }

    /// CHANNEL_FREE: {channel s32@0}. It waits for the jobs that nothing holds up; those that wait for
    /// fences are cancelled. The notifier's handle stays the client's.
    ///
    /// Source: nouveau_abi16_chan_fini, nouveau_channel_idle (nouveau_chan.c). No wait is endless: what
    /// runs too long kills the channel.
    func channelFree(_ frame: IoctlFrame) throws(IoctlError) -> IoctlStep {
        let id: Int32 = frame.read(0)
        guard let channel = state.withLock({ $0.channels.removeValue(forKey: id) }) else {
            throw .missing("there is no channel \(id)")
        }
        guard let execution = channel.execution else { return .done }
        // What another thread submits now is one of the channel's jobs, or finds no channel.
        execution.jobs.end()
        guard let last = execution.jobs.lastReady else {
            try? client.closeQueue(execution.handle)
            return .done
        }
        #if MUTANTS
            if Mutant.isPlanted("channelFreeCancels") { execution.queue.jobs.close() }
        #endif
        client.forgetQueue(execution.handle)
        return .drain(execution.queue, until: last)
    }

    /// A channel that can execute.
    ///
    /// - Throws: ENOENT; ENODEV for one that was killed; ENOSYS for one that was made while the file's
    ///   VM was.
    func executingChannel(
        _ id: UInt32
    ) throws(IoctlError) -> NouveauChannel.Execution {
        guard let channel = state.withLock({ $0.channels[Int32(bitPattern: id)] }) else {
            throw .missing("there is no channel \(id)")
        }
        guard let execution = channel.execution else {
            throw IoctlError(ENOSYS, "the channel was made before VM_INIT")
        }
        guard execution.queue.jobs.status.state == .active else {
            // Its end closes the queue, too.
            guard !execution.jobs.hasEnded else { throw .missing("channel \(id) was freed") }
            throw IoctlError(ENODEV, "channel \(id) was killed")
        }
        return execution
    }

    /// EXEC: {channel@0, push_count@4, wait_count@8, sig_count@12, wait_ptr@16, sig_ptr@24,
    /// push_ptr@32}; a push is {va u64@0, va_len@8, flags@12}.
    func exec(_ frame: IoctlFrame) throws(IoctlError) {
        _ = try requireVM()
        let execution = try executingChannel(frame.read(0))
        let count: UInt32 = frame.read(4)
        guard count <= Self.maximumPushes else {
            throw .invalid("\(count) pushes: a channel takes \(Self.maximumPushes)")
        }
        let array = try frame.call.array(at: 32, count: count, stride: Self.pushBytes)
        // All arrays are copied in before any is looked at.
        for (pointer, number) in [(16, 8), (24, 12)] {
            _ = try frame.call.array(
                at: pointer, count: frame.read(number), stride: NouveauSync.stride)
        }
        var pushes: [NVIDIAPush] = []
        pushes.reserveCapacity(Int(count))
        for index in 0..<Int(count) {
            let bytes: UInt32 = array.read(index * Self.pushBytes + 8)
            guard bytes <= Self.maximumPushBytes else {
                throw .invalid("push \(index) has \(bytes) bytes")
            }
            pushes.append(
                NVIDIAPush(
                    address: array.read(index * Self.pushBytes), bytes: UInt64(bytes)))
        }
        var inFences = try inFences(frame.call, at: 16, count: frame.read(8))
        #if MUTANTS
            if Mutant.isPlanted("execIgnoresWaits") { inFences = [] }
        #endif
        let outPoints = try outPoints(frame.call, at: 24, count: frame.read(12))
        _ = try submit(pushes, to: execution, inFences: inFences, outPoints: outPoints)
    }

    /// Submits a job to a channel.
    ///
    /// - Returns: The job's fence.
    /// - Throws: ENOENT if another thread has freed the channel; why there is no job.
    func submit(
        _ pushes: [NVIDIAPush], to execution: NouveauChannel.Execution, inFences: [Fence],
        outPoints: [PreparedSignal]
    ) throws(IoctlError) -> Fence {
        guard execution.jobs.beginSubmission() else {
            throw .missing("the channel was freed meanwhile")
        }
        defer { execution.jobs.endSubmission() }
        let fence: Fence
        do throws(DeviceError) {
            try client.checkJobQuota()
            let context = NVIDIAContext(
                engine: execution.engine, channel: execution.channel,
                space: execution.queue.vm.addressSpace, pushes: pushes)
            fence = try client.submit(
                context, to: execution.queue, handle: execution.handle,
                commands: pushes.first?.address, inFences: inFences, outPoints: outPoints)
        } catch {
            throw lost(error)
        }
        execution.jobs.append(waits: inFences, done: fence)
        shared.statistics.note(pushes: pushes.count)
        return fence
    }
}
