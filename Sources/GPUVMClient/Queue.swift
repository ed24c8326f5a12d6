import CWireProtocol
import WireProtocol

/// What a queue's jobs run on.
public enum EngineClass: UInt16, Sendable {
    case copy = 0
    case bind = 1
}

/// The importance of a queue; high is for the daemon's user and root only.
public enum QueuePriority: UInt32, Sendable {
    case low = 0
    case normal = 1
    case high = 2
}

/// A queue of jobs on one VM: command streams on a copy engine, or binds.
///
/// Threading: any thread; jobs run in the order of their submission.
public final class Queue: Sendable {
    /// The connection that the handle belongs to.
    public let connection: Connection
    /// The daemon's name for it; never 0.
    public let handle: UInt32

    init(_ connection: Connection, handle: UInt32) {
        self.connection = connection
        self.handle = handle
    }

    /// A command stream in GPU memory.
    public struct Batch: Sendable {
        /// The GPU VA of the first command, a multiple of 4.
        public let address: UInt64
        /// Where the stream ends at the latest, in bytes; 0: at its END only.
        public let bytes: UInt64

        /// Describes a command stream.
        public init(address: UInt64, bytes: UInt64 = 0) {
            self.address = address
            self.bytes = bytes
        }
    }

    /// Submits a job that runs `batches` one after the other.
    ///
    /// - Parameters:
    ///   - waits: Gate the job; no batch at all is an ordered wait and signal.
    ///   - signals: Signal when it has run, or with its error.
    /// - Returns: The job's fence.
    /// - Throws: EINVAL, ENOENT (a handle; a closed or banned VM), the errno that banned the queue;
    ///   ENOSPC or ENOMEM when the VM's buffers for VRAM do not fit there together.
    @discardableResult
    public func exec(
        _ batches: [Batch], waits: [SyncPoint] = [], signals: [SyncPoint] = []
    ) throws(ClientError) -> FenceID {
        var contents = gpuvm_exec()
        contents.queue = handle
        contents.batch_count = UInt32(clamping: batches.count)
        contents.wait_count = UInt32(clamping: waits.count)
        contents.signal_count = UInt32(clamping: signals.count)
        var request = Request(.exec, contents)
        request.append(batches.map { gpuvm_batch(address: $0.address, bytes: $0.bytes) })
        request.append(waits.map(\.raw))
        request.append(signals.map(\.raw))
        let reply = try connection.call(request, reply: gpuvm_exec_reply.self)
        return FenceID(context: reply.fence_context, sequence: reply.fence_sequence)
    }

    /// The queue's counters, and the errno that banned it.
    public func info() throws(ClientError) -> gpuvm_queue_info_reply {
        try connection.call(
            Request(.queueInfo, gpuvm_handle(handle: handle, reserved: 0)),
            reply: gpuvm_queue_info_reply.self)
    }

    /// Cancels what has not run and gives the handle back.
    public func close() throws(ClientError) {
        try connection.release(.queueClose, handle)
    }
}

extension VM {
    /// Creates a queue whose jobs see this VM's addresses.
    ///
    /// - Parameters:
    ///   - instance: Of the engine class.
    ///   - timeout: Of each job, ns; 0 is the device's default.
    /// - Throws: EINVAL for an engine that is not there, EPERM for a high priority.
    public func makeQueue(
        _ engine: EngineClass, instance: UInt16 = 0, priority: QueuePriority = .normal,
        timeout: UInt64 = 0
    ) throws(ClientError) -> Queue {
        var contents = gpuvm_queue_create()
        contents.vm = handle
        contents.engine_class = engine.rawValue
        contents.engine_instance = instance
        contents.priority = priority.rawValue
        contents.timeout_ns = timeout
        let reply = try connection.call(
            Request(.queueCreate, contents), reply: gpuvm_handle_reply.self)
        return Queue(connection, handle: reply.handle)
    }
}
