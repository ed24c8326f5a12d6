import Fencing

/// An ioctl being carried out: its argument, extended to the kernel's struct, and what it will return.
struct IoctlFrame: Sendable {
    let call: IoctlCall
    /// The argument; handlers read and write it at the kernel's offsets.
    var argument: IoctlBytes
    /// The contents of the output blocks, by block; nil for those that are input alone.
    var outputs: [IoctlBytes?]
    var descriptor: IoctlDescriptor?
    /// Whether the program's argument is overwritten.
    var isWrittenBack: Bool

    /// Extends the argument by zeros, as drm_ioctl does; what the request does not say is read is 0.
    init(_ call: IoctlCall, bytes: Int) {
        self.call = call
        var extended = call.request.isRead ? call.argument.bytes : []
        let size = max(bytes, call.argument.count)
        extended.append(contentsOf: repeatElement(0, count: max(0, size - extended.count)))
        argument = IoctlBytes(extended)
        isWrittenBack = call.request.isWrittenBack
        outputs = call.blocks.map { $0.isOutput ? $0.contents : nil }
    }

    func read<Value: FixedWidthInteger & BitwiseCopyable>(
        _ offset: Int, as type: Value.Type = Value.self
    ) -> Value {
        argument.read(offset, as: type)
    }

    mutating func write<Value: FixedWidthInteger & BitwiseCopyable>(
        _ value: Value, at offset: Int
    ) {
        argument.write(value, at: offset)
    }

    /// What the program gets.
    func reply(_ result: Int32) -> IoctlReply {
        let size = call.argument.count
        let written =
            isWrittenBack
            ? IoctlBytes(Array(argument.bytes.prefix(size))) : call.argument
        return IoctlReply(
            result: result, argument: written, outputs: outputs.compactMap { $0 },
            descriptor: result < 0 ? nil : descriptor)
    }
}

/// How an ioctl goes on after its handler.
enum IoctlStep: Sendable {
    /// It is done.
    case done
    /// It is done, and the bind has yet to be started.
    case submitted(AcceptedBind)
    /// It returns when the fence signals, with its error.
    case fence(Fence)
    /// It closes the queue when the fence signals, and returns.
    case drain(DeviceQueue, until: Fence)
    /// It returns when the wait ends.
    case wait(IoctlWait)
}

/// A wait for sync objects that an ioctl ends with.
struct IoctlWait: Sendable {
    var targets: [SyncobjWait.Target]
    var flags: SyncobjWait.Flags
    /// CLOCK_MONOTONIC ns.
    var deadline: Int64
    /// The errno of a wait that its deadline ended.
    var timeoutErrno: Int32
    /// Completes the frame with the index of the target that ended the wait; may be on the signalling
    /// path.
    var finish: @Sendable (UInt32, inout IoctlFrame) throws(IoctlError) -> Void
}

/// An ioctl that has not returned yet.
///
/// Threading: any thread.
public struct PendingIoctl: Sendable {
    let wait: SyncobjWait

    /// Has the ioctl return ECANCELED at once, if it waits still: nobody will read the reply.
    public func cancel() { wait.cancel() }
}
