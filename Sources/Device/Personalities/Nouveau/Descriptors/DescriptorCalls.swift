import Fencing
import Glibc
import Memory

/// The ioctls of the descriptors that open files of the device gave out: sync_files and dma-bufs.
///
/// A client that received such a descriptor needs no open file to use it. Which object it is, is found
/// by identity; a descriptor that is none of ours answers ENOTTY, and whoever asked turns to the kernel.
///
/// Threading: every method may be called from any thread.
public struct DescriptorCalls: Sendable {
    private let shared: NouveauDevice
    private let client: Client

    /// Serves `client`.
    public init(_ shared: NouveauDevice, client: Client) {
        self.shared = shared
        self.client = client
    }

    /// Carries an ioctl out.
    ///
    /// - Parameters:
    ///   - call: Its first descriptor is the one that the ioctl is on; those that the argument names
    ///     follow.
    ///   - completion: As that of ``NouveauFile/ioctl(_:completion:)``.
    /// - Returns: A handle on a call that waits.
    @discardableResult
    public func ioctl(
        _ call: IoctlCall, completion: @escaping @Sendable (IoctlReply) -> Void
    ) -> PendingIoctl? {
        client.noteRequest()
        var frame = IoctlFrame(call, bytes: call.request.size)
        do throws(IoctlError) {
            guard let request = DescriptorRequest(rawValue: call.request.rawValue),
                let descriptor = call.descriptors.first
            else { throw IoctlError(ENOTTY, "no ioctl of a sync_file or dma-buf") }
            guard let wait = try carryOut(request, on: descriptor, &frame) else {
                completion(frame.reply(0))
                return nil
            }
            return start(wait, frame, completion)
        } catch {
            client.noteFailure()
            completion(frame.reply(-error.errno))
            return nil
        }
    }

    private func start(
        _ fences: [Fence], _ frame: IoctlFrame,
        _ completion: @escaping @Sendable (IoctlReply) -> Void
    ) -> PendingIoctl {
        let targets = fences.map { fence in
            let object = Syncobj()
            object.replaceFence(fence)
            return SyncobjWait.Target(object)
        }
        return PendingIoctl(
            wait: SyncobjWait.start(
                targets, flags: .all, deadline: .max, timers: shared.device.timers
            ) { outcome in
                switch outcome {
                case .success: completion(frame.reply(0))
                case .failure(let error): completion(frame.reply(-error.errno))
                }
            })
    }

    /// - Returns: What the call waits for before it returns 0; nil if it is done.
    private func carryOut(
        _ request: DescriptorRequest, on descriptor: Int32, _ frame: inout IoctlFrame
    ) throws(IoctlError) -> [Fence]? {
        if request.isOfSyncFile {
            guard let file = try? shared.fenceFiles.syncFile(of: descriptor) else {
                throw IoctlError(ENOTTY, "the descriptor is no sync_file")
            }
            switch request {
            case .syncMerge: try merge(file.fence, &frame)
            case .syncFileInfo: try describe(file, &frame)
            default: try setDeadline(frame)
            }
            return nil
        }
        guard let found = SharedBuffer(descriptor, of: shared.device) else {
            throw IoctlError(ENOTTY, "the descriptor is no dma-buf")
        }
        switch request {
        case .bufferSync: return try sync(found, frame)
        case .bufferExportSyncFile: try exportSyncFile(found, &frame)
        case .bufferImportSyncFile: try importSyncFile(found, frame)
        default: try setName(frame)
        }
        return nil
    }

    // MARK: sync_files. Source: drivers/dma-buf/sync_file.c

    /// SYNC_IOC_MERGE: {name[32]@0, fd2 s32@32, fence s32@36, flags@40, pad@44}.
    private func merge(_ fence: Fence, _ frame: inout IoctlFrame) throws(IoctlError) {
        guard frame.read(40, as: UInt64.self) == 0 else {
            throw .invalid("flags or padding of a merge")
        }
        guard frame.call.descriptors.count == 2,
            let other = try? shared.fenceFiles.syncFile(of: frame.call.descriptors[1])
        else { throw .missing("the second descriptor is no sync_file") }
        let merged = try MergedFence.merge([fence, other.fence])
        let name = frame.argument.text(at: 0, capacity: Self.nameBytes)
        try giveOut(merged, name: name, at: 36, &frame)
    }

    /// SYNC_IOC_FILE_INFO: {name[32]@0, status s32@32, flags@36, num_fences@40, pad@44,
    /// sync_fence_info ptr@48}; an element of it is {obj_name[32]@0, driver_name[32]@32,
    /// status s32@64, flags@68, timestamp_ns u64@72}.
    private func describe(
        _ file: FenceFDRegistry.SyncFile, _ frame: inout IoctlFrame
    ) throws(IoctlError) {
        guard frame.read(36, as: UInt32.self) == 0, frame.read(44, as: UInt32.self) == 0 else {
            throw .invalid("flags or padding of a request for information")
        }
        let fences = try parts(of: file.fence)
        let room: UInt32 = frame.read(40)
        if room == 0 {
            frame.write(Self.status(of: file.fence), at: 32)
        } else {
            guard fences.count <= room else {
                throw .invalid("\(fences.count) fences in the room of \(room)")
            }
            guard let block = frame.call.output(at: 48), var output = frame.outputs[block],
                output.count >= fences.count * Self.infoBytes
            else { throw .fault("there is no room for the fences") }
            var status: Int32 = 1
            for (index, fence) in fences.enumerated() {
                let own = Self.status(of: fence)
                // The first that is pending or failed.
                if status > 0 { status = own }
                let offset = index * Self.infoBytes
                let names = Self.names(of: fence)
                output.clear(offset..<offset + Self.infoBytes)
                output.write(names.timeline, at: offset, capacity: Self.nameBytes)
                output.write(names.driver, at: offset + 32, capacity: Self.nameBytes)
                output.write(own, at: offset + 64)
                output.write(fence.timestamp, at: offset + 72)
            }
            frame.outputs[block] = output
            frame.write(status, at: 32)
        }
        let names = Self.names(of: file.fence)
        frame.argument.clear(0..<Self.nameBytes)
        frame.argument.write(
            file.name.isEmpty
                ? """
                \(names.driver)-\(names.timeline)\(file.fence.context)-\
                \(file.fence.sequenceNumber)
                """ : file.name,
            at: 0, capacity: Self.nameBytes)
        frame.write(UInt32(fences.count), at: 40)
    }

