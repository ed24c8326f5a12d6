import Synchronization

/// How much a client holds and has asked for.
public struct ClientCounts: Sendable {
    /// VMs.
    public var vms = 0
    /// Buffer handles.
    public var buffers = 0
    /// Exec and bind queues.
    public var queues = 0
    /// Sync objects.
    public var syncobjs = 0
    /// Mappings in all its VMs.
    public var mappings = 0
    /// Bytes in its buffers.
    public var bufferBytes: UInt64 = 0
    /// Requests since it connected.
    public var requests: UInt64 = 0
    /// Those that were refused.
    public var failedRequests: UInt64 = 0
}

extension Client {
    /// What the client holds now.
    public var counts: ClientCounts {
        var counts = state.withLock { state in
            var counts = ClientCounts()
            counts.vms = state.vms.count
            counts.buffers = state.buffers.count
            counts.queues = state.queues.count
            counts.syncobjs = state.syncobjs.count
            return counts
        }
        counts.bufferBytes = usage.bufferBytes.load(ordering: .relaxed)
        counts.mappings = usage.mappings.load(ordering: .relaxed)
        counts.requests = usage.requests.load(ordering: .relaxed)
        counts.failedRequests = usage.failedRequests.load(ordering: .relaxed)
        return counts
    }

    /// Counts a request.
    public func noteRequest() { usage.requests.add(1, ordering: .relaxed) }

    /// Counts a request that was refused.
    public func noteFailure() { usage.failedRequests.add(1, ordering: .relaxed) }
}