    /// SYNC_IOC_SET_DEADLINE: {deadline_ns u64@0, pad u64@8}; a hint, which changes nothing.
    private func setDeadline(_ frame: IoctlFrame) throws(IoctlError) {
        guard frame.read(8, as: UInt64.self) == 0 else { throw .invalid("padding of a deadline") }
    }

    private func parts(of fence: Fence) throws(IoctlError) -> [Fence] {
        guard let parts = MergedFence.parts(of: fence) else {
            throw IoctlError(ENOMEM, "the fence stands for too many")
        }
        return parts
    }

    private static let nameBytes = 32
    private static let infoBytes = 80

    /// dma_fence_get_status: 0 pending, 1 signalled, negative an error.
    private static func status(of fence: Fence) -> Int32 {
        guard fence.isSignalled else { return 0 }
        return fence.error == 0 ? 1 : -fence.error
    }

    /// What nouveau's fences are called: those that never had a job are the kernel's stub.
    private static func names(of fence: Fence) -> (driver: String, timeline: String) {
        if fence is MergedFence { return ("dma_fence_array", "unbound") }
        return fence.context == 0 ? ("stub", "stub") : ("drm_sched", "nouveau_sched")
    }

    private func giveOut(
        _ fence: Fence, name: String = "", at offset: Int, _ frame: inout IoctlFrame
    ) throws(IoctlError) {
        let descriptor = try answeringFences { () throws(FencingError) in
            try shared.fenceFiles.exportSyncFile(
                fence, name: name, quota: client.descriptorQuota)
        }
        frame.descriptor = IoctlDescriptor(owning: descriptor)
        frame.write(Int32(-1), at: offset)
    }

    // MARK: dma-bufs. Source: drivers/dma-buf/dma-buf.c

    private static let read: UInt32 = 1
    private static let write: UInt32 = 2
    private static let end: UInt64 = 4

    /// DMA_BUF_IOCTL_SYNC: {flags u64@0}. The start of an access waits for the device's, which has the
    /// same memory; the end has nothing to do.
    private func sync(
        _ buffer: SharedBuffer, _ frame: IoctlFrame
    ) throws(IoctlError) -> [Fence]? {
        let flags: UInt64 = frame.read(0)
        guard flags & ~UInt64(7) == 0, flags & 3 != 0 else {
            throw .invalid("flags of a CPU access")
        }
        guard flags & Self.end == 0 else { return nil }
        let fences = buffer.fences(forWriting: flags & 2 != 0)
        return fences.isEmpty ? nil : fences
    }

    /// {flags@0, fd s32@4} of both calls.
    private func accessFlags(_ frame: IoctlFrame) throws(IoctlError) -> UInt32 {
        let flags: UInt32 = frame.read(0)
        guard flags & ~(Self.read | Self.write) == 0, flags != 0 else {
            throw .invalid("flags of a sync_file of a dma-buf")
        }
        return flags
    }

    /// DMA_BUF_IOCTL_EXPORT_SYNC_FILE: what a reader, or a writer, would wait for.
    private func exportSyncFile(
        _ buffer: SharedBuffer, _ frame: inout IoctlFrame
    ) throws(IoctlError) {
        let flags = try accessFlags(frame)
        let fences = buffer.fences(forWriting: flags & Self.write != 0)
        try giveOut(try MergedFence.merge(fences), at: 4, &frame)
    }

    /// DMA_BUF_IOCTL_IMPORT_SYNC_FILE: a fence for readers, or for all, to wait for.
    private func importSyncFile(
        _ buffer: SharedBuffer, _ frame: IoctlFrame
    ) throws(IoctlError) {
        let flags = try accessFlags(frame)
        guard frame.call.descriptors.count == 2,
            let file = try? shared.fenceFiles.syncFile(of: frame.call.descriptors[1])
        else { throw .invalid("the descriptor is no sync_file") }
        let parts = try parts(of: file.fence).filter { !$0.isSignalled }
        guard buffer.add(parts, usage: flags & Self.write != 0 ? .write : .read) else {
            throw IoctlError(ENOMEM, "the buffer has \(SharedBuffer.maximumFences) fences")
        }
    }

    /// DMA_BUF_SET_NAME: the argument is the name itself. It would be seen in /proc/PID/fdinfo and in
    /// debugfs, which a memfd is not in; what is refused is the same.
    private func setName(_ frame: IoctlFrame) throws(IoctlError) {
        guard let name = frame.call.blocks.first?.contents, name.count <= Self.nameBytes,
            name.bytes.last == 0
        else { throw .invalid("a name has at most 31 bytes") }
    }
}
